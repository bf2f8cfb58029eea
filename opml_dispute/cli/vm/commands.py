"""
`opml-dispute vm`: look into the machine that disputes end in.

    vm run     a program, to its end
    vm trace   what each step did, from one step to another
    vm state   everything about one state; may save it
    vm prove   the witness of one step, and what the contract says to it
    vm diff    what differs between two states

Which run a command is about: `machines`. Step k is the state after k steps; the program starts in step 0.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.text import Text

from opml_dispute.cli.options import ChainOptions, json_option
from opml_dispute.cli.output import Output, gas
from opml_dispute.cli.vm.source import BadSource, NoSuchStep, Source, VmRun, run_options, way_out
from opml_dispute.engine.vm import Machine, Stop, StopKind, VmError
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.disassemble import REGISTERS, disassemble
from opml_dispute.fpvm.explain import Difference, compare, explain_step
from opml_dispute.fpvm.state import Thread
from opml_dispute.fpvm.statefile import save_state
from opml_dispute.fpvm.witness import Proof
from opml_dispute.primitives import VmStatus

if TYPE_CHECKING:
    from opml_dispute.engine.vm import StepWitness

_STEPS_PER_LOOK: Final = 1 << 24
"""How often a run's output is shown: every few hundredths of a second."""

_OUTPUT_BYTES: Final = 1 << 22
_TRACE_STEPS: Final = 20
_DIFFERENCES: Final = 100
_KECCAK, _SHA256, _LOCAL = 2, 4, 1
"""Types of pre-image keys: their first byte."""


class RunStopped(OpmlError):
    """The program did not come to its end."""


class ContractDisagrees(OpmlError):
    """The contract comes to another state than the engine: a bug of ours."""

    hint = "this must never happen: please report it, with what --json prints"


class CannotVerify(OpmlError):
    """The contract cannot be asked here."""


@click.group()
def vm() -> None:
    """Run, trace, prove and compare programs in the fault proof VM."""


@vm.command()
@run_options()
@click.option("--max-steps", type=click.IntRange(min=0), metavar="N", help="Stop after this many steps.")
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Write the last state there (.gz packs).")
@json_option
def run(run: VmRun, max_steps: int | None, save: Path | None, output: Output) -> int:
    """
    Run a program until it exits; the exit code is the program's.

    Example: opml-dispute vm run hello.elf --base
    """
    source = run.open()
    if source.fault is not None:
        machine = source.trace.machine_at(1 << 62 if max_steps is None else max_steps)
        stop = machine.run(0)
    else:
        machine = source.machine.fork()
        stop = _run_showing(machine, max_steps, output)
    if save is not None:
        _save(machine, save)
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


def _run_showing(machine: Machine, max_steps: int | None, output: Output) -> Stop:
    """Runs; what the program prints is shown as it comes."""
    left = max_steps
    while True:
        machine.listen(_OUTPUT_BYTES)
        chunk = _STEPS_PER_LOOK if left is None else min(left, _STEPS_PER_LOOK)
        stop = machine.run(chunk)
        printed, lost = machine.printed()
        if printed:
            if not output.as_json:
                sys.stdout.write(printed.decode(errors="replace"))
                sys.stdout.flush()
            output.fact(printed=printed.decode(errors="replace"), lost_bytes=lost)
        if lost:
            output.say(f"{lost:,} bytes of output were not kept", style="yellow")
        if left is not None:
            left -= chunk
        if stop.kind != StopKind.STEP_LIMIT or left == 0:
            return stop


@vm.command()
@run_options()
@click.option(
    "--from", "first", type=click.IntRange(min=0), help="The first state. --game: a little before the claim's."
)
@click.option("--to", "last", type=click.IntRange(min=0), help=f"The last state. Default: {_TRACE_STEPS} steps on.")
@json_option
def trace(run: VmRun, first: int | None, last: int | None, output: Output) -> None:
    """
    Show each step from one state to another: its instruction, and what it changed.

    Example: opml-dispute vm trace --node 3 --sample 7 --from 1200 --to 1210
    """
    source = run.open()
    if first is None:
        claimed = source.claimed
        first = source.machine.step if claimed is None else max(0, claimed.step - _TRACE_STEPS // 2)
    if last is not None and last < first:
        raise NoSuchStep(f"--to {last} lies before --from {first}", hint="give the smaller one to --from")
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
    """Step by step through a run with a fault, which the trace alone knows where to put."""
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
        changes=[_as_fact(change) for change in step.changes],
    )


