"""`opml-dispute vm run`: run a program to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from opml_dispute.cannon.server import PreimageServer, log_to_stderr
from opml_dispute.cannon.supply import Supplied
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import FileName, json_option, patience_option
from opml_dispute.cli.output import Output
from opml_dispute.cli.vm.opening import open_source
from opml_dispute.cli.vm.saving import save_machine
from opml_dispute.cli.vm.selection import RunSelection, run_options
from opml_dispute.cli.vm.source import BadSource, way_out
from opml_dispute.engine.vm import Execution, Machine, Stop, StopKind
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import VmStatus

_STEPS_PER_LOOK: Final = 1 << 24
"""Steps between two looks at the program's output: some hundredths of a second."""

_OUTPUT_BYTES: Final = 1 << 22


class RunStopped(OpmlError):
    """The program did not run to its end."""


@click.command(cls=Command)
@run_options()
@click.option("--max-steps", type=click.IntRange(min=0), metavar="N", help="Stop after this many steps.")
@click.option(
    "--save", type=FileName(), metavar="FILE", help="Write the last state to this file (packed if it ends in .gz)."
)
@patience_option
@click.option("--jit/--no-jit", default=None, help="Compile what runs long, or not. Otherwise OPML_JIT decides.")
@click.argument("server", nargs=-1, type=click.UNPROCESSED, metavar="[-- SERVER ARGUMENTS...]")
@json_option
def run(
    run: RunSelection,
    max_steps: int | None,
    save: Path | None,
    patience_s: float,
    jit: bool | None,
    server: tuple[str, ...],
    output: Output,
) -> int:
    """
    Run a program until it exits; the exit code is the program's.

    What stands after -- is the command of a pre-image server, which answers the program's requests that --preimage and
    --local do not (docs/op-stack.md, "Pre-image servers").

    Example: opml-dispute vm run hello.elf --base
    """
    source = open_source(run)
    if jit is not None:
        source.machine.execute(Execution.COMPILED if jit else Execution.INTERPRETED)
    if server and (run.node is not None or run.game is not None):
        raise BadSource(
            "a pre-image server and a node's run were given", hint="leave the server out: the run has all that it reads"
        )
    if source.fault is not None:
        machine = source.trace.machine_at(1 << 62 if max_steps is None else max_steps)
        stop = machine.run(0)
    else:
        machine = source.machine.fork()
        if server:
            with PreimageServer.start(server, say=log_to_stderr, patience_s=patience_s) as preimages:
                stop = _run_showing(machine, Supplied(machine, preimages), max_steps, output)
        else:
            stop = _run_showing(machine, None, max_steps, output)
    if save is not None:
        save_machine(machine, save)
        output.say(f"Saved the state of step {machine.step:,} in {save}.")
    state_hash = machine.state_hash()
    output.say(
        f"{stop.kind.value} at step {machine.step:,}" + (f", code {machine.exit_code}" if machine.exited else "")
    )
    output.say(f"state hash 0x{state_hash.hex()} ({VmStatus(state_hash[0]).name.lower()})")
    output.fact(
        stop=stop.kind.value,
        steps=machine.step,
        exited=machine.exited,
        exit_code=machine.exit_code if machine.exited else None,
        state_hash=state_hash,
        memory_bytes=machine.memory_used_bytes,
    )
    if stop.kind not in {StopKind.EXITED, StopKind.STEP_LIMIT}:
        raise RunStopped(stop.message, hint=way_out(stop.reason, ml=machine.ml))
    return machine.exit_code


def _run_showing(machine: Machine, supplied: Supplied | None, max_steps: int | None, output: Output) -> Stop:
    """Run the machine and show the program's output as it is printed."""
    advance = machine.run if supplied is None else supplied.advance
    left = max_steps
    while True:
        machine.listen(_OUTPUT_BYTES)
        stop = advance(_STEPS_PER_LOOK if left is None else min(left, _STEPS_PER_LOOK))
        printed, lost = machine.printed()
        if printed:
            output.raw(printed.decode(errors="replace"))
            output.fact(printed=printed.decode(errors="replace"), lost_bytes=lost)
        if lost:
            output.say(f"{lost:,} bytes of output were not kept", style="yellow")
        if left is not None:
            left -= stop.steps
        is_supplied = supplied is not None and stop.kind == StopKind.UNKNOWN_PREIMAGE
        if not is_supplied and (stop.kind != StopKind.STEP_LIMIT or left == 0):
            return stop
