"""A program file is what the compiler wrote, or is refused; what is read of it has the states of its model root."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from onnx import parser

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program_file import DIGEST_BYTES, FILE_MAGIC, ProgramFileError, read_program
from opml_dispute.model.tensor import Array
from tests.hostile.campaign import Campaign, case_rng
from tests.hostile.program_files import (
    BASES,
    OnnxFiles,
    ProgramFiles,
    accepted,
    base_program,
    content,
    expect_states_of_its_root,
    signed,
)
from tests.model.graphs import models

FIELDS = ("records", "log2_steps", "inputs", "outputs", "origins", "notes")


@settings(max_examples=20, deadline=None)
@given(models())
def test_a_program_is_the_same_when_it_is_read_again(pair: tuple[onnx.ModelProto, dict[str, Array]]) -> None:
    program = compile_model(pair[0])
    raw = content(program)
    again = accepted(raw)
    assert again is not None
    assert again.model_root == program.model_root
    assert all(getattr(again, field) == getattr(program, field) for field in FIELDS)
    assert content(again) == raw


@pytest.mark.parametrize(
    "graph",
    [
        "(float[3] x) => (float[3] x) { }",
        "(float[3] x) => (float[3] x, float[3] x) { }",
        "(float[3] x) => (float[3] w, float[3] w) <float[3] w = {1, 2, 3}> { }",
        "(float[3] x) => (float[3] w, float[3] y) <float[3] w = {1, 2, 3}> { y = Neg (x) }",
        "(float[3] x, float[3] w) => (float[3] y) <float[3] w = {1, 2, 3}> { y = Add (x, w) }",
        "(float[3] x) => (float[3] y, float[4] y) { y = Neg (x) }",
        "() => (float[3] y) <float[3] w = {1, 2, 3}> { y = Neg (w) }",
    ],
)
def test_an_odd_graph_that_compiles_is_read_again(graph: str) -> None:
    """Inputs and constants as outputs, and outputs that are listed twice: ONNX allows them."""
    program = compile_model(parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> odd {graph}'))
    again = accepted(content(program))
    assert again is not None
    assert again.model_root == program.model_root
    expect_states_of_its_root(again, content(program), 3)


@pytest.mark.parametrize("base", BASES)
def test_an_honest_file_has_the_states_of_its_root(base: str) -> None:
    """So what the campaign below holds of accepted files is about something."""
    raw = content(base_program(base))
    program = accepted(raw)
    assert program is not None
    expect_states_of_its_root(program, raw)


@pytest.mark.parametrize("campaign", [ProgramFiles(), OnnxFiles()], ids=lambda campaign: str(campaign.name))
def test_whatever_is_accepted_has_the_states_of_its_root(campaign: Campaign) -> None:
    """Files changed in every part, and signed again; `scripts/fuzz-engine --only program-files` tries more."""
    for number in range(100):
        campaign.play(campaign.moves(case_rng(campaign, 1, number)))


# ---------------------------------------------------------------- damage


def test_a_file_with_any_bit_flipped_is_refused() -> None:
    """Also in what the model root does not cover: names, shapes, the order of inputs."""
    whole = content(base_program("product"))
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        assert _refusal(bytes(damaged)), place


def test_a_file_cut_anywhere_is_refused() -> None:
    """With its own checksum as well."""
    whole = content(base_program("product"))
    body = whole[:-DIGEST_BYTES]
    for kept in range(0, len(body), 7):
        assert _refusal(whole[:kept]), kept
        assert _refusal(signed(body[:kept])), kept
    assert _refusal(signed(body + b"\0"))


FACTS = ("version", "records", "log2_steps", "weights", "inputs", "outputs", "origins", "notes", "fixed")


@pytest.mark.parametrize("fact", FACTS)
def test_a_description_of_another_shape_is_refused(fact: str) -> None:
    """Whatever stands where a count, a list or a table is expected."""
    body = content(base_program("product"))[:-DIGEST_BYTES]
    (length,) = struct.unpack_from(">Q", body, len(FILE_MAGIC))
    start = len(FILE_MAGIC) + 8
    facts, rest = json.loads(body[start : start + length]), body[start + length :]
    strange: list[Any] = [
        7,
        -1,
        True,
        None,
        1.5,
        "a",
        [],
        [1],
        [[]],
        [[[]]],
        [["x"]],
        {},
        {"x": 1},
        {"x": ["F32", 1, 2]},
    ]
    for value in strange:
        if value == facts[fact] and type(value) is type(facts[fact]):
            continue
        assert _refusal(_file({**facts, fact: value}, rest)), value
    assert _refusal(_file({key: facts[key] for key in facts if key != fact}, rest))
    assert _refusal(_file({**facts, "another": 1}, rest))


def test_a_description_that_is_no_table_is_refused() -> None:
    """Nor one that is nested without end, or no JSON."""
    for text in (b"", b"7", b"[]", b"null", b"[" * 100_000, b'{"version":', b"\xff", b"9" * 10_000):
        head = FILE_MAGIC + struct.pack(">Q", len(text)) + text
        assert _refusal(signed(head)), text[:20]
    assert _refusal(signed(FILE_MAGIC + struct.pack(">Q", (1 << 64) - 1)))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # which a reader would wait for a writer of
    for strange in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(ProgramFileError, match="cannot read"):
            read_program(strange)
    with pytest.raises(ProgramFileError, match=r"nothing\.program"):
        read_program(tmp_path / "nothing.program")


def _file(facts: dict[str, Any], rest: bytes) -> bytes:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    return signed(FILE_MAGIC + struct.pack(">Q", len(text)) + text + rest)


def _refusal(raw: bytes) -> bool:
    """Whether the file is refused, and in words: anything but `ProgramFileError` goes through."""
    return accepted(raw) is None
