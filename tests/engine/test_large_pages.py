"""Weights that a run reads often are read from copies, and nothing else changes."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import numpy as np
import pytest

from opml_dispute.engine import large_pages
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.large_pages import LARGE_PAGE, OFTEN, Copy, fill, often_read
from opml_dispute.engine.mapped_files import FileChanged, map_file, place_in_file
from opml_dispute.generation.files import compile_language_model, read_language_model
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.models import LETTERS
from opml_dispute.operator.inspection import made_up_inputs

TOKENS = OFTEN + 2


@pytest.fixture
def copies_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages, "_WORTH_COPYING", 1)


def compiled(file: Path, tokens: int) -> Program:
    return compile_language_model(read_language_model(file), Binding(prompt_tokens=3, tokens=tokens), "letters")


def planned_copies(program: Program) -> tuple[Copy, ...]:
    schedule = Inference(program, made_up_inputs(program))._analysis.schedule
    assert schedule is not None
    return schedule.weight_copies


def test_an_answer_is_the_same_from_copies(copies_little: None, monkeypatch: pytest.MonkeyPatch) -> None:
    program = compiled(LETTERS, TOKENS)
    inference = Inference(program, made_up_inputs(program))
    from_copies = inference.output_image()
    assert planned_copies(program)
    assert all(copy.is_filled for copy in planned_copies(program))
    assert all(np.array_equal(copy.data, copy.source) for copy in planned_copies(program))
    monkeypatch.setattr(large_pages, "_WORTH_COPYING", 1 << 40)
    again = compiled(LETTERS, TOKENS)
    assert Inference(again, made_up_inputs(again)).output_image() == from_copies
    assert not planned_copies(again)


def test_programs_of_one_file_share_copies(copies_little: None) -> None:
    model = read_language_model(LETTERS)
    one, other = (
        compile_language_model(model, Binding(prompt_tokens=3, tokens=tokens), "letters") for tokens in (TOKENS, 12)
    )
    first, second = planned_copies(one), planned_copies(other)
    assert {id(copy) for copy in first} == {id(copy) for copy in second} != set()
    fill(first)
    assert all(copy.is_filled for copy in second)


def test_weights_that_are_read_seldom_are_not_copied(copies_little: None) -> None:
    assert not planned_copies(compiled(LETTERS, OFTEN // 2 - 1))


def test_a_file_that_was_written_to_is_not_copied(copies_little: None, tmp_path: Path) -> None:
    file = tmp_path / "letters.gguf"
    shutil.copyfile(LETTERS, file)
    program = compiled(file, TOKENS)
    copies = planned_copies(program)
    with file.open("r+b") as written:
        written.truncate(4096)
    with pytest.raises(FileChanged, match="was written to"):
        fill(copies)
    assert not any(copy.is_filled for copy in copies)


def test_only_parts_of_files_are_copied_and_only_if_they_are_many(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * (20 * LARGE_PAGE // 256))
    data = map_file(file)
    half = data.size // 2
    own = np.ones(20 * LARGE_PAGE, np.uint8)
    assert not often_read([own], [OFTEN])
    assert not often_read([data[:LARGE_PAGE]], [OFTEN])
    assert not often_read([data], [OFTEN - 1])
    copies = often_read([data[:half], own, data[half : half + 5], data[half + 5 :]], [OFTEN, OFTEN, OFTEN, OFTEN - 1])
    assert not copies, "what is read often is less than pays"
    copies = often_read([data[5:half], own, data[half:]], [OFTEN, OFTEN, OFTEN])
    assert list(copies) == [0, 2]
    fill(copies.values())
    assert all(np.array_equal(copy.data, copy.source) for copy in copies.values())
    assert all(copy.data.ctypes.data % 64 == 0 and place_in_file(copy.data) is None for copy in copies.values())


def test_copies_go_with_the_last_program_that_reads_them(copies_little: None) -> None:
    program = compiled(LETTERS, TOKENS)
    mapping = planned_copies(program)[0].mapping
    kept = large_pages._COPIES[mapping]
    assert len(kept) > 0
    del program
    gc.collect()
    assert len(kept) == 0
