"""A model larger than memory gives the states of one that fits, and its weights do not stay."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.mapped_files import FileChanged, give_back
from opml_dispute.engine.segment import WEIGHTS
from opml_dispute.engine.segment_memory import SegmentUnavailable
from opml_dispute.generation.files import compile_language_model, read_language_model
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.models import DIGITS, LETTERS
from opml_dispute.operator.inspection import made_up_inputs


@pytest.fixture(scope="module", params=["digits", "letters"])
def program(request: pytest.FixtureRequest) -> Program:
    if request.param == "digits":
        return compile_model(DIGITS)
    return compile_language_model(read_language_model(LETTERS), Binding(prompt_tokens=2, tokens=2), "letters")


def less_than_whole(program: Program) -> int:
    """Bytes of memory with which the model does not fit, and its live tensors do."""
    model_bytes = sum(len(bytes(block.data)) for block in program.model_blocks)
    return max(2 * model_bytes - 2, 1)


def test_every_state_is_that_of_a_model_that_fits(program: Program) -> None:
    inputs = made_up_inputs(program)
    whole, narrow = Inference(program, inputs), Inference(program, inputs, model_memory=less_than_whole(program))
    indices = range(0, program.node_count + 1, max(1, program.node_count // 40))
    for t in (*indices, program.node_count, 1, program.node_count // 2):
        assert narrow.state_root(t) == whole.state_root(t)
    assert narrow.status == whole.status == 0
    assert narrow.output_image() == whole.output_image()


def test_no_more_weights_lie_in_memory_than_there_is_room_for(program: Program) -> None:
    limit = less_than_whole(program)
    inference = Inference(program, made_up_inputs(program), model_memory=limit)
    largest = max(len(bytes(block.data)) for block in program.weights)
    starts = [block for block in program.weights if len(bytes(block.data)) > 64]
    most = 0
    for t in range(1, program.node_count + 1):
        inference.run_to(t)
        memory = inference._segment.memory
        there = [block for block in starts if memory[block.offset : block.offset + len(bytes(block.data))].any()]
        most = max(most, sum(len(bytes(block.data)) for block in there))
    assert 0 < most <= limit // 8 + 2 * largest
    assert most < program.weights_bytes


def test_weights_can_be_read_and_proven_where_they_are(program: Program) -> None:
    inputs = made_up_inputs(program)
    whole, narrow = Inference(program, inputs), Inference(program, inputs, model_memory=less_than_whole(program))
    for block in program.weights[:: max(1, len(program.weights) // 8)]:
        size = len(bytes(block.data))
        assert narrow.read(block.offset, size) == whole.read(block.offset, size)
    at = program.node_count // 2
    assert [block.root for block in narrow.blocks_at(at)] == [block.root for block in whole.blocks_at(at)]


def test_what_needs_the_whole_model_is_refused(program: Program) -> None:
    limit = less_than_whole(program)
    with pytest.raises(SegmentUnavailable, match="does not fit in memory whole"):
        _ = Inference(program, made_up_inputs(program), model_memory=limit).memory
    overrides = {0: [(WEIGHTS.offset, b"\1")]}
    with pytest.raises(SegmentUnavailable, match="does not fit in memory whole"):
        Inference(program, made_up_inputs(program), model_memory=limit, overrides=overrides).run_to(1)


@pytest.mark.parametrize("start", [0, 32, 4096, 5000])
def test_pages_of_a_mapped_file_are_given_back_and_read_again(tmp_path: Path, start: int) -> None:
    path = tmp_path / "weights"
    content = np.random.default_rng(0).bytes(1 << 22)
    path.write_bytes(content)
    mapped = np.memmap(path, np.uint8, "r")
    view = mapped[start : start + (1 << 21)]
    for data in (view, view.data, view.view(np.uint16)):
        assert bytes(data) == content[start : start + (1 << 21)]
        before = resident_kilobytes(path)
        give_back(data)
        assert resident_kilobytes(path) <= before - (1 << 11) + 8
        assert bytes(data) == content[start : start + (1 << 21)]


def letters_in(folder: Path) -> tuple[Path, Program]:
    """A copy of the sample language model, mapped by its program."""
    path = folder / "letters.gguf"
    path.write_bytes(LETTERS.read_bytes())
    return path, compile_language_model(read_language_model(path), Binding(prompt_tokens=2, tokens=2), path.name)


def write_to(path: Path) -> None:
    """One bit of the last weight flips in place, and the file's time goes on as a file system's clock does."""
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


@pytest.mark.parametrize("fits", [True, False])
def test_a_file_that_is_written_to_gives_no_further_state(tmp_path: Path, fits: bool) -> None:
    """Else the run would be another model's than the root says, and an honest operator would stake on it."""
    path, program = letters_in(tmp_path)
    memory = None if fits else less_than_whole(program)
    inference = Inference(program, made_up_inputs(program), model_memory=memory)
    inference.state_root(3)
    write_to(path)
    with pytest.raises(FileChanged, match="was written to while it was in use"):
        inference.state_root(program.node_count)
    with pytest.raises(FileChanged):
        inference.blocks_at(4)


def test_a_file_that_is_written_to_gets_no_model_root(tmp_path: Path) -> None:
    path, program = letters_in(tmp_path)
    write_to(path)
    with pytest.raises(FileChanged):
        _ = program.model_root


def test_a_file_may_be_replaced_by_another(tmp_path: Path) -> None:
    path, program = letters_in(tmp_path)
    other = compile_language_model(read_language_model(LETTERS), Binding(prompt_tokens=2, tokens=2), "letters")
    (tmp_path / "other").write_bytes(b"another file")
    (tmp_path / "other").replace(path)
    assert program.model_root == other.model_root
    expected = Inference(other, made_up_inputs(other)).state_root(other.node_count)
    assert Inference(program, made_up_inputs(program)).state_root(program.node_count) == expected


def test_nothing_else_is_given_back() -> None:
    for data in (b"abc", bytearray(b"abc"), np.arange(9), memoryview(b"abc"), np.empty(0), memoryview(b"")):
        before = bytes(data)
        give_back(data)
        assert bytes(data) == before


def resident_kilobytes(path: Path) -> int:
    """What this process holds of a mapped file."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found
