"""A scenario file is read strictly: what it cannot mean is an error that says where, what and what instead."""

from pathlib import Path
from typing import Any

import pytest

from opml_dispute.simulation.scenario import load, parse, with_settings
from opml_dispute.simulation.schema import ScenarioError

LIAR = {"strategy": "liar"}


@pytest.mark.parametrize(
    ("table", "where", "problem"),
    [
        ({}, "name", "missing"),
        ({"name": "x", "gme": {}}, "gme", "unknown key"),
        ({"name": "x", "game": 3}, "game", "expected a table"),
        ({"name": "x", "game": {"node": 3}}, "game.node", "unknown key"),
        ({"name": "x", "game": {"nodes": 0}}, "game.nodes", "expected 1 or more"),
        ({"name": "x", "game": {"nodes": 2.5}}, "game.nodes", "expected a whole number"),
        ({"name": "x", "game": {"nodes": True}}, "game.nodes", "expected a whole number"),
        ({"name": "x", "game": {"max_clock_h": "84"}}, "game.max_clock_h", "expected a number"),
        ({"name": "x", "game": {"max_clock_h": float("nan")}}, "game.max_clock_h", "nan"),
        ({"name": "x", "game": {"max_clock_h": float("inf")}}, "game.max_clock_h", "or less"),
        ({"name": "x", "game": {"max_clock_h": 0}}, "game.max_clock_h", "more than 0"),
        ({"name": "x", "game": {"max_clock_h": 5, "extension_h": 3}}, "game.extension_h", "does not fit"),
        ({"name": "x", "game": {"nodes": 2**28 - 1, "log2_steps": 41}}, "game.log2_steps", "or less"),
        ({"name": "x", "fees": {"process": "yearly"}}, "fees.process", "one of constant, spikes, year"),
        ({"name": "x", "attacker": LIAR}, "attacker", "expected a list"),
        ({"name": "x", "attacker": [{}]}, "attacker[0].strategy", "missing"),
        ({"name": "x", "attacker": [LIAR, {"strategy": "lier"}]}, "attacker[1].strategy", "one of"),
        ({"name": "x", "attacker": [{**LIAR, "front_runs": 2}]}, "attacker[0].front_runs", "1 or less"),
        ({"name": "x", "trials": 0}, "trials", "1 or more"),
        ({"name": "../x"}, "name", "letters"),
        ({"name": "x", "shown": ["truth", "love"]}, "shown[1]", "one of"),
        ({"name": "x", "sweep": [1]}, "sweep", "table"),
        ({"name": "x", "sweep": {"fees.base_fee_gwei": 3}}, "sweep.fees.base_fee_gwei", "list"),
        ({"name": "x", "sweep": {"fees.base_fee_gwei": []}}, "sweep.fees.base_fee_gwei", "list"),
        ({"name": "x", "sweep": {"fees.fee": [1]}}, "sweep.fees.fee", "no such setting"),
        ({"name": "x", "sweep": {"fee.fee": [1]}}, "sweep.fee.fee", "no 'fee'"),
        ({"name": "x", "sweep": {"attacker.0.claims": [1]}}, "sweep.attacker.0.claims", "no '0'"),
        ({"name": "x", "sweep": {"game.nodes": [1, -1]}}, "game.nodes", "1 or more"),
        ({"name": "x", "level": "contract", "reorgs": {"per_day": 1}}, "level", "no reorganisations"),
    ],
)
def test_what_a_file_cannot_mean_is_refused(table: dict[str, Any], where: str, problem: str) -> None:
    """The error names the key and the problem."""
    with pytest.raises(ScenarioError) as caught:
        parse(table)
    assert caught.value.where == where
    assert problem in str(caught.value)


def test_a_misspelt_key_is_explained() -> None:
    """The nearest known key is the hint."""
    with pytest.raises(ScenarioError) as caught:
        parse({"name": "x", "honest": {"core": 3}})
    assert caught.value.hint is not None
    assert "cores" in caught.value.hint


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", None])
def test_what_is_no_scenario_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Not TOML, not text, not there."""
    path = tmp_path / "s.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScenarioError):
        load(path)


def test_a_sweep_has_a_point_for_each_combination() -> None:
    """In the order of the axes, each with its own settings."""
    sweep = parse({"name": "x", "attacker": [LIAR], "sweep": {"game.nodes": [2, 3], "attacker.0.delay_h": [0, 1]}})
    points = list(sweep.points())
    assert [tuple(settings.values()) for settings, _ in points] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert [(s.game.nodes, s.attacker[0].delay_h) for _, s in points] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert len({scenario.fingerprint for _, scenario in points}) == 4


def test_a_fingerprint_forgets_only_words_and_numbers_of_trials() -> None:
    """Results may be kept when a question is put better, not when a setting changes."""
    base = parse({"name": "x"}).base
    for settings in ({"trials": 7}, {"name": "y"}, {"question": "why"}, {"conclusion": "so"}):
        assert with_settings(base, settings).fingerprint == base.fingerprint
    for other in ({"seed": 7}, {"game.nodes": 9}, {"horizon_days": 3}, {"data.withheld_h": 1}):
        assert with_settings(base, other).fingerprint != base.fingerprint
