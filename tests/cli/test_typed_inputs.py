"""An input of one element is typed as a number: `run --input seed=7`."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from opml_dispute.cli.inputs import read_inputs
from opml_dispute.engine.segment import BadInput
from opml_dispute.model.compiler import compile_model
from tests.cli.conftest import Cli
from tests.model.graphs import parsed

NOISE = "agraph (float[1] x) => (float[1] y) { n = RandomNormalLike (x) y = Mul (n, x) }"


def test_a_seed_is_typed_as_a_number(cli: Cli, tmp_path: Path) -> None:
    """One seed gives one answer; a name of a file that exists is still a file."""
    file = tmp_path / "noise.onnx"
    onnx.save(parsed(NOISE), file)
    options = ("run", file, "--seed-input", "seed", "--input", "x=0.5")
    first, again, other = (cli(*options, "--input", f"seed={seed}", "--json") for seed in (7, 7, -3))
    assert (first.code, first.objects[-1]["outputs"]) == (0, again.objects[-1]["outputs"])
    assert first.objects[-1]["outputs"] != other.objects[-1]["outputs"]
    refused = cli(*options, "--input", "seed=0.5")
    assert refused.code == 1
    assert "input seed takes one int64, and 0.5 is none" in refused.err


def test_typed_numbers_have_the_type_of_their_input() -> None:
    slots = compile_model(parsed("agraph (float[1,1] a, int8 b, float[2] c) => (float[1,1] y) { y = Relu (a) }")).inputs
    with pytest.raises(BadInput, match="cannot read 5"):
        read_inputs(slots, ["a=1.5", "b=-7", "c=5"], None)  # of several elements a number is a file's name
    for wrong in ("b=128", "b=1.5", "b=-129"):
        with pytest.raises(BadInput, match="takes one int8"):
            read_inputs(slots[:2], ["a=1.5", wrong], None)
    found = read_inputs(slots[:2], ["a=1.5", "b=-7"], None)
    assert (found["a"].dtype.name, found["a"].shape, found["a"].item()) == ("float32", (1, 1), 1.5)
    assert (found["b"].dtype.name, found["b"].shape, found["b"].item()) == ("int8", (), -7)
