"""Every scenario file of the package plays, at a few trials, and shows what its study rests on."""

from pathlib import Path

import pytest

import opml_dispute.simulation
from opml_dispute.simulation.campaign import PointResult, run
from opml_dispute.simulation.document import to_html, to_markdown
from opml_dispute.simulation.metrics import summarise
from opml_dispute.simulation.pool import InProcess
from opml_dispute.simulation.report import blocks
from opml_dispute.simulation.scenario import Sweep, load, with_settings

SCENARIOS = sorted((Path(opml_dispute.simulation.__file__).parent / "scenarios").glob("*.toml"))
MOST_GAMES = 20


def small(path: Path, trials: int = 2) -> Sweep:
    """The scenario with few trials, at its first and last value of each axis, and with few games."""
    sweep = load(path)
    axes = {
        axis: tuple(dict.fromkeys((values[0], values[-1] if axis != "load.games" else MOST_GAMES)))
        for axis, values in sweep.axes.items()
    }
    return Sweep(with_settings(sweep.base, {"trials": trials}), axes)


def played(path: Path, folder: Path, trials: int = 2) -> list[PointResult]:
    """Its results."""
    return run(small(path, trials), folder, InProcess())


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_plays_and_is_reported(path: Path, tmp_path: Path) -> None:
    """No point lacks rows; the report is whole in both forms."""
    results = played(path, tmp_path)
    sweep = small(path)
    assert sweep.base.name == path.stem
    assert [len(result.rows) for result in results] == [2] * len(list(sweep.points()))
    report = blocks(sweep, results)
    markdown, html = to_markdown(report), to_html(report)
    assert sweep.base.question in " ".join(markdown.split()), "lines are wrapped"
    assert f"({path.stem}.svg)" in markdown
    assert "<svg" in html
    assert "src=" not in html, "the page needs nothing else"


def shares(path: str, folder: Path) -> dict[tuple[object, ...], float]:
    """The truth's share of victories, by point."""
    file = next(each for each in SCENARIOS if each.stem == path)
    return {
        tuple(result.settings.values()): summarise(result.columns)["truth"].value for result in played(file, folder)
    }


def test_the_truth_wins_where_it_can(tmp_path: Path) -> None:
    """Who is able, awake and solvent wins; who is not loses."""
    assert shares("stalling-liar", tmp_path) == {(24,): 1, (168,): 1}
    assert set(shares("crowd", tmp_path).values()) == {1}
    assert shares("withheld-data", tmp_path) == {(0,): 0, (90,): 0}
    assert shares("rare-checks", tmp_path) == {(0,): 0, (1,): 1}
    assert shares("sybil-exhaustion", tmp_path) == {(1,): 1, (512,): 0}
    assert set(shares("faulty-machine", tmp_path).values()) == {1}


def test_a_latched_error_keeps_the_truth_and_a_revert_loses_it(tmp_path: Path) -> None:
    """What the chain cannot execute, it cannot refute."""
    assert shares("exceptions", tmp_path) == {
        (0, "latched"): 1,
        (0, "reverts"): 1,
        (1, "latched"): 1,
        (1, "reverts"): 0,
    }
