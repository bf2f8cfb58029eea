"""
The verifier's dilemma, and attention tests against it.

A verifier pays for the computation; if proposals are nearly always right, checking hardly ever pays, and no verifier
checks: then a lie pays. An attention test is a proposal that is known to be wrong, made at random; who catches it is
rewarded (or who overlooks it, punished). A checker that counts its money checks if and only if

    reward * probability of something to catch  >  cost of checking.

`decision` is that rule, `equilibrium` the rates at which a liar and a checker are both indifferent without tests,
`play` a simulation of checkers who learn from what they got and of a liar who learns from what it got away with.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stakes:
    """The amounts in one proposal, in ether."""

    check_cost: float
    """The computation, and watching."""
    catch_reward: float
    """Net of gas, for the first to catch a wrong proposal."""
    lie_gain: float
    """To the liar, if no verifier notices."""
    lie_loss: float
    """To the liar, if it is caught."""


def decision(stakes: Stakes, wrong_share: float) -> bool:
    """Whether checking pays if so large a share of the proposals is wrong: lies and tests together."""
    return stakes.catch_reward * wrong_share > stakes.check_cost


def threshold(stakes: Stakes) -> float:
    """The least share of tests that makes checking worth while even if no proposer lies."""
    return stakes.check_cost / stakes.catch_reward if stakes.catch_reward > 0 else math.inf


def equilibrium(stakes: Stakes) -> tuple[float, float]:
    """
    (share of proposals that are lies, share that is checked) at which neither side can do better, without tests.

    A lie pays if gain * (1 - checked) > loss * checked; checking pays as in `decision`.
    """
    lies = min(1.0, threshold(stakes))
    checked = stakes.lie_gain / (stakes.lie_gain + stakes.lie_loss) if lies < 1 else 0.0
    return lies, checked


@dataclass(frozen=True, slots=True)
class Season:
    """The results of a long run of proposals."""

    proposals: int
    lies: int
    undetected: int
    checks: int
    tests: int
    tests_paid: float

    @property
    def undetected_share(self) -> float:
        """Of all proposals, the share that was wrong and delivered."""
        return self.undetected / self.proposals


def play(
    stakes: Stakes,
    *,
    proposals: int,
    checkers: int,
    test_share: float,
    seed: int,
    adapts: float = 0.02,
    rates: Sequence[float] = (0.5, 0.05),
) -> Season:
    """
    Proposals one after the other; a checker and the liar each raise or lower their rate by what paid lately.

    `rates` are where they start: (checking rate, lying rate). Of several who catch, one at random is paid.
    """
    chance = random.Random(seed)
    check_rate, lie_rate = list(rates[:1]) * checkers, rates[1]
    value = [0.0] * checkers
    lie_value = 0.0
    lies = undetected = checks = tests = 0
    paid = 0.0
    for _ in range(proposals):
        is_test = chance.random() < test_share
        is_lie = not is_test and chance.random() < lie_rate
        who = [place for place in range(checkers) if chance.random() < check_rate[place]]
        caught = bool(who) and (is_lie or is_test)
        winner = chance.choice(who) if caught else None
        tests += is_test
        lies += is_lie
        checks += len(who)
        undetected += is_lie and not who
        for place in who:
            gain = (stakes.catch_reward if place == winner else 0.0) - stakes.check_cost
            value[place] += adapts * (gain - value[place])
            step = adapts if value[place] > 0 else -adapts
            check_rate[place] = min(
                1.0, max(0.01, check_rate[place] + step * abs(math.tanh(value[place] / stakes.check_cost)))
            )
        if is_test and winner is not None:
            paid += stakes.catch_reward
        if is_lie:
            gain = -stakes.lie_loss if who else stakes.lie_gain
            lie_value += adapts * (gain - lie_value)
            lie_rate = min(1.0, max(0.005, lie_rate + (adapts if lie_value > 0 else -adapts)))
    return Season(proposals, lies, undetected, checks, tests, paid)
