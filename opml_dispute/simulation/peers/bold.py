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
"""Arbitrum One's stakes: of an assertion, and of an edge of each lower level."""

LEVEL_GAS = (12_481_326, 12_319_809, 15_210_544)
"""Gas that each side spends on the bisections of a level, as the authors' calculator of stakes has it."""

HONEST_GAS = (3_589_135, 5_221_231, 11_884_552)
"""Gas that the honest side alone spends on a level besides."""

RESOURCE_RATIO, STAKE_GAS_PRICE_GWEI = 6.4, 500.0
"""What the stakes are made for: that the adversary loses so many times what the honest side spends, at such a price."""

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


def stakes_for(ratio: float = RESOURCE_RATIO, gas_price_gwei: float = STAKE_GAS_PRICE_GWEI) -> tuple[float, ...]:
    """
    The stakes, in ETH, with which the adversary loses `ratio` times what the honest side has to spend, at every level.

    The adversary loses its stake and its gas. The honest side spends its gas and stakes an edge of the next level.
    """
    below, stakes = 0.0, []
    for level_gas, honest_gas in zip(reversed(LEVEL_GAS), reversed(HONEST_GAS), strict=True):
        gas_eth = ((ratio - 1) * level_gas + ratio * honest_gas) * gas_price_gwei * 1e-9
        below = gas_eth + ratio * below
        stakes.append(below)
    return tuple(reversed(stakes))
