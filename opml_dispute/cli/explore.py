"""`opml-dispute explore`: a local web page of a deployment, its requests and its games."""

from __future__ import annotations

import click

from opml_dispute.chain.transport import is_loopback
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import ChainOptions, chain_options, json_option
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import open_system

DEFAULT_LISTEN = "127.0.0.1:7400"


class Listen(click.ParamType[tuple[str, int]]):
    """HOST:PORT."""

    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        host, _, digits = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= 5
        if not host or not host.isprintable() or len(host) > 255 or not is_number or int(digits) > 65_535:
            self.fail(f"{str(value)[:100]!r} is not HOST:PORT; write it like {DEFAULT_LISTEN}", param, ctx)
        return host, int(digits)


@click.command(cls=Command)
@click.option(
    "--listen",
    type=Listen(),
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="The address to listen on; port 0 takes a free one.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A further host name under which the pages may be requested; repeatable.",
)
@click.option("--no-compute", is_flag=True, help="Do not recompute results: show only the chain's data.")
@chain_options
@json_option
def explore(
    listen: tuple[str, int], hosts: tuple[str, ...], no_compute: bool, chain: ChainOptions, output: Output
) -> None:
    """
    Show a deployment, its requests and its games in a browser, live.

    The server listens on the loopback interface unless --listen names another, needs no key, and sends no transaction.
    Ctrl-C ends it.

    Example: opml-dispute explore --listen 127.0.0.1:7400
    """
    system = open_system(chain)
    # Not above: a web server takes a quarter of a second to import, and the chain is asked first.
    from opml_dispute.agent.local_cases import LocalCases
    from opml_dispute.operator.model_store import ModelStore
    from opml_dispute.web.pages import Explorer
    from opml_dispute.web.server import listening_socket, make_app, serve_pages

    host, port = listen
    listening = listening_socket(host, port)
    cases = None if no_compute else LocalCases(system, ModelStore.default(), workers=1)
    explorer = Explorer(system, cases)
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    if not is_loopback(host):
        output.say(f"{host} is no loopback address: everyone who reaches it can read these pages.", style="yellow")
    output.say(f"Serving {url}; end with Ctrl-C.", style="green")
    output.fact(url=url, chain_id=system.deployment.chain_id, computes=cases is not None)
    allowed = (*hosts, shown) if host not in ("0.0.0.0", "::") else hosts
    try:
        serve_pages(make_app(explorer, hosts=allowed), listening)
    except KeyboardInterrupt:
        pass  # the usual end of this command
    finally:
        listening.close()
        explorer.close()
        if cases is not None:
            cases.close()
