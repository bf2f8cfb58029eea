"""
Numbers that several languages have to agree on: written once in each, and compared here.

`ROWS` has a row for every number, and the name that each language knows it by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from opml_dispute import primitives
from opml_dispute.engine import elf
from opml_dispute.engine.hashing import LEAF_LOG2
from opml_dispute.fpvm import witness
from opml_dispute.game import shares
from opml_dispute.model import record
from opml_dispute.primitives import LocalIdent, VmStatus
from opml_dispute.toolchain.native import NATIVE
from opml_dispute.toolchain.solidity import CONTRACTS_DIR

VM = CONTRACTS_DIR / "src" / "vm"
GAME = CONTRACTS_DIR / "src" / "dispute"


@dataclass(frozen=True)
class Row:
    """A number in Python, and where else it is written."""

    value: int
    solidity: str | None = None
    """File and name: "vm/Frame.sol STATE_BYTES"."""
    c: str | None = None
    """The same, below native/."""


ROWS = {
    "state witness": Row(primitives.STATE_BYTES, "vm/Frame.sol STATE_BYTES", "vm/fpvm.h STATE_BYTES"),
    "thread witness": Row(
        primitives.BASE_THREAD_BYTES, "vm/Frame.sol BASE_THREAD_BYTES", "vm/fpvm.h BASE_THREAD_BYTES"
    ),
    "floating-point registers in a thread witness": Row(
        primitives.ML_THREAD_BYTES - primitives.BASE_THREAD_BYTES, "vm/Frame.sol FPU_BYTES", "vm/fpvm.h FPU_BYTES"
    ),
    "memory proof": Row(witness.MEMORY_PROOF_BYTES, "vm/Frame.sol MEMORY_PROOF_BYTES", "vm/fpvm.h MEMORY_PROOF_BYTES"),
    "marker of compact proofs": Row(
        int.from_bytes(witness.COMPACT_MARKER, "big"), "vm/MemoryTree.sol COMPACT_MARKER", "vm/proof.h COMPACT_MARKER"
    ),
    "leaf": Row(LEAF_LOG2, "vm/MemoryTree.sol LEAF", "memory/keccak.h LEAF_LOG2"),
    "base state version": Row(primitives.BASE_VERSION, "vm/FPVM.sol STATE_VERSION_BASE"),
    "ML state version": Row(primitives.ML_VERSION, "vm/FPVM.sol STATE_VERSION_ML"),
    "quantum": Row(primitives.QUANTUM, "vm/FPVM.sol QUANTUM", "vm/fpvm.h QUANTUM"),
    "start of the heap": Row(elf.HEAP_START, None, "vm/fpvm.h HEAP_START"),
    "end of the heap": Row(0x0000600000000000, "vm/Syscalls.sol HEAP_END", "vm/fpvm.h HEAP_END"),
    "record": Row(primitives.RECORD_BYTES, "oracle/SegmentTree.sol RECORD_BYTES", "program/record.h RECORD_BYTES"),
    "program magic": Row(
        record.PROGRAM_MAGIC, "oracle/SegmentTree.sol PROGRAM_MAGIC", "program/record.h PROGRAM_MAGIC"
    ),
    "state magic": Row(
        int.from_bytes(b"OPMLSTAT", "big"), "oracle/SegmentTree.sol STATE_MAGIC", "program/record.h STATE_MAGIC"
    ),
    "program version": Row(
        record.PROGRAM_VERSION, "oracle/SegmentTree.sol PROGRAM_VERSION", "program/record.h PROGRAM_VERSION"
    ),
    "least step limit": Row(
        primitives.LEAST_LOG2_STEPS, "oracle/ModelRegistry.sol MIN_LOG2_STEPS", "program/record.h LEAST_LOG2_STEPS"
    ),
    "most step limit": Row(
        primitives.MOST_LOG2_STEPS, "oracle/ModelRegistry.sol MAX_LOG2_STEPS", "program/record.h MOST_LOG2_STEPS"
    ),
    "defenders' part of a fee": Row(shares.MAX_DEFENDERS_BPS, "oracle/Requests.sol MAX_DEFENDERS_BPS"),
    "forfeited parts of a reward": Row(shares.FORFEITED_PER_REWARD, "oracle/DefenderShares.sol FORFEITED_PER_REWARD"),
    "starting root": Row(
        LocalIdent.STARTING_ROOT, "dispute/Types.sol STARTING_ROOT", "guest/main.c LOCAL_STARTING_ROOT"
    ),
    "disputed root": Row(
        LocalIdent.DISPUTED_ROOT, "dispute/Types.sol DISPUTED_ROOT", "guest/main.c LOCAL_DISPUTED_ROOT"
    ),
    "disputed index": Row(LocalIdent.DISPUTED_INDEX, "dispute/Types.sol DISPUTED_INDEX"),
    "chain id": Row(LocalIdent.CHAIN_ID, "dispute/Types.sol CHAIN_ID"),
    "item": Row(LocalIdent.ITEM, "dispute/Types.sol ITEM", "guest/main.c LOCAL_ITEM"),
    **{f"VM status {status.name.lower()}": Row(status, f"vm/StateHash.sol {status.name}") for status in VmStatus},
}

HASH_BYTES = 32
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)


def written(file: Path, name: str) -> int:
    """The number that a Solidity constant, a C macro or a member of a C enumeration stands for."""
    text = COMMENT.sub("", file.read_text())
    found = re.search(rf"(?:\b{name}\s*=|#define\s+{name}\s)\s*([^,;}}\n]+)", text)
    assert found, f"{file} has no {name}"
    named = found[1].replace("HASH_BYTES", str(HASH_BYTES))
    expression = re.sub(
        r"(0x[0-9a-fA-F]+|\b\d[\d_]*)(?:ull|u)?\b", lambda number: str(int(number[1].replace("_", ""), 0)), named
    )
    assert re.fullmatch(r"[\d\s+*/()-]+", expression), f"{file}: {name} = {found[1]}"
    return int(eval(expression))


def places() -> Iterator[tuple[str, Path, str]]:
    for what, row in ROWS.items():
        for root, place in ((CONTRACTS_DIR / "src", row.solidity), (NATIVE, row.c)):
            if place:
                file, _, name = place.partition(" ")
                yield what, root / file, name


@pytest.mark.parametrize(
    ("what", "file", "name"), list(places()), ids=lambda part: part.name if isinstance(part, Path) else part
)
def test_every_language_has_the_same_number(what: str, file: Path, name: str) -> None:
    assert written(file, name) == ROWS[what].value


def test_the_local_idents_and_the_statuses_are_all_there() -> None:
    """A member that one side has and the other lacks."""
    for library, mirror, file in (
        ("LocalIdent", LocalIdent, GAME / "Types.sol"),
        ("VmStatus", VmStatus, VM / "StateHash.sol"),
    ):
        body = re.search(rf"library {library} \{{(.*?)\n\}}", COMMENT.sub("", file.read_text()), re.S)
        assert body
        assert dict(re.findall(r"constant (\w+) = (\d+);", body[1])) == {each.name: str(each.value) for each in mirror}


ONCE = {
    "STATE_BYTES": (188,),
    "BASE_THREAD_BYTES": (298,),
    "ML_THREAD_BYTES": (430,),
    "RECORD_BYTES": (512,),
}


@pytest.mark.parametrize("name", ONCE)
def test_a_size_is_written_once_in_python(name: str) -> None:
    package = NATIVE.parent
    homes = [
        file.relative_to(package)
        for file in package.rglob("*.py")
        if re.search(rf"^[\w, ]*\b{name}\b[\w, :]* = [\d_, ]+$", file.read_text(), re.M)
    ]
    # The VM of simulated games is another machine, with states of its own.
    assert [str(home) for home in homes if home.name != "symbolic.py"] == ["primitives.py"]