@vm.command()
@run_options()
@click.option("--step", type=click.IntRange(min=0), metavar="K", help="Which state. Default: 0; --game: the claim's.")
@click.option("--memory", metavar="ADDRESS:BYTES", multiple=True, help="Also show memory; may be repeated.")
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Write the state there (.gz packs it).")
@json_option
def state(run: VmRun, step: int | None, memory: tuple[str, ...], save: Path | None, output: Output) -> None:
    """
    Show a state: hash, witness, threads, registers and the instruction that comes next.

    Example: opml-dispute vm state hello.elf --step 1000 --memory 0x10000:64
    """
    source = run.open()
    ranges = [_memory_range(text) for text in memory]
    first = source.machine.step if source.claimed is None else source.claimed.step
    machine = source.at(first if step is None else step)
    state_hash, witness = machine.state_hash(), machine.witness()
    lines = [f"step {machine.step:,} of {source.name}", f"state hash  0x{state_hash.hex()}"]
    lines += _claim_lines(source, machine.step, state_hash)
    lines += [f"status      {VmStatus(state_hash[0]).name.lower()}", f"witness     0x{witness.hex()}"]
    lines += [f"{name:<20} {_value(value)}" for name, value in _scalar_facts(machine).items()]
    threads = _threads(machine)
    for where, thread in threads:
        lines += ["", f"thread {thread.thread_id}, {where}", *_thread_lines(thread)]
    following = _next_instruction(machine)
    if following is not None:
        lines += ["", f"next: {following}"]
    dumps = [(address, _dump(machine, address, size)) for address, size in ranges]
    for address, data in dumps:
        lines += ["", *_hex_lines(address, data)]
    output.show(Text("\n".join(lines)))
    output.fact(
        step=machine.step,
        state_hash=state_hash,
        witness=witness,
        version="ml" if machine.ml else "base",
        claim=_claim_fact(source, machine.step, state_hash),
        **_scalar_facts(machine),
        threads=[_thread_fact(where, thread) for where, thread in threads],
        next=following,
        memory={f"0x{address:x}": data for address, data in dumps},
    )
    if save is not None:
        _save(machine, save)
        output.say(f"Saved in {save}.")


@vm.command()
@run_options()
@click.option(
    "--step", type=click.IntRange(min=0), metavar="K", help="The state before it. --game: before the claim's."
)
@click.option("--compact", is_flag=True, help="Leave the roots of zero subtrees out of the proof.")
@click.option("--verify-onchain", is_flag=True, help="Let the contract make the step, and compare.")
@click.option("--on-node", is_flag=True, help="--verify-onchain: ask the deployed contract (--rpc-url, --deployment).")
@json_option
def prove(run: VmRun, step: int | None, compact: bool, verify_onchain: bool, on_node: bool, output: Output) -> None:
    """
    Show the witness of a step; with --verify-onchain, what the contract makes of it.

    The contract runs in this process (package pyrevm), or with --on-node on a chain, in a call that changes nothing.
    Example: opml-dispute vm prove --node 3 --sample 7 --step 1200 --compact --verify-onchain
    """
    source = run.open()
    if step is None:
        if source.claimed is None:
            raise NoSuchStep("no step was named", hint="give --step K")
        step = max(0, source.claimed.step - 1)
    machine = source.at(step)
    try:
        witness = machine.step_witness(compact=compact)
    except VmError as error:
        error.hint = error.hint or way_out(error.reason, ml=machine.ml)
        raise
    encoding = "compact" if compact else "full"
    lines = [f"step {step:,} of {source.name}", *_claim_lines(source, step + 1, witness.post_hash)]
    following = _next_instruction(machine)
    if following is not None:
        lines.append(f"instruction  {following}")
    lines.append(f"post hash    0x{witness.post_hash.hex()}")
    lines += _proof_lines(witness, encoding, machine)
    if witness.preimage is not None:
        lines.append(f"reads        pre-image 0x{witness.preimage.key.hex()} at {witness.preimage.offset}")
    lines += [f"stateData    0x{witness.state_data.hex()}", f"proof        0x{witness.proof.hex()}"]
    output.show(Text("\n".join(lines)))
    read = witness.preimage
    output.fact(
        step=step,
        instruction=following,
        state_data=witness.state_data,
        proof=witness.proof,
        encoding=encoding,
        proof_bytes=len(witness.proof),
        post_hash=witness.post_hash,
        preimage=None if read is None else {"key": read.key, "offset": read.offset},
    )
    if verify_onchain:
        _verify(source, witness, machine.ml, run.chain if on_node else None, output)


