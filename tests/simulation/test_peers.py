"""Models of other games, held against published numbers; and the arithmetic of attention."""

import random

import pytest

from opml_dispute.simulation import attention
from opml_dispute.simulation.peers import bold, op_stack, tournament
from opml_dispute.simulation.scenario import parse
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


@pytest.mark.parametrize("sybils", [1, 2, 3, 7, 16, 100, 4095])
def test_a_tournament_lasts_as_long_as_its_rounds(sybils: int) -> None:
    """Played out, and computed."""
    outcome = tournament.play(sybils, seed=sybils)
    assert outcome.days == tournament.worst_delay_days(sybils)
    assert outcome.honest_matches <= outcome.rounds


def test_a_plain_tournament_is_slower_than_dave() -> None:
    """Dave's published delays are not what this model gives; they are far below it."""
    for log2_sybils, days in tournament.DAVE_DAYS.items():
        assert tournament.worst_delay_days(2**log2_sybils) > days


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
