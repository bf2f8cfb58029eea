"""
The two levels of a scenario are one: random scenarios, played by the pure rules and on the real contracts.

Same seed, same players: the same transactions at the same times, the same claims with the same clocks, the same winner,
and the same payments to the wei.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opml_dispute.actors.actions import Move, Step
from opml_dispute.engine.hashing import keccak256
from opml_dispute.simulation.contract_referee import ContractReferee
from opml_dispute.simulation.referee import Applied, Referee
from opml_dispute.simulation.scenario import Scenario, parse, with_settings
from opml_dispute.simulation.trial import CHECKER, Trial

STRATEGIES = [
    {"strategy": "liar"},
    {"strategy": "liar", "stalls": True},
    {"strategy": "liar", "gives_up_after": 3},
    {"strategy": "liar", "front_runs": 1.0},
    {"strategy": "sybil", "claims": 6},
    {"strategy": "freeloader", "claims": 3},
    {"strategy": "random", "claims": 5},
]

REORGANISATIONS: list[dict[str, Any]] = [
    {},
    {"per_day": 1_000, "depth_blocks": 6, "lost_share": 0.2},
    {"per_day": 200, "depth_blocks": 40},
    {"per_day": 500, "depth_blocks": 2, "lost_share": 0.7},
]


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """A small scenario with any of the conditions that both levels have."""
    extension_h = draw(st.sampled_from([0, 1, 3]))
    return {
        "name": "both",
        "game": {
            "nodes": draw(st.sampled_from([1, 2, 3, 5, 14, 200])),
            "log2_steps": draw(st.sampled_from([2, 5, 14])),
            "proposal": draw(st.sampled_from(["true", "false"])),
            "extension_h": extension_h,
            "max_clock_h": draw(st.sampled_from([12, 84])),
        },
        "bonds": {"curve": draw(st.sampled_from(["op-stack", "gas"]))},
        "chain": {"full_share": draw(st.sampled_from([0, 0.3])), "block_s": draw(st.sampled_from([2, 12]))},
        "fees": {"process": draw(st.sampled_from(["constant", "spikes", "year"])), "spikes_per_day": 4},
        "censorship": draw(st.sampled_from([{}, {"share": 0.5, "bribe_eth_per_block": 0.1, "budget_eth": 9}])),
        "honest": {
            "faulty_share": draw(st.sampled_from([0, 0, 0, 1])),
            "restarts_per_day": draw(st.sampled_from([0, 0, 9])),
            "fee_cap_gwei": draw(st.sampled_from([0, 20])),
            "cores": draw(st.sampled_from([1, 2])),
            "poll_s": 30,
        },
        "rpc": draw(st.sampled_from([{}, {}, {"lag_s": 60}, {"hidden_share": 0.3}, {"false_share": 0.3}])),
        "data": draw(st.sampled_from([{}, {}, {"withheld_share": 1, "withheld_h": 2}])),
        "load": {"games": draw(st.sampled_from([1, 1, 2])), "arrival_h": 1},
        "reorgs": draw(st.sampled_from(REORGANISATIONS)),
        "attacker": draw(st.lists(st.sampled_from(STRATEGIES), max_size=3)),
    }


def play_both(table: dict[str, Any], seed: int) -> tuple[Trial, Trial, dict[str, Any], dict[str, Any]]:
    """The trial at both levels, and its rows."""
    rules: Scenario = parse(table).base
    contract = with_settings(rules, {"level": "contract"})
    trials = Trial(rules, seed, keccak256), Trial(contract, seed, keccak256)
    # The levels are one scenario: chance must not tell them apart.
    return (*trials, trials[0].run(), trials[1].run())


def expect_the_same(rules: Trial, contract: Trial) -> None:
    """Every game of the two has the same transactions, claims, clocks, winner and payments."""
    assert list(rules.chain.tables) == list(contract.chain.tables)
    for left, right in zip(rules.chain.tables.values(), contract.chain.tables.values(), strict=True):
        assert isinstance(right.referee, ContractReferee)
        assert not isinstance(left.referee, ContractReferee)
        assert left.referee.journal == right.referee.journal
        assert list(left.referee.game.claims) == list(right.referee.game.claims)
        assert left.referee.game.status == right.referee.game.status
        assert left.referee.game.resolved_at_s == right.referee.game.resolved_at_s
        assert left.referee.money.staked_wei == right.referee.money.staked_wei
        assert left.referee.money.awarded_wei == right.referee.money.awarded_wei


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(table=scenarios(), seed=st.integers(0, 2**32))
def test_both_levels_play_the_same_game(table: dict[str, Any], seed: int) -> None:
    """Transactions, claims, clocks, winner, payments, every figure of the row."""
    rules, contract, predicted, found = play_both(table, seed)
    expect_the_same(rules, contract)
    assert found == pytest.approx(predicted)


TAKEN_BACK: dict[str, Any] = {
    "name": "taken-back",
    "game": {"nodes": 3, "log2_steps": 3, "max_clock_h": 12},
    "reorgs": {"per_day": 1_000, "depth_blocks": 6, "lost_share": 0.2},
    "honest": {"poll_s": 30},
    "load": {"games": 2, "arrival_h": 0.01},
    "attacker": [{"strategy": "liar"}],
}
"""Two games at the same time, some of whose moves a reorganisation takes back."""


def note_undone(monkeypatch: pytest.MonkeyPatch) -> list[tuple[type[Referee], Applied]]:
    """What reorganisations undo from now on, with who undid it."""
    noted: list[tuple[type[Referee], Applied]] = []

    def note(level: type[Referee]) -> None:
        undo_after = level.undo_after

        def undo_and_note(referee: Referee, time_s: float) -> list[Applied]:
            undone = undo_after(referee, time_s)
            noted.extend((type(referee), entry) for entry in undone)
            return undone

        monkeypatch.setattr(level, "undo_after", undo_and_note)

    note(Referee)
    note(ContractReferee)
    return noted


def test_a_reorganisation_takes_back_the_same_at_both_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves and steps are undone, some come again and some are lost, and the truth wins all the same."""
    noted = note_undone(monkeypatch)
    for seed in (5, 6):
        rules, contract, predicted, found = play_both(TAKEN_BACK, seed)
        expect_the_same(rules, contract)
        assert found == pytest.approx(predicted)
        assert found["truth_won"] == 2
    by_rules, by_contract = ([e for level, e in noted if level is wanted] for wanted in (Referee, ContractReferee))
    assert by_rules == by_contract
    assert {type(entry.action) for entry in by_contract} >= {Move, Step}


