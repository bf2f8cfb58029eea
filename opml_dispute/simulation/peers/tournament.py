"""
A permissionless refereed tournament: claims are paired, the loser of a match is out, until one is left.

Each claim has a chess clock of C. A match between two Sybils can be made to last as long as the loser's clock, and
leaves the winner's untouched; so each round lasts C at worst, there are log2(N + 1) rounds, and the honest party plays
one match a round with one bond. `play` plays such a tournament; `worst_delay_days` is its closed form.

Dave refines this (`dave`): its worst delays grow far more slowly.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from opml_dispute.game.depths import ceil_log2

CLOCK_DAYS = 7.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A tournament that is over."""

    days: float
    rounds: int
    honest_matches: int


def worst_delay_days(sybils: int, *, clock_days: float = CLOCK_DAYS) -> float:
    """The longest that so many Sybils can make the tournament last."""
    return clock_days * ceil_log2(sybils + 1)


def play(sybils: int, *, clock_days: float = CLOCK_DAYS, seed: int = 0) -> Outcome:
    """
    One tournament in which every Sybil that is to lose stalls until its clock has run out.

    Rounds are synchronous, which is the worst case: the next pairing waits for the last match.
    """
    chance = random.Random(seed)
    clocks = [clock_days] * sybils
    days, rounds, honest_matches = 0.0, 0, 0
    while clocks:
        rounds += 1
        chance.shuffle(clocks)
        survivors: list[float] = []
        longest = 0.0
        if (len(clocks) + 1) % 2 == 0:
            longest = clocks.pop()  # the honest claim's opponent: it stalls, and is out
            honest_matches += 1
        for one, other in zip(clocks[0::2], clocks[1::2], strict=False):
            longest = max(longest, min(one, other))
            survivors.append(max(one, other))
        if len(clocks) % 2:
            survivors.append(clocks[-1])
        days, clocks = days + longest, survivors
    return Outcome(days, rounds, honest_matches)


def honest_matches(sybils: int) -> int:
    """Matches that the honest party plays, one after the other, at most."""
    return math.ceil(math.log2(sybils + 1)) if sybils else 0