def _proof_lines(witness: StepWitness, encoding: str, machine: Machine) -> list[str]:
    """What the proof is made of."""
    if machine.exited:
        return ["proof        0 bytes: the program has exited, so the step changes nothing and needs no proof"]
    parts = Proof.decode(witness.proof, ml=machine.ml)
    lines = [f"proof        {len(witness.proof):,} bytes, {encoding}: thread {parts.thread.thread_id}"]
    for number, path in enumerate(parts.paths):
        what = "leaf" if path.log2_size == 5 else f"subtree of 2^{path.log2_size} bytes"
        lines.append(f"  path {number}     {what} 0x{path.root.hex()}, {len(path.siblings)} siblings")
    return lines


def _verify(source: Source, witness: StepWitness, ml: bool, chain: ChainOptions | None, output: Output) -> None:
    """The contract's own word; raises `ContractDisagrees` if it is not the engine's."""
    if chain is not None:
        answer, facts, where = _ask_node(witness, ml, chain)
    else:
        answer, facts, where = _ask_here(source, witness, ml)
    if answer != witness.post_hash:
        found = "refuses the step" if answer is None else f"says 0x{answer.hex()}"
        why = facts.get("refusal", where)
        raise ContractDisagrees(f"the contract {found} ({why}); the engine says 0x{witness.post_hash.hex()}")
    said = f"The contract ({where}) comes to the same state."
    if "execution_gas" in facts:
        said += f" {gas(facts['execution_gas'])} for the step, {gas(facts['calldata_gas'])} for its data."
    output.say(said, style="green")
    output.fact(contract_agrees=True, where=where, post_hash=answer, **facts)


def _ask_here(source: Source, witness: StepWitness, ml: bool) -> tuple[bytes | None, dict[str, Any], str]:
    from opml_dispute.testing.evm_verifier import Verifier

    verifier = Verifier(ml=ml)
    read = witness.preimage
    if read is not None:
        data = source.preimages[read.key]
        if read.key[0] == _KECCAK:
            verifier.load_keccak256(data, read.offset)
        elif read.key[0] == _SHA256:
            verifier.load_sha256(data, read.offset)
        else:
            assert read.key[0] == _LOCAL, "no other pre-image was given"
            ident = int.from_bytes(read.key[1:], "big")
            verifier.load_local(ident, data.ljust(32, b"\0"), len(data), read.offset)
    verdict = verifier.step(witness.state_data, witness.proof)
    facts: dict[str, Any] = {"execution_gas": verdict.execution_gas, "calldata_gas": verdict.calldata_gas}
    if verdict.refusal is not None:
        facts["refusal"] = str(verdict.refusal)
    return verdict.post, facts, "in this process"


