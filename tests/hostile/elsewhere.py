"""
Compiled code of another processor beside this one's interpreter, on the programs of the campaign `compiled`.

The engine built for AArch64 runs under an emulator (tests/determinism/replay.py). There `elsewhere.c` plays the moves
on three machines, interpreted, compiled at once and compiled early; here an interpreted machine plays them. After each
run all four are at the same step, in the same state.

    python -m tests.hostile.elsewhere SEED CASES
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from opml_dispute.engine.execution import Execution
from opml_dispute.engine.machine_handle import U64
from opml_dispute.engine.vm import FaultKind, FaultTarget, Machine
from opml_dispute.errors import OpmlError
from tests.determinism import replay
from tests.hostile.campaign import Move, case_rng
from tests.hostile.compiled import CompiledCode

NAMES: Final = ("interpreted", "compiled at once", "compiled early")
_ANSWER: Final = struct.Struct("<2Q32sq")
_LETTERS: Final = {"new": "n", "code": "w", "write": "w", "zero": "z", "subtree": "t", "fork": "f"} | {
    "register": "r",
    "jump": "j",
    "flip": "x",
    "run": "u",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run came to, over there."""

    fault: int
    step: int
    state_hash: bytes
    entries: int
    """Of compiled code; -1 where none can be made."""


def answers(emulator: str, moves: Sequence[Move]) -> Iterator[tuple[Answer, ...]]:
    """For each run those of the three machines. Raises `CalledProcessError`."""
    job = b"".join(_encoded(*move) for move in moves)
    command = [emulator, str(replay.build()), "machines"]
    told = subprocess.run(command, input=job, stdout=subprocess.PIPE, check=True).stdout
    found = [Answer(*fields) for fields in _ANSWER.iter_unpack(told)]
    return zip(*[iter(found)] * len(NAMES), strict=True)


def _encoded(name: str, *arguments: Any) -> bytes:
    numbers = list(arguments)
    data = b""
    if name in {"code", "write"}:
        data = numbers.pop()
        numbers.append(len(data))
    if name == "flip":
        numbers[0] = int(FaultKind(numbers[0]))
    return _LETTERS[name].encode() + struct.pack(f"<{len(numbers)}Q", *(int(number) & U64 for number in numbers)) + data


def interpreted_here(moves: Sequence[Move]) -> Iterator[tuple[int, bytes]]:
    """Step and state hash after each run; zeros where memory that is not known keeps it from having one."""
    machine = None
    for name, *arguments in moves:
        if name == "new":
            machine = Machine(ml=arguments[0], memory_limit_bytes=1 << 27, execution=Execution.INTERPRETED)
        if machine is None:
            continue
        with suppress(OpmlError):
            match name:
                case "code" | "write":
                    machine.write(*arguments)
                case "zero":
                    machine.zero(*arguments)
                case "subtree":
                    address, log2_size = arguments
                    machine.put_subtree(address, log2_size, bytes(range(32)))
                case "register":
                    machine.set_register(*arguments)
                case "jump":
                    machine.jump(*arguments)
                case "fork":
                    machine = machine.fork()
                case "flip":
                    kind, index, bit = arguments
                    machine.flip_bit(FaultTarget(FaultKind(kind), index, bit))
        if name == "run":
            machine.run(*arguments)
            state_hash = bytes(32)
            with suppress(OpmlError):
                state_hash = machine.state_hash()
            yield machine.step, state_hash


def play(emulator: str, cases: Sequence[Sequence[Move]]) -> int:
    """Plays cases, in one process over there; how much compiled code the runs had. Raises `AssertionError`."""
    moves = [move for case in cases for move in case]
    entries = 0
    for number, (there, here) in enumerate(zip(answers(emulator, moves), interpreted_here(moves), strict=True)):
        for name, answer in zip(NAMES, there, strict=True):
            where = f"run {number}, {name}: fault {answer.fault}, step {answer.step}, 0x{answer.state_hash.hex()}"
            assert (answer.step, answer.state_hash) == here, f"{where}; here step {here[0]}, 0x{here[1].hex()}"
            assert answer.fault == there[0].fault, where
        entries += sum(max(answer.entries, 0) for answer in there[1:])
    return entries


def cases_of(seed: int, first: int, count: int) -> list[list[Move]]:
    """Cases of the campaign."""
    campaign = CompiledCode()
    return [campaign.moves(case_rng(campaign, seed, number)) for number in range(first, first + count)]


if __name__ == "__main__":
    emulator_ = replay.find()
    if emulator_ is None:
        sys.exit(replay.WHY_SKIPPED)
    seed_, count_ = map(int, sys.argv[1:])
    print(f"{count_} cases, {play(emulator_, cases_of(seed_, 0, count_)):,} entries of compiled code")
