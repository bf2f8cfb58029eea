"""`opml-dispute monitor`: how all games of a deployment stand, and what is about to go wrong. Needs no key."""

from __future__ import annotations

import time

import click

from opml_dispute.agent.desk import Desk
from opml_dispute.agent.monitor import Monitor, Report
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.cli.command_line import Command, Number, expect_unused
from opml_dispute.cli.options import ChainOptions, chain_options, json_option
from opml_dispute.cli.output import Output, duration, short
from opml_dispute.cli.session import open_system
from opml_dispute.operator.model_store import ModelStore

EXIT_ALERTS = 3


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Look once; the exit code is 3 if there are alerts.")
@click.option("--interval", type=Number(1, 86_400), default=30.0, show_default=True, metavar="S", help="Between looks.")
@click.option("--compare", "others", multiple=True, metavar="URL", help="A further node to compare with; repeatable.")
@click.option(
    "--warn-before",
    type=click.IntRange(1),
    default=3_600,
    show_default=True,
    metavar="S",
    help="Seconds on a clock below which an alert is urgent.",
)
@click.option("--no-compute", is_flag=True, help="Do not recompute results: forecasts only.")
@chain_options
@json_option
def monitor(
    once: bool,
    interval: float,
    others: tuple[str, ...],
    warn_before: int,
    no_compute: bool,
    chain: ChainOptions,
    output: Output,
) -> None:
    """
    Watch all games of a deployment, without a key: forecasts, wrong results, clocks, collateral, nodes, owners.

    Example: opml-dispute monitor --once --json
    """
    if once:
        expect_unused("counts only without --once", ["interval"])
    system = open_system(chain)
    desk = Desk(system, ModelStore.default(), workers=2)
    watcher = Monitor(
        system,
        desk,
        others=[Rpc(url) for url in others],
        warn_before_s=warn_before,
        computes=not no_compute,
    )
    try:
        while True:
            try:
                report = watcher.look()
            except RpcError as error:
                if once or not error.passes:
                    raise
                output.say(f"{error}; looking again in {duration(int(interval))}", style="yellow")
            else:
                _tell(report, output)
                if once:
                    raise click.exceptions.Exit(EXIT_ALERTS if report.alerts else 0)
            time.sleep(interval)
    finally:
        desk.close()


def _tell(report: Report, output: Output) -> None:
    for alert in report.alerts:
        output.say(f"{alert.kind}: {alert.what}", style="red")
        output.fact(**alert.facts)
    rows = []
    for standing in report.standings:
        facts = standing.facts
        output.fact(**facts)
        right = facts["right"] or "not computed"
        rows.append(
            (
                standing.game.address,
                str(facts["claims"]),
                str(facts["forecast"]),
                str(right),
                duration(standing.seconds_left),
                short(standing.game.request_id),
            )
        )
    if rows:
        output.table(("game", "claims", "if nobody moves", "right", "time left", "request"), rows)
    output.say(
        f"Block {report.head.number}: {len(report.standings)} of {report.games} games in progress, "
        f"{len(report.alerts)} alerts."
    )
    output.fact(
        block=report.head.number,
        games=report.games,
        games_in_progress=len(report.standings),
        alerts=len(report.alerts),
    )
