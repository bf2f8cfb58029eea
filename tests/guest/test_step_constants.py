"""The constants of the bound are those of the guest that is shipped."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from opml_dispute.toolchain.native import guest_path
from tests.guest.loops import Code, CodeError, read_code
from tests.guest.step_constants import derive, symbols
from tests.guest.step_header import HEADER, header


@pytest.fixture(scope="module")
def with_symbols(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return symbols(tmp_path_factory.mktemp("guest"))


def loaded(elf: bytes) -> list[bytes]:
    """What the ELF file's segments hold."""
    (table,) = struct.unpack_from(">Q", elf, 0x20)
    entry_bytes, count = struct.unpack_from(">2H", elf, 0x36)
    segments = [struct.unpack_from(">IIQQQQQQ", elf, table + i * entry_bytes) for i in range(count)]
    return [elf[offset : offset + size] for kind, _, offset, _, _, size, *_ in segments if kind == 1]


def test_the_code_that_is_read_is_the_shipped_guests(with_symbols: Path) -> None:
    assert loaded(with_symbols.read_bytes()) == loaded(guest_path().read_bytes())


def test_the_constants_are_what_the_code_says(with_symbols: Path) -> None:
    """A change of the guest or of its compiler changes them: scripts/step-constants writes them anew."""
    assert HEADER.read_text() == header(derive(read_code(with_symbols)))


NOP = 0
RETURN = 0x03E00008
STORE = 0xAC820000  # sw $v0, 0($a0)


def branch(words_back: int) -> int:
    """bne $a0, $zero to so many words before the next."""
    return 0x14800000 | -words_back & 0xFFFF


def code_of(*words: int) -> Code:
    return Code({0x10000: ("it", struct.pack(f">{len(words)}I", *words))})


def test_a_loop_is_its_longest_turn_and_a_branch_its_longer_side() -> None:
    over = 0x10400002  # beq $v0, $zero, over the next two
    function = code_of(NOP, over, NOP, NOP, STORE, branch(5), NOP, RETURN, NOP).function("it")
    (loop,) = function.loops
    assert (loop.body, loop.stores) == (6, 1)
    assert function.once == 9
    assert function.within(10) == 9 + 9 * 6


def test_loops_in_loops_multiply() -> None:
    function = code_of(NOP, NOP, branch(2), NOP, branch(5), NOP, RETURN, NOP).function("it")
    (outer,) = function.loops
    (inner,) = outer.inside
    assert (outer.body, inner.body) == (6, 3)
    assert function.within(2, 3) == 8 + 6 + 2 * 2 * 3


def test_what_has_no_bound_is_refused() -> None:
    with pytest.raises(CodeError, match="jumps through a register"):
        code_of(0x00800008, NOP).function("it")
    with pytest.raises(CodeError, match="calls itself"):
        code_of(0x0C004000, NOP, RETURN, NOP).function("it")
    with pytest.raises(CodeError, match="entries"):
        code_of(0x10400002, NOP, NOP, STORE, branch(3), NOP, RETURN, NOP).function("it")
