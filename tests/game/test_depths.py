"""Depths fit the model, and leaves belong to the root claim's side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute.game.depths import Depths, ceil_log2


@given(st.integers(1, 2**27), st.integers(16, 40))
def test_every_node_and_every_step_has_a_leaf_and_steps_have_as_many_again(node_count: int, log2_steps: int) -> None:
    depths = Depths.for_model(node_count, log2_steps)
    assert node_count <= 1 << depths.split
    assert 2 << log2_steps <= depths.steps <= 4 << log2_steps
    assert depths.max % 2 == 0
    assert depths.max == depths.split + 1 + depths.execution


@given(st.integers(1, 2**80))
def test_ceil_log2_is_the_least(value: int) -> None:
    assert 1 << ceil_log2(value) >= value
    assert value == 1 or 1 << (ceil_log2(value) - 1) < value


def test_the_least_split_depth_is_the_contract_s() -> None:
    assert [Depths.for_model(node_count, 20).split for node_count in (1, 2, 4, 5, 9)] == [2, 2, 2, 3, 4]


def test_the_deepest_and_the_shallowest_game_that_the_contract_takes() -> None:
    assert Depths(4, 90).execution == 85
    assert Depths(2, 4).execution == 1


@pytest.mark.parametrize(("split", "deepest"), [(1, 8), (4, 5), (4, 91)])
def test_depths_that_the_contract_refuses(split: int, deepest: int) -> None:
    """Too shallow for both phases, or too deep for a claim's position."""
    with pytest.raises(ValueError, match="expected 2 <= split"):
        Depths(split, deepest)
