"""
Chess clocks: how much time a side has used, and when its time is over.

Every claim stores the time its *own* side had used when it was posted, and when that was (`Clock`). The time that
the *other* side has used to answer a claim continues from its grandparent: `challenger_duration_s`. A move may be
made while that is less than the limit; a claim may be resolved once it has reached it. `clock_of_answer` is the
clock that a move gets, with the extension that keeps a late mover from leaving the other side no time to answer.
Source: docs/game.md, "Clocks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opml_dispute.game.claim import Game


@dataclass(frozen=True, slots=True)
class Clock:
    """The time that a claim stores; on chain, `duration << 64 | timestamp`."""

    duration_s: int
    """Seconds that the claim's own side had used."""

    timestamp_s: int
    """When the claim was posted, seconds since 1970."""

    @classmethod
    def unpack(cls, packed: int) -> Clock:
        """From the chain's 128-bit word."""
        return cls(packed >> 64, packed & (1 << 64) - 1)

    @property
    def packed(self) -> int:
        """As the chain's 128-bit word."""
        return self.duration_s << 64 | self.timestamp_s


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """The times a game is played with, in seconds."""

    max_clock_s: int
    """Each side's time for the whole game."""

    extension_s: int
    """The least time that a side has left to answer an answer."""

    challenge_period_s: int
    """The challenge period of a large pre-image, after which a step can use it."""

    @property
    def are_possible(self) -> bool:
        """Whether the contract makes a game with them, and either side can make a move in it."""
        longest = max(2 * self.extension_s, self.extension_s + self.challenge_period_s)
        return self.max_clock_s >= max(1, longest)

    def extension_at(self, depth: int, *, split_depth: int, max_depth: int) -> int:
        """The time in seconds that remains for the answer to the answer to a new claim at `depth`."""
        if depth == max_depth - 1:
            return self.extension_s + self.challenge_period_s  # the next answer but one is a step
        if depth == split_depth - 1:
            return 2 * self.extension_s  # the next answer but one needs a VM run
        return self.extension_s


def challenger_duration_s(game: Game, index: int, now_s: int) -> int:
    """Seconds that the side opposed to claim `index` has used to answer it, at most the limit."""
    claim = game.claims[index]
    carried = 0 if claim.parent_index is None else game.claims[claim.parent_index].clock.duration_s
    return min(game.clocks.max_clock_s, carried + max(0, now_s - claim.clock.timestamp_s))


def time_left_s(game: Game, index: int, now_s: int) -> int:
    """Seconds left to answer claim `index`; 0 when it can no longer be answered and may be resolved."""
    return game.clocks.max_clock_s - challenger_duration_s(game, index, now_s)


def clock_of_answer(game: Game, index: int, now_s: int) -> Clock:
    """The clock of a new claim that answers claim `index` now. The caller has checked that time is left."""
    used_s = challenger_duration_s(game, index, now_s)
    extension_s = game.clocks.extension_at(
        game.claims[index].position.depth + 1, split_depth=game.depths.split, max_depth=game.depths.max
    )
    return Clock(min(used_s, game.clocks.max_clock_s - extension_s), now_s)
