"""
The engine and the contract call the same thing by the same name, and say it in the same order.

A reader has both files side by side; a name that only one of them has is in `Pair.c_only` or `Pair.solidity_only`,
with the reason. Python's state and docs/vm.md have the fields of states and threads by the same names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from opml_dispute.fpvm.state import State, Thread
from opml_dispute.toolchain.native import NATIVE
from opml_dispute.toolchain.solidity import CONTRACTS_DIR

C = NATIVE / "vm"
SOLIDITY = CONTRACTS_DIR / "src" / "vm"
SPECIFICATION = CONTRACTS_DIR.parent / "docs" / "vm.md"

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
NUMBER = r"(0x[0-9a-fA-F]+|\d[\d_]*)(?:ull|u)?\b"


@dataclass(frozen=True)
class Pair:
    """A Solidity library, and the C files that hold its twins."""

    solidity: str
    c: tuple[str, ...]
    prefix: str = ""
    """What stands before the name in C, which has no libraries."""
    c_only: dict[str, str] = field(default_factory=dict)
    """Names without prefix, with the reason."""
    solidity_only: dict[str, str] = field(default_factory=dict)
    others: str | None = None
    """A pattern: the C files hold other things too, and only these functions are meant."""


FROM_HOST = "the host's floats do the arithmetic"
EXACT = "exact arithmetic, which the host's floats do in C"
STRUCT = "C reads and writes the fields of a struct"

PAIRS = {
    "system calls": Pair("Syscalls", ("syscalls.c",), "system_"),
    "floating point": Pair(
        "Fpu",
        ("fpu.h",),
        "fpu_",
        c_only={
            **dict.fromkeys(("float", "bits", "result"), FROM_HOST),
            **dict.fromkeys(("condition_bit", "fcc", "fcc_set"), "FloatInstructions.sol has the condition codes"),
        },
        solidity_only=dict.fromkeys(
            ("is_nan", "is_infinite", "is_zero", "is_negative", "sticky", "rounded", "sum", "unpack", "ordinal"), EXACT
        ),
    ),
    "memory proofs": Pair(
        "MemoryTree",
        ("proof.c",),
        "proof_",
        c_only={
            "take": "calldata is read in place on chain",
            "record": "witnesses are made here",
            "write_word": "Instructions.sol has it, with what it does to a reservation",
        },
        solidity_only=dict.fromkeys(("require_up_to", "require_root"), "C answers the fault where it is found"),
    ),
    "thread stacks": Pair(
        "Thread",
        ("witness.c",),
        "thread_",
        others=r"thread_",
        solidity_only={
            "pushed_onto": "encode.c has it, as onion_push",
            **dict.fromkeys(("reg", "set_reg", "fpr", "set_fpr", "advance", "jump"), STRUCT),
        },
    ),
    "stacks of a state": Pair(
        "State",
        ("witness.c",),
        others=r"(in)?active_stack",
        solidity_only={
            **dict.fromkeys(("load", "memory_root"), STRUCT),
            **dict.fromkeys(("hash", "exit", "clear_reservation", "on_write", "on_replace"), "fpvm.h has it"),
            "require_thread": "C answers the fault where it is found",
        },
    ),
    "changes of a state": Pair(
        "State",
        ("fpvm.h",),
        "state_",
        others=r"state_|clear_reservation|on_",
        c_only=dict.fromkeys(("encode", "decode"), "the contract keeps a state encoded"),
        solidity_only={
            **dict.fromkeys(("load", "memory_root"), STRUCT),
            **dict.fromkeys(("active_stack", "inactive_stack"), "witness.c has it"),
            "require_thread": "C answers the fault where it is found",
        },
    ),
}


def snake(name: str) -> str:
    """A Solidity name as C and Python write it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip("_")).lower()


def code(file: Path) -> str:
    return COMMENT.sub("", file.read_text())


def solidity_functions(library: str) -> list[str]:
    """The functions of a library, in order."""
    return [snake(name) for name in re.findall(r"^    function (\w+)\(", code(SOLIDITY / f"{library}.sol"), re.M)]


def c_functions(name: str) -> list[str]:
    """The functions that a C file defines or a header declares, in order."""
    found = re.findall(r"^(?!#|typedef|return|else)(?:\w+[ \t*]+)+(\w+)\(", code(C / name), re.M)
    return list(dict.fromkeys(found))


