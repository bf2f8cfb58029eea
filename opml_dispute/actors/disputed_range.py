"""
The range of nodes, or of instructions of one node, that is still in dispute after a claim.

`disputed_range` computes it for any claim, `frontier` finds the deepest claim of a game. Both are pure functions of a
game; terminals and pages draw the range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.position import Position
from opml_dispute.game.rules import subgame_roots_of


@dataclass(frozen=True)
class DisputedRange:
    """The range in dispute after a claim."""

    phase: str
    """"ML" or "FPVM"."""
    node_low: int
    node_high: int
    """The nodes in dispute: node_low up to, not including, node_high."""
    step_low: int | None = None
    step_high: int | None = None
    """The instructions in dispute in the FPVM phase, likewise."""

    def items(self, game: Game) -> range:
        """The items of the game's batch whose nodes are in dispute; of a single inference, item 0."""
        each = game.node_count // game.item_count
        return range(self.node_low // each, (self.node_high - 1) // each + 1)

    def nodes_of_an_item(self, game: Game) -> tuple[int, int]:
        """The nodes in dispute, counted within their item; all of an item's, where several items are in dispute."""
        items, each = self.items(game), game.node_count // game.item_count
        start = items[0] * each
        return (self.node_low - start, self.node_high - start) if len(items) == 1 else (0, each)

    @property
    def sentence(self) -> str:
        """The range in words."""
        if self.step_low is None or self.step_high is None:
            return f"ML phase: {_stretch('node', self.node_low, self.node_high)}"
        return f"FPVM phase: node {self.node_low}, {_stretch('instruction', self.step_low, self.step_high)}"

    @property
    def facts(self) -> dict[str, Any]:
        """The range for scripts."""
        return {
            "phase": self.phase,
            "nodes": [self.node_low, self.node_high],
            "steps": None if self.step_low is None else [self.step_low, self.step_high],
        }


def _stretch(noun: str, low: int, high: int) -> str:
    if high - low == 1:
        return f"{noun} {low:,}"
    if high - low == 2:
        return f"{noun} {low:,} or {low + 1:,}"
    return f"{noun}s {low:,} to {high - 1:,}"


def disputed_range(game: Game, claim: Claim) -> DisputedRange:
    """
    The range in dispute once `claim` is made: the states that its answers can be about.

    An attack looks for the first difference in the stretch up to the claim's state, a defence in the stretch of the
    same length behind it. The first claim of a phase cannot be defended: only the stretch up to its state counts.
    """
    depths = game.depths
    if claim.position.depth <= depths.split:
        low, high = _answered(claim.position, depths.split)
        low = min(low, game.node_count - 1)
        return DisputedRange("ML", low, max(min(high, game.node_count), low + 1))
    node = subgame_roots_of(game, claim.index).node_index(game)
    low, high = _answered(claim.position.within_subtree(depths.execution_root), depths.execution)
    return DisputedRange("FPVM", node, node + 1, low, high)


def _answered(position: Position, deepest: int) -> tuple[int, int]:
    below = deepest - position.depth
    halves = 1 if position.depth == 0 else 2
    return position.index_at_depth << below, (position.index_at_depth + halves) << below


def frontier(game: Game) -> Claim:
    """The claim that the dispute has reached: the deepest, of several the newest."""
    return max(game.claims, key=lambda claim: (claim.position.depth, claim.index))
