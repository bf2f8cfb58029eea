"""What people are told about steps and states is what happened: two ways of finding out agree."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random

import pytest

from opml_dispute.engine.vm import Block, Machine
from opml_dispute.fpvm.explain import Difference, compare, explain_step
from tests.programs.build import PROGRAMS, build_elf

CLOCKS = {"step", "slice", "pc", "next pc"}
"""What moves with every step, and is not told."""


def places(differences: list[Difference]) -> dict[str, int]:
    """Each difference by where it is; of memory, the 64-bit word."""
    found: dict[str, int] = {}
    for difference in differences:
        where = difference.where
        if where.startswith("["):
            where = f"[0x{int(where[1:-1], 16) & ~7:x}]"
        if where not in CLOCKS:
            found[where] = found.get(where, 0) + 1
    return found


@pytest.mark.parametrize("name", ["unaligned", "syscalls", "float", "recursion"])
def test_explained_step_names_all_that_differs(name: str, tmp_path: Path) -> None:
    """Steps anywhere in a program: what `explain_step` says changed is what `compare` finds in the two states."""
    machine, random = Machine.from_elf(build_elf(name, tmp_path).read_bytes(), ml=True), Random(1)
    for _ in range(150):
        machine.run(random.randrange(1, 400))
        before = machine.fork()
        told = explain_step(machine)
        assert (told.step, told.pc) == (before.step, before.pc)
        assert places(list(told.changes)).keys() == places(list(compare(before, machine))).keys(), told


def test_explained_clone() -> None:
    """In a program of many threads the changes are those of the thread that made the step."""
    elf = gzip.decompress((PROGRAMS / "go" / "threads.elf.gz").read_bytes())
    machine = Machine.from_elf(elf, ml=False)
    machine.run(290_339)  # the first clone
    told = explain_step(machine)
    assert "clone(0x50f00" in told.text
    changes = {change.where: (change.before, change.after) for change in told.changes}
    assert changes["active thread"] == (0, 1)
    assert changes["next_thread_id"] == (1, 2)
    assert changes["v0"] == (5055, 1)


def test_explained_preemption(tmp_path: Path) -> None:
    """After 100,000 instructions a step passes the turn on, and executes nothing."""
    machine = Machine.from_elf(build_elf("integer", tmp_path).read_bytes(), ml=True)
    machine.run(99_999)
    assert explain_step(machine).word is not None
    told = explain_step(machine)
    assert (told.word, told.step) == (None, 100_000)
    assert "the thread's time is over" in told.text
    assert [change.where for change in told.changes] == ["traverse_right"]
    assert explain_step(machine).word is not None


def test_same_states_do_not_differ(tmp_path: Path) -> None:
    """Two runs of one program, cut differently."""
    elf = build_elf("integer", tmp_path).read_bytes()
    one, other = Machine.from_elf(elf, ml=True), Machine.from_elf(elf, ml=True)
    one.run(5_000)
    other.run(1_000)
    other.run(4_000)
    assert list(compare(one, other)) == []


def test_one_flipped_bit_is_found_anywhere() -> None:
    """A word at the very end of memory, one in the middle, a register: each alone."""
    one = Machine(ml=True)
    for address in (0, 0x7000_0000_0000, 2**64 - 8):
        other = one.fork()
        other.write(address, (5).to_bytes(8, "big"))
        assert list(compare(one, other)) == [Difference(f"[0x{address:x}]", 0, 5)]
    other = one.fork()
    other.set_register(4, 7)
    assert list(compare(one, other)) == [Difference("a0", 0, 7)]


def test_unknown_memory_is_told_by_its_root() -> None:
    """A subtree of which only the root is known is not opened; where the content is known, the words are shown."""
    content = bytes(range(64)) * 2
    base, size = 1 << 40, 12
    known, other = Machine(ml=True), Machine(ml=True)
    known.write(base, content)
    root = known.subtree_root(base, size)
    unknown = Machine(ml=True)
    unknown.put_subtree(base, size, root)
    assert list(compare(known, unknown)) == []
    (found,) = compare(other, unknown)
    assert found.where == f"2^{size} bytes at 0x{base:x}, by root"
    unknown.add_subtree(root, size, [Block(0, size, content)])
    assert sum(1 for _ in compare(other, known)) == 16


def test_compare_stops_at_its_limit() -> None:
    """States that have nothing in common are not read to the end."""
    one, other = Machine(ml=True), Machine(ml=True)
    other.write(0, bytes([1]) * 32 * 1000)
    assert sum(1 for _ in compare(one, other, limit=10)) == 40
