"""
A trace that answers each question about a claim of one game once.

In a game in memory claims are added and never taken back, so what a trace said about one holds for the rest of the
game. A player that remembers nothing asks again at every look; a campaign of many games saves more than half of its
time by not computing that again. What could not be answered is asked again: memory may have come free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from opml_dispute.game.claim import Claim, Game
from opml_dispute.primitives import Hash32
from opml_dispute.trace.provider import StepData
from opml_dispute.trace.split import SplitTrace

T = TypeVar("T")


class Remembered:
    """A `GameTrace` over another one, for one game in memory."""

    def __init__(self, trace: SplitTrace) -> None:
        self._trace = trace
        self._claims: dict[int, Hash32] = {}
        self._replies: dict[tuple[int, bool], Hash32] = {}
        self._steps: dict[tuple[int, bool], StepData] = {}

    def root_claim(self) -> Hash32:
        """See `GameTrace`."""
        return self._trace.root_claim()

    def claim_at(self, game: Game, claim: Claim) -> Hash32:
        """See `GameTrace`."""
        known = self._claims.get(claim.index)
        if known is None:
            known = self._claims[claim.index] = self._trace.claim_at(game, claim)
        return known

    def reply_at(self, game: Game, claim: Claim, *, is_attack: bool) -> Hash32:
        """See `GameTrace`."""
        known = self._replies.get((claim.index, is_attack))
        if known is None:
            known = self._replies[claim.index, is_attack] = self._trace.reply_at(game, claim, is_attack=is_attack)
        return known

    def step_at(self, game: Game, claim: Claim, *, is_attack: bool) -> StepData:
        """See `GameTrace`."""
        known = self._steps.get((claim.index, is_attack))
        if known is None:
            known = self._steps[claim.index, is_attack] = self._trace.step_at(game, claim, is_attack=is_attack)
        return known

    def ahead(self, judge: Callable[[], T]) -> T:
        """See `RunsAhead`."""
        return self._trace.ahead(judge)
