"""
Untrusted model files: what is accepted has the states of its root.

An ONNX file is damaged anywhere. Of a program file, the description, records, weights or bytes are changed, and the
checksum is made anew, as the sender of the file would. `expect_states_of_its_root` says what must hold of each program
that is read all the same. The root is worked out from a program file's own bytes, as docs/segment.md places them, with
none of the reader's code.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import tempfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.segment import (
    LEAST_BLOCK_LOG2,
    MODEL_LOG2,
    SEGMENT_LOG2,
    WEIGHTS,
    initial_root,
    section_root,
)
from opml_dispute.engine.vm import Block
from opml_dispute.errors import OpmlError
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.model.program_file import DIGEST_BYTES, FILE_MAGIC, ProgramFileError, read_program, write_program
from opml_dispute.primitives import RECORD_BYTES
from tests.hostile.campaign import Move, edited, random_edits, random_number
from tests.model.graphs import Graph
from tests.onnx.in_vm import InVm

TEXT_AT: Final = len(FILE_MAGIC) + 8
"""Where the description begins, after its length."""
PROGRAM_HEADER_BYTES: Final = 512
MOST_IMAGE_BYTES: Final = 1 << 16
MOST_STEPS: Final = 1 << 20
"""Programs with a larger input, or that take more VM steps, are not run."""
BASES: Final = ("product", "bytes", "gather", "wide")


class ProgramFiles:
    """Files of small programs, changed in every part and signed again."""

    name: Final = "program-files"

    def moves(self, rng: random.Random) -> list[Move]:
        """A base file and a few changes, of one part mostly."""
        moves: list[Move] = [("base", rng.choice(BASES)), ("input", rng.getrandbits(32))]
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            moves += rng.choices((_of_description, _of_records, _of_weights, _of_bytes), (6, 6, 3, 1))[0](rng)
        return moves

    def play(self, moves: Sequence[Move]) -> None:
        """Reads the file; if it is accepted, holds the program against its root."""
        base = next((move[1] for move in moves if move[0] == "base"), BASES[0])
        seed = next((move[1] for move in moves if move[0] == "input"), 0)
        raw = signed(_changed(_parts(base), moves))
        program = accepted(raw)
        if program is not None:
            expect_states_of_its_root(program, raw, seed)


class OnnxFiles:
    """ONNX files of small models, damaged anywhere."""

    name: Final = "onnx-files"

    def moves(self, rng: random.Random) -> list[Move]:
        """A base file and edits."""
        base = rng.choice(BASES)
        return [("base", base), ("input", rng.getrandbits(32)), *random_edits(rng, len(base_model(base)))]

    def play(self, moves: Sequence[Move]) -> None:
        """Compiles the file; if that is done, its program can be kept and has the states of its root."""
        base = next((move[1] for move in moves if move[0] == "base"), BASES[0])
        seed = next((move[1] for move in moves if move[0] == "input"), 0)
        try:
            program = compile_model(edited(base_model(base), moves))
        except OpmlError:
            return
        raw = content(program)
        again = accepted(raw)
        assert again is not None, "the file of a program is refused"
        assert again.model_root == program.model_root
        expect_states_of_its_root(again, raw, seed)


def accepted(raw: bytes) -> Program | None:
    """The program of a file with this content; None if it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.program"
        path.write_bytes(raw)
        try:
            return read_program(path)
        except ProgramFileError:
            return None


