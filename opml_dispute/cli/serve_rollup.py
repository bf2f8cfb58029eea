"""`opml-dispute serve-rollup`: answers op-challenger's questions about one request."""

from __future__ import annotations

import click

from opml_dispute.chain.requests import parse_request_id
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import ChainOptions, ModelOptions, chain_options, json_option, model_options
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import open_case_of, open_system
from opml_dispute.errors import OpmlError
from opml_dispute.operator.rollup_rpc import RollupAnswers, make_server


class CannotServe(OpmlError):
    """The port cannot be had."""


@click.command("serve-rollup", cls=Command)
@click.argument("request_id", metavar="REQUEST")
@click.option("--port", type=click.IntRange(0, 65535), default=9545, show_default=True, help="0 takes a free one.")
@model_options
@chain_options
@json_option
def serve_rollup(request_id: str, port: int, files: ModelOptions, chain: ChainOptions, output: Output) -> None:
    """
    Answer op-challenger's questions to a rollup node and an L2 node, about one request.

    Give the address as --rollup-rpc and as --l2-eth-rpc of an op-challenger that plays this request's games
    (docs/op-stack.md). Listens on the loopback interface only; ends with Ctrl-C.

    Example: opml-dispute serve-rollup 0x5a…e1 --port 9545
    """
    system = open_system(chain)
    case = open_case_of(system, parse_request_id(request_id), files)
    answers = RollupAnswers(case, system.deployment.chain_id)
    try:
        server = make_server(answers, port)
    except OSError as error:
        raise CannotServe(f"cannot listen on port {port}: {error.strerror}", hint="give another --port") from None
    with server:
        url = f"http://127.0.0.1:{server.server_port}"
        output.say(f"Serving S_0 to S_{answers.node_count} of the request as blocks 0 to {answers.node_count} at {url}")
        output.fact(url=url, request=request_id, node_count=answers.node_count, final_root=case.final_root)
        server.serve_forever()
