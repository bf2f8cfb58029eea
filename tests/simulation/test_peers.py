"""Models of other games, held against published numbers; and the arithmetic of attention."""

import itertools
import random

import pytest

from opml_dispute.simulation import attention
from opml_dispute.simulation.peers import bold, dave, op_stack, tournament
from opml_dispute.simulation.scenario import parse
from opml_dispute.simulation.studies import validation
from opml_dispute.simulation.trial import play

ETHER = 10**18


def test_op_stack_chain_of_claims() -> None:
    """631 ETH, as published: every bond of a chain of claims but the leaf's; with the leaf, 60 more."""
    assert op_stack.chain_bonds_wei(with_leaf=False) // ETHER == 631
    assert op_stack.chain_bonds_wei(with_leaf=True) // ETHER == 691


@pytest.mark.parametrize("proposal", ["true", "false"])
@pytest.mark.parametrize(("nodes", "log2_steps", "extension_h"), [(14, 20, 3), (300, 8, 1), (4, 5, 6)])
def test_the_longest_game_is_the_one_that_the_formula_says(
    nodes: int, log2_steps: int, extension_h: float, proposal: str
) -> None:
    """Clocks and extensions: played out, and computed."""
    scenario = parse(
        {
            "name": "x",
            "game": {"nodes": nodes, "log2_steps": log2_steps, "extension_h": extension_h, "proposal": proposal},
            "honest": {"poll_s": 1, "inference_s": 0, "vm_run_s": 0},
            "attacker": [{"strategy": "liar", "stalls": True}],
        }
    ).base
    depths = scenario.depths
    longest_h = op_stack.longest_game_h(
        84, extension_h, split_depth=depths.split, max_depth=depths.max, liar_proposes=proposal == "false"
    )
    found = max(play(scenario, seed)["delay_h"] for seed in range(5)) + 84
    assert found == pytest.approx(longest_h, abs=0.5)


@pytest.mark.parametrize("log2_sybils", [0, 4, 8, 16, 32])
def test_bold_takes_one_challenge_period_however_many_sybils(log2_sybils: int) -> None:
    """Plus the honest reactions, of which a challenge has as many as bisections."""
    reaction_days = 10 / 1_440
    delay = bold.worst_delay(2**log2_sybils, reaction_days, tries=10)
    most = bold.CHALLENGE_PERIOD_DAYS + sum(bold.LEVEL_HEIGHTS) * reaction_days
    assert bold.CHALLENGE_PERIOD_DAYS <= delay.days <= most + 1e-9
    assert pytest.approx(6.4, abs=0.05) == bold.CHALLENGE_PERIOD_DAYS


def test_a_waiting_adversary_wins_no_time_from_bold() -> None:
    """While it waits, the honest timer runs."""
    assert bold.challenge([3, 3, 3], 0, period_days=7).days == 7
    assert bold.challenge([8], 0.5, period_days=7) == bold.Delay(7, 0)
    assert bold.challenge([1, 1], 0.5, period_days=7) == bold.Delay(8, 2)  # the honest side's own reactions


@pytest.mark.parametrize("sybils", [1, 2, 3, 7, 16, 100, 4095])
def test_a_tournament_lasts_as_long_as_its_rounds(sybils: int) -> None:
    """Played out, and computed."""
    outcome = tournament.play(sybils, seed=sybils)
    assert outcome.days == tournament.worst_delay_days(sybils)
    assert outcome.honest_matches <= outcome.rounds


@pytest.mark.parametrize("log2_claims", dave.PUBLISHED_DAYS)
def test_dave_takes_as_long_as_its_authors_say(log2_claims: int) -> None:
    """All published figures, exactly; and a plain tournament is slower."""
    claims = 2**log2_claims
    assert dave.longest_days(claims) == dave.PUBLISHED_DAYS[log2_claims]
    continuous = dave.longest_days(claims, continuous=True)
    assert continuous == pytest.approx(dave.PUBLISHED_CONTINUOUS_DAYS[log2_claims], abs=0.005)
    assert tournament.worst_delay_days(claims) > dave.longest_days(claims)