def compared(pair: Pair) -> tuple[list[str], list[str]]:
    """The names that both must have, as C and as Solidity order them."""
    ours = [name for file in pair.c for name in c_functions(file)]
    if pair.others is not None:
        ours = [name for name in ours if re.match(pair.others, name)]
    short = [name.removeprefix(pair.prefix) for name in ours]
    theirs = solidity_functions(pair.solidity)
    assert pair.c_only.keys() <= set(short), "an exception for a function that is gone"
    assert pair.solidity_only.keys() <= set(theirs), "an exception for a function that is gone"
    return [name for name in short if name not in pair.c_only], [
        name for name in theirs if name not in pair.solidity_only
    ]


@pytest.mark.parametrize("name", PAIRS)
def test_functions_have_the_same_names_in_the_same_order(name: str) -> None:
    ours, theirs = compared(PAIRS[name])
    assert ours
    assert ours == theirs


def numbers(text: str, pattern: str) -> list[tuple[str, int]]:
    return [(name, int(value.replace("_", ""), 0)) for name, value in re.findall(pattern, text)]


def test_the_numbers_of_system_calls_have_the_same_names_in_the_same_order() -> None:
    ours = numbers(code(C / "syscalls.c"), rf"\b([A-Z][A-Z0-9_]+)(?:\s*=\s*|[ \t]+){NUMBER}")
    theirs = numbers(code(SOLIDITY / "Syscalls.sol"), rf"constant (\w+) = {NUMBER};")
    assert len(ours) > 60
    assert ours == [each for each in theirs if each[0] != "HEAP_END"]  # in C it is fpvm.h's: ELF files need it too


def test_the_numbers_of_floating_point_are_the_same() -> None:
    theirs = dict(numbers(code(SOLIDITY / "Fpu.sol"), rf"constant (\w+) = {NUMBER};"))
    ours = dict(numbers(code(C / "fpu.h"), rf"#define FPU_(\w+)\s+{NUMBER}"))
    assert ours
    assert ours == {name: theirs[name] for name in ours}
    modes = re.search(r"enum Rounding \{([^}]*)\}", code(SOLIDITY / "Fpu.sol"))
    assert modes
    assert re.findall(r"FPU_(\w+)", re.search(r"enum fpu_rounding \{([^}]*)\}", code(C / "fpu.h"))[1]) == [  # type: ignore[index]
        name.upper() for name in re.findall(r"\w+", modes[1])
    ]


def solidity_fields(library: str, base: str) -> list[tuple[int, str]]:
    """Offset and name of the fields of a packed witness."""
    found = re.findall(rf"constant (\w+) = {base}(?: \+ (\d+))?;", code(SOLIDITY / f"{library}.sol"))
    return [(int(offset or 0), name.lower()) for name, offset in found]


def c_fields(function: str) -> list[tuple[int, str]]:
    """The same, from the function that encodes it."""
    body = re.search(rf"\nvoid {function}\(.*?\n\}}", code(C / "encode.c"), re.S)
    assert body
    lines = re.findall(r"out(?: \+ |\[)?(\d+)?[^;=]*?[,=] ?(?:vm|roots|thread)->(\w+)", body[0])
    return [(int(offset or 0), name) for offset, name in lines]


def documented_fields() -> list[tuple[int, str]]:
    """The table under "State" of docs/vm.md."""
    section = SPECIFICATION.read_text().partition("\n## State\n")[2].partition("\n## ")[0]
    return [(int(offset), snake(name)) for offset, name in re.findall(r"^\| (\d+) \| \d+ \| (\w+) \|", section, re.M)]


def test_a_states_fields_have_the_same_names_and_places() -> None:
    fields_here = c_fields("state_encode")
    assert len(fields_here) == 15
    assert fields_here == solidity_fields("State", "STATE")
    assert fields_here == documented_fields()
    assert [name for _, name in fields_here] == [each.name for each in fields(State)]


def test_a_threads_fields_have_the_same_names_and_places() -> None:
    """C calls the registers as docs/vm.md does, R[i] and F[i]."""
    fields_here = [
        (offset, {"r": "registers", "f": "float_registers"}.get(name, name))
        for offset, name in c_fields("thread_encode")
    ]
    assert len(fields_here) == 10
    assert fields_here == solidity_fields("Thread", "THREAD")
    assert [name for _, name in fields_here] == [each.name.removeprefix("thread_") for each in fields(Thread)]
