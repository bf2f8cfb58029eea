"""GGUF files: what the package `gguf` writes is read the same, and no damage leads to anything but a sentence."""

from __future__ import annotations

import os
import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from opml_dispute.engine.mapped_files import FileChanged
from opml_dispute.errors import OpmlError
from opml_dispute.generation import gguf_file
from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.checkpoint import Architecture, Checkpoint
from opml_dispute.generation.gguf_file import ENCODINGS, is_gguf, read_gguf
from opml_dispute.generation.gguf_model import gguf_checkpoint
from opml_dispute.generation.program import compile_answer
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from tests.generation.models import Made, Sizes, write_model

PRE = "tokenizer.ggml.pre"
SMALL = Made(sizes=Sizes(layers=1, width=8, heads=2, kv_heads=1, head_size=4, hidden=8, vocabulary=10, context=8))


@pytest.mark.parametrize("encoding", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_fields_and_tensors_are_what_the_package_reads(encoding: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", Made(encoding=encoding))
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert dict(ours.fields) == fields
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        found = ours.tensors[tensor.name]
        assert found.encoding == tensor.tensor_type.name
        assert found.shape == tuple(reversed(tensor.shape.tolist()))
        np.testing.assert_array_equal(found.float32(), gguf.quants.dequantize(tensor.data, tensor.tensor_type))


def test_encodings_have_the_sizes_of_the_package() -> None:
    for number, encoding in ENCODINGS.items():
        kind = gguf.GGMLQuantizationType(number)
        assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (
            encoding.name,
            (encoding.block_elements, encoding.block_bytes),
        )


_NOT_CHOSEN_BY_THE_PACKAGE = sorted(e.name for e in ENCODINGS.values() if e.name[:2] in ("IQ", "TQ", "MX"))


@pytest.mark.parametrize("encoding", [*_NOT_CHOSEN_BY_THE_PACKAGE, "Q2_K", "Q3_K"])
def test_blocks_that_have_no_kernel_become_the_packages_numbers(encoding: str, tmp_path: Path) -> None:
    """From random bytes: the package cannot write all of these, and every block of bytes is one of numbers."""
    kind = gguf.GGMLQuantizationType[encoding]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(3).integers(0, 256, (3, 2 * size), np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("some.weight", raw, raw_dtype=kind)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    weight = read_gguf(tmp_path / "model.gguf").tensors["some.weight"]
    assert weight.shape == (3, 2 * elements)
    np.testing.assert_array_equal(weight.float32(), gguf.quants.dequantize(raw, kind))


def in_parts(folder: Path, whole: Path) -> list[Path]:
    """A model in files of at most four tensors each, as the package writes it."""
    reader = gguf.GGUFReader(whole)
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=4)
    for name, entry in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            sub = entry.types[1] if entry.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, entry.contents(), entry.types[0], sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return sorted(folder.glob("model-*.gguf"))


def test_a_model_in_several_files_is_the_model_in_one(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "whole.gguf", SMALL)
    parts = in_parts(tmp_path, whole)
    assert len(parts) == 3
    found, expected = gguf_checkpoint(parts[0]), gguf_checkpoint(whole)
    shape = AnswerShape(2, 2)
    assert compile_answer(found, shape).model_root == compile_answer(expected, shape).model_root
    assert found.vocabulary == expected.vocabulary


def test_files_of_a_model_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    larger = replace(SMALL, sizes=replace(SMALL.sizes, layers=2))
    parts = in_parts(tmp_path, write_model(tmp_path / "whole.gguf", larger))
    first, second, third = parts[:3]
    with pytest.raises(BadModelFile, match="not the first file") as told:
        read_gguf(second)
    assert first.name in told.value.hint
    kept = third.read_bytes()
    third.write_bytes(second.read_bytes())
    with pytest.raises(BadModelFile, match="does not say that it is file 3 of "):
        read_gguf(first)
    third.write_bytes(kept)
    names = [[tensor.name for tensor in gguf.GGUFReader(path).tensors] for path in parts]
    theirs, ours = next((a, b) for a in names[0] for b in names[-1] if len(a) == len(b))
    kept = parts[-1].read_bytes()
    parts[-1].write_bytes(kept.replace(ours.encode(), theirs.encode()))
    with pytest.raises(BadModelFile, match=f"{theirs}', which a file before it has"):
        read_gguf(first)
    parts[-1].write_bytes(kept)
    assert len(read_gguf(first).tensors) == sum(map(len, names))
    second.unlink()
    with pytest.raises(BadModelFile, match="is missing"):
        read_gguf(first)
    alone = tmp_path / "renamed.gguf"
    alone.write_bytes(first.read_bytes())
    with pytest.raises(BadModelFile, match="its name does not"):
        read_gguf(alone)


def attempt(path: Path) -> str:
    """How far one gets with a file: "good", or the name of the error."""
    try:
        compile_answer(gguf_checkpoint(path), AnswerShape(2, 2))
    except OpmlError as error:
        return type(error).__name__
    return "good"


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """At every byte of the header, and at many of the tensors."""
    whole = write_model(tmp_path / "model.gguf", SMALL).read_bytes()
    cut = tmp_path / "cut.gguf"
    header = whole.index(b"output_norm.weight") + 60
    for size in [*range(0, header, 3), *range(header, len(whole) - 1, 97), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        with pytest.raises(BadModelFile):
            read_gguf(cut)


def test_flipped_bits_in_the_header_lead_to_a_sentence_or_another_model(tmp_path: Path) -> None:
    """Whatever a header says, nothing but our own errors comes of it, and nothing takes long or much memory."""
    whole = write_model(tmp_path / "model.gguf", SMALL).read_bytes()
    header = whole.index(b"output_norm.weight") + 60
    flipped = tmp_path / "flipped.gguf"
    chance, ends = random.Random(5), dict[str, int]()
    for place in range(0, header, 5):
        data = bytearray(whole)
        data[place] ^= 1 << chance.randrange(8)
        flipped.write_bytes(data)
        end = attempt(flipped)
        ends[end] = ends.get(end, 0) + 1
    assert {"good", "BadModelFile", "UnsupportedLanguageModel"} <= set(ends), ends


def test_huge_counts_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "model.gguf", SMALL).read_bytes()
    path = tmp_path / "huge.gguf"
    for place in (8, 16, 24):  # tensors, fields, the first field's name
        path.write_bytes(whole[:place] + (1 << 62).to_bytes(8, "little") + whole[place + 8 :])
        with pytest.raises(BadModelFile, match="at most"):
            read_gguf(path)


def peak_bytes(*, reset: bool = False) -> int:
    """The most memory that this process had since the last reset, which is told at once; tracing takes minutes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """Lists as long as the file has room for, of numbers or texts, within each other, or many of them."""
    whole = write_model(tmp_path / "model.gguf", SMALL).read_bytes()
    rest = bytes(1 << 25)

    def header(fields: int, *parts: bytes) -> bytes:
        return whole[:8] + struct.pack("<QQ", 0, fields) + b"".join(parts) + rest

    def field(name: bytes, kind: int, value: bytes) -> bytes:
        return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value

    numbers, texts = struct.pack("<IQ", 0, 1 << 24), struct.pack("<IQ", 8, (1 << 22) - 1)
    nested = struct.pack("<IQIQ", 9, 2_000_000, 9, 2_000_000)
    many = [field(b"%d" % i, 9, struct.pack("<IQ", 0, 1 << 20) + bytes(1 << 20)) for i in range(5)]
    path = tmp_path / "large.gguf"
    for data in (
        header(1, field(b"a", 9, numbers)),
        header(1, field(b"a", 9, struct.pack("<IQ", 8, (1 << 22) + 1))),
        header(1, field(b"a", 9, nested)),
        header(5, *many),
        header(1, field(b"a", 8, struct.pack("<Q", (1 << 24) + 1))),
        header(2, field(b"a", 9, texts), b"\1"),
    ):
        path.write_bytes(data)
        before = peak_bytes(reset=True)
        with pytest.raises(BadModelFile):
            read_gguf(path)
        assert peak_bytes() - before < 400 << 20


@pytest.mark.parametrize(
    ("found", "wanted", "message"),
    [
        (b"llama", b"alpha", "family 'alpha'; known are llama, qwen2"),
        (b"GGUF", b"GGML", "not a GGUF file"),
        (b"GGUF\x03", b"GGUF\x01", "GGUF version 1; expected 2 or 3"),
    ],
)
def test_what_is_unknown_is_named(found: bytes, wanted: bytes, message: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", SMALL)
    path.write_bytes(path.read_bytes().replace(found, wanted, 1))
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=message):
        gguf_checkpoint(path)


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", SMALL)
    raw = bytearray(path.read_bytes())
    place = raw.index(b"token_embd.weight") + len("token_embd.weight") + 4 + 16
    raw[place : place + 4] = (24).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(UnsupportedLanguageModel, match=r"'token_embd.weight' has GGUF's encoding number 24"):
        read_gguf(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # which a reader would wait for a writer of
    for path in (tmp_path, tmp_path / "nothing", Path("/dev/zero"), tmp_path / "pipe", Path("a\0b")):
        assert not is_gguf(path)
        with pytest.raises(BadModelFile):
            read_gguf(path)


def shape_of(path: Path, family: str, layers: int, **extra: Any) -> Architecture:
    made = Made(
        family, replace(SMALL.sizes, layers=layers), extra={name.replace("__", "."): n for name, n in extra.items()}
    )
    return gguf_checkpoint(write_model(path, made)).architecture


def test_gemmas_have_the_windows_and_scales_that_other_implementations_give_them(tmp_path: Path) -> None:
    """What files leave out; the largest models scale their scores by the width over the heads."""
    path = tmp_path / "model.gguf"
    plain = shape_of(path, "gemma2", 2)
    assert (plain.window, plain.local, plain.local_rope_base, plain.attention_cap) == (4096, frozenset({0}), None, 50.0)
    assert plain.query_scale is None
    assert shape_of(path, "gemma2", 46).query_scale == 0.5  # (8 // 2) ** -0.5
    plain = shape_of(path, "gemma3", 2)
    assert (plain.window, plain.logit_cap) == (0, 0.0)
    assert not any(plain.is_local(layer) for layer in range(12))
    told = shape_of(
        path, "gemma3", 62, attention__sliding_window=4, rope__freq_base_swa=5e3, final_logit_softcapping=9.0
    )
    assert (told.window, len(told.local), told.local_rope_base, told.logit_cap) == (4, 52, 5_000.0, 9.0)
    assert told.query_scale == 0.5
    other = shape_of(path, "gemma3", 4, attention__sliding_window=4, attention__sliding_window_pattern=3)
    assert [other.is_local(layer) for layer in range(4)] == [True, True, False, True]


def test_exaone_has_windows_in_its_largest_models_only_and_turns_nothing_in_layers_that_see_all(tmp_path: Path) -> None:
    """As llama.cpp reads its files, whatever window these name."""
    path = tmp_path / "model.gguf"
    few, many = (shape_of(path, "exaone4", layers, attention__sliding_window=4) for layers in (8, 64))
    assert (few.window, few.unturned) == (0, frozenset())
    assert (many.window, many.unturned) == (4, frozenset(range(3, 64, 4)))
    assert many.local == frozenset(range(64)) - many.unturned


def test_olmo_scales_positions_in_layers_that_see_all_only(tmp_path: Path) -> None:
    told = {"rope__scaling__type": "linear", "rope__scaling__factor": 3.0, "attention__sliding_window": 4}
    made = shape_of(tmp_path / "model.gguf", "olmo2", 4, **told)
    assert (made.rope_scaling.divisor, made.local_rope_base) == (3.0, made.rope_base)


@pytest.mark.parametrize(
    ("family", "gone"),
    [
        ("olmo2", "attn_q_norm.weight"),
        ("qwen2", "attn_k.bias"),
        ("qwen3", "attn_q_norm.weight"),
        ("gemma2", "post_ffw_norm.weight"),
        ("llama", "ffn_up.weight"),
    ],
)
def test_tensors_that_a_family_has_are_missed_and_others_are_refused(family: str, gone: str, tmp_path: Path) -> None:
    """llama.cpp refuses these files too; to leave a bias or a norm out would give another model's answers."""
    path = write_model(tmp_path / "model.gguf", replace(SMALL, family=family))
    raw = path.read_bytes()
    other = "x" * len(gone)
    path.write_bytes(raw.replace(f"blk.0.{gone}".encode(), f"blk.0.{other}".encode()))
    assert path.read_bytes() != raw
    with pytest.raises(UnsupportedLanguageModel, match=f"no tensor 'blk.0.{gone}', which its family has"):
        gguf_checkpoint(path)


def test_a_tensor_more_than_a_family_has_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", replace(SMALL, vectors={"blk.0.attn_v_norm.weight": (1.0,) * 8}))
    with pytest.raises(
        UnsupportedLanguageModel, match=r"'blk\.0\.attn_v_norm\.weight', for which its family has no place"
    ):
        gguf_checkpoint(path)


@pytest.mark.parametrize(("split", "begins"), [("gpt-2", False), ("llama-bpe", True)])
def test_texts_of_llama_3_begin_with_their_token_where_a_file_does_not_say(
    split: str, begins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As other implementations have it: early files of that family leave the field out."""
    monkeypatch.setattr(gguf.GGUFWriter, "add_add_bos_token", lambda writer, value: writer.add_bos_token_id(3))
    monkeypatch.setattr(gguf.GGUFWriter, "add_tokenizer_pre", lambda writer, _: writer.add_string(PRE, split))
    vocabulary = gguf_checkpoint(write_model(tmp_path / "model.gguf")).vocabulary
    assert vocabulary is not None
    assert vocabulary.begin == (3 if begins else None)


def test_longer_contexts_are_scaled_as_the_file_says(tmp_path: Path) -> None:
    """By a divisor, by YaRN, or by factors that depend on a program's positions; the published numbers of each."""
    path = tmp_path / "model.gguf"
    told: dict[str, Any] = {"rope__scaling__type": "linear", "rope__scaling__factor": 3.0}
    assert shape_of(path, "llama", 2, **told).rope_scaling.divisor == 3.0
    told = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0, "rope__scaling__original_context_length": 16}
    yarn = shape_of(path, "qwen2", 2, **told).rope_scaling
    assert yarn.factors is not None
    assert (yarn.factors[0], yarn.factors[-1]) == (1, 4)
    assert yarn.amplitude == pytest.approx(1 + 0.1 * np.log(4))
    two = {"rope_factors_short.weight": (1.0, 1.5), "rope_factors_long.weight": (2.0, 3.0)}
    made = replace(SMALL, family="phi3", sizes=replace(SMALL.sizes, context=64, head_size=4), vectors=two)
    more = {"rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.25}
    scaling = gguf_checkpoint(write_model(path, replace(made, extra=more))).architecture.rope_scaling
    chosen = [scaling.factors_for(positions) for positions in (16, 17)]
    assert [None if factors is None else factors.tolist() for factors in chosen] == [[1.0, 1.5], [2.0, 3.0]]
    assert scaling.amplitude == 1.25


@pytest.mark.parametrize(
    ("told", "vectors", "message"),
    [
        ({"rope.scaling.type": "dynamic"}, {}, "scales positions by 'dynamic'"),
        ({"rope.scaling.type": "yarn", "rope.scaling.factor": 0.0}, {}, "expected a number above 0"),
        ({}, {"rope_factors_long.weight": (1.0,) * 4}, "factors of rotations for one length of context only"),
        ({}, {"rope_freqs.weight": (1.0,) * 3}, r"has the shape \[3\]; expected \[4\]"),
        ({}, {"rope_freqs.weight": (1.0, 0.0, 1.0, 1.0)}, "an element that is no number above 0"),
    ],
)
def test_scalings_that_are_wrong_are_refused(
    told: dict[str, float | str], vectors: dict[str, tuple[float, ...]], message: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "model.gguf", Made(extra=told, vectors=vectors))
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=message):
        gguf_checkpoint(path)


@pytest.mark.parametrize("when", ["read", "compiled"])
def test_a_file_that_is_cut_while_it_is_read_is_told(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are copied into the program would be zeros, and the answer another model's."""
    path = write_model(tmp_path / "model.gguf", SMALL)
    checkpoint = gguf_checkpoint(path)
    place: Any = gguf_file if when == "read" else Checkpoint
    name = "_elements" if when == "read" else "vector"
    function = getattr(place, name)

    def cutting(*arguments: Any) -> Any:
        os.truncate(path, 1)
        return function(*arguments)

    monkeypatch.setattr(place, name, cutting)
    with pytest.raises(FileChanged, match="written to while"):
        gguf_checkpoint(path) if when == "read" else compile_answer(checkpoint, AnswerShape(2, 2))
