"""
The two levels of a scenario are one: random scenarios, played by the pure rules and on the real contracts.

Same seed, same players: the same transactions at the same times, the same claims with the same clocks, the same winner,
and the same payments to the wei.
"""

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opml_dispute.actors.actions import Move, Step
from opml_dispute.engine.hashing import keccak256
from opml_dispute.simulation import trial
from opml_dispute.simulation.contract_referee import ContractReferee
from opml_dispute.simulation.referee import Applied, Referee
from opml_dispute.simulation.scenario import AttackerSection, Scenario, parse, with_settings
from opml_dispute.simulation.trial import CHECKER, Trial

CONDITIONS: dict[str, dict[str, Any]] = {
    "a wrong bond curve": {"bonds": {"root_gas": 200_000, "floor_gas": 90_000, "growth": 2.0, "safety": 3.0}},
    "another base fee is assumed": {"bonds": {"assumed_base_fee_gwei": 8.0, "burnt_share": 0.5}},
    "blocks are full": {"chain": {"full_share": 0.3}},
    "the gas of longer claims": {"chain": {"gas_table": "three-words"}},
    "the fee has spikes": {"fees": {"process": "spikes", "spikes_per_day": 4, "spike_factor": 100.0, "spike_h": 0.5}},
    "the fee is that of a year": {"fees": {"process": "year", "base_fee_gwei": 40.0}},
    "builders are bribed": {"censorship": {"share": 0.5, "bribe_eth_per_block": 0.1, "budget_eth": 9}},
    "the node lags": {"rpc": {"lag_s": 60}},
    "the node hides": {"rpc": {"hidden_share": 0.3}},
    "the node lies": {"rpc": {"false_share": 0.3}},
    "the node fails": {"rpc": {"gaps_per_day": 12, "gap_h": 0.5}},
    "one core": {"honest": {"cores": 1, "inference_s": 900.0}, "load": {"games": 3}},
    "a slow machine": {"honest": {"inference_s": 900.0, "vm_run_s": 1_800.0}},
    "it looks seldom": {"honest": {"poll_s": 1_200.0}},
    "a purse that is soon empty": {"honest": {"funds_eth": 0.2}},
    "a fee cap": {"honest": {"fee_cap_gwei": 10, "patience_h": 2.0}},
    "offline for hours": {"honest": {"offline_per_day": 6, "offline_h": 2.0}},
    "restarted": {"honest": {"restarts_per_day": 9}},
    "a bit flips": {"honest": {"faulty_share": 1}, "game": {"proposal": "true"}},
    "an outdated engine": {"honest": {"outdated_share": 1}},
    "some games are checked": {"honest": {"check_share": 0.1}},
    "data withheld for hours": {"data": {"withheld_share": 1, "withheld_h": 2}},
    "data withheld for ever": {"data": {"withheld_share": 1, "withheld_h": 0}},
    "exceptions are latched": {"exceptions": {"share": 1, "handling": "latched"}},
    "exceptions revert": {"exceptions": {"share": 1, "handling": "reverts"}},
    "several games": {"load": {"games": 3, "arrival_h": 1}},
    "requests as spam": {"load": {"spam_per_hour": 120}},
    "deep reorganisations": {"reorgs": {"per_day": 200, "depth_blocks": 40}},
    "frequent reorganisations": {"reorgs": {"per_day": 1_000, "depth_blocks": 6, "lost_share": 0.2}},
    "reorganisations that lose most": {"reorgs": {"per_day": 500, "depth_blocks": 2, "lost_share": 0.7}},
    "times of another deployment": {"game": {"challenge_period_s": 60, "finality_delay_h": 12.0}},
    "true and false proposals": {"game": {"proposal": "mixed", "false_share": 0.4}, "load": {"games": 3}},
    "a liar stalls": {"attacker": [{"strategy": "liar", "stalls": True}]},
    "a liar is slow": {"attacker": [{"strategy": "liar", "delay_h": 1.0}]},
    "a liar gives up": {"attacker": [{"strategy": "liar", "gives_up_after": 3}]},
    "a liar has little": {"attacker": [{"strategy": "liar", "budget_eth": 0.2}]},
    "a liar attacks some games": {"attacker": [{"strategy": "liar", "games_share": 0.5}], "load": {"games": 3}},
    "a liar front-runs": {"attacker": [{"strategy": "liar", "front_runs": 1.0}]},
    "liars collude": {
        "attacker": [{"strategy": "liar"}, {"strategy": "liar"}, {"strategy": "freeloader", "claims": 2}]
    },
    "Sybils": {"attacker": [{"strategy": "sybil", "claims": 6, "per_block": 2}]},
    "freeloaders": {"attacker": [{"strategy": "liar"}, {"strategy": "freeloader", "claims": 3}]},
    "random moves": {"attacker": [{"strategy": "random", "claims": 5}]},
}
"""What docs/simulation.md, "Conditions", lists, strong enough to show in a small game."""


