"""Positions: the published vectors, and the properties that hold for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute.game.position import ROOT, DepthError, Position

VECTORS = [  # gindex, depth, index, attack, defend, trace index at 4, at 8
    (1, 0, 0, 2, None, 15, 255),
    (2, 1, 0, 4, 6, 7, 127),
    (4, 2, 0, 8, 10, 3, 63),
    (6, 2, 2, 12, 14, 11, 191),
    (12, 3, 4, 24, 26, 9, 159),
    (16, 4, 0, 32, 34, 0, 15),
    (18, 4, 2, 36, 38, 2, 47),
    (30, 4, 14, 60, 62, 14, 239),
]
ANCESTORS = {2: 2, 3: 1, 5: 2, 7: 1, 9: 4, 11: 2, 13: 6, 15: 1, 17: 8, 19: 4, 23: 2, 29: 14, 31: 1}
BOUNDED_BY_4 = {256: 256, 257: 128, 259: 64, 263: 32, 265: 132, 503: 62, 262: 262, 33: 33, 271: 33, 495: 61, 511: 63}

positions = st.integers(1, 2**126 - 1).map(Position.from_gindex)
played = st.integers(1, 2**125 - 1).map(lambda half: Position.from_gindex(2 * half))
"""Positions that moves lead to: the even ones."""


@pytest.mark.parametrize(("gindex", "depth", "index", "attack", "defend", "at_4", "at_8"), VECTORS)
def test_published_positions(
    gindex: int, depth: int, index: int, attack: int, defend: int | None, at_4: int, at_8: int
) -> None:
    """The vectors of the game that ours behaves as."""
    position = Position.from_gindex(gindex)
    assert (position.depth, position.index_at_depth) == (depth, index)
    assert position.attack().gindex == attack
    if defend is not None:
        assert position.defend().gindex == defend
    assert (position.trace_index(4), position.trace_index(8)) == (at_4, at_8)


def test_published_trace_ancestors() -> None:
    """Published trace ancestors are reproduced, with and without a bound."""
    assert {p: Position.from_gindex(p).trace_ancestor().gindex for p in ANCESTORS} == ANCESTORS
    bounded = {p: Position.from_gindex(p).trace_ancestor_bounded(4).gindex for p in BOUNDED_BY_4}
    assert bounded == BOUNDED_BY_4


def test_root_cannot_be_defended() -> None:
    """Nothing lies to the right of it."""
    with pytest.raises(DepthError):
        ROOT.defend()


def test_trace_index_needs_depth_below() -> None:
    with pytest.raises(DepthError):
        Position(4, 3).trace_index(3)


def test_nonsense_is_not_a_position() -> None:
    for depth, index in ((0, 1), (2, 4), (-1, 0), (3, -1)):
        with pytest.raises(ValueError, match="no position"):
            Position(depth, index)
    with pytest.raises(ValueError, match="1 or more"):
        Position.from_gindex(0)


def test_the_edges_of_a_depth_have_one_neighbour() -> None:
    """The first of a depth has none to its left, the last, and it alone, none to its right."""
    for depth in range(4):
        row = [Position(depth, index) for index in range(2**depth)]
        assert [position.is_rightmost for position in row] == [False] * (len(row) - 1) + [True]
        assert [position.left_neighbour() for position in row[1:]] == row[:-1]
        assert [position.right_neighbour() for position in row[:-1]] == row[1:]
        with pytest.raises(DepthError, match="the first of its depth has none"):
            row[0].left_neighbour()
        with pytest.raises(DepthError, match="the last of its depth has none"):
            row[-1].right_neighbour()
    with pytest.raises(DepthError, match="depth is 0, expected 1 or more"):
        _ = ROOT.parent


@given(positions)
def test_gindex_round_trips(position: Position) -> None:
    """A position is recovered from its generalized index."""
    assert Position.from_gindex(position.gindex) == position


@given(positions, st.booleans())
def test_every_move_is_even_and_one_deeper(position: Position, is_attack: bool) -> None:
    if not is_attack and position.is_rightmost:
        return
    moved = position.move(is_attack=is_attack)
    assert moved.depth == position.depth + 1
    assert moved.gindex % 2 == 0


@given(played, st.integers(0, 8))
def test_moves_split_what_is_covered(position: Position, below: int) -> None:
    """An attack ends left of the position's last step, a defence right of it."""
    deepest = position.depth + 1 + below
    last = position.trace_index(deepest)
    assert position.attack().trace_index(deepest) < last < position.defend().trace_index(deepest)


@given(positions)
def test_trace_ancestor_is_the_shallowest_with_the_same_end(position: Position) -> None:
    """Against the slow way: climb while the end stays the same."""
    slow = position
    while not slow.is_root and slow.parent.trace_index(position.depth) == position.index_at_depth:
        slow = slow.parent
    assert position.trace_ancestor() == slow


@given(positions, st.integers(0, 125))
def test_bounded_ancestor_stays_below(position: Position, bound: int) -> None:
    if position.depth <= bound:
        with pytest.raises(DepthError):
            position.trace_ancestor_bounded(bound)
        return
    ancestor = position.trace_ancestor_bounded(bound)
    assert bound < ancestor.depth <= position.depth
    assert ancestor.trace_index(position.depth) == position.index_at_depth


@given(positions, st.data())
def test_within_subtree_counts_from_its_root(position: Position, data: st.DataObject) -> None:
    root_depth = data.draw(st.integers(0, position.depth))
    local = position.within_subtree(root_depth)
    root = Position.from_gindex(position.gindex >> (position.depth - root_depth))
    assert (root.gindex << local.depth) + local.index_at_depth == position.gindex
