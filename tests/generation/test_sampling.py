"""Drawn answers: the generator's published vectors, and tokens against a drawing written from its description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opml_dispute.engine.folding import float_mode
from opml_dispute.engine.inference import Inference
from opml_dispute.generation import sampling
from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.gguf_model import gguf_checkpoint
from opml_dispute.generation.program import compile_answer
from opml_dispute.generation.refusals import BadPrompt
from opml_dispute.generation.sampling import CANDIDATES, SAMPLING_INPUTS, Sampler, SamplingChoice
from opml_dispute.generation.talk import AnswerProgram
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import least_log2_steps
from opml_dispute.model.cost import most_steps
from opml_dispute.model.opcodes import DType
from opml_dispute.model.philox import philox
from opml_dispute.model.plan import Plan, live_operations
from opml_dispute.model.program import Program
from opml_dispute.model.tensor import Array, Tensor
from tests.generation.models import Made, Sizes, write_model


def run(g: Builder, inputs: dict[str, Tensor], output: Tensor, values: dict[str, Array]) -> Array:
    """What operations make of inputs."""
    plan = Plan(live_operations(g.ops, [output]), list(inputs.items()), [("y", output)])
    records, ops = plan.nodes(1 << 24, most_steps, g.meter)
    packed = b"".join(record.pack() for record in records)
    origins = tuple(
        (op.origin.op_type, op.origin.name) for record, op in zip(records, ops, strict=True) if not record.lo
    )
    program = Program(
        packed, tuple(plan.weights), tuple(plan.inputs), tuple(plan.outputs), origins, least_log2_steps(packed)
    )
    return Inference(program, values).outputs()["y"]


def reference_philox(counter: list[int], key: list[int]) -> list[int]:
    """The generator in Python's integers."""
    a, b, c, d = counter
    left, right = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = second >> 32 ^ b ^ left, second % 2**32, first >> 32 ^ d ^ right, first % 2**32
        left, right = (left + 0x9E3779B9) % 2**32, (right + 0xBB67AE85) % 2**32
    return [a, b, c, d]


KNOWN = {
    "00000000 00000000 00000000 00000000 00000000 00000000": "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff": "408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0": "d16cfe09 94fdcceb 5001e420 24126ea1",
}
"""Counter and key to words: the known answers that the generator's authors publish with Random123."""


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("given", KNOWN)
def test_the_generator_gives_its_published_words(given: str) -> None:
    values = words(given)
    assert reference_philox(values[:4], values[4:]) == words(KNOWN[given])
    assert program_philox([values]) == [words(KNOWN[given])]


def program_philox(rows: list[list[int]]) -> list[list[int]]:
    """Words for counters that share a key."""
    with float_mode():
        g = Builder()
        counter = [g.new(DType.U64, (len(rows),)) for _ in range(4)]
        key = [g.new(DType.U64, (1,)) for _ in range(2)]
        made = g.stack(philox(g, counter, key), 1)
    inputs = {f"c{i}": word for i, word in enumerate(counter)} | {f"k{i}": word for i, word in enumerate(key)}
    table = np.array(rows, np.uint64)
    values = {f"c{i}": table[:, i].copy() for i in range(4)} | {f"k{i}": table[:1, 4 + i].copy() for i in range(2)}
    return [[int(word) for word in row] for row in run(g, inputs, made, values)]


def test_the_generator_gives_the_references_words_for_any_counter() -> None:
    rng = np.random.default_rng(5)
    for _ in range(3):
        key = [int(word) for word in rng.integers(0, 1 << 32, 2)]
        rows = [[int(word) for word in rng.integers(0, 1 << 32, 4)] + key for _ in range(40)]
        assert program_philox(rows) == [reference_philox(row[:4], key) for row in rows]


def reference_drawn(logits: Array, token: int, choice: SamplingChoice) -> int:
    """docs/language-models.md, "Sampling", in numpy; exp is numpy's, so it may differ where a draw falls on an edge."""
    order = np.argsort(-logits, kind="stable")[: min(CANDIDATES, logits.size)]
    scores = logits[order]
    if choice.temperature == 0:
        return int(order[0])
    weights = np.exp((scores - scores[0]) / np.float32(choice.temperature)).astype(np.float32)
    if choice.top_k:
        weights[choice.top_k :] = 0
    sums = np.cumsum(weights, dtype=np.float32)
    before = np.concatenate([[np.float32(0)], sums[:-1]])
    kept = before < np.float32(choice.top_p) * sums[-1]
    word = reference_philox([token, 0, 0, 0], [choice.seed % 2**32, choice.seed >> 32])[0]
    aim = np.float32(word >> 8) * np.float32(2**-24) * sums[kept].max()
    return int(order[min(int((sums <= aim).sum()), len(order) - 1)])


def drawn(rows: Array, choice: SamplingChoice) -> list[int]:
    """The token that a program draws for every row of logits, as many tokens of one answer."""
    with float_mode():
        g = Builder()
        sampler = Sampler(g, len(rows))
        logits = g.new(DType.F32, rows.shape)
        sampler.prepare()
        made = g.concat([sampler.choose(logits.sliced(0, i, 1), i) for i in range(len(rows))], 0)
    return [int(v) for v in run(g, {"logits": logits, **sampler.inputs}, made, {"logits": rows, **choice.inputs()})]


