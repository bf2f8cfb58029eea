"""`opml-dispute vm state`: show a state, and save it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import FileName, json_option
from opml_dispute.cli.output import Output
from opml_dispute.cli.vm.opening import open_source
from opml_dispute.cli.vm.saving import save_machine
from opml_dispute.cli.vm.selection import RunSelection, run_options
from opml_dispute.cli.vm.source import BadSource, way_out
from opml_dispute.cli.vm.words import claim_fact, claim_lines, next_instruction
from opml_dispute.engine.vm import Machine, VmError
from opml_dispute.fpvm.disassemble import REGISTERS
from opml_dispute.fpvm.state import Thread
from opml_dispute.primitives import VmStatus


@click.command(cls=Command)
@run_options()
@click.option(
    "--step",
    type=click.IntRange(min=0),
    metavar="K",
    help="The step of the state. Default: 0, or with --game the claim's.",
)
@click.option("--memory", metavar="ADDRESS:BYTES", multiple=True, help="Also show this memory; may be repeated.")
@click.option(
    "--save", type=FileName(), metavar="FILE", help="Write the state to this file (packed if it ends in .gz)."
)
@json_option
def state(run: RunSelection, step: int | None, memory: tuple[str, ...], save: Path | None, output: Output) -> None:
    """
    Show a state: hash, witness, threads, registers and the instruction that comes next.

    Example: opml-dispute vm state hello.elf --step 1000 --memory 0x10000:64
    """
    source = open_source(run)
    ranges = [_memory_range(text) for text in memory]
    first = source.machine.step if source.claimed is None else source.claimed.step
    machine = source.at(first if step is None else step)
    state_hash, witness = machine.state_hash(), machine.witness()
    lines = [f"step {machine.step:,} of {source.name}", f"state hash  0x{state_hash.hex()}"]
    lines += claim_lines(source, machine.step, state_hash)
    lines += [f"status      {VmStatus(state_hash[0]).name.lower()}", f"witness     0x{witness.hex()}"]
    lines += [f"{name:<20} {_value(value)}" for name, value in _scalar_facts(machine).items()]
    threads = _threads(machine)
    for where, thread in threads:
        lines += ["", f"thread {thread.thread_id}, {where}", *_thread_lines(thread)]
    following = next_instruction(machine)
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
        claim=claim_fact(source, machine.step, state_hash),
        **_scalar_facts(machine),
        threads=[_thread_fact(where, thread) for where, thread in threads],
        next=following,
        memory={f"0x{address:x}": data for address, data in dumps},
    )
    if save is not None:
        save_machine(machine, save)
        output.say(f"Saved in {save}.")


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
