"""Data come into memory in O(n) steps through the oracle and in O(1) by tensor_map; the documentation says how many."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.programs.loading import HEAD, ORACLE, TENSOR_MAP, Cost, measure, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "comparison.md"
CHEAP_SIZES = (10, 13, 16)


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> list[Cost]:
    """The smaller sizes, both ways."""
    folder = tmp_path_factory.mktemp("loading")
    return [measure(folder, log2_size=size, way=way) for size in CHEAP_SIZES for way in (ORACLE, TENSOR_MAP)]


def test_oracle_takes_half_a_step_a_byte(costs: list[Cost]) -> None:
    """Four instructions for each 8 bytes, whatever the size."""
    loads = [cost for cost in costs if cost.way == ORACLE]
    for less, more in pairwise(loads):
        steps = ((1 << more.log2_size) - (1 << less.log2_size)) // 2
        assert abs(more.steps - less.steps - steps) < 5  # the compiler writes one constant longer than the other


def test_tensor_map_takes_the_same_steps_for_any_size(costs: list[Cost], tmp_path: Path) -> None:
    """Sizes up to the whole segment, whose content is unknown."""
    segment = measure(tmp_path, log2_size=40, way=TENSOR_MAP, known=False)
    maps = [segment, *(cost for cost in costs if cost.way == TENSOR_MAP)]
    assert len({cost.steps for cost in maps}) == 1


def test_proof_of_an_oracle_read_carries_the_whole_preimage(costs: list[Cost]) -> None:
    """And that of a tensor call only a path in the tree."""
    for cost in costs:
        assert cost.bytes_for_one_step is not None
        assert (cost.bytes_for_one_step > 1 << cost.log2_size) == (cost.way == ORACLE or cost.log2_size == 10)


def test_documented_table_is_what_is_measured(costs: list[Cost]) -> None:
    """Steps and bytes to the last digit; gas may move a little with the contracts before `--renew`."""
    lines = PAGE.read_text().splitlines()
    documented = {line.split("|")[1].strip(): line for line in lines[lines.index(HEAD[1]) + 1 :] if line[:1] == "|"}
    for line in table(costs).splitlines()[len(HEAD) :]:
        name = line.split("|")[1].strip()
        for column, (found, expected) in enumerate(zip(_cells(line), _cells(documented[name]), strict=True)):
            is_gas = column in {3, 7}
            assert found == pytest.approx(expected, rel=0.03 if is_gas else 0), f"{name}, column {column + 1}"


def _cells(line: str) -> list[int]:
    return [int(cell.strip().replace(",", "")) for cell in line.split("|")[2:-1]]
