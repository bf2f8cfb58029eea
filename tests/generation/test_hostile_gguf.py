"""
GGUF files with one thing wrong: each is refused with a sentence, or is another good model; none ends in anything else.

Every field of a header is given values of every type, and is left out; every tensor is given other names, shapes,
encodings and offsets. The campaign of all of them takes minutes; a test takes a part, spread over all.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from opml_dispute.errors import OpmlError
from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.gguf_model import gguf_checkpoint
from opml_dispute.generation.program import compile_answer
from opml_dispute.generation.refusals import BadPrompt
from opml_dispute.generation.vocabulary import vocabulary_from_json
from tests.generation.models import Made, Sizes, write_model

SMALL = Sizes(layers=1, width=8, heads=2, kv_heads=1, head_size=4, hidden=8, vocabulary=40, context=8)
FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Of GGUF's numbers, by their types' numbers."""
TEXT, LIST = 8, 9
NUMBERS: dict[int, list[float]] = {
    4: [0, 1, 2, 3, 7, 65_535, 2**31, 2**32 - 1], 5: [-1, -(2**31)], 10: [0, 2**24, 2**63, 2**64 - 1],
    11: [-1, -(2**63), 2**40], 0: [255], 1: [-1], 2: [1], 3: [-5], 7: [False, True],
    6: [0.0, -1.0, 1.0, 1e-38, 3e38, float("nan"), float("inf")], 12: [1.0, 1e308, 1e-320, float("nan")],
}  # fmt: skip
TEXTS = [
    "",
    "x",
    "gpt2",
    "llama",
    "none",
    "linear",
    "\0",
    "\u202e",
    "a" * 100_000,
    "{% for i in range(9**9) %}{% endfor %}",
]
COUNT = 40
LONGEST_MESSAGE = 400
SECONDS = 20
"""On a loaded machine; each takes some hundredths of one."""


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def number(kind: int, value: float) -> bytes:
    return struct.pack("<" + FORMS[kind], value)


def listed(inner: int, items: Sequence[bytes]) -> bytes:
    return struct.pack("<IIQ", LIST, inner, len(items)) + b"".join(items)


def values() -> list[bytes]:
    """Types and contents that a field may be given."""
    made = [struct.pack("<I", kind) + number(kind, value) for kind, given in NUMBERS.items() for value in given]
    made += [struct.pack("<I", TEXT) + text(value) for value in TEXTS]
    made += [listed(kind, []) for kind in (*FORMS, TEXT, LIST)]
    made += [
        listed(kind, [number(kind, value)] * COUNT)
        for kind, value in ((5, -1), (6, float("nan")), (7, 1), (12, 1e308), (11, 2**62))
    ]
    made += [listed(6, [number(6, 1.0)] * (COUNT - 1)), listed(4, [number(4, 0), number(4, 1)])]
    for texts in (["a"] * COUNT, [""] * COUNT, [f"t{i}" for i in range(COUNT)], [f"t{i}" for i in range(COUNT + 1)],
                  ["a b"], ["zz qq", "a", " ", "a b c"], ["\U0010ffff"] * COUNT):  # fmt: skip
        made.append(listed(TEXT, [text(value) for value in texts]))
    inner = struct.pack("<IQ", 4, 1) + number(4, 1)
    return [*made, listed(LIST, [inner] * 2), listed(LIST, [struct.pack("<IQ", LIST, 0)])]


@dataclass(frozen=True)
class Described:
    """A tensor's description."""

    name: bytes
    sizes: tuple[int, ...]
    encoding: int
    offset: int

    def pack(self) -> bytes:
        sizes = struct.pack(f"<I{len(self.sizes)}Q", len(self.sizes), *self.sizes)
        return text(self.name) + sizes + struct.pack("<IQ", self.encoding, self.offset)


