"""
The ML phase: state roots, from the native run of a program.

Position p of the upper tree is about S_t with t = its trace index + 1, and past the program's end about S_n:
nothing happens after the last node. A state is computed when it is first needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from opml_dispute.game.position import Position
from opml_dispute.primitives import StateRoot

BlockT_co = TypeVar("BlockT_co", covariant=True)


class RootSource(Protocol):
    """The state roots of one inference."""

    def state_root(self, t: int) -> StateRoot:
        """S_t, in any order."""
        ...


class StateSource(RootSource, Protocol[BlockT_co]):
    """The states of one inference, or of a batch: `engine.inference.Inference`, honest or overridden."""

    def subtrees_at(self, t: int) -> Sequence[tuple[bytes, int, Sequence[BlockT_co]]]:
        """What the guest may map to run the node after S_t: root, log2 of its bytes, and content of each."""
        ...


class StateTrace:
    """S_1 … S_n as the upper trace of a game; its leaves are at `split_depth`."""

    def __init__(self, states: RootSource, *, node_count: int, split_depth: int) -> None:
        if node_count > 1 << split_depth:
            raise ValueError(f"{node_count} nodes do not fit a split depth of {split_depth}")
        self._states = states
        self.node_count, self.split_depth = node_count, split_depth

    def state_index(self, position: Position) -> int:
        """The index t of the state S_t that `position` is about."""
        return min(position.trace_index(self.split_depth) + 1, self.node_count)

    def claim_at(self, position: Position) -> StateRoot:
        """The state root at `position`."""
        return self._states.state_root(self.state_index(position))
