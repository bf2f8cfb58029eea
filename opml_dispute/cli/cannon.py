"""`opml-dispute cannon`: the OP Stack's cannon, command for command, so that op-challenger can run this engine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from opml_dispute.cannon.files import BadFile, read_state, write, write_json, write_state
from opml_dispute.cannon.metadata import symbols
from opml_dispute.cannon.pattern import StepPattern
from opml_dispute.cannon.run import PreimageStop, Wishes, run
from opml_dispute.cannon.server import PreimageServer, log_to_stderr
from opml_dispute.engine.vm import Machine
from opml_dispute.fpvm.state import BASE_VERSION, ML_VERSION

STATE_TYPES = {"multithreaded64-5": BASE_VERSION, "opml-ml": ML_VERSION}
"""Cannon's name of the only state type that the OP Stack uses today, and ours of states with the ML extension."""

_PATTERN = "never, always, =N or %N"


class _Pattern(click.ParamType[StepPattern]):
    name = _PATTERN

    def convert(
        self, value: str | StepPattern, param: click.Parameter | None, ctx: click.Context | None
    ) -> StepPattern:
        return value if isinstance(value, StepPattern) else StepPattern.parse(value)


def _path() -> click.Path:
    return click.Path(path_type=Path)


@click.group()
def cannon() -> None:
    """
    The commands of the OP Stack's cannon, on this engine.

    op-challenger takes this program where it asks for a cannon: docs/op-stack.md has the command line.
    """


@cannon.command("run")
@click.option("--input", "input_", type=_path(), required=True, metavar="FILE", help="The state to begin with.")
@click.option("--output", type=_path(), default=None, metavar="FILE", help="Where the last state goes.")
@click.option("--meta", default="", metavar="FILE", help="Symbols of the program; not needed, not read.")
@click.option("--info-at", type=_Pattern(), default="%1000000000", show_default=True, help="Say where the run is.")
@click.option("--proof-at", type=_Pattern(), default="never", show_default=True, help="Prove these steps.")
@click.option("--proof-fmt", default="proof-%d.json.gz", show_default=True, metavar="NAME", help="Files of proofs.")
@click.option(
    "--snapshot-at", type=_Pattern(), default="never", show_default=True, help="Save the states before these."
)
@click.option("--snapshot-fmt", default="state-%d.bin.gz", show_default=True, metavar="NAME", help="Files of states.")
@click.option("--stop-at", type=_Pattern(), default="never", show_default=True, help="Stop before this step.")
@click.option("--stop-at-preimage", default="", metavar="KEY[@OFFSET]", help="Stop behind the read of this pre-image.")
@click.option("--stop-at-preimage-type", default="", metavar="TYPE", help="Stop behind the first read of this type.")
@click.option(
    "--stop-at-preimage-larger-than", type=click.IntRange(0), default=0, metavar="BYTES", help="The same by size."
)
@click.option("--debug-info", type=_path(), default=None, metavar="FILE", help="Where the run's figures go, as JSON.")
@click.argument("server", nargs=-1, type=click.UNPROCESSED)
def run_command(
    input_: Path,
    output: Path | None,
    meta: str,
    info_at: StepPattern,
    proof_at: StepPattern,
    proof_fmt: str,
    snapshot_at: StepPattern,
    snapshot_fmt: str,
    stop_at: StepPattern,
    stop_at_preimage: str,
    stop_at_preimage_type: str,
    stop_at_preimage_larger_than: int,
    debug_info: Path | None,
    server: tuple[str, ...],
) -> None:
    """
    Run a program from a state, and write proofs and snapshots on the way.

    What stands after -- is the command of a pre-image server. The exit code is 0 when the run ended as asked, whatever
    the program exited with; 1 for bad input or a failing server; 2 if the machine met an instruction with no successor.

    Example: opml-dispute cannon run --input state.bin.gz --output out.bin.gz --proof-at =1000 -- ./server
    """
    wishes = Wishes(
        proof_at=proof_at,
        proof_name=proof_fmt,
        snapshot_at=snapshot_at,
        snapshot_name=snapshot_fmt,
        stop_at=stop_at,
        stop_at_preimage=PreimageStop.parse(stop_at_preimage, stop_at_preimage_type, stop_at_preimage_larger_than),
        info_at=info_at,
    )
    machine = read_state(input_)
    machine.listen()
    if server:
        with PreimageServer.start(server, say=log_to_stderr) as preimages:
            _run_and_tell(machine, wishes, preimages)
    else:
        preimages = None
        _run_and_tell(machine, wishes, None)
    if output is not None:
        write_state(output, machine)
    if debug_info is not None:
        write_json(debug_info, _figures(machine, preimages))


def _run_and_tell(machine: Machine, wishes: Wishes, server: PreimageServer | None) -> None:
    try:
        run(machine, wishes, server, say=log_to_stderr)
    finally:
        printed, lost = machine.printed()
        if printed:
            log_to_stderr("the program printed:\n" + printed.decode(errors="replace").rstrip("\n"))
        if lost:
            log_to_stderr(f"({lost} more bytes)")


def _figures(machine: Machine, server: PreimageServer | None) -> dict[str, object]:
    _, pages = machine.memory_parts()
    return {
        "pages": len(pages),
        "memory_used": hex(machine.memory_used_bytes),
        "num_preimage_requests": server.requests if server else 0,
        "total_preimage_size": server.received_bytes if server else 0,
        "total_steps": machine.step,
    }


@cannon.command()
@click.option("--input", "input_", type=_path(), required=True, metavar="FILE", help="The state.")
@click.option(
    "--output", type=_path(), default=None, metavar="FILE", help="Where the 188 bytes of the witness go, too."
)
def witness(input_: Path, output: Path | None) -> None:
    """
    Print a state's hash and witness as one JSON object.

    Example: opml-dispute cannon witness --input state.bin.gz
    """
    machine = read_state(input_)
    content = {
        "witnessHash": "0x" + machine.state_hash().hex(),
        "witness": "0x" + machine.witness().hex(),
        "step": machine.step,
        "exited": machine.exited,
        "exitCode": machine.exit_code,
        "stateVersion": ML_VERSION if machine.ml else BASE_VERSION,
    }
    if output is not None:
        write(output, machine.witness())
    click.echo(json.dumps(content))


@cannon.command("load-elf")
@click.option("--type", "type_", type=click.Choice(list(STATE_TYPES)), required=True, help="The state's type.")
@click.option("--path", type=_path(), required=True, metavar="ELF", help="The program.")
@click.option("--out", type=_path(), default="state.bin.gz", show_default=True, metavar="FILE", help="The state.")
@click.option("--meta", default="meta.json", show_default=True, metavar="FILE", help="Symbols; empty for none.")
def load_elf(type_: str, path: Path, out: Path, meta: str) -> None:
    """
    Write a program's initial state, and its symbols.

    Example: opml-dispute cannon load-elf --type multithreaded64-5 --path program.elf --out state.bin.gz
    """
    try:
        elf = path.read_bytes()
    except OSError as error:
        raise BadFile(f"cannot read the program {path}: {error.strerror}", hint="check the path") from None
    machine = Machine.from_elf(elf, ml=STATE_TYPES[type_] == ML_VERSION)
    write_state(out, machine)
    if meta:
        write_json(Path(meta), {"symbols": symbols(elf)})
