"""Long lists of attributes, read from the file's bytes, are those that the parser of everything reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, helper

from opml_dispute.model import long_lists, mapped_weights
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.long_lists import LongList, Words, without_long_lists
from opml_dispute.model.refusals import ModelFileError
from tests.model.graphs import single
from tests.model.test_trees import ML, random_forest

NARROW = st.integers(-(1 << 31), (1 << 31) - 1)
WIDE = st.integers(-(1 << 63), (1 << 63) - 1)
LISTS = st.one_of(
    st.lists(st.integers(0, 300), min_size=1, max_size=60),
    st.lists(NARROW, min_size=1, max_size=60),
    st.lists(WIDE, min_size=1, max_size=60),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60),
    st.lists(st.sampled_from(["LEAF", "BRANCH_LEQ", "", "x" * 40]), min_size=1, max_size=60),
)


@pytest.fixture(autouse=True)
def every_list_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """And chunks have a few entries, so that most lists end in the middle of one."""
    monkeypatch.setattr(long_lists, "LEAST_LIST_BYTES", 1)
    monkeypatch.setattr(mapped_weights, "LEAST_LIST_BYTES", 1)
    monkeypatch.setattr(long_lists, "_CHUNK_BYTES", 200)


def entries_of(held: LongList) -> list[Any]:
    """The entries, which a second reader finds too."""
    both = held.take(), held.take()
    one, other = (list(values) if isinstance(values, Words) else values.tolist() for values in both)
    assert one == other
    assert len(held) == len(one)
    return one


def read(raw: bytes) -> tuple[onnx.NodeProto, dict[str, LongList]]:
    return without_long_lists(np.frombuffer(raw, np.uint8), 0, len(raw))


def field(number: int, kind: int, content: bytes) -> bytes:
    size = [len(content)] if len(content) < 128 else [len(content) & 127 | 128, len(content) >> 7]
    return bytes([number << 3 | kind, *(size if kind == 2 else []), *content])


@settings(max_examples=150, deadline=None)
@given(first=LISTS, second=LISTS)
def test_a_node_without_its_lists_and_these_are_the_node(first: list[Any], second: list[Any]) -> None:
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain=ML, nodes_a=first, kept=[1, 2], nodes_b=second)
    rest, lists = read(node.SerializeToString())
    assert {name: entries_of(values) for name, values in lists.items()} == {"nodes_a": first, "nodes_b": second}
    for attribute in node.attribute:
        if attribute.name in lists:
            for entries in (attribute.ints, attribute.floats, attribute.strings):
                del entries[:]
    assert rest == node


@pytest.mark.parametrize(("greatest", "width"), [(127, 1), (128, 2), (-129, 2), (32_768, 4), (-(1 << 31) - 1, 8)])
def test_integers_are_held_in_the_least_room(greatest: int, width: int) -> None:
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain=ML, nodes_a=[0, greatest, 5])
    values = read(node.SerializeToString())[1]["nodes_a"].take()
    assert isinstance(values, np.ndarray)
    assert (values.dtype, values.tolist()) == (np.dtype(f"i{width}"), [0, greatest, 5])


def test_what_no_result_depends_on_is_left_out() -> None:
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain=ML, nodes_hitrates=[1.0, 2.0])
    assert len(read(node.SerializeToString())[1]["nodes_hitrates"].take()) == 0


@pytest.mark.parametrize("real", [False, True])
def test_a_packed_list_is_read(real: bool) -> None:
    values = np.arange(15, dtype=np.float32) if real else np.arange(100, 115)
    packed = values.astype("<f4").tobytes() if real else bytes(values.astype(np.uint8))
    kind = AttributeProto.FLOATS if real else AttributeProto.INTS
    attribute = field(1, 2, b"nodes_a") + field(7 if real else 8, 2, packed) + b"\xa0\x01" + bytes([kind])
    _, lists = read(field(5, 2, attribute))
    assert entries_of(lists["nodes_a"]) == values.tolist()


INTS, STRINGS = (b"\xa0\x01" + bytes([kind]) for kind in (AttributeProto.INTS, AttributeProto.STRINGS))
NAME = field(1, 2, b"nodes_a")


@pytest.mark.parametrize(
    "attribute",
    [
        NAME + field(8, 0, b"\x07") + INTS + field(8, 0, b"\x08"),
        NAME + field(8, 0, b"\x07") + field(7, 5, bytes(4)) + INTS,
        NAME + field(8, 0, b"\x07") + field(8, 2, b"\x08\x09") + INTS,
        NAME + field(8, 0, b"\x07") + INTS + b"\xaa\x01\x01r",
        field(8, 0, b"\x07") + NAME + INTS,
        NAME + field(9, 2, b"JOB") * 90 + STRINGS,
        NAME + field(9, 2, b"\xff") + STRINGS,
        NAME + b"".join(field(9, 2, bytes([97 + i])) for i in range(20)) + STRINGS,
        NAME + field(8, 0, b"\x07"),
        field(1, 2, b"other") + field(8, 0, b"\x07") + INTS,
    ],
    ids=[
        "in two parts", "two lists", "packed and not", "an argument of a function", "before the name",
        "the tag's letter", "no text", "many words", "without a type", "not of nodes",
    ],
)  # fmt: skip
def test_a_list_laid_out_otherwise_is_left_in_the_node(attribute: bytes) -> None:
    raw = field(5, 2, attribute)
    rest, lists = read(raw)
    assert lists == {}
    assert rest == onnx.NodeProto.FromString(raw)


@pytest.mark.parametrize("seed", range(8))
def test_trees_from_a_file_are_those_of_the_loaded_model(tmp_path: Path, seed: int) -> None:
    forest = random_forest(np.random.default_rng(seed), shared=seed % 2 == 1)
    model = single("TreeEnsembleRegressor", np.zeros((2, 3), np.float32), domain=ML, **forest)
    onnx.save(model, tmp_path / "trees.onnx")
    parts = mapped_weights.parse_apart(tmp_path / "trees.onnx")
    assert parts is not None
    (lists,) = parts.lists.values()
    assert set(lists) == {name for name in forest if name.startswith(("nodes_", "target_"))}
    one, other = compile_model(tmp_path / "trees.onnx"), compile_model(model)
    assert one.records == other.records
    assert one.model_root == other.model_root


def test_a_file_of_trees_cut_short_anywhere_is_refused_with_a_sentence(tmp_path: Path) -> None:
    forest = random_forest(np.random.default_rng(3), shared=False)
    raw = single("TreeEnsembleRegressor", np.zeros((2, 3), np.float32), domain=ML, **forest).SerializeToString()
    path = tmp_path / "trees.onnx"
    for size in range(1, len(raw) - 40, 37):
        path.write_bytes(raw[:size])
        with pytest.raises(ModelFileError):
            compile_model(path)
