"""A player over workers decides exactly what one over its own trace decides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.actors.actions import Step
from opml_dispute.actors.honest import Decision, consider
from opml_dispute.availability.store import ContentStore
from opml_dispute.compute.case_server import CaseServer, _OpenCase
from opml_dispute.compute.messages import message_bytes, message_of, raise_error
from opml_dispute.compute.remote import RemoteTrace
from opml_dispute.trace.provider import TraceError
from tests.support.alphabet import TOY_PRESTATE
from tests.support.builders import FAULTY, LIE, MALLORY, TRUTH, Told, ToyTable, send
from tests.support.reference_game import Reverted


class Line:
    """A worker's bench over a toy inference, at the other end of a line of messages."""

    def __init__(self, table: ToyTable, folder: Path) -> None:
        self.bench, self.asked = CaseServer(ContentStore(folder)), list[str]()
        states = table.truth._states
        self.bench._open["x"] = _OpenCase(None, states, table.truth)  # type: ignore[arg-type]
        self.trace = RemoteTrace(self.ask, node_count=table.node_count, prestate=TOY_PRESTATE)

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(str(question["ask"]))
        answer = message_of(self.bench.answer(message_bytes({**question, "case": "x"})))
        raise_error(answer)
        return answer


def facts(plan: Decision) -> list[object]:
    """A decision without what stays with a worker: a witness's next state and pre-image."""
    found: list[object] = [plan.opinions, plan.missed, plan.lines]
    for action in plan.actions:
        if isinstance(action, Step):
            witness = action.data.witness
            found += [action.claim_index, action.is_attack, witness.state_data, witness.proof, action.data.local_read]
        else:
            found.append(action)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_whole_game_against_a_consistent_liar_is_played_as_without_workers(seed: int, tmp_path: Path) -> None:
    table = ToyTable(seed=seed, node_count=3 + seed % 3)
    table.root(FAULTY)
    line, rounds = Line(table, tmp_path), 0
    while True:
        game, now = table.game(), table.reference.now
        plan = consider(game, line.trace, now)
        assert facts(plan) == facts(consider(game, table.truth, now))
        liar = consider(game, table.faulty, now)
        actions = [*plan.actions, *liar.actions]
        if not actions:
            break
        for sender, action in ((None, a) for a in actions):
            try:
                send(table.reference, sender or MALLORY, action)
            except Reverted:
                assert action in liar.actions
        rounds += 1
    assert rounds > 3
    assert "step" in line.asked
    assert "ahead" in line.asked
    asked = len(line.asked)
    consider(table.game(), line.trace, table.reference.now)
    assert len(line.asked) == asked, "what was answered is not asked again"


def test_errors_keep_their_meaning_on_the_way(tmp_path: Path) -> None:
    """A start with which no honest party agrees is no answer, and stops only what rests on it."""
    table = ToyTable()
    leaf = table.root(LIE).attack(LIE, by=MALLORY).defend(LIE).attack(LIE)
    wrong: Told = leaf.attack(LIE)
    game, line = table.game(), Line(table, tmp_path)
    with pytest.raises(TraceError, match="a subgame starts from S_"):
        line.trace.claim_at(game, game.claims[wrong.index])
    assert facts(consider(game, line.trace, table.reference.now)) == facts(
        consider(game, table.truth, table.reference.now)
    )


def test_two_subgames_are_run_together(tmp_path: Path) -> None:
    table = ToyTable()
    table.root(LIE).attack(TRUTH).attack(LIE).attack(TRUTH).attack(LIE)
    Told(table, 3).up.attack(LIE, by=MALLORY).attack(LIE)
    line = Line(table, tmp_path)
    plan = consider(table.game(), line.trace, table.reference.now)
    assert facts(plan) == facts(consider(table.game(), table.truth, table.reference.now))
    assert line.asked.count("ahead") == 1
