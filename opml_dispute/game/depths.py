"""
The depths of a game, from the number of a model's nodes and the bound of their steps.

A game has two layers. Depths 0 to `split` hold state roots (the ML phase); depth `split + 1` holds the root of an
execution subgame, the VM's last state for one node; depths down to `max` bisect that execution (the FPVM phase).
`for_model` computes what the contracts compute when a game is created.
Source: docs/game.md, "Depths".
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_DEPTH_LIMIT = 90
"""
The deepest game that the contracts accept: a stored claim has 91 bits for its position. No game is deeper than 78: 2^36
nodes at most (28 bits of nodes, 8 of items), and 2^40 steps of a node.
"""


MARGIN_LOG2 = 1
"""A trace has room for twice the steps that a node may take: the bound of steps is proven, and has a margin besides."""


def ceil_log2(value: int) -> int:
    """
    The least k with 2**k >= value; `value` is 1 or more.

    >>> [ceil_log2(v) for v in (1, 2, 3, 4, 5)]
    [0, 1, 2, 2, 3]
    """
    if value < 1:
        raise ValueError(f"no power of two is at most {value}")
    return (value - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Depths:
    """The two depths that a game is created with."""

    split: int
    """The deepest level of the ML phase."""

    max: int
    """The deepest level, at which only a step is possible. It is even, so leaf claims belong to the root claim's
    side."""

    def __post_init__(self) -> None:
        if not (self.split >= 2 and self.split + 1 < self.max <= MAX_DEPTH_LIMIT):
            raise ValueError(
                f"split depth {self.split} and max depth {self.max} found, "
                f"expected 2 <= split, split + 1 < max <= {MAX_DEPTH_LIMIT}"
            )

    @classmethod
    def for_model(cls, node_count: int, log2_steps: int) -> Depths:
        """
        Depths for `node_count` nodes, none of which takes more than 2**log2_steps VM steps, and room for twice as many.

        >>> Depths.for_model(node_count=100, log2_steps=20)
        Depths(split=7, max=30)
        """
        split = max(2, ceil_log2(max(1, node_count)))
        deepest = split + 1 + log2_steps + MARGIN_LOG2
        return cls(split, deepest + deepest % 2)

    @property
    def execution(self) -> int:
        """Levels below an execution root: its trace has 2**execution steps."""
        return self.max - self.split - 1

    @property
    def execution_root(self) -> int:
        """The depth of an execution root."""
        return self.split + 1

    @property
    def steps(self) -> int:
        """VM steps that one execution subgame spans."""
        return 1 << self.execution
