"""
The study behind the default bond curve.

A bond has to pay the account that counters the claim, at the gas price of that time, after the burnt share is taken
off; and all the bonds of one side together should be little. `judge` compares it with these demands, `smallest` finds
the least safety factor that meets them, and `loss_probability` replays disputes of all lengths over years of base fees.

The default that follows, and the reasons, are in docs/reports/bonds.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from opml_dispute.simulation.bonds import GasCurve
from opml_dispute.simulation.fees import FeePath
from opml_dispute.simulation.gas_table import GasTable


def liar_depths(max_depth: int, *, first: int) -> list[list[int]]:
    """Every dispute in a line: the depths of a liar's claims, for a liar that gives up after one, two, … claims."""
    depths = list(range(first, max_depth + 1, 2))
    return [depths[:count] for count in range(1, len(depths) + 1)]


def counter_gas(depths: Sequence[int], max_depth: int, gas: GasTable, *, newcomer: bool) -> int:
    """What an honest account spends to counter all of these claims and to be paid."""
    spent = sum(gas.countering(newcomer=False, is_leaf=depth == max_depth) for depth in depths)
    return spent + (gas.countering(newcomer=True) - gas.countering(newcomer=False) if newcomer else 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The results of a candidate in games of one depth."""

    max_depth: int
    proposer_side_wei: float
    challenger_side_wei: float
    solvent_to_wei: float
    """The base fee up to which every challenger of a lie, whenever the liar gives up, gets more than it spent."""
    marginal_to_wei: float
    """The base fee up to which every single counter pays for itself, for an account that plays already."""
    outsider_to_wei: float
    """As `solvent_to_wei`, for an outsider that defends a true root claim in its proposer's place."""
    griefing_ratio: float
    """The most that an honest answer stakes for each wei of the claim that it answers."""
    lie_cost_wei: float
    """The loss of a liar that counters its own root claim before another account does, without gas."""


def judge(candidate: GasCurve, max_depth: int, gas: GasTable) -> Verdict:
    """Everything about `candidate` in games of maximum depth `max_depth`."""

    def solvent(first: int) -> float:
        return min(
            candidate.reward_wei(depths, max_depth) / counter_gas(depths, max_depth, gas, newcomer=True)
            for depths in liar_depths(max_depth, first=first)
        )

    keep = 1 - candidate.burnt_share
    bonds = [candidate.bond_wei(depth, max_depth) for depth in range(max_depth + 1)]
    marginal = min(
        keep * bond / gas.countering(newcomer=False, is_leaf=depth == max_depth) for depth, bond in enumerate(bonds)
    )
    return Verdict(
        max_depth,
        candidate.side_wei(max_depth, first=0),
        candidate.side_wei(max_depth, first=1),
        solvent(0),
        marginal,
        solvent(1),
        max(after / before for before, after in itertools.pairwise(bonds)),
        candidate.burnt_share * bonds[0],
    )


def smallest(candidate: GasCurve, gas: GasTable, *, solvent_at_wei: float, depths: Sequence[int]) -> GasCurve:
    """The same candidate with the least safety factor, to one decimal upwards, that stays solvent at that base fee."""
    unit = replace(candidate, safety=1.0)
    verdicts = [judge(unit, depth, gas) for depth in depths]
    least = solvent_at_wei / min(min(v.solvent_to_wei, v.marginal_to_wei) for v in verdicts)
    return replace(candidate, safety=float(np.ceil(least * 10) / 10))


def loss_probability(
    candidate: GasCurve,
    gas: GasTable,
    paths: Sequence[FeePath],
    *,
    max_depth: int,
    disputes: int,
    seed: int,
    answer_every_s: float = 3_600,
    wait_s: float = 0,
) -> tuple[float, float]:
    """
    Over random disputes: the share in which the challenger of a lie loses money, and its worst loss in wei.

    Each begins at a random time of a random year and ends after a random number of the liar's claims. An answer is sent
    `answer_every_s` after the last one; with `wait_s`, the challenger puts each answer off for so long at most, until
    the fee is low enough for the answer to pay for itself.
    """
    chance = np.random.default_rng(seed)
    losses, worst = 0, 0.0
    keep = 1 - candidate.burnt_share
    for _ in range(disputes):
        path = paths[int(chance.integers(len(paths)))]
        now = float(chance.uniform(0, len(path.wei) * path.grid_s))
        everything = liar_depths(max_depth, first=0)
        depths = everything[int(chance.integers(len(everything)))]
        net = 0.0
        for place, depth in enumerate(depths):
            spent = gas.countering(newcomer=place == 0, is_leaf=depth == max_depth)
            reward = keep * candidate.bond_wei(depth, max_depth)
            if wait_s:
                later = path.first_below_s(now, reward / spent)
                now = min(now + wait_s, later if later is not None else now + wait_s)
            net += reward - spent * path.at_wei(now)
            now += answer_every_s
        if net < 0:
            losses += 1
            worst = min(worst, net)
    return losses / disputes, worst