def test_a_censored_honest_claim_costs_dave_all_the_rounds_that_it_may_lose() -> None:
    """49 rounds with 2^4 claims and full censorship, as in the paper's table, of which 20 are the honest claim's."""
    assert dave.lives() == 21
    assert dave.rounds(16, censored=True) == 49
    assert dave.rounds(16) == 29


def longest(lost: tuple[int, ...], group: int, life_count: int) -> int:
    """The most rounds that a dispute can last, by trying every winner of every group in every round."""
    seen: dict[tuple[int, ...], int] = {}

    def search(lost: tuple[int, ...]) -> int:
        if len(lost) <= 1:
            return 0
        if lost not in seen:
            groups = [lost[start : start + group] for start in range(0, len(lost), group)]
            seen[lost] = 1 + max(
                search(after(groups, winners)) for winners in itertools.product(*(sorted(set(each)) for each in groups))
            )
        return seen[lost]

    def after(groups: list[tuple[int, ...]], winners: tuple[int, ...]) -> tuple[int, ...]:
        left = list(winners)
        for each, winner in zip(groups, winners, strict=True):
            losers = list(each)
            losers.remove(winner)
            left += [level + 1 for level in losers if level + 1 < life_count]
        return tuple(sorted(left))

    return search(lost)


@pytest.mark.parametrize("group", [2, 3, 4])
@pytest.mark.parametrize("life_count", [1, 2, 3, 4])
@pytest.mark.parametrize("claims", [1, 2, 3, 4, 5, 6, 7])
def test_no_adversary_delays_dave_longer_than_the_one_that_is_played(claims: int, life_count: int, group: int) -> None:
    """Against every choice that there is."""
    most = longest((0,) * claims, group, life_count)
    assert dave.rounds(claims, group=group, life_count=life_count, censored=True) == most


def test_bold_stakes_follow_from_gas_and_resource_ratio() -> None:
    """3,600, 555 and 79 ETH, to a third of a percent."""
    assert bold.stakes_for() == pytest.approx(bold.STAKES_ETH, rel=0.003)
    # What they are for: at each level the adversary loses so many times what the honest side spends.
    price_eth = bold.STAKE_GAS_PRICE_GWEI * 1e-9
    stakes = [*bold.stakes_for(), 0.0]
    for level, (gas, honest) in enumerate(zip(bold.LEVEL_GAS, bold.HONEST_GAS, strict=True)):
        lost = stakes[level] + gas * price_eth
        assert lost == pytest.approx(bold.RESOURCE_RATIO * ((gas + honest) * price_eth + stakes[level + 1]))


def test_the_validation_agrees_everywhere() -> None:
    """Each known number, as the report shows it."""
    assert {row[-1] for row in validation.rows()} == {"yes"}


@pytest.mark.parametrize("share_of_threshold", [0.7, 1.3])
def test_checking_pays_above_the_threshold_only(share_of_threshold: float) -> None:
    """Penalty times probability against the cost, decided and counted."""
    stakes = attention.Stakes(check_cost=0.001, catch_reward=0.05, lie_gain=1, lie_loss=1)
    wrong_share = attention.threshold(stakes) * share_of_threshold
    chance = random.Random(1)
    rounds = 60_000
    caught = sum(chance.random() < wrong_share for _ in range(rounds))
    earned = caught * stakes.catch_reward - rounds * stakes.check_cost
    assert attention.decision(stakes, wrong_share) == (earned > 0) == (share_of_threshold > 1)


def test_attention_tests_end_the_lying() -> None:
    """Without them lies go through; with enough of them hardly any does."""
    stakes = attention.Stakes(check_cost=0.001, catch_reward=0.08, lie_gain=1, lie_loss=0.1)
    without = attention.play(stakes, proposals=30_000, checkers=1, test_share=0, seed=1)
    enough = 4 * attention.threshold(stakes)
    tested = attention.play(stakes, proposals=30_000, checkers=1, test_share=enough, seed=1)
    assert without.undetected_share > 0.02
    assert tested.undetected_share < 0.002
