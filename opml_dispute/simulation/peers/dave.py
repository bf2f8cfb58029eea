"""
Dave, Cartesi's dispute protocol, at the level of its paper (arXiv 2411.05463): a tournament with many lives.

In each round all surviving claims are sorted by the rounds that they have lost and cut, in that order, into groups of
G. All pairs of a group play at the same time, with clocks of a grace period beside the time that the moves take, so a
round lasts the same whatever happens in it. One claim of a group wins it; each other claim has lost a round, and is out
after as many lost rounds as grace periods fit into the time for which the adversary can censor. The dispute is over
when one claim is left.

`rounds` plays the adversary's best delay: it decides every match, and lets the claim with the fewest lost rounds win
its group, unless that would end a dispute which another choice would prolong. A test plays small disputes with every
choice there is, and none lasts longer. The adversary may decide the honest claim's matches only by censoring it, so
without censorship the dispute is shorter by all the rounds that the honest claim may lose.

Left out: what a step proof does (it removes a claim for good, which the adversary avoids), late entries, and gas other
than that of a match.
"""

from __future__ import annotations

import math
from typing import Final

GROUP: Final = 4
GRACE_H: Final = 8.0
MATCH_H: Final = 2.0
"""The time that all moves of a match take: an hour for transactions, an hour for a validity proof."""
CENSORSHIP_H: Final = 7 * 24.0
"""The adversary's budget of censorship, all spans of it together."""

BOND_ETH: Final = 3.0
MATCH_ETH: Final = 0.05
"""Gas of one player in one match: five moves of 90,000 gas at 100 gwei, rounded as the authors do."""

PUBLISHED_DAYS: Final = {4: 21.75, 8: 27.0, 12: 30.0, 16: 33.0, 20: 35.25, 24: 38.25, 28: 40.5, 32: 42.75}
"""log2 of the number of claims -> worst delay in days, with groups of 4 and a grace period of 8 hours."""

PUBLISHED_CONTINUOUS_DAYS: Final = {
    4: 12.08, 8: 15.0, 12: 16.67, 16: 18.33, 20: 19.58, 24: 21.25, 28: 22.5, 32: 23.75,
}  # fmt: skip
"""The same for the variant that counts lost time and not lost rounds."""


def lives(*, grace_h: float = GRACE_H, censorship_h: float = CENSORSHIP_H) -> int:
    """The lost rounds after which a claim is out: one more than censorship can explain."""
    return math.ceil(censorship_h / grace_h)


def rounds(claims: int, *, group: int = GROUP, life_count: int | None = None, censored: bool = False) -> int:
    """
    The rounds that a dispute lasts in which an adversary makes all claims but one.

    `censored`: the adversary also uses all the censorship that it can.
    """
    lost = [claims] + [0] * ((lives() if life_count is None else life_count) - 1)
    played = 0
    while sum(lost) > 1:
        lost = _after_round(lost, group)
        played += 1
    return played if censored else max(0, played - (len(lost) - 1))


def longest_days(claims: int, *, grace_h: float = GRACE_H, group: int = GROUP, continuous: bool = False) -> float:
    """
    The longest that so many claims, one of them true, take without censorship.

    A round lasts both players' clocks; in the `continuous` variant, which counts time and not rounds, about half.
    """
    round_h = (1 if continuous else 2) * grace_h + MATCH_H
    return rounds(claims, group=group, life_count=lives(grace_h=grace_h)) * round_h / 24


def honest_gas_eth(claims: int, *, group: int = GROUP) -> float:
    """What the honest claim's matches cost: each round one against every other claim of its group."""
    return rounds(claims, group=group) * (group - 1) * MATCH_ETH


def _after_round(lost: list[int], group: int) -> list[int]:
    """The claims still in, by lost rounds, after one more round."""
    if sum(lost) <= group:
        return _after_last_group(lost)
    after = [0] * (len(lost) + 1)
    filled = 0  # claims in the group that is being filled; its first, the best, wins it
    for level, count in enumerate(lost):
        if filled and count:
            taken = min(group - filled, count)
            after[level + 1] += taken
            filled, count = (filled + taken) % group, count - taken
        whole, rest = divmod(count, group)
        after[level] += whole
        after[level + 1] += whole * (group - 1)
        if rest:
            after[level] += 1
            after[level + 1] += rest - 1
            filled = rest
    return after[:-1]


def _after_last_group(lost: list[int]) -> list[int]:
    """All that are left are one group: the best claim wins, unless only another winner keeps the dispute going."""
    ends: list[list[int]] = []
    for winner, count in enumerate(lost):
        if count:
            after = [0, *lost]
            after[winner] += 1
            after[winner + 1] -= 1
            ends.append(after[:-1])
    return next((after for after in ends if sum(after) > 1), ends[0])