@dataclass(frozen=True)
class Parts:
    """A file, taken apart."""

    fields: tuple[tuple[bytes, bytes], ...]
    tensors: tuple[Described, ...]
    data: bytes

    @classmethod
    def of(cls, raw: bytes) -> Parts:
        tensors, fields = struct.unpack_from("<QQ", raw, 8)
        at = 24
        found: list[tuple[bytes, bytes]] = []
        for _ in range(fields):
            size = struct.unpack_from("<Q", raw, at)[0]
            start = at + 8 + size
            end = cls._behind(raw, struct.unpack_from("<I", raw, start)[0], start + 4)
            found.append((raw[at + 8 : start], raw[start:end]))
            at = end
        described: list[Described] = []
        for _ in range(tensors):
            size = struct.unpack_from("<Q", raw, at)[0]
            name, at = raw[at + 8 : at + 8 + size], at + 8 + size
            rank = struct.unpack_from("<I", raw, at)[0]
            described.append(
                Described(
                    name,
                    struct.unpack_from(f"<{rank}Q", raw, at + 4),
                    *struct.unpack_from("<IQ", raw, at + 4 + 8 * rank),
                )
            )
            at += 16 + 8 * rank
        return cls(tuple(found), tuple(described), raw[-(-at // 32) * 32 :])

    @classmethod
    def _behind(cls, raw: bytes, kind: int, at: int) -> int:
        if kind in FORMS:
            return at + struct.calcsize(FORMS[kind])
        if kind == TEXT:
            return at + 8 + int(struct.unpack_from("<Q", raw, at)[0])
        inner, count = struct.unpack_from("<IQ", raw, at)
        at += 12
        for _ in range(count):
            at = cls._behind(raw, inner, at)
        return at

    def pack(self) -> bytes:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.fields))
        head += b"".join(text(name) + value for name, value in self.fields)
        head += b"".join(tensor.pack() for tensor in self.tensors)
        return head + bytes(-len(head) % 32) + self.data

    def with_field(self, name: bytes, value: bytes | None) -> Parts:
        kept = tuple(field for field in self.fields if field[0] != name)
        return replace(self, fields=kept if value is None else (*kept, (name, value)))

    def with_tensor(self, index: int, *changed: Described) -> Parts:
        return replace(self, tensors=(*self.tensors[:index], *changed, *self.tensors[index + 1 :]))


def mutants(family: str, whole: Parts) -> Iterator[tuple[str, Parts]]:
    """Files with one thing wrong, and what it is."""
    more = ("general.alignment", "general.name", "tokenizer.chat_template", "tokenizer.ggml.add_bos_token",
            "tokenizer.ggml.eot_token_id", "tokenizer.ggml.scores", "tokenizer.ggml.merges",
            "tokenizer.ggml.add_space_prefix", f"{family}.expert_count", f"{family}.rope.scaling.type",
            f"{family}.rope.scaling.factor", f"{family}.attention.sliding_window", f"{family}.rope.freq_base_swa",
            f"{family}.attention.sliding_window_pattern", f"{family}.final_logit_softcapping")  # fmt: skip
    for name in dict.fromkeys([*(name for name, _ in whole.fields), *(name.encode() for name in more)]):
        for i, value in enumerate([None, *values()]):
            yield f"{name!r}, value {i}", whole.with_field(name, value)
    for i, tensor in enumerate(whole.tensors):
        first, *rest = tensor.sizes
        for offset in (tensor.offset + 1, 1 << 40, 2**63, 2**64 - 1, 0):
            yield f"{tensor.name!r} at {offset}", whole.with_tensor(i, replace(tensor, offset=offset))
        for sizes in (
            tensor.sizes[::-1],
            (*tensor.sizes, 1),
            (2 * first, *rest),
            (1 << 40,),
            (0,),
            (2**63, 2),
            (),
            (1,) * 5,
        ):
            yield f"{tensor.name!r} of {sizes}", whole.with_tensor(i, replace(tensor, sizes=sizes))
        for encoding in (*range(40), 2**32 - 1):
            yield f"{tensor.name!r} as {encoding}", whole.with_tensor(i, replace(tensor, encoding=encoding))
        for name in (whole.tensors[i - 1].name, b"\xff", b"", b"blk.7.attn_q.weight", b"blk.0.attn_output.bias"):
            yield f"{tensor.name!r} is {name!r}", whole.with_tensor(i, replace(tensor, name=name))
        yield f"no {tensor.name!r}", whole.with_tensor(i)


def use(path: Path) -> str:
    """Whatever commands do with a file; the sentence with which it is refused, or nothing."""
    try:
        checkpoint = gguf_checkpoint(path)
        checkpoint.sizes()
        compile_answer(checkpoint, AnswerShape(2, 2))
        vocabulary = checkpoint.vocabulary
        if vocabulary is not None:
            vocabulary.text(range(len(vocabulary.tokens)))
            assert vocabulary_from_json(vocabulary.to_json()) == vocabulary
            with suppress(BadPrompt):
                vocabulary.encode("ab c <|im_end|> \u00e9")
    except OpmlError as error:
        return str(error)
    return ""


def sweep(path: Path, made: Made, start: int, step: int) -> dict[str, int]:
    """How many of every `step`-th mutant, from `start` on, were good and how many refused."""
    whole = Parts.of(write_model(path, made).read_bytes())
    assert whole.pack() == path.read_bytes()
    ends = {"good": 0, "refused": 0}
    for number_, (what, parts) in enumerate(mutants(made.family, whole)):
        if number_ % step != start:
            continue
        path.write_bytes(parts.pack())
        began = time.process_time()
        told = use(path)
        assert time.process_time() - began < SECONDS, what
        assert len(told) < LONGEST_MESSAGE + len(str(path)), (what, told)
        ends["refused" if told else "good"] += 1
    return ends


@pytest.mark.parametrize(
    ("family", "tokenizer", "start"),
    [("llama", "llama", 3), ("qwen2", "gpt2", 17), ("gemma2", "llama", 31), ("gemma3", "gpt2", 29)],
)
def test_one_wrong_thing_is_refused_or_another_model(family: str, tokenizer: str, start: int, tmp_path: Path) -> None:
    ends = sweep(tmp_path / "model.gguf", Made(family, SMALL, tokenizer=tokenizer), start, 37)
    assert ends["refused"] > ends["good"] > 0, ends


@pytest.mark.parametrize(
    "factors", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], [1.0] * 3]
)
def test_factors_of_rotations_are_looked_at(factors: list[float], tmp_path: Path) -> None:
    """As many as a head has pairs, each above 0."""
    path = tmp_path / "model.gguf"
    whole = Parts.of(write_model(path, Made("llama", SMALL)).read_bytes())

    def told(given: list[float]) -> str:
        data = whole.data + bytes(-len(whole.data) % 32)
        tensor = Described(b"rope_freqs.weight", (len(given),), 0, len(data))
        made = replace(whole, tensors=(*whole.tensors, tensor), data=data + struct.pack(f"<{len(given)}f", *given))
        path.write_bytes(made.pack())
        return use(path)

    assert "rope_freqs.weight" in told(factors)
    assert told([1.0, 8.0]) == ""


def test_a_file_that_says_two_things_is_refused(tmp_path: Path) -> None:
    """Of two fields of one name the later must not win, and no tensor may lie in the place of another."""
    path = tmp_path / "model.gguf"
    whole = Parts.of(write_model(path, Made("qwen2", SMALL)).read_bytes())
    assert use(path) == ""
    twice = replace(whole, fields=(*whole.fields, (whole.fields[-1][0], number(4, 1))))
    path.write_bytes(twice.pack())
    assert "two fields have the name" in use(path)
    first, second = sorted(whole.tensors, key=lambda tensor: tensor.offset)[:2]
    for offset in (first.offset, second.offset - 32):
        hidden = replace(second, offset=offset)
        path.write_bytes(whole.with_tensor(whole.tensors.index(second), hidden).pack())
        assert "begins within" in use(path)