def _ask_node(witness: StepWitness, ml: bool, chain: ChainOptions) -> tuple[bytes | None, dict[str, Any], str]:
    from opml_dispute.chain.contracts import FPVM
    from opml_dispute.chain.reverts import Reverted
    from opml_dispute.cli.session import open_system

    if not ml:
        raise CannotVerify("the deployed contract runs ML states, this is a base state", hint="leave --on-node out")
    if witness.preimage is not None:
        raise CannotVerify(
            f"the step reads pre-image 0x{witness.preimage.key.hex()}, which the deployed oracle has from a game only",
            hint="leave --on-node out, to let the contract run in this process",
        )
    system = open_system(chain)
    fpvm = FPVM(system.deployment.addresses["vm"])
    try:
        answer = system.rpc.read(fpvm.step(witness.state_data, witness.proof, bytes(32)))
    except Reverted as refusal:
        return None, {"refusal": str(refusal)}, ""
    return answer, {}, f"{fpvm.address} on chain {system.deployment.chain_id}"


@vm.command()
@run_options(files="two")
@click.option("--step", "steps", type=click.IntRange(min=0), multiple=True, metavar="K", help="Of each state; twice.")
@click.option("--all", "show_all", is_flag=True, help=f"Show all differences, not {_DIFFERENCES} at most.")
@json_option
def diff(run: VmRun, paths: Sequence[Path], steps: tuple[int, ...], show_all: bool, output: Output) -> int:
    """
    Show what differs between two states; exits with 1 if anything does.

    Two steps of one run, two files (at --step, or as they start), or with --fault a liar's run against the honest
    one. Example: opml-dispute vm diff before.state after.state
    """
    one, other = _two_states(run, paths, steps)
    found = compare(one, other)
    limit = None if show_all else _DIFFERENCES
    count = 0
    for difference in islice(found, limit):
        count += 1
        output.show(Text(str(difference)))
        output.fact(**_as_fact(difference))
    more = next(found, None) is not None
    hashes = [machine.state_hash() for machine in (one, other)]
    if count == 0:
        same = hashes[0] == hashes[1]
        output.say("The states are the same." if same else "The states differ in their version only.")
    else:
        output.say(
            f"{count:,} {'difference' if count == 1 else 'differences'}" + (", and more (--all)" if more else "")
        )
    output.fact(differences=count, more=more, state_hashes=hashes)
    return int(hashes[0] != hashes[1])


def _two_states(run: VmRun, paths: Sequence[Path], steps: tuple[int, ...]) -> tuple[Machine, Machine]:
    if len(paths) > 2:
        raise BadSource(f"{len(paths)} files were given", hint="give one or two")
    if paths and run.game is not None:
        raise BadSource("both a file and --game were given", hint="give one of them")
    if len(paths) == 2:
        if len(steps) not in {0, 1, 2}:
            raise BadSource(
                f"--step was given {len(steps)} times", hint="give it once for both files, or once for each"
            )
        sources = [run.open_file(path) for path in paths]
        wanted = steps if len(steps) == 2 else steps * 2
        if not wanted:
            return sources[0].machine, sources[1].machine
        return sources[0].at(wanted[0]), sources[1].at(wanted[1])
    source = run.open_file(paths[0]) if paths else run.open()
    if source.fault is not None and len(steps) == 1:
        honest = Source(source.name, source.machine, source.preimages)
        return honest.at(steps[0]), source.at(steps[0])
    if len(steps) != 2:
        raise BadSource(
            f"--step was given {len(steps)} times; two states are compared",
            hint="give --step twice, or two files, or --fault and --step once",
        )
    return source.at(steps[0]), source.at(steps[1])


def _claim_lines(source: Source, step: int, state_hash: bytes) -> list[str]:
    """What the claim says to the state, if it is about that state."""
    claimed = source.claimed
    if claimed is None or claimed.step != step:
        return []
    verdict = "right" if claimed.state_hash == state_hash else "WRONG"
    return [f"claim {claimed.index:<6}0x{claimed.state_hash.hex()}: {verdict}"]


def _claim_fact(source: Source, step: int, state_hash: bytes) -> dict[str, Any] | None:
    claimed = source.claimed
    if claimed is None or claimed.step != step:
        return None
    right = claimed.state_hash == state_hash
    return {"index": claimed.index, "state_hash": claimed.state_hash, "right": right}


