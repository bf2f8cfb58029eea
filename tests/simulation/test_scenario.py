"""A scenario file is read strictly: what it cannot mean is an error that says where, what and what instead."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute.simulation.scenario import Scenario, load, parse, with_settings
from opml_dispute.simulation.schema import ScenarioError, describe

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
        ({"name": "x", "game": {"max_clock_h": 10**400}}, "game.max_clock_h", "hundreds of digits"),
        ({"name": "x", "game": {"nodes": 10**5000}}, "game.nodes", "too large to be shown"),
        ({"name": "x", "load": {"games": 10**9}}, "load.games", "100000 or less"),
        ({"name": "x", "load": {"games": -1}}, "load.games", "1 or more"),
        ({"name": "x", "load": {"spam_per_hour": 10**6}}, "load", "claims and requests"),
        (
            {"name": "x", "load": {"games": 10**5}, "attacker": [{"strategy": "sybil", "claims": 2**20}]},
            "load",
            "trial",
        ),
        ({"name": "x", "load": {"games": 2_000}, "attacker": [LIAR] * 40}, "load", "claims and requests"),
        ({"name": "x", "horizon_days": 1_400, "censorship": {"share": 1, "budget_eth": 1}}, "horizon_days", "blocks"),
        ({"name": "x", "honest": {"poll_s": 1e-300}}, "honest.poll_s", "0.1 or more"),
        ({"name": "x", "honest": {"offline_h": 1e-9}}, "honest.offline_h", "0.01 or more"),
        ({"name": "x", "trials": 10**9}, "trials", "or less"),
        ({"name": "x" * 101}, "name", "100 or fewer"),
        (
            {"name": "x", "attacker": [LIAR], "sweep": {"attacker.-1.claims": [1]}},
            "sweep.attacker.-1.claims",
            "no '-1'",
        ),
        (
            {"name": "x", "sweep": {f"honest.{key}": [*range(1, 60)] for key in ("cores", "poll_s", "vm_run_s")}},
            "sweep",
            "205,379 combinations",
        ),
        ({"name": "x", "level": "contract", "load": {"games": 101}}, "level", "at most 100 games"),
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


@pytest.mark.parametrize(
    "content",
    [b"name = ", b"\xff\xfe", None, b"name = 1" + b"0" * 5_000, b"name = " + b"[" * 9_000, b'name = "x"\nname = "y"'],
    ids=["cut short", "no text", "not there", "thousands of digits", "nested without end", "a key twice"],
)
def test_what_is_no_scenario_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Not TOML, not text, not there, or something that Python's own reader stumbles over."""
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


HUGE = st.just(16).map(lambda base: base**5_000)
"""A number of more digits than Python writes; TOML can have it in hexadecimal."""


def shapes() -> st.SearchStrategy[Any]:
    """Values of every kind that TOML has, absurd ones among them."""
    numbers = st.integers() | st.sampled_from([10**30, -(10**400)]) | st.floats() | HUGE
    plain = numbers | st.booleans() | st.text(max_size=9)
    names = st.text(max_size=5)
    return st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=6)


@hypothesis.settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_for_any_setting_is_taken_or_refused_by_its_name(data: st.DataObject) -> None:
    """No value of any key ends in another error than `ScenarioError`."""
    keys = [key for key, _, _ in describe(Scenario) if "[" not in key]
    key, value = data.draw(st.sampled_from(keys)), data.draw(shapes())
    section, _, name = key.partition(".")
    table: dict[str, Any] = {"name": "x", **({section: {name: value}} if name else {section: value})}
    with suppress(ScenarioError):
        parse(table)
    for swept in ({key: value}, {key: [value]}):
        with suppress(ScenarioError):
            parse({"name": "x", "sweep": swept})
