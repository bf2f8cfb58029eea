"""
BoLD, Arbitrum's dispute protocol: everyone against everyone, with timers instead of clocks.

A claim is an edge between two states. While no rival edge stands against it, its timer runs; when a rival appears, it
is bisected, and the halves inherit the time. The honest edges are one set however many Sybils attack them, so one
honest answer serves against all. An edge is confirmed once its timer reaches the challenge period T. The adversary can
therefore stop the timer only while an honest answer is on its way: a delay of T plus the honest reactions, whatever the
number of Sybils.

Left out: the upgrade delays and grace periods around a challenge, and gas.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

CHALLENGE_PERIOD_DAYS = 45_818 * 12 / 86_400
"""45,818 blocks."""

STAKES_ETH = (3_600.0, 555.0, 79.0)
"""Arbitrum One's stakes: of an assertion, and of an edge of each lower level. That deployment's choice."""

LEVEL_HEIGHTS = (26, 19, 23)
"""Bisections of each level, together those of one challenge."""


@dataclass(frozen=True, slots=True)
class Delay:
    """How long one challenge took."""

    days: float
    honest_moves: int


def challenge(
    rival_delays_days: Sequence[float], reaction_days: float, *, period_days: float = CHALLENGE_PERIOD_DAYS
) -> Delay:
    """
    One challenge along the path on which the adversary disputes: it waits so long before each of its answers.

    The honest edge's timer runs while the adversary waits, and stands still while the honest side reacts.
    """
    timer, now, moves = 0.0, 0.0, 0
    for wait in rival_delays_days:
        if timer + wait >= period_days:
            break
        timer += wait
        now += wait + reaction_days
        moves += 1
    return Delay(now + period_days - timer, moves)


def worst_delay(
    sybils: int, reaction_days: float, *, period_days: float = CHALLENGE_PERIOD_DAYS, seed: int = 0, tries: int = 200
) -> Delay:
    """
    The longest of many random challenges with so many Sybils.

    Sybils play on different paths at the same time; an honest answer to one stands against all of them, so each path is
    a challenge of its own, and the last to end counts. Beyond 1,000 paths a sample of them is played.
    """
    chance = random.Random(seed)
    bisections = sum(LEVEL_HEIGHTS)
    longest = challenge([0.0] * bisections, reaction_days, period_days=period_days)
    for _ in range(min(max(sybils, 1), 1_000) * tries // 200):
        cuts = sorted(chance.uniform(0, period_days) for _ in range(bisections))
        waits = [after - before for before, after in zip([0.0, *cuts], cuts, strict=False)]
        found = challenge(waits, reaction_days, period_days=period_days)
        longest = max(longest, found, key=lambda delay: delay.days)
    return longest


def stakes_eth(sybils: int, stakes: Sequence[float] = STAKES_ETH) -> tuple[float, float]:
    """
    What the adversary and the honest side stake if so many false assertions are each disputed to the last level.

    The honest side stakes its assertion once, and at each lower level once against each false assertion.
    """
    return sybils * sum(stakes), stakes[0] + sybils * sum(stakes[1:])
