"""The player's loop: stateless, patient, and not upset by a refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opml_dispute.actors.actions import Action, Move, Settle, Step
from opml_dispute.actors.player import ActionRefused, Round, play, play_round
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.primitives import StateRoot
from opml_dispute.trace.provider import TraceError
from opml_dispute.trace.split import SplitTrace
from tests.support.alphabet import ToyInference, ToyMachine
from tests.support.builders import FAULTY, HONEST, LIE, MALLORY, TRUTH, Seat, ToyTable, Value


@pytest.mark.parametrize("root", [TRUTH, FAULTY, LIE])
def test_two_players_play_to_the_end(root: Value) -> None:
    """Each is made anew for every round, as if it had just been killed; the truth wins all the same."""
    table = ToyTable()
    table.root(root)
    reference = table.reference
    honest, liar = Seat(reference, HONEST), Seat(reference, MALLORY)
    while reference.status == 0:
        node_count = table.node_count
        truth = SplitTrace(ToyInference(0, node_count), ToyMachine(node_count), node_count=node_count)
        rounds = [play_round(honest, truth), play_round(liar, table.faulty)]
        if all(not round_.done for round_ in rounds):
            reference.now += 3_600
    expected = GameStatus.DEFENDER_WINS if root is TRUTH else GameStatus.CHALLENGER_WINS
    assert reference.status == expected
    assert reference.credits[HONEST] > reference.deposits[HONEST] or root is TRUTH


def test_the_liars_step_is_refused() -> None:
    """At the fault the chain's own run shows the truth, so the liar has no step to make."""
    table = ToyTable()
    table.root(TRUTH)
    honest, liar = Seat(table.reference, HONEST), Seat(table.reference, MALLORY)
    refused: list[tuple[Action, ActionRefused]] = []
    for _ in range(20):
        play_round(honest, table.truth)
        refused += play_round(liar, table.faulty).refused
    assert refused
    assert all(isinstance(action, Step) and "ValidStep" in str(error) for action, error in refused)


def test_play_waits_until_the_game_is_over() -> None:
    table = ToyTable()
    table.root(LIE)
    reference = table.reference
    rounds: list[Round] = []

    def wait() -> None:
        reference.now += 100_000

    ended = play(Seat(reference, HONEST), table.truth, wait=wait, tell=rounds.append)
    assert ended.status == GameStatus.CHALLENGER_WINS
    kinds = [type(action) for round_ in rounds for action in round_.done]
    assert kinds == [Move, Settle]
    assert any(round_.is_idle for round_ in rounds)


def test_a_late_step_comes_before_settling() -> None:
    """A step has no clock: even when everything could be settled, it still turns the game."""
    table = ToyTable()
    table.root(FAULTY)
    honest, liar = Seat(table.reference, HONEST), Seat(table.reference, MALLORY)
    max_depth = table.rules.max_depth
    while not [claim for claim in table.game().claims if claim.position.depth == max_depth]:
        play_round(honest, table.truth)
        play_round(liar, table.faulty)
    table.reference.now += table.rules.max_clock
    done = play_round(honest, table.truth).done
    assert isinstance(done[0], Step)
    assert isinstance(done[-1], Settle)
    assert table.game().status == GameStatus.CHALLENGER_WINS


def test_a_round_is_idle_if_nothing_was_tried() -> None:
    table = ToyTable()
    table.root(LIE)
    idle = play_round(Seat(table.reference, HONEST), table.truth)
    idle = replace(idle, done=())
    action, error = Settle((0,), None, ""), ActionRefused("too late")
    assert idle.is_idle
    assert not replace(idle, done=(action,)).is_idle
    assert not replace(idle, refused=((action, error),)).is_idle
    assert not replace(idle, failed=((action, error),)).is_idle


class Looking(Seat):
    """Counts how often the game is read."""

    looks = 0

    def snapshot(self) -> tuple[Game, int]:
        self.looks += 1
        return super().snapshot()


@pytest.mark.parametrize(("left_s", "looks"), [(901, 1), (900, 1), (899, 2), (1, 2)])
def test_an_urgent_move_comes_before_settling_which_looks_at_the_game_again(left_s: int, looks: int) -> None:
    """Less than a quarter of an hour is urgent; other moves come last, so what is settled is settled as it was read."""
    table = ToyTable()
    table.root(LIE).wait(table.rules.max_clock - left_s)
    seat = Looking(table.reference, HONEST)
    assert [type(action) for action in play_round(seat, table.truth).done] == [Move]
    assert seat.looks == looks
    assert play_round(seat, table.truth).is_idle
    assert seat.looks == looks + 1


def test_who_knows_nothing_can_still_settle() -> None:
    """Without a trace the claims are only counted; without anything to settle the error is raised."""

    class Ignorant(ToyInference):
        def state_root(self, t: int) -> StateRoot:
            raise TraceError("unknown")

    table = ToyTable()
    table.root(LIE)
    ignorant = SplitTrace(Ignorant(0, 5), ToyMachine(5), node_count=5)
    with pytest.raises(TraceError, match="unknown"):
        play_round(Seat(table.reference, MALLORY), ignorant)
    table.reference.now += table.rules.max_clock
    play_round(Seat(table.reference, MALLORY), ignorant)
    assert table.game().status == GameStatus.DEFENDER_WINS
