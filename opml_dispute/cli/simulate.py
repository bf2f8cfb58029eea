"""`opml-dispute simulate`: play a scenario many times, and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from opml_dispute import plain_toml
from opml_dispute.cli.command_line import Command, expect_unused
from opml_dispute.cli.options import FileName, binding_options, json_option
from opml_dispute.cli.output import Output, duration
from opml_dispute.errors import OpmlError
from opml_dispute.model.files import Binding

_BINDING = ("dims", "constants", "max_sizes", "seed_input", "prompt_tokens", "tokens", "sampling")
"""The parameters of `binding_options`."""


class SimulationExtraMissing(OpmlError):
    """The libraries that simulations need are not installed."""

    hint = "pip install '.[simulation]' in the checkout"


def _print_settings(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """--settings: list every setting of a scenario file, without a simulation."""
    if not asked:
        return
    from opml_dispute.simulation.scenario import Scenario
    from opml_dispute.simulation.schema import describe

    for key, default, what in describe(Scenario):
        click.echo(f"{key} = {default}" if default else key)
        click.echo(f"    {what}")
    context.exit()


@click.command(cls=Command)
@click.option(
    "--settings",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_settings,
    help="List every setting of a scenario file, with default and meaning, and exit.",
)
@click.argument("file", type=FileName(), metavar="SCENARIO.toml")
@click.option("--trials", type=click.IntRange(1), help="Trials for each point, instead of the file's number.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting: fees.base_fee_gwei=30.")
@click.option(
    "--calibrate",
    type=FileName(),
    metavar="MODEL",
    help="Compute this model here first: game and machine of the scenario are then its own. --set comes after.",
)
@binding_options
@click.option(
    "--results",
    type=FileName(),
    default=Path("simulations"),
    show_default=True,
    help="The folder for results; an interrupted run is continued from it.",
)
@click.option("--report", type=FileName(), help="The file for the report. Default: beside the results.")
@click.option("--pool", type=click.Choice(["processes", "here", "ray"]), default="processes", show_default=True)
@click.option("--workers", type=click.IntRange(1), help="The number of processes. Default: the number of cores.")
@json_option
def simulate(
    file: Path,
    trials: int | None,
    changes: tuple[str, ...],
    calibrate: Path | None,
    binding: Binding,
    results: Path,
    report: Path | None,
    pool: str,
    workers: int | None,
    output: Output,
) -> None:
    """
    Play the scenario of a file many times, and write a report.

    With --set level=contract the real contracts decide, in this process; with --set node.kind=anvil besides, on an
    Anvil that is started for each trial, through a proxy with the faults of --set 'node.faults=["stale-nonce"]'.

    Example: opml-dispute simulate opml_dispute/simulation/scenarios/stalling-liar.toml --trials 200
    """
    try:
        from opml_dispute.devnet import laboratory
        from opml_dispute.simulation import campaign, document, metrics, scenario
        from opml_dispute.simulation import pool as pools
        from opml_dispute.simulation import report as reports
    except ImportError as error:
        raise SimulationExtraMissing(f"simulations need a library that is not installed: {error.name}") from error
    if calibrate is None:
        expect_unused("counts only together with --calibrate", _BINDING)
    sweep = scenario.load(file)
    settings: dict[str, Any] = {} if calibrate is None else _calibrated(calibrate, binding, output)
    settings |= dict(_setting(text) for text in changes)
    if trials is not None:
        settings["trials"] = trials
    if settings:
        sweep = scenario.Sweep(scenario.with_settings(sweep.base, settings), sweep.axes)
    laboratory.expect_known_faults(sweep)
    folder = results / sweep.base.name
    output.say(f"Will play {sweep.base.name}: {len(list(sweep.points()))} points of {sweep.base.trials} trials each.")
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"),
        console=Console(stderr=True), disable=output.as_json, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task("trials", left="")

        def tell(progress: campaign.Progress) -> None:
            left = "" if progress.left_s is None else f"{duration(int(progress.left_s))} left"
            bar.update(task, completed=progress.done, total=progress.total, left=left)

        found = campaign.run(sweep, folder, pools.POOLS[pool](workers), play=laboratory.play, tell=tell)
    written = document.write(reports.blocks(sweep, found), report or folder, sweep.base.name)
    table = Table()
    for head in (*(sweep.axes or ["point"]), *(reports.BY_KEY[key].heading for key in sweep.base.shown)):
        table.add_column(head)
    for point in found:
        summary = metrics.summarise(point.columns)
        place = [str(value) for value in point.settings.values()] or ["the only one"]
        table.add_row(*place, *(reports.shown(summary[key]) for key in sweep.base.shown))
        output.fact(
            settings=point.settings,
            trials=len(point.rows),
            metrics={key: [each.value, each.low, each.high] for key, each in summary.items()},
            units={key: reports.BY_KEY[key].unit for key in summary},
        )
    output.show(table)
    output.say(f"Report: {written[0]} and {written[1].name}")


def _calibrated(model: Path, binding: Binding, output: Output) -> dict[str, Any]:
    """The settings that say how fast this machine computes a model. Raises `NotCalibrated`, or what its file is not."""
    from opml_dispute.generation.files import open_model
    from opml_dispute.operator.inspection import made_up_inputs
    from opml_dispute.simulation.calibration import calibrate

    program = open_model(model, binding)
    output.say(f"Computing {model.name} on this machine …", style="dim")
    found = calibrate(program, made_up_inputs(program))
    output.say(
        f"An inference with its root takes {found.inference_s:.4g} s, a state in its middle "
        f"{found.middle_root_s:.4g} s. The VM run of the longest node takes {found.vm_run_s:.4g} s: "
        f"{found.vm_steps:,} steps, {found.steps_per_s / 1e6:,.0f} million a second. There are {found.cores} cores."
    )
    output.fact(
        calibrated=str(model),
        settings=found.settings,
        middle_root_s=found.middle_root_s,
        vm_steps=found.vm_steps,
        vm_steps_per_s=found.steps_per_s,
    )
    return dict(found.settings)


def _setting(text: str) -> tuple[str, Any]:
    """`fees.base_fee_gwei=30` as key and value; the value is read as TOML, or as a string if it is not TOML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} found, expected KEY=VALUE", param_hint="--set")
    try:
        return key, plain_toml.loads(f"value = {value}")["value"]
    except ValueError:
        return key, value
