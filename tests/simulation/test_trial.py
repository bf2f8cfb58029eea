"""What a trial at the rules level must show, one condition at a time."""

from typing import Any

import pytest

from opml_dispute.game.bond import ML, ML_ROOT_BOND_WEI
from opml_dispute.game.gas import dispute_gas
from opml_dispute.simulation.fees import GWEI
from opml_dispute.simulation.scenario import Scenario, parse
from opml_dispute.simulation.trial import bond_rule, play

LIAR = {"strategy": "liar"}


def scenario(**sections: Any) -> Scenario:
    """A scenario with these sections."""
    return parse({"name": "t", **sections}).base


def test_the_same_seed_gives_the_same_row() -> None:
    """And another seed another."""
    busy = scenario(
        attacker=[LIAR, {"strategy": "random", "claims": 6}], fees={"process": "year"}, reorgs={"per_day": 9}
    )
    assert play(busy, 3) == play(busy, 3)
    assert play(busy, 3) != {**play(busy, 4), "seed": 3}


@pytest.mark.parametrize("proposal", ["true", "false"])
@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        [],
        [{"strategy": "sybil", "claims": 30}],
        [{"strategy": "freeloader", "claims": 8}],
        [{"strategy": "random", "claims": 15}],
        [LIAR, LIAR],
    ],
    ids=["alone", "sybil", "freeloader", "random", "colluding"],
)
def test_the_truth_wins_and_costs_honesty_nothing(proposal: str, stalls: bool, extra: list[dict[str, Any]]) -> None:
    """Whatever the dishonest do, an able operator wins and gains."""
    for seed in range(2):
        row = play(
            scenario(game={"proposal": proposal}, attacker=[{**LIAR, "stalls": stalls}, *extra], honest={"poll_s": 30}),
            seed,
        )
        assert row["truth_won"] == 1, (seed, row)
        assert row["honest_net_eth"] > 0
        assert row["missed"] == 0


def test_money_is_conserved() -> None:
    """What one side loses, the other gains, the fire burns, or gas takes."""
    row = play(scenario(attacker=[LIAR, {"strategy": "random", "claims": 9}], fees={"base_fee_gwei": 0}), 5)
    assert row["honest_net_eth"] == pytest.approx(row["attacker_cost_eth"] - row["burnt_eth"])


def test_a_whole_dispute_costs_the_gas_that_the_tables_say() -> None:
    """Both sides together, from the game's creation to the payout, within 3 % of `game.gas`."""
    played = scenario(attacker=[LIAR], fees={"base_fee_gwei": 1})
    row = play(played, 1)
    depths = played.depths
    assert row["claims"] == depths.max + 1
    bonds_net = row["attacker_cost_eth"] - row["honest_net_eth"] - row["burnt_eth"]
    gas = bonds_net * 10**18 / GWEI
    assert gas == pytest.approx(dispute_gas(depths), rel=0.03)


def test_an_unattended_lie_wins() -> None:
    """Without a checker, data or time, the lie stands: the simulation does not hand out victories."""
    assert play(scenario(honest={"check_share": 0}), 1)["truth_won"] == 0
    assert play(scenario(data={"withheld_share": 1}), 1)["truth_won"] == 0
    assert play(scenario(honest={"inference_s": 400_000}), 1)["truth_won"] == 0
    assert play(scenario(honest={"funds_eth": 0.01}), 1)["truth_won"] == 0
    assert play(scenario(data={"withheld_share": 1, "withheld_h": 80}), 1)["truth_won"] == 1


def test_a_faulty_machine_loses_its_bonds_to_the_truth() -> None:
    """A false disputer loses; the proposer wins."""
    row = play(scenario(game={"proposal": "true"}, honest={"faulty_share": 1}), 2)
    assert row["truth_won"] == 1
    assert row["false_disputes"] == 1


def test_bribes_buy_delay_until_the_budget_is_spent() -> None:
    """Each bribed block is paid for; all builders bribed for the whole clock beat the truth."""
    some = play(scenario(censorship={"share": 1, "bribe_eth_per_block": 1, "budget_eth": 100}), 1)
    assert some["bribes_eth"] == some["bribed_blocks"] == 100
    assert some["truth_won"] == 1
    all_day = play(scenario(censorship={"share": 1, "bribe_eth_per_block": 0.001, "budget_eth": 100}), 1)
    assert all_day["truth_won"] == 0


