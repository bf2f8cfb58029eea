"""Every language has the same system calls, and does nothing in the same ones."""

from __future__ import annotations

import re

from opml_dispute.fpvm.explain import SYSCALLS
from opml_dispute.toolchain.native import NATIVE
from opml_dispute.toolchain.solidity import CONTRACTS_DIR

C = (NATIVE / "vm" / "syscalls.c").read_text()
SOLIDITY = (CONTRACTS_DIR / "src" / "vm" / "Syscalls.sol").read_text()

NOTHING = (NATIVE / "vm" / "syscalls.c").read_text().partition("These do nothing and succeed with 0.")[2]


def table() -> dict[int, str]:
    """The C enumeration: the name of each number."""
    return {int(number): name.lower() for name, number in re.findall(r"\bSYS_(\w+) = (\d+)", C)}


def bits(name: str, first: int) -> set[int]:
    """The numbers that stand for the bits of a Solidity mask."""
    mask = re.search(rf"{name} = ([^;]+);", SOLIDITY)
    assert mask
    return {first + int(bit) for bit in re.findall(r"1 << (\d+)", mask[1])}


def test_c_and_python_have_one_table() -> None:
    assert table() == SYSCALLS


def test_every_call_of_the_table_has_a_case() -> None:
    handled = re.findall(r"case SYS_(\w+):", C)
    assert sorted(name.lower() for name in handled) == sorted(SYSCALLS.values())
    assert len(handled) == len(set(handled))


def test_solidity_has_the_same_calls() -> None:
    named = {int(number) for number in re.findall(r"\bn == (\d+)", SOLIDITY)}
    nothing = bits("NO_OPS_LOW", 5000) | bits("NO_OPS_HIGH", 5247)
    assert not named & nothing
    assert named | nothing == SYSCALLS.keys()


def test_the_same_calls_do_nothing() -> None:
    numbers = {name: number for number, name in SYSCALLS.items()}
    silent = {numbers[name.lower()] for name in re.findall(r"case SYS_(\w+):", NOTHING)}
    assert silent == bits("NO_OPS_LOW", 5000) | bits("NO_OPS_HIGH", 5247)
