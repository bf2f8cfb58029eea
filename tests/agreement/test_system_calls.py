"""Every language has the same table of system calls, runs them in the same order, and does nothing in the same ones."""

from __future__ import annotations

import re

from opml_dispute.fpvm.explain import SYSCALLS
from opml_dispute.toolchain.native import NATIVE
from opml_dispute.toolchain.solidity import CONTRACTS_DIR

C = (NATIVE / "vm" / "syscalls.c").read_text()
SOLIDITY = (CONTRACTS_DIR / "src" / "vm" / "Syscalls.sol").read_text()


def c_cases(function: str) -> list[str]:
    """The calls that have a case in a C function."""
    body = re.search(rf"\n[^\n]*\b{function}\((?:[^;{{]|\n)*\n\{{.*?\n\}}", C, re.S)
    assert body
    return re.findall(r"case SYS_(\w+):", body[0])


def solidity_mask() -> list[str]:
    """The calls that do nothing, as Solidity's two masks have them."""
    masks = re.findall(r"NO_OPS_\w+ = ([^;]+);", SOLIDITY)
    assert len(masks) == 2
    return [name for mask in masks for name in re.findall(r"SYS_(\w+)", mask)]


def test_every_language_has_one_table() -> None:
    python = [(number, name.upper()) for number, name in SYSCALLS.items()]
    assert [(int(number), name) for name, number in re.findall(r"\bSYS_(\w+) = (\d+),", C)] == python
    assert [(int(number), name) for name, number in re.findall(r"\bSYS_(\w+) = (\d+);", SOLIDITY)] == python


def test_no_call_is_known_by_its_bare_number() -> None:
    for text in (C, SOLIDITY):
        numbers = re.findall(r"\b(\w*)\b\s*(?:=|==|case)\s*[57]\d{3}\b", text)
        assert len(numbers) == len(SYSCALLS)
        assert all(name.startswith("SYS_") for name in numbers)


def test_calls_are_told_apart_in_the_same_order() -> None:
    dispatched = re.findall(r"\bn == SYS_(\w+)", SOLIDITY)
    assert c_cases("system_call") == dispatched
    assert sorted(dispatched + solidity_mask()) == sorted(name.upper() for name in SYSCALLS.values())


def test_the_same_calls_do_nothing() -> None:
    assert c_cases("is_no_op") == solidity_mask()


def test_the_masks_of_calls_that_do_nothing_have_a_bit_for_each() -> None:
    """Bit n mod 256 stands for call n, so the calls of one mask must lie within 256 numbers."""
    assert "if (n < SYS_READ || n > SYS_PRLIMIT64) return false;" in SOLIDITY
    numbers = {name.upper(): number for number, name in SYSCALLS.items()}
    assert numbers["OPENAT"] - numbers["READ"] <= 256
    assert numbers["PRLIMIT64"] - numbers["OPENAT"] < 256
    low, high = re.findall(r"NO_OPS_\w+ = ([^;]+);", SOLIDITY)
    assert all(numbers[name] < numbers["OPENAT"] for name in re.findall(r"SYS_(\w+)", low))
    assert all(numbers[name] >= numbers["OPENAT"] for name in re.findall(r"SYS_(\w+)", high))