def test_a_game_that_was_taken_back_is_what_it_would_be_without() -> None:
    """Whatever was undone: playing what is left in the journal gives the game that the contract holds."""
    _, contract, _, _ = play_both(TAKEN_BACK, 6)
    for table in contract.chain.tables.values():
        taken, before = table.referee.game, list(table.referee.journal)
        undone = table.referee.undo_after(before[0].time_s)
        assert undone
        assert table.referee.game.in_progress
        for entry in undone:
            table.referee.apply(entry.sender, entry.action, entry.time_s)
        assert table.referee.journal == before
        assert list(table.referee.game.claims) == list(taken.claims)
        assert (table.referee.game.status, table.referee.game.resolved_at_s) == (taken.status, taken.resolved_at_s)


def test_the_contract_executes_the_last_step() -> None:
    """A whole dispute ends in a step that the contract accepts, and the liar's claims are lost."""
    table = {
        "name": "step",
        "game": {"nodes": 3, "log2_steps": 5},
        "bonds": {"curve": "op-stack"},
        "attacker": [{"strategy": "liar"}],
    }
    _, contract, _, row = play_both(table, 7)
    (only,) = contract.chain.tables.values()
    steps = [entry for entry in only.referee.journal if type(entry.action).__name__ == "Step"]
    assert len(steps) == 1
    assert row["truth_won"] == 1


def test_who_has_only_stepped_is_paid_at_both_levels() -> None:
    """Every move of the honest account was made by another before it; the step is its own, and so is what it wins."""
    table = {
        "name": "only-a-step",
        "game": {"nodes": 1, "log2_steps": 5, "max_clock_h": 12},
        "bonds": {"curve": "op-stack"},
        "attacker": [{"strategy": "liar", "front_runs": 1.0}, {"strategy": "liar", "front_runs": 1.0}],
    }
    for seed in range(20):
        rules, contract, predicted, found = play_both(table, seed)
        expect_the_same(rules, contract)
        assert found == pytest.approx(predicted)
        (game,) = (table.referee.game for table in rules.chain.tables.values())
        if CHECKER not in {claim.claimant for claim in game.claims}:
            assert rules.chain.tables[game.address].referee.money.awarded_wei[CHECKER] > 0
            return
    pytest.fail("the honest account moved in every game: no game is of this kind")
