"""
The contract level on a real Anvil, behind a connection that fails: the rows are those of the rules.

What the rules predict, the contracts in this process and the contracts on a chain do, whatever the proxy does to the
requests; no transaction is lost, and none is doubled.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from opml_dispute.chain.rpc import Rpc
from opml_dispute.devnet.anvil import Anvil, is_alive, reorganise
from opml_dispute.devnet.laboratory import anvil_contracts, expect_known_faults, play
from opml_dispute.engine.hashing import keccak256
from opml_dispute.simulation import campaign, trial
from opml_dispute.simulation.contract_referee import ContractReferee
from opml_dispute.simulation.evm import NodeFailed
from opml_dispute.simulation.pool import InProcess
from opml_dispute.simulation.referee import Referee
from opml_dispute.simulation.scenario import parse, with_settings
from opml_dispute.simulation.schema import ScenarioError
from opml_dispute.simulation.trial import Trial
from opml_dispute.testing.proxy_faults import FAULTS
from tests.simulation.test_contract_level import TAKEN_BACK, expect_the_same, note_undone, scenarios

QUICK = sorted(set(FAULTS) - {"lost-transaction", "slow-drip", "endless", "hanging"})
"""Those of which no strike costs seconds."""

SMALL = {
    "name": "small",
    "level": "contract",
    "game": {"nodes": 2, "log2_steps": 2},
    "attacker": [{"strategy": "liar"}],
    "node": {"kind": "anvil"},
}


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(table=scenarios(), seed=st.integers(0, 2**32), faults=st.sets(st.sampled_from(QUICK), min_size=2, max_size=3))
def test_three_levels_play_the_same_game(table: dict[str, Any], seed: int, faults: set[str]) -> None:
    """Transactions, claims, clocks, winner, payments, every figure of the row; nothing sent is lost or doubled."""
    table["game"] |= {"nodes": min(table["game"]["nodes"], 5), "log2_steps": min(table["game"]["log2_steps"], 5)}
    table["attacker"] = table["attacker"][:1] or [{"strategy": "liar"}]
    rules = parse(table).base
    in_process = with_settings(rules, {"level": "contract"})
    on_anvil = with_settings(in_process, {"node.kind": "anvil", "node.faults": sorted(faults)})
    predicted, there = Trial(rules, seed, keccak256), Trial(in_process, seed, keccak256)
    rows = [predicted.run(), there.run()]
    with anvil_contracts(on_anvil.node.faults, every=300) as contracts:
        found = Trial(on_anvil, seed, keccak256, contracts)
        rows.append(found.run())
        assert {name: contracts.mined(name) for name in contracts.transactions} == contracts.transactions
    for other, row in ((there, rows[1]), (found, rows[2])):
        expect_the_same(predicted, other)
        assert row == pytest.approx(rows[0])


def test_a_reorganisation_of_the_node_takes_back_what_the_rules_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other game's transactions in the blocks that are gone are there again; no nonce is left out."""
    noted, gone = note_undone(monkeypatch), list[int]()

    def reorganise_and_note(node: Rpc, depth: int) -> None:
        gone.append(depth)
        reorganise(node, depth)

    monkeypatch.setattr("opml_dispute.devnet.laboratory.reorganise", reorganise_and_note)
    rules = parse(TAKEN_BACK).base
    predicted = Trial(rules, 5, keccak256)
    row = predicted.run()
    on_anvil = with_settings(rules, {"level": "contract", "node.kind": "anvil"})
    with anvil_contracts(["stale-nonce", "sent-then-error"], every=300) as contracts:
        found = Trial(on_anvil, 5, keccak256, contracts)
        assert found.run() == pytest.approx(row)
        assert {name: contracts.mined(name) for name in contracts.transactions} == contracts.transactions
    expect_the_same(predicted, found)
    undone = [entry for level, entry in noted if level is ContractReferee]
    assert undone == [entry for level, entry in noted if level is Referee]
    assert undone
    assert sum(gone) > len(undone)


@pytest.mark.parametrize("fault", ["sent-then-error", "sent-then-refused", "nonce-too-low", "stale-nonce", "closed"])
def test_a_fault_around_sending_loses_and_doubles_nothing(fault: str) -> None:
    """The fault strikes, and every transaction is in one block."""
    scenario = with_settings(parse(SMALL).base, {"node.faults": [fault]})
    with anvil_contracts([fault], every=60) as contracts:
        row = Trial(scenario, 3, contracts=contracts).run()
        assert contracts.proxy.struck[fault] > 0
        assert {name: contracts.mined(name) for name in contracts.transactions} == contracts.transactions
    assert row == pytest.approx(trial.play(with_settings(scenario, {"node.kind": "in-process", "node.faults": []}), 3))


def test_a_campaign_plays_on_an_anvil(tmp_path: Path) -> None:
    """As the command does it: the rows of a sweep over faults are those of the EVM in this process."""
    faults: list[list[str]] = [[], ["shuffled-batch", "pool-full"]]
    sweep = parse(SMALL | {"trials": 1, "sweep": {"node.faults": faults}})
    points = campaign.run(sweep, tmp_path / "anvil", InProcess(), play=play)
    plain = parse(SMALL | {"trials": 1, "node": {}})
    (expected,) = campaign.run(plain, tmp_path / "here", InProcess(), play=play)
    assert [point.rows.equals(expected.rows) for point in points] == [True, True]


def test_a_node_that_ends_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a node there is no row: the trial ends with an error, and what was not answered counts as nothing."""
    monkeypatch.setattr("opml_dispute.devnet.laboratory._PATIENCE_S", 0.1)
    with anvil_contracts() as contracts:
        found = Trial(parse(SMALL).base, 3, contracts=contracts)
        send, left = contracts.call, iter(range(6))

        def call_until_it_ends(*arguments: Any, **named: Any) -> Any:
            if next(left, None) is None:
                contracts.proxy.is_down = True
            return send(*arguments, **named)

        monkeypatch.setattr(contracts, "call", call_until_it_ends)
        with pytest.raises(NodeFailed):
            found.run()


def test_no_anvil_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a trial ends with an error, its node ends."""
    started: list[Anvil] = []
    spawn = Anvil.spawn

    def spawn_seen(**options: Any) -> Anvil:
        started.append(spawn(**options))
        return started[-1]

    monkeypatch.setattr(Anvil, "spawn", spawn_seen)
    with pytest.raises(RuntimeError), anvil_contracts():
        raise RuntimeError
    assert not is_alive(started[0].pid)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"level": "rules"}, "node.kind"),
        ({"node": {"faults": ["closed"]}}, "node.faults"),
        ({"node": {"kind": "anvil", "fault_every": 1}}, "node.fault_every"),
        ({"node": {"kind": "geth"}}, "node.kind"),
    ],
)
def test_a_node_that_cannot_be_is_refused(changes: dict[str, Any], where: str) -> None:
    """Faults are those of an Anvil, which executes contracts."""
    with pytest.raises(ScenarioError) as caught:
        parse(SMALL | changes)
    assert caught.value.where == where


def test_an_unknown_fault_is_refused_before_anything_is_played() -> None:
    """At whatever point of a sweep it stands; the nearest one is told."""
    sweep = parse(SMALL | {"sweep": {"node.faults": [[], ["stale-heads"]]}})
    with pytest.raises(ScenarioError, match="stale-heads") as caught:
        expect_known_faults(sweep)
    assert caught.value.hint == "did you mean 'stale-head'?"
    expect_known_faults(parse(SMALL | {"sweep": {"node.faults": [[], list(FAULTS)]}}))
