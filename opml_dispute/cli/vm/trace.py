"""`opml-dispute vm trace`: show each step from one state to another."""

from __future__ import annotations

from typing import Final

import click
from rich.text import Text

from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import json_option
from opml_dispute.cli.output import Output
from opml_dispute.cli.vm.opening import open_source
from opml_dispute.cli.vm.selection import RunSelection, run_options
from opml_dispute.cli.vm.source import NoSuchStep, Source, way_out
from opml_dispute.cli.vm.words import difference_fact
from opml_dispute.engine.vm import Machine, VmError
from opml_dispute.fpvm.explain import explain_step

_TRACE_STEPS: Final = 20
_MOST_STEPS: Final = 1_000_000
"""Of one call: some minutes, and a hundred megabytes of text."""


@click.command(cls=Command)
@run_options()
@click.option(
    "--from",
    "first",
    type=click.IntRange(min=0),
    help="The first state. Default with --game: some steps before the claim's.",
)
@click.option("--to", "last", type=click.IntRange(min=0), help=f"The last state. Default: {_TRACE_STEPS} steps on.")
@json_option
def trace(run: RunSelection, first: int | None, last: int | None, output: Output) -> None:
    """
    Show each step from one state to another: its instruction, and what it changed.

    Example: opml-dispute vm trace --node 3 --sample 7 --from 1200 --to 1210
    """
    source = open_source(run)
    if first is None:
        claimed = source.claimed
        first = source.machine.step if claimed is None else max(0, claimed.step - _TRACE_STEPS // 2)
    if last is not None and last < first:
        raise NoSuchStep(f"--to {last} lies before --from {first}", hint="give the smaller one to --from")
    if last is not None and last - first > _MOST_STEPS:
        raise NoSuchStep(
            f"--from {first} --to {last} are {last - first:,} steps; a call shows at most {_MOST_STEPS:,}",
            hint=f"go on from there with another call: --from {first + _MOST_STEPS}",
        )
    if source.fault is not None:
        _trace_liar(source, first, last if last is not None else first + _TRACE_STEPS, output)
        return
    machine = source.at(first)
    for _ in range(_TRACE_STEPS if last is None else last - first):
        if machine.exited:
            output.say(f"exited at step {machine.step:,} with code {machine.exit_code}")
            output.fact(exited_at=machine.step, exit_code=machine.exit_code)
            return
        _show_step(machine, output)


def _trace_liar(source: Source, first: int, last: int, output: Output) -> None:
    """The steps of a run with a fault, which the trace injects."""
    fault = source.fault
    assert fault is not None
    for step in range(first, last):
        if step == fault.after_step:
            output.say(f"here flips {fault.target}", style="yellow")
            output.fact(fault=str(fault.target), after_step=step)
        machine = source.at(step)
        if machine.exited:
            return
        _show_step(machine, output)


def _show_step(machine: Machine, output: Output) -> None:
    try:
        step = explain_step(machine)
    except VmError as error:
        error.hint = error.hint or way_out(error.reason, ml=machine.ml)
        raise
    word = "        " if step.word is None else f"{step.word:08x}"
    changes = "  ".join(str(change) for change in step.changes)
    text = step.text if not changes else f"{step.text:<34} {changes}"
    thread = f" thread {step.thread_id}" if machine.scalars.next_thread_id > 1 else ""
    output.show(Text(f"{step.step:>12,}{thread}  {step.pc:>8x}: {word}  {text}"))
    output.fact(
        step=step.step,
        thread=step.thread_id,
        pc=step.pc,
        word=None if step.word is None else f"0x{step.word:08x}",
        text=step.text,
        changes=[difference_fact(change) for change in step.changes],
    )
