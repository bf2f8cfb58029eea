"""`opml-dispute serve-rollup`: answers op-challenger's questions, about one request on each port."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from http.server import ThreadingHTTPServer

import click

from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.requests import parse_request_id
from opml_dispute.chain.system import System
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import ChainOptions, ModelOptions, chain_options, json_option, model_options
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import open_case_of, open_system
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.rollup_rpc import RollupAnswers, make_server
from opml_dispute.primitives import RequestId

LAST_PORT = 65_535


class CannotServe(OpmlError):
    """A port cannot be had, or there is nothing to serve."""


@click.command("serve-rollup", cls=Command)
@click.argument("request_ids", metavar="[REQUEST]...", nargs=-1)
@click.option(
    "--port",
    type=click.IntRange(0, LAST_PORT),
    default=9545,
    show_default=True,
    help="The first request's port; the others get the ports after it. 0 takes free ones.",
)
@model_options
@chain_options
@json_option
def serve_rollup(
    request_ids: tuple[str, ...], port: int, files: ModelOptions, chain: ChainOptions, output: Output
) -> None:
    """
    Answer op-challenger's calls to a rollup node and an L2 node, for one request on each port.

    Without REQUEST: about every request that has a game in progress now. Give an address as --rollup-rpc and as
    --l2-eth-rpc of an op-challenger that plays that request's games (docs/op-stack.md). The server
    listens on the loopback interface only; Ctrl-C ends it.

    Example: opml-dispute serve-rollup 0x5a…e1 --port 9545
    """
    system = open_system(chain)
    wanted = list(dict.fromkeys(parse_request_id(text) for text in request_ids)) or disputed_requests(system)
    if not wanted:
        raise CannotServe("no game is in progress, so there is no request to serve", hint="name one: list --requests")
    if port and port + len(wanted) - 1 > LAST_PORT:
        raise CannotServe(f"there are no {len(wanted)} ports from {port} on", hint="give a smaller --port")
    with ExitStack() as open_servers:
        servers = []
        for index, request_id in enumerate(wanted):
            answers = RollupAnswers(open_case_of(system, request_id, files), system.deployment.chain_id)
            servers.append(open_servers.enter_context(_listen(answers, port + index if port else 0)))
            url = f"http://127.0.0.1:{servers[-1].server_port}"
            name, last = "0x" + request_id.hex(), answers.node_count
            letter = "S" if answers.item_count == 1 else "T"
            output.say(f"Serving {letter}_0 to {letter}_{last} of {name} as blocks 0 to {last} at {url}")
            output.fact(url=url, request=name, node_count=last, final_root=answers.final_root)
        for server in servers[1:]:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        servers[0].serve_forever()


def _listen(answers: RollupAnswers, port: int) -> ThreadingHTTPServer:
    try:
        return make_server(answers, port)
    except OSError as error:
        raise CannotServe(f"cannot listen on port {port}: {error.strerror}", hint="give another --port") from None


def disputed_requests(system: System) -> list[RequestId]:
    """The requests that have a game in progress, in the order of their first such games."""
    count = system.rpc.read(system.factory.game_count())
    entries = system.rpc.read_range(system.factory.game_at, range(count))
    games = [FaultDisputeGame(entry.address) for entry in entries]
    status = system.rpc.read_each([game.status() for game in games])
    running = [game for game, now in zip(games, status, strict=True) if now == GameStatus.IN_PROGRESS]
    return list(dict.fromkeys(system.rpc.read_each([game.request_id() for game in running])))
