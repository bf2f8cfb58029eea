"""The times of a deployment, and which combinations of them are valid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from opml_dispute.errors import OpmlError


def utc(timestamp_s: int) -> str:
    """
    A time of the chain in UTC, to the minute; one that no calendar has, in seconds.

    >>> utc(0), utc(2**64 - 1)
    ('1970-01-01 00:00 UTC', 'second 18446744073709551615')
    """
    try:
        return datetime.fromtimestamp(timestamp_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {timestamp_s}"


class BadTimes(OpmlError):
    """Times with which no game can be created, or no answer delivered."""

    hint = "a larger --max-clock or --reclaim-delay, or a smaller --clock-extension or --challenge-period"


@dataclass(frozen=True)
class Times:
    """The times of a deployment, in seconds. The defaults are for a public chain."""

    max_clock_s: int = 302_400
    """Each side's time in a game: 3.5 days."""
    extension_s: int = 10_800
    """The least time left to answer an answer: 3 hours."""
    challenge_period_s: int = 86_400
    """How long a large pre-image lies open: 1 day."""
    finality_delay_s: int = 302_400
    """Between a game's resolution and its finality: 3.5 days."""
    withdrawal_delay_s: int = 604_800
    """Between unlocking a bond and withdrawing it: 7 days."""
    reclaim_delay_s: int = 2_592_000
    """The time after which the fee of a request without output can be taken back: 30 days."""
    pause_s: int = 604_800
    """The length of a pause, and the least time between two: 7 days."""
    timelock_delay_s: int = 259_200
    """Between the scheduling of an owner's call and its execution: 3 days, less than the withdrawal of a bond takes."""

    @property
    def longest_to_delivery_s(self) -> int:
        """From a proposal to the delivery of its answer, if a challenger uses up both clocks."""
        return 2 * self.max_clock_s + self.finality_delay_s

    def fee_is_sure(self, requested_at_s: int, now_s: int) -> bool:
        """
        Whether an answer that is proposed now is delivered before its requester may take the fee back.

        >>> Times().fee_is_sure(0, 19 * 86_400), Times().fee_is_sure(0, 20 * 86_400)
        (True, False)
        """
        return now_s + self.longest_to_delivery_s < requested_at_s + self.reclaim_delay_s

    def expect_playable(self) -> None:
        """
        Raises `BadTimes` unless games with these times can be created, played and delivered from.

        The first two are what the game's contract demands (docs/game.md, "Clocks"); of them, the second only shows when
        the first game is to be created, long after the deployment was paid for.
        """
        if self.max_clock_s < 1:
            raise BadTimes("a side's time in a game is 0 s; expected at least 1 s")
        if 2 * self.extension_s > self.max_clock_s:
            raise BadTimes(
                f"twice the clock extension ({2 * self.extension_s:,} s) is more than a side's time in a game "
                f"({self.max_clock_s:,} s)"
            )
        if self.extension_s + self.challenge_period_s > self.max_clock_s:
            raise BadTimes(
                f"clock extension and challenge period together ({self.extension_s + self.challenge_period_s:,} s) are "
                f"more than a side's time in a game ({self.max_clock_s:,} s)"
            )
        if self.pause_s < 1:
            raise BadTimes("a pause would end as it begins; expected at least 1 s", hint="give a longer --pause")
        longest_s = self.longest_to_delivery_s
        if self.reclaim_delay_s < longest_s:
            raise BadTimes(
                f"a fee can be taken back after {self.reclaim_delay_s:,} s, before a disputed answer can be delivered "
                f"({longest_s:,} s: both clocks and the finality delay)"
            )
