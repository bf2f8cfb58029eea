"""
A game that grows: the `Game` that actors read, changed in place.

Actors and rules are functions of a `Game`. A simulated chain changes its games thousands of times, and a new snapshot
for each change would cost time in proportion to the game's size; so `LiveGame` keeps the claims and the two indices
over them up to date by itself. What reads it must be done before the next change: no reader may keep a `LiveGame` as a
snapshot. `as_of` makes real snapshots, for readers whose view of the chain is late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.primitives import Address


class LiveGame(Game):
    """One game, as it stands now."""

    @classmethod
    def start(cls, first: Game) -> Self:
        """A game that begins as `first`, which holds the root claim alone."""
        live = cls(**{name: getattr(first, name) for name in Game.__dataclass_fields__})
        # Beside the frozen fields: code that has only a `Game` cannot change it, this class can.
        live._own["claims"] = list(first.claims)
        live._own["_replies_by_parent"] = {}
        live._own["_by_identity"] = {}
        return live

    @property
    def _own(self) -> dict[str, Any]:
        return self.__dict__

    def append(self, claim: Claim) -> None:
        """Adds a claim that answers another; the caller has checked that it is legal."""
        assert claim.parent_index is not None, "only the first claim is a root"
        self._own["claims"].append(claim)
        self._own["_replies_by_parent"].setdefault(claim.parent_index, []).append(claim)
        identity = (claim.parent_index, claim.position.gindex, bytes(claim.value))
        self._own["_by_identity"][identity] = claim

    def put(self, claim: Claim) -> None:
        """Puts `claim` in the place of the one with its index."""
        self._own["claims"][claim.index] = claim
        if claim.parent_index is None:
            return
        replies = self._own["_replies_by_parent"][claim.parent_index]
        replies[_place(replies, claim.index)] = claim
        self._own["_by_identity"][(claim.parent_index, claim.position.gindex, bytes(claim.value))] = claim

    def end(self, status: GameStatus, now_s: int) -> None:
        """The game is over."""
        self._own["status"] = status
        self._own["resolved_at_s"] = now_s

    def as_of(self, claim_count: int, *, marked: dict[int, tuple[Address | None, bool]]) -> Game:
        """A snapshot of the first `claim_count` claims; `marked` has the claims that looked otherwise by then."""
        claims = [
            claim
            if claim.index not in marked
            else replace(claim, countered_by=marked[claim.index][0], is_resolved=marked[claim.index][1])
            for claim in self.claims[:claim_count]
        ]
        fields = {name: getattr(self, name) for name in Game.__dataclass_fields__}
        return Game(**{**fields, "claims": tuple(claims), "status": GameStatus.IN_PROGRESS, "resolved_at_s": 0})


def _place(claims: Sequence[Claim], index: int) -> int:
    """Where the claim with that index is, in a list that ascends by index."""
    low, high = 0, len(claims)
    while low < high:
        middle = (low + high) // 2
        if claims[middle].index < index:
            low = middle + 1
        else:
            high = middle
    return low