def test_bribes_that_cost_nothing_end_with_the_trial() -> None:
    """No builder ever takes an honest transaction; the search for a block that does ends at the horizon."""
    free = play(scenario(horizon_days=2, censorship={"share": 1, "budget_eth": 1}, attacker=[LIAR]), 1)
    assert free["bribed_blocks"] <= 2 * 86_400 // 12 + 1
    assert free["unfinished"] == 1


def test_reorganisations_change_no_winner() -> None:
    """Undone moves come again, or are made again."""
    for seed in range(4):
        row = play(
            scenario(
                attacker=[LIAR, {"strategy": "random", "claims": 5}],
                reorgs={"per_day": 500, "depth_blocks": 8, "lost_share": 0.5},
            ),
            seed,
        )
        assert row["reorgs"] > 100
        assert row["truth_won"] == 1


def test_a_late_and_lying_view_delays_but_does_not_decide() -> None:
    """Lag, gaps, hidden claims and outages, none longer than the extension."""
    for seed in range(4):
        row = play(
            scenario(
                attacker=[LIAR],
                rpc={"lag_s": 300, "gaps_per_day": 4, "gap_h": 0.5, "hidden_share": 0.3},
                honest={"offline_per_day": 1, "offline_h": 1},
            ),
            seed,
        )
        assert row["truth_won"] == 1, (seed, row)


def test_front_runners_take_rewards_and_not_the_truth() -> None:
    """A copied move is as true as the original."""
    row = play(scenario(attacker=[{**LIAR, "front_runs": 1}]), 1)
    alone = play(scenario(attacker=[LIAR]), 1)
    assert row["truth_won"] == 1
    assert row["honest_refused"] > 0
    assert row["honest_net_eth"] < alone["honest_net_eth"]
    assert row["attacker_cost_eth"] >= row["burnt_eth"] > 0


def test_a_low_fee_is_waited_for() -> None:
    """With a cap, an operator pays less for the same victory."""
    fees = {"process": "spikes", "base_fee_gwei": 10, "spike_factor": 100, "spikes_per_day": 12, "spike_h": 1}
    hasty = [play(scenario(attacker=[LIAR], fees=fees), seed)["honest_gas_eth"] for seed in range(6)]
    patient = [
        play(scenario(attacker=[LIAR], fees=fees, honest={"fee_cap_gwei": 20}), seed)["honest_gas_eth"]
        for seed in range(6)
    ]
    assert sum(patient) < sum(hasty)


def test_two_curves_of_bonds() -> None:
    """The published one to the wei, and the one that pays for gas."""
    assert bond_rule(scenario(bonds={"curve": "op-stack"}).bonds).required_wei(0, 26) == 80_000_000_000_000_000
    rule = bond_rule(scenario().bonds)
    assert rule.required_wei(0, 26) == int(414_000 * 30 * GWEI * 8.5)
    assert rule.required_wei(26, 26) == pytest.approx(241_800 * 30 * GWEI * 8.5, rel=1e-4)
    assert rule.terms == ML, "the laboratory's default is the deployments'"
    assert rule.root_bond_wei == ML_ROOT_BOND_WEI
    assert rule.burnt_wei(10) == 2


def test_a_restart_loses_vm_runs_and_not_the_game() -> None:
    """A trace in memory is computed again."""
    steady = play(scenario(attacker=[{**LIAR, "delay_h": 1}]), 1)
    restarting = play(scenario(attacker=[{**LIAR, "delay_h": 1}], honest={"restarts_per_day": 20}), 1)
    assert restarting["truth_won"] == steady["truth_won"] == 1
    assert restarting["vm_runs"] > steady["vm_runs"]


def test_a_node_that_lies_about_the_newest_claim_costs_gas_and_not_the_game() -> None:
    """An answer to a claim that is not on chain is refused there."""
    honest_node = play(scenario(attacker=[LIAR]), 1)
    lying_node = play(scenario(attacker=[LIAR], rpc={"false_share": 0.3}), 1)
    assert lying_node["truth_won"] == 1
    assert lying_node["honest_refused"] > honest_node["honest_refused"] == 0
    assert lying_node["honest_gas_eth"] > honest_node["honest_gas_eth"]


def test_an_outdated_engine_disputes_every_true_proposal_and_loses_its_bonds() -> None:
    """The same wrong step in each game; the proposer's true claims stand."""
    found = play(scenario(game={"proposal": "true"}, load={"games": 5}, honest={"outdated_share": 1}), 3)
    assert found["false_disputes"] == found["truth_won"] == 5
    assert found["burnt_eth"] > 0, "a fifth of what it lost"