def under(table: dict[str, Any], *conditions: str) -> dict[str, Any]:
    """A scenario under these conditions as well; of several about the same setting, the last one's."""
    found: dict[str, Any] = {name: dict(part) if isinstance(part, dict) else part for name, part in table.items()}
    for condition in conditions:
        for section, settings_ in CONDITIONS[condition].items():
            found[section] = settings_ if section == "attacker" else {**found.get(section, {}), **settings_}
    return found


SMALL: dict[str, Any] = {
    "name": "both",
    "game": {"nodes": 3, "log2_steps": 5, "max_clock_h": 12, "extension_h": 1},
    "attacker": [{"strategy": "liar"}],
}


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """A small scenario under up to five of the conditions."""
    game = {
        "nodes": draw(st.sampled_from([1, 2, 3, 5, 14, 200])),
        "log2_steps": draw(st.sampled_from([2, 5, 14])),
        "proposal": draw(st.sampled_from(["true", "false"])),
        "extension_h": draw(st.sampled_from([0, 1, 3])),
        "max_clock_h": draw(st.sampled_from([12, 84])),
    }
    table = {
        "name": "both",
        "game": game,
        "bonds": {"curve": draw(st.sampled_from(["op-stack", "gas"]))},
        "chain": {"block_s": draw(st.sampled_from([2, 12]))},
        "honest": {"poll_s": 30},
        "attacker": [{"strategy": "liar"}],
    }
    return under(table, *draw(st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=5, unique=True)))


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


@pytest.mark.parametrize("condition", CONDITIONS)
def test_both_levels_play_the_same_game_under_each_condition(condition: str) -> None:
    """And each condition changes the game, but for latched exceptions, which are steps like all others."""
    rules, contract, predicted, found = play_both(under(SMALL, condition), seed=11)
    expect_the_same(rules, contract)
    assert found == pytest.approx(predicted)
    without = trial.play(parse(SMALL).base, 11)
    assert (predicted == pytest.approx(without)) == (condition == "exceptions are latched")


NO_CONDITIONS = {"name", "question", "conclusion", "shown", "level", "trials", "seed", "horizon_days", "node"}
"""What a scenario says beside what is played."""
IN_EACH = {("game", "nodes"), ("game", "log2_steps"), ("game", "max_clock_h"), ("game", "extension_h")}
IN_EACH |= {("bonds", "curve"), ("chain", "block_s")}


def test_every_setting_is_compared_at_both_levels() -> None:
    """A setting that is new and in none of the conditions would be believed without a contract."""
    compared = set(IN_EACH)
    for condition in CONDITIONS.values():
        for section, told in condition.items():
            compared |= {(section, key) for part in (told if isinstance(told, list) else [told]) for key in part}
    kinds: dict[str, Any] = {one.name: one.default_factory for one in dataclasses.fields(Scenario)}
    kinds["attacker"] = AttackerSection
    sections = [(name, kind) for name, kind in kinds.items() if name not in NO_CONDITIONS]
    assert compared == {(name, one.name) for name, kind in sections for one in dataclasses.fields(kind)}


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


def test_a_move_that_comes_again_under_another_parent_is_refused_for_its_bond() -> None:
    """Two claims of one value at two depths come again in the other order: a move against one meets the other."""
    table = under(SMALL, "a bit flips")
    table |= {"chain": {"block_s": 2}, "reorgs": {"per_day": 1_000, "depth_blocks": 40}}
    table["game"] |= {"extension_h": 3}
    rules, contract, predicted, found = play_both(table, 15)
    expect_the_same(rules, contract)
    assert found == pytest.approx(predicted)


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