def content(program: Program) -> bytes:
    """What `write_program` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.program"
        write_program(program, path)
        return path.read_bytes()


def signed(body: bytes) -> bytes:
    """The body of a file with its checksum."""
    return body + hashlib.sha256(body).digest()


def expect_states_of_its_root(program: Program, raw: bytes, seed: int = 0) -> None:
    """
    The file is the only one of its program; its bytes have the model root; every state of a run natively follows from
    that root and the input; and the guest, which reads the segment under the state's root, comes to the same states.
    """
    assert content(program) == raw, "another file has the same program"
    model = _model_tree(raw)
    assert model.root == program.model_root, "the root is not that of the file's bytes"
    if program.input_bytes > MOST_IMAGE_BYTES or sum(program.node_steps) > MOST_STEPS:
        return
    image = _image(program, seed)
    try:
        inference = Inference(program, image, memory_limit=1 << 28)
        roots = [inference.state_root(t) for t in range(program.node_count + 1)]
    except OpmlError:
        return  # more memory than there is room for: nothing is computed, nothing is claimed
    assert roots[0] == initial_root(model.root, section_root(image)), "S_0 is not that of the root and the input"
    checker = InVm()
    for t, root in enumerate(roots):
        bare = [replace(block, root=None) for block in inference.blocks_at(t)]  # to be hashed anew
        assert SparseTree(SEGMENT_LOG2, bare).root == bytes(root), f"S_{t} has another content"
        assert t == program.node_count or checker.run_node(program, inference, t)


# ---------------------------------------------------------------- the root, from the bytes


def _model_tree(raw: bytes) -> SparseTree:
    """The lower half of the segment, made of a file's bytes."""
    facts, records, weights = _split(raw[:-DIGEST_BYTES])
    ends = [_image_end(facts[kind]) for kind in ("inputs", "outputs")]
    header = struct.pack(">8s5Q", b"OPMLPROG", 2, facts["records"], facts["log2_steps"], *ends)
    tree = SparseTree(MODEL_LOG2)
    for at in range(0, len(records), RECORD_BYTES):
        tree.put(Block(PROGRAM_HEADER_BYTES + at, 9, records[at : at + RECORD_BYTES], 1, None))
    tree.put(Block(0, 9, header.ljust(PROGRAM_HEADER_BYTES, b"\0"), 1, None))
    place, at = WEIGHTS.offset, 0
    for _, size in facts["weights"]:
        place, log2_size = _block_after(place, size)
        tree.put(Block(place, log2_size, weights[at : at + size], 1, None))
        place, at = place + (1 << log2_size), at + size
    return tree


def _block_after(place: int, size: int) -> tuple[int, int]:
    """The first block for `size` bytes from `place` on: a power of two, at a multiple of itself."""
    log2_size = LEAST_BLOCK_LOG2
    while 1 << log2_size < size:
        log2_size += 1
    while place % (1 << log2_size):
        place += 1 << LEAST_BLOCK_LOG2
    return place, log2_size


def _image_end(tensors: Sequence[Any]) -> int:
    place = end = 0
    for _, dtype, shape in tensors:
        size = _WIDTHS[dtype]
        for each in shape:
            size *= each
        place, log2_size = _block_after(place, size)
        end, place = place + size, place + (1 << log2_size)
    return end