CHOICES = [
    SamplingChoice(),
    SamplingChoice(temperature=1.0, seed=1),
    SamplingChoice(temperature=0.7, top_k=5, seed=2**40 + 17),
    SamplingChoice(temperature=1.3, top_p=0.6, seed=3),
    SamplingChoice(temperature=2.0, top_k=40, top_p=0.9, seed=2**63 - 1),
    SamplingChoice(temperature=1.0, top_k=1, seed=5),
    SamplingChoice(temperature=1.0, top_p=1e-30, seed=6),
    SamplingChoice(temperature=1000.0, seed=7),
]


@pytest.mark.parametrize("size", [1, 3, 64, 65, 4096, 4097, 49_152])
def test_draws_are_those_of_the_description(size: int) -> None:
    rng = np.random.default_rng(size)
    count = 3 if size > 4097 else 6
    rows = (3 * rng.normal(size=(count, size))).astype(np.float32)
    for choice in CHOICES:
        assert drawn(rows, choice) == [reference_drawn(row, i, choice) for i, row in enumerate(rows)], choice


def test_of_equal_logits_the_first_tokens_are_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the vocabulary is cut into lines: more equal ones than candidates, over all lines, and at its end."""
    monkeypatch.setattr(sampling, "_WHOLE_LINE", 100)
    rng = np.random.default_rng(2)
    choice = SamplingChoice(temperature=5.0, seed=9)
    for size in (101, 500, 1000, 3001):
        rows = rng.integers(0, 4, (8, size)).astype(np.float32)
        rows[0] = -np.inf
        rows[0, -1] = 1
        assert drawn(rows, choice)[1:] == [reference_drawn(row, i, choice) for i, row in enumerate(rows)][1:]
        assert drawn(rows, SamplingChoice())[0] == size - 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_and_inputs_that_are_no_numbers_draw_some_token(bad: float) -> None:
    """A request may hold anything, and must have an answer like any other."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(4, 200)).astype(np.float32)
    rows[0, 5], rows[1, :] = bad, bad
    assert all(0 <= token < 200 for token in drawn(rows, SamplingChoice(temperature=1.0, seed=1)))
    for name, dtype in SAMPLING_INPUTS:
        choice = SamplingChoice(temperature=1.0, seed=1)
        values = choice.inputs()
        values[name] = np.array([bad if dtype is DType.F32 else -(2**63)]).astype(dtype.numpy)
        with float_mode():
            g = Builder()
            sampler = Sampler(g, 1)
            logits = g.new(DType.F32, (1, 200))
            sampler.prepare()
            made = sampler.choose(logits, 0)
        (token,) = run(g, {"logits": logits, **sampler.inputs}, made, {"logits": rows[2:3], **values})
        assert 0 <= token < 200


def test_draws_have_their_probabilities() -> None:
    """Of 4,000 draws from known weights: chi-squared of four degrees, at a level of one in a million."""
    weights = np.array([0.4, 0.3, 0.2, 0.07, 0.03])
    rows = np.tile(np.log(weights).astype(np.float32), (400, 1))
    counts = np.zeros(5)
    for seed in range(10):
        counts += np.bincount(drawn(rows, SamplingChoice(temperature=1.0, seed=seed)), minlength=5)
    expected = weights * 4000
    assert ((counts - expected) ** 2 / expected).sum() < 33.4


def test_a_drawn_answer_belongs_to_its_seed(tmp_path: Path) -> None:
    """At temperature 0 it is the greedy one; seeds differ; repeated steps draw as planned ones do."""
    checkpoint = gguf_checkpoint(write_model(tmp_path / "model.gguf", Made("qwen2", Sizes(vocabulary=90), seed=1)))
    greedy = compile_answer(checkpoint, AnswerShape(4, 12))
    program = compile_answer(checkpoint, AnswerShape(4, 12, sampled=True))
    shape = AnswerProgram.of(program.inputs, program.outputs)
    assert shape == AnswerProgram(4, 12, sampled=True)
    prompt = [3, 1, 4]

    def said(choice: SamplingChoice | None) -> list[int]:
        return list(Inference(program, shape.inputs(prompt, choice)).outputs()["answer"].tolist())

    plain = AnswerProgram(4, 12).inputs(prompt)
    assert said(None) == Inference(greedy, plain).outputs()["answer"].tolist()
    answers = {tuple(said(SamplingChoice(temperature=1.5, seed=seed))) for seed in range(8)}
    assert len(answers) == 8
    assert said(SamplingChoice(temperature=1.5, seed=3)) in [list(answer) for answer in answers]


def test_a_program_that_draws_nothing_takes_no_choice() -> None:
    with pytest.raises(BadPrompt, match="compiled without sampling"):
        AnswerProgram(4, 4).inputs([1], SamplingChoice(temperature=1.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "a temperature of -0.1; expected 0 to 1000"),
        ({"temperature": float("nan")}, "a temperature of nan"),
        ({"temperature": float("inf")}, "a temperature of inf"),
        ({"top_k": -1}, "a top-k of -1"),
        ({"top_k": CANDIDATES + 1}, "a top-k of 65; expected 1 to 64"),
        ({"top_p": 0.0}, "a top-p of 0.0"),
        ({"top_p": 1.01}, "a top-p of 1.01"),
        ({"top_p": float("nan")}, "a top-p of nan"),
        ({"seed": -1}, "a seed of -1"),
        ({"seed": 1 << 63}, "a seed of 9223372036854775808"),
    ],
)
def test_choices_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(BadPrompt, match=message):
        SamplingChoice(**values)  # type: ignore[arg-type]
