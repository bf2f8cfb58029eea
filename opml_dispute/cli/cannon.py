"""`opml-dispute cannon`: the OP Stack's cannon, command for command, so that op-challenger can run this engine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opml_dispute.cannon.files import (
    BadFile,
    is_ml_state,
    read_state_bytes,
    write,
    write_json,
    write_state,
)
from opml_dispute.cannon.metadata import symbols
from opml_dispute.cannon.pattern import StepPattern
from opml_dispute.cannon.preimage_stop import PreimageStop
from opml_dispute.cannon.run import Wishes, run
from opml_dispute.cannon.server import PreimageServer, log_to_stderr
from opml_dispute.cannon.supply import Preimages
from opml_dispute.cli.options import patience_option
from opml_dispute.engine.vm import Machine
from opml_dispute.fpvm.elf import MAX_ELF_BYTES
from opml_dispute.fpvm.statefile import Subtree, load_state, subtrees_in
from opml_dispute.model.files import Binding
from opml_dispute.primitives import BASE_VERSION, ML_VERSION
from opml_dispute.reading import Unreadable, read_bytes
from opml_dispute.toolchain.native import guest_path

if TYPE_CHECKING:
    from opml_dispute.chain.system import System
    from opml_dispute.operator.case import Case

STATE_TYPES = {"multithreaded64-5": BASE_VERSION, "opml-ml": ML_VERSION}
"""Cannon's name of the state type that the OP Stack uses, and this package's name of states with the ML extension."""

_PATTERN = "never, always, =N or %N"


class _Pattern(click.ParamType[StepPattern]):
    name = _PATTERN

    def convert(
        self, value: str | StepPattern, param: click.Parameter | None, ctx: click.Context | None
    ) -> StepPattern:
        return value if isinstance(value, StepPattern) else StepPattern.parse(value)


class _Wanted(click.ParamType[Path | None]):
    """A file to write: "-" is standard output, an empty name none."""

    name = "file"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path | None:
        return Path(value) if str(value) else None


def _path() -> click.Path:
    return click.Path(path_type=Path)


@click.group()
def cannon() -> None:
    """
    The commands of the OP Stack's cannon, on this engine.

    op-challenger can be configured to use it as its cannon program: docs/op-stack.md has the command line.
    """


@cannon.command("run")
@click.option("--input", "input_", type=_path(), required=True, metavar="FILE", help="The state to start from.")
@click.option(
    "--output",
    type=_Wanted(),
    default="out.bin.gz",
    show_default=True,
    metavar="FILE",
    help="Where the last state goes; - is standard output, an empty name none.",
)
@click.option("--meta", default="", metavar="FILE", help="Symbols of the program; accepted and ignored.")
@click.option(
    "--info-at", type=_Pattern(), default="%1000000000", show_default=True, help="Log the progress at these steps."
)
@click.option("--proof-at", type=_Pattern(), default="never", show_default=True, help="Prove these steps.")
@click.option("--proof-fmt", default="proof-%d.json", show_default=True, metavar="NAME", help="Files of proofs.")
@click.option(
    "--snapshot-at", type=_Pattern(), default="never", show_default=True, help="Save the states before these steps."
)
@click.option("--snapshot-fmt", default="state-%d.bin.gz", show_default=True, metavar="NAME", help="Files of states.")
@click.option("--stop-at", type=_Pattern(), default="never", show_default=True, help="Stop before this step.")
@click.option(
    "--stop-at-preimage",
    default="",
    metavar="KEY[@OFFSET[@STEP]]",
    help="Stop behind the read of this pre-image (KEY may be the beginning of one) at OFFSET, from STEP on.",
)
@click.option(
    "--stop-at-preimage-type", default="", metavar="TYPE", help="Stop after the first read of a pre-image of this type."
)
@click.option(
    "--stop-at-preimage-larger-than",
    type=click.IntRange(0),
    default=0,
    metavar="BYTES",
    help="Stop after the first read of a pre-image of this size or more.",
)
@click.option(
    "--debug-info", type=_Wanted(), default="", metavar="FILE", help="The file for the run's figures, as JSON."
)
@patience_option
@click.option(
    "--request",
    "request_id",
    envvar="OPML_REQUEST",
    show_envvar=True,
    metavar="REQUEST",
    help="For states of ML games: the request. No server is started; its arguments name the node.",
)
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
    patience_s: float,
    request_id: str | None,
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
    state = read_state_bytes(input_)
    if request_id is not None and is_ml_state(state):
        machine, preimages = _of_request(state, request_id, server)
        _run_and_tell(machine, wishes, preimages, counting=debug_info is not None)
    elif server:
        machine = load_state(state)
        with PreimageServer.start(server, say=log_to_stderr, patience_s=patience_s) as preimages:
            _run_and_tell(machine, wishes, preimages, counting=debug_info is not None)
    else:
        machine, preimages = load_state(state), None
        _run_and_tell(machine, wishes, None, counting=debug_info is not None)
    if output is not None:
        write_state(output, machine)
    if debug_info is not None:
        write_json(debug_info, _figures(machine, preimages))


def _of_request(state: bytes, request_id: str, server: tuple[str, ...]) -> tuple[Machine, Preimages]:
    """The state of the run of one of a request's nodes, with all that the node reads; the server's arguments name the
    node."""
    # Only runs of ML games need a chain, whose library is slow to load.
    from opml_dispute.operator.challenger_run import ServerArguments, node_contents

    system, case = _open_request(request_id)
    contents, preimages = node_contents(case, ServerArguments.parse(server), system.deployment.chain_id)
    return load_state(state, contents), preimages


def _open_request(request_id: str) -> tuple[System, Case]:
    """The request with its model and input, found as by every command; the options are read from the environment."""
    from opml_dispute.chain.requests import parse_request_id
    from opml_dispute.cli.options import ChainOptions, ModelOptions
    from opml_dispute.cli.session import open_case_of, open_system

    deployment, model, image = (
        Path(named) if (named := os.environ.get(name)) else None
        for name in ("OPML_DEPLOYMENT", "OPML_MODEL", "OPML_INPUT_IMAGE")
    )
    system = open_system(ChainOptions(os.environ.get("OPML_RPC_URL"), deployment))
    return system, open_case_of(system, parse_request_id(request_id), ModelOptions(model, Binding(), image))


def _run_and_tell(machine: Machine, wishes: Wishes, server: Preimages | None, *, counting: bool) -> None:
    if counting:
        machine.count()
    try:
        run(machine, wishes, server, say=log_to_stderr)
    finally:
        printed, lost = machine.printed()
        if printed:
            log_to_stderr("the program printed:\n" + printed.decode(errors="replace").rstrip("\n"))
        if lost:
            log_to_stderr(f"({lost} more bytes)")


def _figures(machine: Machine, preimages: Preimages | None) -> dict[str, object]:
    _, pages = machine.memory_parts()
    server = preimages if isinstance(preimages, PreimageServer) else None
    counts = machine.counts()
    return {
        "pages": len(pages),
        "memory_used": hex(machine.memory_used_bytes),
        "num_preimage_requests": server.requests if server else 0,
        "total_preimage_size": server.received_bytes if server else 0,
        "total_steps": machine.step,
        "rmw_success_count": counts.linked_stores,
        "rmw_fail_count": counts.failed_stores,
        "max_steps_between_ll_and_sc": counts.longest_link,
        "reservation_invalidation_count": counts.lost_reservations,
        "forced_preemption_count": counts.preemptions,
        "idle_step_count_thread_0": counts.idle_steps,
    }


@cannon.command()
@click.option("--input", "input_", type=_path(), required=True, metavar="FILE", help="The state.")
@click.option("--output", type=_path(), default=None, metavar="FILE", help="A file for the 188 bytes of the witness.")
@click.option("--request", "request_id", envvar="OPML_REQUEST", show_envvar=True, help="For states of ML games.")
def witness(input_: Path, output: Path | None, request_id: str | None) -> None:
    """
    Print a state's hash and witness as one JSON object.

    Example: opml-dispute cannon witness --input state.bin.gz
    """
    state = read_state_bytes(input_)
    contents: list[Subtree] = []
    if request_id is not None and subtrees_in(state):
        from opml_dispute.operator.challenger_run import contents_in

        contents = contents_in(_open_request(request_id)[1], state)
    machine = load_state(state, contents)
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
@click.option("--path", type=_path(), metavar="ELF", help="The program. Default for opml-ml: this package's guest.")
@click.option("--out", type=_Wanted(), default="state.bin.gz", show_default=True, metavar="FILE", help="The state.")
@click.option(
    "--meta", type=_Wanted(), default="meta.json", show_default=True, metavar="FILE", help="Symbols; empty for none."
)
def load_elf(type_: str, path: Path | None, out: Path | None, meta: Path | None) -> None:
    """
    Write a program's initial state, and its symbols.

    Example: opml-dispute cannon load-elf --type multithreaded64-5 --path program.elf --out state.bin.gz
    """
    if path is None:
        if STATE_TYPES[type_] != ML_VERSION:
            raise click.UsageError("--path names the program of a state of this type.")
        path = guest_path()
    try:
        elf = read_bytes(path, max_bytes=MAX_ELF_BYTES)
    except Unreadable as error:
        raise BadFile(f"cannot read the program {path}: {error.reason}", hint="check the path") from None
    machine = Machine.from_elf(elf, ml=STATE_TYPES[type_] == ML_VERSION)
    if out is not None:
        write_state(out, machine)
    if meta is not None:
        write_json(meta, {"symbols": symbols(elf)})


def main() -> None:
    """The program `opml-cannon`: `opml-dispute cannon` as a single file, for clients that start one."""
    from opml_dispute.cli import main as run_command_line

    run_command_line(["cannon", *sys.argv[1:]])
