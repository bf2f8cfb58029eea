"""`opml-dispute monitor`: the state of all games of a deployment, and alerts. It needs no key."""

from __future__ import annotations

import time

import click

from opml_dispute.agent.config import parse_endpoint
from opml_dispute.agent.exposition import serve
from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.agent.monitor import Monitor, Report, Standing
from opml_dispute.agent.monitor_metrics import MonitorMetrics
from opml_dispute.availability.fetching import FetchPolicy, read_blobs_at
from opml_dispute.chain.games import parse_address
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.system import System
from opml_dispute.cli.command_line import Command, Number, expect_unused
from opml_dispute.cli.options import ChainOptions, chain_options, json_option
from opml_dispute.cli.output import Output, duration, short
from opml_dispute.cli.session import open_system
from opml_dispute.errors import OpmlError
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.watch import Troubles, persistently, sentence_of

EXIT_ALERTS = 3

MOST_ROWS = 50
"""Games that are shown in a table; a deployment may have thousands."""


_OPENING_S = 12.0
"""Between the first tries to read the deployment, at most."""


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Report once and exit, with code 3 if there are alerts.")
@click.option("--interval", type=Number(1, 86_400), default=30.0, show_default=True, metavar="S", help="Between looks.")
@click.option("--compare", "others", multiple=True, metavar="URL", help="A further node to compare with; repeatable.")
@click.option(
    "--warn-before",
    type=click.IntRange(1),
    default=3_600,
    show_default=True,
    metavar="S",
    help="Time left on a clock below which an alert is urgent.",
)
@click.option(
    "--honest",
    multiple=True,
    metavar="ADDRESS",
    help="An account that should be right: tell if its claims fall; repeatable.",
)
@click.option(
    "--window",
    type=click.IntRange(1, 3_650),
    default=28,
    show_default=True,
    metavar="DAYS",
    help="Leave out older games.",
)
@click.option(
    "--max-lag", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="Blocks a node may be behind."
)
@click.option("--listen", metavar="HOST:PORT", help="Serve /metrics, /healthz and /readyz there.")
@click.option(
    "--blobs",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="The URL of a beacon API, or a folder with blobs, for inputs in blobs; repeatable. Default: OPML_BLOBS.",
)
@click.option("--no-compute", is_flag=True, help="Do not recompute results; report forecasts only.")
@chain_options
@json_option
def monitor(
    once: bool,
    interval: float,
    others: tuple[str, ...],
    warn_before: int,
    honest: tuple[str, ...],
    window: int,
    max_lag: int,
    listen: str | None,
    sources: tuple[str, ...],
    no_compute: bool,
    chain: ChainOptions,
    output: Output,
) -> None:
    """
    Watch all games of a deployment, without a key: forecasts, wrong results, clocks, collateral, nodes, owners.

    Example: opml-dispute monitor --once --json
    """
    if once:
        expect_unused("counts only without --once", ["interval", "listen"])
    metrics = MonitorMetrics(stale_s=max(600.0, 10 * interval))
    accounts = [parse_address(text, "an honest account") for text in honest]
    where = None if listen is None else _listen(listen)
    blobs = tuple(read_blobs_at(text) for text in sources) or FetchPolicy.of_environment().blobs
    system = open_system(chain) if once else _open_patiently(chain, output, interval)
    cases = LocalCases(system, ModelStore.default(), workers=2)
    watcher = Monitor(
        system,
        cases,
        others=[Rpc(url) for url in others],
        honest=accounts,
        warn_before_s=warn_before,
        max_age_s=window * 86_400,
        max_lag_blocks=max_lag,
        computes=not no_compute,
        blobs=blobs,
        waits_for_blobs=once,
    )
    if where is not None:
        serve(metrics, *where)
    try:
        if once:
            report = watcher.look()
            _tell(report, output)
            raise click.exceptions.Exit(EXIT_ALERTS if report.alerts else 0)
        troubles = Troubles(lambda sentence: output.trouble(f"{sentence}."))
        while True:
            _look(watcher, metrics, output, troubles)
            time.sleep(interval)
    finally:
        watcher.close()
        cases.close()


def _open_patiently(chain: ChainOptions, output: Output, interval_s: float) -> System:
    """The system; a node that has come up just now may have none of its contracts yet."""

    def tell(sentence: str) -> None:
        output.trouble(f"{sentence}.")

    return persistently(lambda: open_system(chain), tell, interval_s=min(interval_s, _OPENING_S), pause=time.sleep)


def _look(watcher: Monitor, metrics: MonitorMetrics, output: Output, troubles: Troubles) -> None:
    """One look of many; what keeps it from looking is told once for as long as it lasts, and tried again."""
    started = time.monotonic()
    try:
        report = watcher.look()
    except OpmlError as error:
        metrics.failed(str(error))
        troubles.round_of([f"{sentence_of(error)}; looking again"])
        return
    troubles.round_of([])
    metrics.show(report, time.monotonic() - started)
    _tell(report, output)


def _listen(text: str) -> tuple[str, int]:
    try:
        return parse_endpoint(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not {error}", param_hint="--listen") from None


def _urgency(standing: Standing) -> tuple[bool, float]:
    """Games that end with the wrong result come first, then those with the least time left."""
    is_wrong = standing.right is not None and standing.right != standing.forecast
    return not is_wrong, standing.seconds_left or float("inf")


def _tell(report: Report, output: Output) -> None:
    for alert in report.alerts:
        output.say(f"{alert.kind}: {alert.what}", style="red")
        output.fact(**alert.facts)
    rows = []
    for standing in report.standings:
        output.fact(**standing.facts)
    shown = sorted(report.standings, key=_urgency)[:MOST_ROWS]
    for standing in shown:
        facts = standing.facts
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
        output.table(("game", "claims", "if no move is made", "right", "time left", "request"), rows)
    if len(report.standings) > len(shown):
        output.say(f"The {len(shown)} most urgent of {len(report.standings):,} games in progress; --json has all.")
    if not report.inputs.is_looked_at and report.inputs.publications:
        output.say(
            f"Inputs in blobs are not looked at ({report.inputs.publications} stand): name a beacon API or a folder "
            "with --blobs, or in OPML_BLOBS."
        )
    output.say(
        f"Block {report.head.number}: {len(report.standings)} of {report.games} games in progress, "
        f"{len(report.alerts)} {'alert' if len(report.alerts) == 1 else 'alerts'}."
    )
    output.fact(
        block=report.head.number,
        games=report.games,
        games_in_progress=len(report.standings),
        alerts=len(report.alerts),
        publications=report.inputs.publications,
        publications_looked_at=report.inputs.is_looked_at,
    )