def _as_fact(difference: Difference) -> dict[str, Any]:
    def shown(value: int | str) -> str:
        return f"0x{value:x}" if isinstance(value, int) else value

    return {"where": difference.where, "before": shown(difference.before), "after": shown(difference.after)}


def _value(value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return f"0x{value:x}" if isinstance(value, int) and value > 9 else str(value)


def _scalar_facts(machine: Machine) -> dict[str, Any]:
    scalars = machine.scalars
    return {name: getattr(scalars, name) for name in scalars.__dataclass_fields__ if name != "step"}


def _threads(machine: Machine) -> list[tuple[str, Thread]]:
    """All threads, the active one first."""
    active_side = bool(machine.scalars.traverse_right)
    found = []
    for right in (active_side, not active_side):
        count = machine.thread_counts()[right]
        for index in reversed(range(count)):
            is_active = right == active_side and index == count - 1
            where = f"{('left', 'right')[right]} stack" + (", active" if is_active else "")
            found.append((where, Thread.decode(machine.thread_witness(right=right, index=index))))
    return found


def _thread_lines(thread: Thread) -> list[str]:
    cells = [("pc", thread.pc), ("next pc", thread.next_pc), ("hi", thread.hi), ("lo", thread.lo)]
    cells += list(zip(REGISTERS, thread.registers, strict=True))
    lines = [_row(cells[at : at + 4]) for at in range(0, len(cells), 4)]
    if thread.ml:
        floats = [(f"f{index}", bits) for index, bits in enumerate(thread.float_registers)]
        lines += [_row(floats[at : at + 8], digits=8) for at in range(0, 32, 8)]
        lines.append(f"  fcsr {thread.fcsr:08x}")
    return lines


def _row(cells: Sequence[tuple[str, int]], *, digits: int = 16) -> str:
    return "  " + "  ".join(f"{name:>7} {value:0{digits}x}" for name, value in cells)


def _thread_fact(where: str, thread: Thread) -> dict[str, Any]:
    return {
        "thread": thread.thread_id,
        "where": where,
        "exited": bool(thread.exited),
        "pc": thread.pc,
        "next_pc": thread.next_pc,
        "hi": thread.hi,
        "lo": thread.lo,
        "registers": dict(zip(REGISTERS, thread.registers, strict=True)),
        "float_registers": list(thread.float_registers),
        "fcsr": thread.fcsr,
    }


def _next_instruction(machine: Machine) -> str | None:
    """The instruction at the active thread's pc; None if nothing will be executed there or it is not known."""
    if machine.exited:
        return None
    try:
        word = int.from_bytes(machine.read(machine.pc & ~3, 4), "big")
    except VmError:
        return None
    return f"{machine.pc:x}: {word:08x}  {disassemble(word, machine.pc, ml=machine.ml)}"


def _memory_range(text: str) -> tuple[int, int]:
    address, separator, size = text.partition(":")
    try:
        place = int(address, 0), int(size, 0) if separator else 32
    except ValueError:
        raise BadSource(f"cannot read --memory {text!r}", hint="write ADDRESS:BYTES, like 0x10000:64") from None
    if not (0 <= place[0] < 1 << 64 and 0 <= place[1] <= 1 << 20 and sum(place) <= 1 << 64):
        raise BadSource(f"--memory {text} is outside the memory, or longer than 2^20 bytes", hint="ask for less")
    return place


def _dump(machine: Machine, address: int, size: int) -> bytes:
    try:
        return machine.read(address, size)
    except VmError as error:
        error.hint = way_out(error.reason, ml=machine.ml)
        raise


def _hex_lines(address: int, data: bytes) -> list[str]:
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{address + at:016x}  {row.hex(' ', 4):<35}  {text}")
    return lines


def _save(machine: Machine, path: Path) -> None:
    data = save_state(machine)
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BadSource(f"cannot write {path}: {error.strerror}", hint="give a path that can be written") from None
