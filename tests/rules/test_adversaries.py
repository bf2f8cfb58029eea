"""The honest player against everything at once, at rules level; `scripts/campaign` plays such games by the thousand."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.adversaries import ADVERSARIES, SIZES, play
from tests.support.on_contract import OnContract

GAMES = 160


@pytest.mark.parametrize("part", range(4))
def test_the_honest_player_loses_nothing_whatever_it_meets(part: int) -> None:
    seeds = range(part * GAMES // 4, (part + 1) * GAMES // 4)
    broken = [result for result in map(play, seeds) if result.broken]
    assert broken == []


def test_the_contract_takes_and_refuses_the_same_and_pays_the_same() -> None:
    """`OnContract` compares each answer, and all claims and awards at the end."""
    results = [play(seed, OnContract) for seed in range(1, 25)]
    assert [result for result in results if result.broken] == []
    assert sum(result.steps for result in results) > 0


def test_every_adversary_takes_part_and_games_reach_their_end() -> None:
    """A campaign in which an adversary never comes up, or in which no step is ever made, would show little."""
    results = [play(seed) for seed in range(60)]
    met = Counter(name for result in results for name in result.adversaries)
    assert set(met) == set(ADVERSARIES)
    assert sum(result.steps for result in results) > 5
    assert max(result.claims for result in results) > 2 * max(deepest for _, deepest in SIZES)


def test_the_same_seed_plays_the_same_game() -> None:
    assert [play(seed) for seed in range(5)] == [play(seed) for seed in range(5)]


def test_a_broken_player_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign can fail: a player that leaves out its steps loses games."""
    monkeypatch.setattr("tests.support.adversaries.Step", int)
    monkeypatch.setattr("opml_dispute.actors.player.Step", int)
    assert [result for result in map(play, range(60)) if "the truth lost" in result.broken]