_WIDTHS: Final = {
    **dict.fromkeys(("U8", "I8", "BOOL"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def _image(program: Program, seed: int) -> bytes:
    """Any input: bytes that are indices now and then, between blocks zeros."""
    rng, image = random.Random(seed), bytearray(program.input_bytes)
    for spec in program.inputs:
        at = spec.offset - program.inputs[0].offset
        small = spec.dtype.numpy.kind in "iu" and rng.random() < 0.7
        width = spec.dtype.width
        for place in range(at, at + spec.size_bytes, width):
            image[place : place + width] = rng.randrange(4).to_bytes(width, "big") if small else rng.randbytes(width)
    return bytes(image)


# ---------------------------------------------------------------- files and their changes


@cache
def base_program(base: str) -> Program:
    """The compiled `base_model`."""
    return compile_model(base_model(base))


@cache
def base_model(base: str) -> bytes:
    """A small ONNX model: a product with a bias, of bytes, that looks up, or with many inputs and outputs."""
    graph, numbers = Graph(), np.random.default_rng(7)

    def floats(*shape: int) -> Any:
        return numbers.standard_normal(shape).astype(np.float32)

    if base == "product":
        hidden = graph.node("MatMul", graph.input("x", [2, 3]), graph.constant(floats(3, 2)))
        outputs = [graph.node("Relu", graph.node("Add", hidden, graph.constant(floats(2))))]
    elif base == "bytes":
        weights = graph.constant(numbers.integers(0, 255, (3, 2), np.uint8))
        outputs = [graph.node("MatMulInteger", graph.input("x", [2, 3], 2), weights)]
    elif base == "gather":
        table = graph.constant(floats(4, 20))
        outputs = [graph.node("Gather", table, graph.input("i", [3], 7)), graph.node("Exp", graph.input("y", [5]))]
    else:
        parts = [graph.input(f"x{i}", [i + 1, 9]) for i in range(4)]
        outputs = [graph.node("Mul", part, graph.constant(floats(1, 9))) for part in parts]
    raw: bytes = graph.model(outputs).SerializeToString()
    return raw


@cache
def _parts(base: str) -> tuple[str, bytes, bytes]:
    """The description, the records and the weights of a base's file."""
    facts, records, weights = _split(content(base_program(base))[:-DIGEST_BYTES])
    return json.dumps(facts), records, weights


def _split(body: bytes) -> tuple[Any, bytes, bytes]:
    (length,) = struct.unpack_from(">Q", body, len(FILE_MAGIC))
    facts = json.loads(body[TEXT_AT : TEXT_AT + length])
    records_at = TEXT_AT + length
    weights_at = records_at + RECORD_BYTES * facts["records"]
    return facts, body[records_at:weights_at], body[weights_at:]


def _changed(parts: tuple[str, bytes, bytes], moves: Sequence[Move]) -> bytes:
    """A file's body, before the checksum."""
    facts, records, weights = (
        json.loads(parts[0]),
        edited(parts[1], moves, "records"),
        edited(parts[2], moves, "weights"),
    )
    style: dict[str, Any] = {"separators": (",", ":"), "sort_keys": True}
    for name, *arguments in moves:
        places = list(_places(facts))
        if not places:
            break
        match name, arguments:
            case "put", (place, value):
                holder, key = places[place % len(places)]
                holder[key] = value
            case "add", (place, number):
                holder, key = places[place % len(places)]
                if type(holder[key]) is int:
                    holder[key] += number
            case "swap", (one, other):
                (left, here), (right, there) = places[one % len(places)], places[other % len(places)]
                left[here], right[there] = deepcopy(right[there]), deepcopy(left[here])
            case "drop", (place,):
                holder, key = places[place % len(places)]
                del holder[key]
            case "twice", (place,):
                holder, key = places[place % len(places)]
                if isinstance(holder, list):
                    holder.insert(key, holder[key])
            case "split", (place, at):
                sizes = facts.get("weights")
                if _is_sizes(sizes):
                    place %= len(sizes)
                    width, size = sizes[place]
                    first = at % (size // width + 1) * width
                    sizes[place : place + 1] = [[width, first], [width, size - first]]
            case "style", (key, value):
                style[key] = tuple(value) if isinstance(value, list) else value
    text = json.dumps(facts, **style).encode()
    return edited(FILE_MAGIC + struct.pack(">Q", len(text)) + text + records + weights, moves, "file")


def _is_sizes(value: object) -> bool:
    return (
        bool(value)
        and isinstance(value, list)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(type(each) is int and each > 0 for each in pair)
            for pair in value
        )
    )


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value that holds something: what holds it, and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _of_description(rng: random.Random) -> list[Move]:
    place, other = rng.getrandbits(16), rng.getrandbits(16)
    values: tuple[Any, ...] = (
        0,
        1,
        2,
        8,
        -1,
        64,
        1 << 39,
        1 << 40,
        True,
        None,
        "",
        "x",
        "F32",
        "I64",
        [],
        [2, 2],
        1.0,
        "\ud800",
    )
    return [
        rng.choice(
            (
                ("put", place, rng.choice(values)),
                ("add", place, rng.choice((-8, -1, 1, 4, 8, 64))),
                ("swap", place, other),
                ("drop", place),
                ("twice", place),
                ("split", place, other),
                ("style", *rng.choice((("separators", [", ", ": "]), ("sort_keys", False), ("ensure_ascii", False)))),
            )
        )
    ]


def _of_records(rng: random.Random) -> list[Move]:
    if rng.random() < 0.4:
        return random_edits(rng, 8 * RECORD_BYTES, part="records")
    # An operand's offset moved a little, or another field: what hides a block, or reads beside it.
    at = RECORD_BYTES * rng.randrange(8) + 8 * rng.randrange(RECORD_BYTES // 8)
    if rng.random() < 0.5:
        return [("flip", "records", 8 * (at + 7) + rng.randrange(8))]
    return [("set", "records", at, random_number(rng).to_bytes(8, "big"))]


def _of_weights(rng: random.Random) -> list[Move]:
    return random_edits(rng, 64, part="weights")


def _of_bytes(rng: random.Random) -> list[Move]:
    return random_edits(rng, 4096, part="file", near=400)
