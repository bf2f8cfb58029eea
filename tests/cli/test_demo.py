"""The demo: both stories end as they must, and its JSON says how."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from rich.console import Console

from opml_dispute.cli.demo.digit import best_digit, draw_digit, draw_scores
from opml_dispute.cli.demo.stage import Stage
from opml_dispute.cli.demo.stories import DecidedStep, DemoPlayer
from opml_dispute.cli.demo.view import LiveView, bracket_bar
from opml_dispute.game.claim import Game
from opml_dispute.game.depths import Depths
from opml_dispute.game.gas import dispute_gas, dispute_moves
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS, digit_samples
from tests.cli.conftest import Cli

SAMPLE = 7
FIELDS = {"story", "winner", "status", "node", "op", "step", "instruction", "moves", "transactions", "gas", "seconds"}


@pytest.mark.slow
def test_the_demo_prints_one_object_a_story(cli: Cli) -> None:
    result = cli("demo", "--sample", SAMPLE, "--json")
    assert result.code == 0, result.err
    proposer_lied, challenger_lied = result.objects
    program = compile_model(DIGITS)
    depths = Depths.for_model(program.node_count, program.log2_steps)
    for story, sample in ((proposer_lied, SAMPLE), (challenger_lied, SAMPLE + 1)):
        assert FIELDS | {"delivered"} <= set(story)
        assert story["moves"] > 20
        assert story["gas"]["total"] == sum(gas for role, gas in story["gas"].items() if role != "total")
        assert story["instruction"]
        # What `model inspect` expects of a dispute is what one takes.
        assert story["moves"] == dispute_moves(depths)
        played = story["gas"]["proposer"] + story["gas"]["challenger"]
        assert abs(played - dispute_gas(depths)) <= played / 20
        assert story["told_digit"] != story["right_digit"] == digit_samples()[1][sample]
    assert (proposer_lied["story"], challenger_lied["story"]) == ("lying-proposer", "lying-challenger")
    assert (proposer_lied["winner"], proposer_lied["status"]) == ("challenger", "CHALLENGER_WINS")
    assert (challenger_lied["winner"], challenger_lied["status"]) == ("proposer", "DEFENDER_WINS")
    assert (proposer_lied["op"], challenger_lied["op"]) == ("Conv", "Gemm")
    assert proposer_lied["delivered"] is None
    assert challenger_lied["delivered"] == challenger_lied["right_digit"]
    assert "The dispute has reached node" in result.err


@pytest.mark.slow
def test_a_lie_in_an_answer_is_taken_down_to_an_instruction(cli: Cli) -> None:
    """Both answers are told, the first token in which they differ, and the token and layer that the game came to."""
    result = cli("demo", "--story", "language", "--json")
    assert result.code == 0, result.err
    (told,) = result.objects
    assert (told["story"], told["winner"]) == ("language", "challenger")
    assert told["right"] != told["told"]
    assert str(told["right"])[: told["first_wrong_token"]] == str(told["told"])[: told["first_wrong_token"]]
    for answer in ("right", "told"):
        marked = str(told[f"{answer}_marked"])
        assert marked.replace(">>>", "").replace("<<<", "") == told[answer]
        assert marked.index(">>>") == told["first_wrong_token"]  # the sample model's tokens are characters
    assert str(told["place"]).startswith("token 17, layer ")
    assert told["instruction"]


def test_options_of_the_other_story_are_refused(cli: Cli) -> None:
    assert "story about digits" in cli("demo", "--story", "language", "--sample", 3).err


@pytest.mark.slow
def test_the_live_view_draws_the_same_story() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=110, height=50)
    with Stage.open() as stage, LiveView(console) as view:
        result = DemoPlayer(stage, view, seed=2).lying_proposer(SAMPLE)
    drawn = screen.getvalue()
    assert result.instruction in drawn
    assert "the proposer says" in drawn
    assert "machine" in drawn


@pytest.mark.parametrize("width", [60, 80, 110])
def test_the_picture_fits_the_screen_with_nothing_cut_off(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure of a dispute that has come down to a few instructions, and no word that was cut."""
    screen = io.StringIO()
    view = LiveView(Console(file=screen, force_terminal=False, width=width, height=50))
    view.title, view.digit, view.label = "A lying proposer", draw_digit(digit_samples()[0][SAMPLE]), 6
    view.console.print(view._picture())
    assert "of 1" not in screen.getvalue(), "before there is a game, nothing is said of it"
    scores = np.linspace(0, 1, 10, dtype=np.float32)
    view.scores = (scores, scores[::-1], "challenger")
    monkeypatch.setattr("opml_dispute.cli.demo.view.frontier", lambda game: None)
    monkeypatch.setattr("opml_dispute.cli.demo.view.disputed_range", lambda game, claim: None)
    view.game = cast(Game, SimpleNamespace(node_count=1_000, depths=Depths(10, 34)))
    view.node_steps = 2_097_152
    view.judged = DecidedStep(123, "LayerNormalization", 1_234_567, "madd.s $f31, $f30, $f29, $f28")
    view.console.print(view._picture())
    drawn = screen.getvalue()
    assert max(len(line) for line in drawn.splitlines()) <= width
    assert "…" not in drawn
    for word in ("100.0%", "node 123 of 1,000", "1,234,567 of", "madd.s $f31, $f30, $f29, $f28", "transactions"):
        assert word in drawn, word


def test_digits_and_scores_are_drawn_with_characters() -> None:
    image, label = digit_samples()[0][SAMPLE], digit_samples()[1][SAMPLE]
    rows = draw_digit(image)
    assert [len(row) for row in rows] == [16] * 8
    assert set("".join(rows)) <= set(" ░▒▓█")
    scores = np.zeros(10, np.float32)
    scores[label] = 1
    assert best_digit(scores) == label
    assert "█" in draw_scores(scores)[label]
    scores[:] = np.nan
    assert all("not a number" in line for line in draw_scores(scores))


@pytest.mark.parametrize(("low", "high", "whole"), [(0, 1, 2**30), (2**30 - 1, 2**30, 2**30), (0, 7, 7), (3, 4, 7)])
def test_a_bracket_is_never_invisible_and_never_too_long(low: int, high: int, whole: int) -> None:
    bar = bracket_bar(low, high, whole).plain
    assert len(bar) == 56
    assert "█" in bar
