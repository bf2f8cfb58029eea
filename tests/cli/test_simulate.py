"""`simulate` plays a file, goes on where it was, and says what is wrong with a bad one."""

import json
from pathlib import Path

import pytest

from opml_dispute.cli import execute
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS

GOOD = 'name = "tiny"\ntrials = 2\n[[attacker]]\nstrategy = "liar"\n[sweep]\n"game.nodes" = [2, 5]\n'


def simulate(tmp_path: Path, text: str, *arguments: str) -> int:
    """The exit code of `simulate` on a file with this text."""
    path = tmp_path / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return execute(["simulate", str(path), "--results", str(tmp_path / "results"), "--pool", "here", *arguments])


def test_a_scenario_is_played_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a point for scripts; the report beside the results."""
    assert simulate(tmp_path, GOOD, "--json") == 0
    points = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [point["settings"] for point in points] == [{"game.nodes": 2}, {"game.nodes": 5}]
    assert all(point["metrics"]["truth"][0] == 1 for point in points)
    folder = tmp_path / "results" / "tiny"
    assert "# Tiny" in (folder / "tiny.md").read_text(encoding="utf-8")
    assert "<svg" in (folder / "tiny.html").read_text(encoding="utf-8")


def test_settings_can_be_changed_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a word in the file."""
    assert simulate(tmp_path, GOOD, "--json", "--trials", "1", "--set", "honest.check_share=0") == 0
    points = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [point["trials"] for point in points] == [1, 1]
    assert all(point["metrics"]["truth"][0] == 0 for point in points)


@pytest.mark.parametrize(
    ("text", "arguments", "says"),
    [
        ('name = "x"\nhorizon = 3', (), "unknown key"),
        ('name = "x"\ntrials = "many"', (), "expected a whole number"),
        ("name = ", (), "is not TOML"),
        (GOOD, ("--set", "honest.cores=0"), "expected 1 or more"),
        (GOOD, ("--set", "honest.core=1"), "no such setting"),
        (GOOD, ("--set", "honest.cores"), "expected KEY=VALUE"),
    ],
)
def test_a_bad_scenario_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: tuple[str, ...], says: str
) -> None:
    """An error and a non-zero exit, never a traceback."""
    assert simulate(tmp_path, text, *arguments) != 0
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_every_figure_has_its_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the terminal, in the report and in JSON."""
    monkeypatch.setenv("COLUMNS", "400")
    plain = GOOD.partition("[sweep]")[0]
    assert simulate(tmp_path, plain) == 0
    table = capsys.readouterr().out
    report = (tmp_path / "results" / "tiny" / "tiny.md").read_text(encoding="utf-8")
    for heading in ("the truth wins (share of games)", "delay, median (h)", "honest gain (ETH a game)"):
        assert heading in table
        assert heading in report
    assert simulate(tmp_path, plain, "--json") == 0
    (point,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert point["units"].keys() == point["metrics"].keys()
    assert point["units"]["honest_peak"] == "ETH"


def test_every_setting_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """With default and meaning."""
    assert execute(["simulate", "--settings"]) == 0
    listed = capsys.readouterr().out
    for key in ("game.nodes = 14", "honest.fee_cap_gwei = 0.0", "attacker[].strategy = required", "[[attacker]]"):
        assert key in listed


def test_a_model_is_computed_first_and_the_game_is_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Depths, cores and times come from this machine; a setting on the command line still has the last word."""
    plain = GOOD.partition("[sweep]")[0]
    arguments = ("--json", "--calibrate", str(DIGITS), "--set", "honest.cores=3")
    assert simulate(tmp_path, plain, *arguments) == 0
    found, point = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    program = compile_model(DIGITS)
    assert found["settings"]["game.nodes"] == program.node_count
    assert found["settings"]["game.log2_steps"] == program.log2_steps
    assert 0 < found["settings"]["honest.inference_s"] < 10
    assert found["vm_steps_per_s"] > 1e5
    assert point["metrics"]["truth"][0] == 1
    report = (tmp_path / "results" / "tiny" / "tiny.md").read_text(encoding="utf-8")
    assert f"{found['settings']['honest.inference_s']:.3g}"[:4] in report


def test_options_of_a_model_count_only_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, GOOD, "--dim", "n=3") == 2
    assert "--calibrate" in capsys.readouterr().err
