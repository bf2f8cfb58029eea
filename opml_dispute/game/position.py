"""
Positions: the places of claims in the game tree, and the parts of the trace that they are about.

1. A position is a depth and an index at that depth; on chain it is one number, the generalized index.
2. `attack` and `defend` are the two moves; both go one deeper.
3. `trace_index` is the last step of the trace that a position commits to.
4. `trace_ancestor` is the shallowest position that ends at the same step: the place to look for an earlier claim.

Legal moves are in `rules`, the depths of a tree in `depths`.
Source: docs/game.md, "Positions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from opml_dispute.errors import OpmlError


class DepthError(OpmlError):
    """A depth is outside the range that a position's question allows."""

    def __init__(self, found: int, expected: str) -> None:
        super().__init__(f"depth is {found}, expected {expected}")
        self.found, self.expected = found, expected


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the game tree; on chain, its generalized index."""

    depth: int
    """Moves from the root claim, which has depth 0."""

    index_at_depth: int
    """Counted from the left: 0 to 2**depth - 1."""

    def __post_init__(self) -> None:
        if self.depth < 0 or not 0 <= self.index_at_depth < 1 << self.depth:
            raise ValueError(f"no position has depth {self.depth} and index {self.index_at_depth}")

    @classmethod
    def from_gindex(cls, gindex: int) -> Position:
        """
        The position that the chain calls `gindex` (1 or more).

        >>> Position.from_gindex(6)
        Position(depth=2, index_at_depth=2)
        """
        if gindex < 1:
            raise ValueError(f"a generalized index is 1 or more, not {gindex}")
        depth = gindex.bit_length() - 1
        return cls(depth, gindex - (1 << depth))

    @property
    def gindex(self) -> int:
        """2**depth + index at depth: the position as one number."""
        return (1 << self.depth) + self.index_at_depth

    def attack(self) -> Position:
        """The first half of the range of this position."""
        return Position(self.depth + 1, 2 * self.index_at_depth)

    def defend(self) -> Position:
        """
        The first half of the range just after this position.

        Raises `DepthError` for the last position of a depth, which has nothing after it: the root claim above all.
        """
        if self.is_rightmost:
            raise DepthError(self.depth, "a position with one to its right; the last of its depth has none")
        return Position(self.depth + 1, 2 * (self.index_at_depth | 1))

    def move(self, *, is_attack: bool) -> Position:
        """`attack()` or `defend()`."""
        return self.attack() if is_attack else self.defend()

    @property
    def is_root(self) -> bool:
        """Whether this is the place of the root claim."""
        return self.depth == 0

    @property
    def is_rightmost(self) -> bool:
        """Whether nothing of this depth lies to the right."""
        return self.index_at_depth == (1 << self.depth) - 1

    @property
    def parent(self) -> Position:
        """The position above, in the tree of positions. (A defence's parent *claim* stands elsewhere.)"""
        if self.is_root:
            raise DepthError(0, "1 or more: nothing stands above the root")
        return Position(self.depth - 1, self.index_at_depth >> 1)

    def right_index(self, depth: int) -> Position:
        """The last position at `depth` that lies under this one."""
        if depth < self.depth:
            raise DepthError(depth, f"{self.depth} or more, the position's own")
        below = depth - self.depth
        return Position(depth, (self.index_at_depth << below) | ((1 << below) - 1))

    def trace_index(self, max_depth: int) -> int:
        """
        The last trace step this position commits to.

        Going right down to `max_depth` ends there, so positions can share it:

        >>> Position(1, 0).trace_index(3), Position(2, 1).trace_index(3)
        (3, 3)

        Raises `DepthError` if `max_depth` is less than `depth`.
        """
        return self.right_index(max_depth).index_at_depth

    def trace_ancestor(self) -> Position:
        """The shallowest position that ends at the same trace step; itself, for an even generalized index."""
        gindex = self.gindex
        trailing_ones = (gindex + 1 & ~gindex).bit_length() - 1
        return Position.from_gindex(max(1, gindex >> trailing_ones))

    def trace_ancestor_bounded(self, bound_depth: int) -> Position:
        """
        The same, but strictly below `bound_depth`.

        Raises `DepthError` if this position is not below that depth itself.
        """
        if self.depth <= bound_depth:
            raise DepthError(self.depth, f"more than {bound_depth}")
        ancestor = self.trace_ancestor()
        return ancestor if ancestor.depth > bound_depth else ancestor.right_index(bound_depth + 1)

    def left_neighbour(self) -> Position:
        """The position just to the left; raises `DepthError` for the first of its depth."""
        if self.index_at_depth == 0:
            raise DepthError(self.depth, "a position with one to its left; the first of its depth has none")
        return Position(self.depth, self.index_at_depth - 1)

    def right_neighbour(self) -> Position:
        """The position just to the right; raises `DepthError` for the last of its depth."""
        if self.is_rightmost:
            raise DepthError(self.depth, "a position with one to its right; the last of its depth has none")
        return Position(self.depth, self.index_at_depth + 1)

    def within_subtree(self, root_depth: int) -> Position:
        """
        This position in the subtree whose root is its ancestor at `root_depth`.

        >>> Position(5, 0b10110).within_subtree(2)
        Position(depth=3, index_at_depth=6)
        """
        if self.depth < root_depth:
            raise DepthError(self.depth, f"{root_depth} or more")
        below = self.depth - root_depth
        return Position(below, self.index_at_depth & ((1 << below) - 1))

    def __str__(self) -> str:
        return str(self.gindex)


ROOT: Final = Position(0, 0)
"""Where the root claim stands."""
