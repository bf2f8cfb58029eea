"""Clocks to the second: what a side has used, what it has left, and what a new claim's clock says."""

from __future__ import annotations

import pytest

from opml_dispute.game.clock import Clock, ClockSettings, challenger_duration_s, clock_of_answer, time_left_s
from tests.support.builders import LIE, TRUTH, ToyTable

SETTINGS = ClockSettings(max_clock_s=302_400, extension_s=10_800, challenge_period_s=4)


def test_times_are_possible_if_a_game_can_be_made_with_them() -> None:
    """The largest extension fits a side's time (FaultDisputeGame.sol), and that is not nothing."""
    assert SETTINGS.are_possible
    assert ClockSettings(20, 10, 10).are_possible
    assert not ClockSettings(20, 11, 0).are_possible
    assert not ClockSettings(20, 10, 11).are_possible
    assert ClockSettings(1, 0, 1).are_possible
    assert not ClockSettings(0, 0, 0).are_possible


def test_a_packed_clock_holds_both_halves() -> None:
    clock = Clock(duration_s=3, timestamp_s=(1 << 64) - 1)
    assert clock.packed == 3 << 64 | (1 << 64) - 1
    assert Clock.unpack(clock.packed) == clock


@pytest.mark.parametrize(
    ("depth", "extension_s"),
    [(1, 10_800), (2, 21_600), (3, 10_800), (4, 10_800), (6, 10_800), (7, 10_804), (8, 10_800)],
)
def test_extensions_are_longer_before_a_vm_run_and_before_a_step(depth: int, extension_s: int) -> None:
    assert SETTINGS.extension_at(depth, split_depth=3, max_depth=8) == extension_s


def test_the_time_of_a_side_goes_on_from_its_last_claim() -> None:
    table = ToyTable()
    told = table.root(LIE).wait(100).attack(TRUTH).wait(30).attack(LIE)
    now_s = table.reference.now
    game = table.game()
    assert game.claims[1].clock == Clock(100, now_s - 30)
    assert game.claims[2].clock == Clock(30, now_s)
    assert challenger_duration_s(game, 0, now_s) == 130, "the root has no parent that carries time"
    assert challenger_duration_s(game, 2, now_s) == 100, "what the challenger used for claim 1"
    assert challenger_duration_s(game, told.index, now_s + 7) == 107
    assert time_left_s(game, 2, now_s + 7) == SETTINGS.max_clock_s - 107
    assert challenger_duration_s(game, 2, now_s - 1_000) == 100, "a view from before the claim"


def test_time_ends_at_the_limit_and_not_a_second_before() -> None:
    table = ToyTable()
    table.root(LIE)
    game, start_s = table.game(), table.reference.now
    assert time_left_s(game, 0, start_s + SETTINGS.max_clock_s - 1) == 1
    assert time_left_s(game, 0, start_s + SETTINGS.max_clock_s) == 0
    assert time_left_s(game, 0, start_s + SETTINGS.max_clock_s + 5) == 0
    assert challenger_duration_s(game, 0, start_s + SETTINGS.max_clock_s + 5) == SETTINGS.max_clock_s


@pytest.mark.parametrize("wait_s", [0, 1, 291_599, 291_600, 291_601, 302_399])
def test_a_late_answer_keeps_its_extension_as_the_contract_says(wait_s: int) -> None:
    table = ToyTable()
    table.root(LIE).wait(wait_s)
    expected = clock_of_answer(table.game(), 0, table.reference.now)
    assert expected.duration_s == min(wait_s, SETTINGS.max_clock_s - SETTINGS.extension_s)
    table.reference.move(
        "0x" + "c3".rjust(40, "0"), table.game().root.value, 0, b"\1" * 32, True, table.reference.required_bond(2)
    )
    assert table.game().claims[1].clock == expected
