"""
Untrusted files: ELF programs and saved states, damaged in every way, or made up.

What loads is run for a while, questioned, proven and saved: a file that gets past the reader must not harm what comes
after it either.
"""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.vm import Block, Machine, VmError, step_from_witness
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.explain import explain_step
from opml_dispute.fpvm.statefile import load_state, save_state
from opml_dispute.toolchain.native import guest_path
from tests.hostile.campaign import Move, edited, random_edits, random_number
from tests.hostile.machines import CODE, DATA, MOST_STEPS, SEGMENT, random_code

GO_PROGRAM: Final = Path(__file__).parents[1] / "programs" / "go" / "threads.elf.gz"
ACCOUNT: Final = 1 << 25


class Programs:
    """ELF files: our guest, a Go program and made-up ones, with damaged headers above all."""

    name: Final = "programs"

    def moves(self, rng: random.Random) -> list[Move]:
        """A base file, edits, and how to run what comes of it."""
        base = rng.choice(("guest", "guest", "go", "made", "made", "noise"))
        moves: list[Move] = [
            ("base", base, rng.getrandbits(64)),
            ("run", rng.random() < 0.7, rng.choice((1, 50, MOST_STEPS))),
        ]
        if rng.random() < 0.9:
            moves += random_edits(rng, len(_program(base, 0)), near=64 + 56 * 8)
        return moves

    def play(self, moves: Sequence[Move]) -> None:
        """Loads the file, and runs it."""
        elf, ml, steps = b"", True, 1
        for name, *arguments in moves:
            if name == "base":
                elf = _program(*arguments)
            elif name == "run":
                ml, steps = arguments
        try:
            machine = Machine.from_elf(edited(elf, moves), ml=ml, memory_limit_bytes=ACCOUNT)
            for ident in (2, 3):
                machine.set_local(ident, bytes([ident]) * 32)
        except OpmlError:
            return
        machine.listen()
        machine.run(steps)
        question(machine)


class States:
    """State files: base and ML, with threads, pages, and subtrees known by their roots."""

    name: Final = "states"

    def moves(self, rng: random.Random) -> list[Move]:
        """A base file, edits, and how far to run what comes of it."""
        base = rng.choice(("base", "ml", "ml", "mapped", "mapped"))
        size = len(_state(base))
        ends = [("run", rng.choice((1, 50, MOST_STEPS)))]
        # Pages are most of a file, and any bytes are a page: what is worth damaging stands around them.
        edits = random_edits(rng, size, near=200)
        return [("base", base), *edits, *(_behind(size, edit) if rng.random() < 0.5 else edit for edit in edits), *ends]

    def play(self, moves: Sequence[Move]) -> None:
        """Loads the file, runs it, saves it."""
        data, steps = b"", 1
        for name, *arguments in moves:
            if name == "base":
                data = _state(*arguments)
            elif name == "run":
                (steps,) = arguments
        try:
            machine = load_state(edited(data, moves))
        except OpmlError:
            return
        machine.run(steps)
        question(machine)


def question(machine: Machine) -> None:
    """Everything that can be asked of a machine; it answers or refuses."""
    with suppress(OpmlError):
        machine.state_hash()
    with suppress(OpmlError):
        explain_step(machine.fork())
    for compact in (False, True):
        with suppress(VmError):
            _prove(machine, compact=compact)
    saved = save_state(machine)
    try:
        again = load_state(saved)
    except OpmlError:
        return
    assert save_state(again) == saved


def _prove(machine: Machine, *, compact: bool) -> None:
    witness = machine.step_witness(compact=compact)
    if witness.preimage is None:
        outcome = step_from_witness(witness.state_data, witness.proof, ml=machine.ml)
        assert outcome.post_hash == witness.post_hash, outcome


def _behind(size: int, edit: Move) -> Move:
    """The same edit, as far from the end as it was from the start."""
    name, part, place, *rest = edit
    scale = 8 if name == "flip" else 1
    return (name, part, max(scale * size - place, 0), *rest)


@cache
def _real(base: str) -> bytes:
    return guest_path().read_bytes() if base == "guest" else gzip.decompress(GO_PROGRAM.read_bytes())


def _program(base: str, number: int) -> bytes:
    """The file `base`; of those that are made up, the one numbered `number`."""
    rng = random.Random(number)
    if base == "made":
        return _made_up_program(rng)
    if base == "noise":
        return b"\x7fELF\x02\x02" + rng.randbytes(200)
    return _real(base)


def _made_up_program(rng: random.Random) -> bytes:
    """A few segments with code in them, at places that overlap, adjoin, wrap or end at the heap."""
    code, count = random_code(rng), rng.choice((1, 2, 3, 6))
    table, at = 64, 64 + 56 * count
    headers = b""
    for _ in range(count):
        address = rng.choice((CODE, CODE, DATA, 0, 0x0000_1000_0000_0000 - 4096, random_number(rng)))
        size = rng.choice((len(code), len(code), 16, 0))
        memory = rng.choice((size, size, size + 5000, 1 << 44, random_number(rng)))
        kind = rng.choice((1, 1, 1, 1, 2, 6, 0x70000003))
        headers += struct.pack(">IIQQQQQQ", kind, 7, at, address, address, size, memory, 4096)
    entry = rng.choice((CODE, CODE, CODE + 4, random_number(rng)))
    ident = b"\x7fELF\x02\x02\x01".ljust(16, b"\0")
    header = struct.pack(">16sHHIQQQIHHHHHH", ident, 2, 8, 1, entry, table, 0, 0, 64, 56, count, 0, 0, 0)
    return header + headers + code


@cache
def _state(base: str) -> bytes:
    """A saved machine with a thread on either stack, in the middle of something."""
    rng = random.Random(base)
    machine = Machine(ml=base != "base")
    machine.write(CODE, random_code(rng))
    machine.write(DATA, rng.randbytes(5000))
    machine.jump(CODE)
    machine.resize_stack(right=False, count=3)
    machine.resize_stack(right=True, count=2)
    if base == "mapped":
        known = [Block(0, 13, rng.randbytes(6000)), Block(1 << 20, 12, rng.randbytes(64))]
        root = SparseTree(40, known).root
        machine.add_subtree(root, 40, known)
        machine.put_subtree(SEGMENT, 40, root)
        machine.read(SEGMENT, 64)
        machine.put_subtree(SEGMENT + (1 << 30), 20, keccak256(b"nobody knows"))
        machine.put_subtree(DATA + 2048, 9, keccak256(b"nor this"))
    return save_state(machine)
