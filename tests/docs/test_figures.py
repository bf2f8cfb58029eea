"""Figures of the pages that follow from something committed or built are that thing's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from opml_dispute.model.opcodes import Opcode
from opml_dispute.toolchain import native
from tests.docs.prose import ROOT, text_of
from tests.guest.test_build import code

SNAPSHOT: dict[str, Any] = json.loads((ROOT / "contracts" / "snapshots" / "game.json").read_text())

GAS = {
    r"create a game \| ([\d,]+);": ("create a game",),
    r"commit to a proposal \| ([\d,]+) \|": ("commit to a proposal",),
    r"a move \| ([\d,]+);": ("attack, split depth",),
    r"`resolveClaim` of a claim with one answer \| ([\d,]+) \|": ("resolve a claim with one answer",),
    r"`settle` of 27 claims in a line, and the game; of 2 \| ([\d,]+); ([\d,]+) \|": (
        "settle 27 claims and the game",
        "settle 2 claims and the game",
    ),
    r"`claimCredit`, first and second call \| ([\d,]+) and ([\d,]+) \|": (
        "claim credit, first call",
        "claim credit, second call",
    ),
    r"`finalizeByRoot`, without a callback \| ([\d,]+) \|": ("finalize by root, no callback",),
    r"`outputRootWith`, 32 bytes and 31 siblings \| ([\d,]+) \|": ("prove 32 bytes of an output by its root",),
    r"deposit for a demanded bond, and its release \| ([\d,]+) and ([\d,]+) \|": (
        "deposit for a demanded bond",
        "release a demanded bond",
    ),
    r"keeps a share, and closes the game, [^|]*; one that keeps none \| ([\d,]+); ([\d,]+) \|": (
        "finalize with a defenders' share, closing the game",
        "finalize after a dispute",
    ),
    r"`pay`, for one claim; for 16 \| ([\d,]+); ([\d,]+) \|": (
        "pay a defenders' share, for one claim",
        "pay a defenders' share, for 16 claims",
    ),
    r"`finalize` of 40 bytes of output, without a callback \| ([\d,]+) \|": (
        "finalize, 40 bytes of output, no callback",
    ),
}
"""Rows of docs/game.md, "What it costs", and the snapshots that they round to thousands."""


@pytest.mark.parametrize("row", GAS)
def test_gas_of_calls_is_the_snapshots(row: str) -> None:
    found = re.search(row, text_of(ROOT / "docs" / "game.md"))
    assert found is not None
    rounded = [f"{round(int(SNAPSHOT[name]), -3):,}" for name in GAS[row]]
    assert [*found.groups()] == rounded


BATCH = {
    "request": (["request a batch of 64, 100 bytes of input each"], ["request, 100 bytes of input"]),
    "proposal for a fee, with its commitment": (
        ["create a game about a batch for a fee", "commit to a proposal"],
        ["create a game for a fee", "commit to a proposal"],
    ),
    "delivering": (["finalize 64 items, 40 bytes of output each"], ["finalize, 40 bytes of output, no callback"]),
}
"""Rows of docs/game.md, "Batches", and the snapshots that add up to them: of 64 items together, and of one alone."""


def test_an_item_of_a_batch_costs_a_tenth_of_a_request_alone_at_most() -> None:
    """The rows are the snapshots; the settling, which both have alike, and the sums are the page's own."""
    page = text_of(ROOT / "docs" / "game.md")
    together = alone = 0
    rows = [*BATCH, "settling, closing and both calls of `claimCredit`"]
    for row in rows:
        told = re.search(rf"\| {re.escape(row)} \| ([\d,]+) \| [\d,]+ \| ([\d,]+) \|", page)
        assert told is not None, row
        if row in BATCH:
            sums = [sum(int(SNAPSHOT[name]) for name in names) for names in BATCH[row]]
            assert [*told.groups()] == [f"{round(gas, -3):,}" for gas in sums]
        of_all, of_one = (int(text.replace(",", "")) for text in told.groups())
        together, alone = together + of_all, alone + of_one
    told = re.search(r"\| together \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", page)
    assert told is not None
    found = [int(text.replace(",", "")) for text in told.groups()]
    assert found == pytest.approx([together, together / 64, alone], abs=1_000)
    assert together / 64 <= alone / 10


def test_code_of_the_guest_has_the_size_that_kernels_gives() -> None:
    """In thousands."""
    told = re.search(r"about ([\d,]+) bytes of\s+code, ([\d,]+) instructions", text_of(ROOT / "docs" / "kernels.md"))
    assert told is not None
    count = sum(1 for _ in code(native.guest_path().read_bytes()))
    assert [*told.groups()] == [f"{round(4 * count, -3):,}", f"{round(count, -3):,}"]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/index.md", "docs/architecture.md", "docs/kernels.md", "docs/operators.md"]
)
def test_number_of_kernels_is_that_of_the_opcodes(page: str) -> None:
    words = {20: "twenty"}
    assert re.search(rf"\b{words[len(Opcode)]} (kernels|operations)\b", text_of(ROOT / page))


def test_conformance_cases_are_the_tables() -> None:
    """Cases of operators and real architectures are counted apart."""
    lines = text_of(ROOT / "tests" / "onnx" / "table.txt").splitlines()[1:]
    real = [line for line in lines if line.startswith("test_light_")]
    page = text_of(ROOT / "docs" / "benchmarks.md")
    for what, cases in (("conformance cases of operators", [*(set(lines) - set(real))]), ("real architectures", real)):
        told = re.search(rf"{what} passed, of ([\d,]+) \| ([\d,]+) \|", page)
        assert told is not None
        passed = sum(line.split(": ", 1)[1].startswith("passed") for line in cases)
        assert [*told.groups()] == [f"{len(cases):,}", f"{passed:,}"]
