"""
Random operators: their numbers are those of docs/operators.md, "Random numbers", in the engine and in the VM.

`Reference` is written from that page alone, in Python's integers and binary64: words, fractions and draws are compared
exactly, normal numbers within what binary32's functions are off by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.files import open_model
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.files import Binding, parse_binding
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import InputNotFixed, ModelError, UnsupportedOp
from opml_dispute.model.survey import survey
from opml_dispute.model.tensor import Array, Shape, Tensor
from opml_dispute.operator.model_description import binding_as_registered, facts_to_be
from tests.model.graphs import Graph, parsed
from tests.onnx.in_vm import InVm

SEEDS = (0, 7, -1, 2**63 - 1, 0x1234_5678_9ABC_DEF0)
COUNT = 40_000


def run(program: Program, **inputs: Any) -> dict[str, Array]:
    inference = Inference(program, {name: np.asarray(value) for name, value in inputs.items()})
    assert inference.status == 0
    return inference.outputs()


def drawn(text: str, seed: int = 7, **inputs: Any) -> dict[str, Array]:
    """What a model draws from a seed in the request."""
    return run(compile_model(parsed(text), seed_input="seed"), seed=np.array([seed]), **inputs)


class Reference:
    """Words and numbers of one draw."""

    def __init__(self, key: int, draw: int, own: int = 0) -> None:
        self.key, self.draw, self.own = key % 2**64, draw, own

    def word(self, i: int) -> int:
        a, b, c, d = i // 4, 0, self.draw, self.own
        left, right = self.key % 2**32, self.key >> 32
        for _ in range(10):
            first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
            a, b, c, d = second >> 32 ^ b ^ left, second % 2**32, first >> 32 ^ d ^ right, first % 2**32
            left, right = (left + 0x9E3779B9) % 2**32, (right + 0xBB67AE85) % 2**32
        return (a, b, c, d)[i % 4]

    def uniform(self, size: int) -> Array:
        return np.array([(self.word(i) >> 8) / 2**24 for i in range(size)], np.float32)

    def normal(self, size: int) -> Array:
        numbers = []
        for i in range(size):
            first, second = self.word(i // 2 * 2), self.word(i // 2 * 2 + 1)
            length = np.sqrt(-2 * np.log((first + 1) / 2**32))
            angle = 2 * np.pi * (second >> 8) / 2**24
            numbers.append(length * (np.sin(angle) if i % 2 else np.cos(angle)))
        return np.array(numbers)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_numbers_are_those_of_the_specification(seed: int) -> None:
    """Of every operator, numbered as they stand in the graph; any 64 bits are a seed."""
    weights = np.log(np.array([[1, 2, 3, 4], [5, 0.001, 5, 0.5]], np.float32))
    chances = np.linspace(0, 1, 9, dtype=np.float32)
    found = drawn(
        """agraph (float[9] x, float[2,4] w) => (float[3,7] u, float[9] n, float[9] b, int32[2,5] m, float[9] d) {
        u = RandomUniform <shape=[3,7], low=-2.0, high=6.0> ()
        n = RandomNormalLike <mean=3.0, scale=0.5> (x)
        b = Bernoulli (x)
        m = Multinomial <sample_size=5> (w)
        ratio = Constant <value_float=0.25> ()
        training = Constant <value = bool {1}> ()
        d = Dropout (x, ratio, training) }""",
        seed,
        x=chances,
        w=weights,
    )
    numbers = [Reference(seed, draw) for draw in range(5)]
    np.testing.assert_array_equal(found["u"].reshape(-1), numbers[0].uniform(21) * np.float32(8) - np.float32(2))
    np.testing.assert_allclose(found["n"], numbers[1].normal(9) / 2 + 3, atol=2e-6)
    np.testing.assert_array_equal(found["b"], numbers[2].uniform(9) < chances)
    sums = np.cumsum(np.exp(weights - weights.max(1, keepdims=True)), 1)
    aims = numbers[3].uniform(10).reshape(2, 5) * sums[:, -1:]
    np.testing.assert_array_equal(found["m"], (sums[:, None] <= aims[:, :, None]).sum(2))
    stays = numbers[4].uniform(9) >= 0.25
    np.testing.assert_allclose(found["d"], np.where(stays, chances / np.float32(0.75), 0), rtol=2e-7)


@pytest.mark.parametrize(
    "text",
    [
        "agraph (float[9] x) => (float[9] y) { y = RandomNormalLike (x) }",
        "agraph (float16[9] x) => (float16[9] y) { y = RandomUniformLike (x) }",
        "agraph (float[9] x) => (bool[9] y) { y = Bernoulli <dtype=9> (x) }",
        "agraph (float[3,3] x) => (int64[3,2] y) { y = Multinomial <sample_size=2, dtype=7> (x) }",
    ],
)
def test_the_vm_and_the_engine_draw_the_same_numbers(text: str) -> None:
    model = parsed(text)
    in_vm = InVm()
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.full(shape, 0.5, np.float16 if "float16" in text else np.float32)
    in_vm(compile_model(model, seed_input="seed"), {"x": x, "seed": np.array([5])})
    assert in_vm.outcome == "equal"


def largest_gap(numbers: Array, distribution: Any) -> float:
    """Kolmogorov's and Smirnov's distance, times the root of the count: below 1.95 in 999 of 1,000 samples."""
    ordered = np.sort(numbers.reshape(-1).astype(np.float64))
    wanted = np.vectorize(distribution)(ordered)
    places = np.arange(ordered.size + 1) / ordered.size
    gap = max(np.abs(wanted - places[1:]).max(), np.abs(wanted - places[:-1]).max())
    return float(gap * np.sqrt(ordered.size))


@pytest.mark.parametrize("seed", [1, 2])
def test_numbers_are_distributed_as_the_operator_says(seed: int) -> None:
    from math import erf

    found = drawn(
        f"""agraph (float[{COUNT}] x, float[1,3] w) => (float[{COUNT}] n, float[{COUNT}] u, float[{COUNT}] b,
        int32[1,{COUNT}] m) {{ n = RandomNormalLike <mean=1.0, scale=2.0> (x)  u = RandomUniformLike <low=-1.0> (x)
        b = Bernoulli (x)  m = Multinomial <sample_size={COUNT}> (w) }}""",
        seed,
        x=np.full(COUNT, 0.3, np.float32),
        w=np.log(np.array([[1, 2, 5]], np.float32)),
    )
    assert largest_gap(found["n"], lambda x: (1 + erf((x - 1) / 2 / np.sqrt(2))) / 2) < 1.95
    assert largest_gap(found["u"], lambda x: (x + 1) / 2) < 1.95
    off = 4 / np.sqrt(COUNT)  # four deviations, at most
    assert abs(found["n"].mean() - 1) < 2 * off
    assert abs(found["n"].var() / 4 - 1) < 2 * off
    assert abs(found["b"].mean() - 0.3) < off
    shares = np.bincount(found["m"].reshape(-1), minlength=3) / COUNT
    np.testing.assert_allclose(shares, np.array([1, 2, 5]) / 8, atol=off)
    apart = np.corrcoef([found["n"], found["u"], np.roll(found["n"], 1), np.roll(found["n"], 4)])
    assert np.abs(apart - np.eye(4)).max() < 5 / np.sqrt(COUNT)


def test_one_seed_draws_the_same_and_another_does_not() -> None:
    text = "agraph (float[64] x) => (float[64] y, float[64] z) { y = RandomNormalLike (x) z = RandomNormalLike (x) }"
    x = np.zeros(64, np.float32)
    once, again, other = (drawn(text, seed, x=x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once["y"], again["y"])
    assert not (once["y"] == other["y"]).any()
    assert not (once["y"] == once["z"]).any()


def test_a_uniform_number_is_never_the_upper_bound() -> None:
    """Rounded to a type of few bits it would be, in one of some thousand draws."""
    for kind in ("float16", "bfloat16", "float"):
        found = drawn(
            f"agraph () => ({kind}[{COUNT}] y) {{ y = RandomUniform <dtype={_number(kind)}, shape=[{COUNT}]> () }}"
        )
        assert 0 <= found["y"].astype(np.float32).min() < 0.01
        assert 0.99 < found["y"].astype(np.float32).max() < 1


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float", "double"])
def test_the_greatest_fraction_does_not_round_up_to_the_upper_bound(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 + (1 - 2^-24) is 2 in binary32, and one draw in 2^24 has that fraction."""

    def greatest(g: Builder, shape: Shape, seed: float | None) -> Tensor:
        g.next_draw(seed)
        return g.filled(shape, 1 - 2.0**-24, DType.F32)

    monkeypatch.setattr("opml_dispute.model.lower.random._uniform", greatest)
    found = drawn(
        f"agraph () => ({kind}[2] y) {{ y = RandomUniform <dtype={_number(kind)}, low=1.0, high=2.0, shape=[2]> () }}"
    )
    assert 1.99 < found["y"].astype(np.float64).max() < 2


def _number(kind: str) -> int:
    return {
        "float16": TensorProto.FLOAT16,
        "bfloat16": TensorProto.BFLOAT16,
        "float": TensorProto.FLOAT,
        "double": TensorProto.DOUBLE,
    }[kind]


def test_a_seed_of_the_operators_own_draws_the_same_in_every_inference() -> None:
    """From its own numbers: no seed of a request gives them. A second operator of that seed starts at draw 0 too."""
    program = compile_model(
        parsed(
            """agraph () => (float[8] y, float[8] z) {
            y = RandomUniform <seed=7.0, shape=[8]> () z = RandomUniform <seed=7.0, shape=[8]> () }"""
        )
    )
    found = run(program)
    key = int(np.float32(7).view(np.uint32))
    np.testing.assert_array_equal(found["y"], Reference(key, 0, own=1).uniform(8))
    np.testing.assert_array_equal(found["y"], found["z"])
    assert sum("all inferences draw the same numbers" in note for note in program.notes) == 2


def test_each_iteration_of_a_loop_draws_anew() -> None:
    """From a seed of the request, and from an operator's own."""
    for attribute, seed in ((", seed=3.0", None), ("", "seed")):
        body = f"""body (int64 i, bool c) => (bool d, float[4] y) {{
            d = Identity (c) y = RandomUniform <shape=[4]{attribute}> () }}"""
        model = parsed(
            f"""agraph () => (float[3,4] y) {{ n = Constant <value_int=3> () c = Constant <value = bool {{1}}> ()
            y = Loop (n, c) <body = {body}> }}"""
        )
        inputs = {} if seed is None else {"seed": np.array([9])}
        found = run(compile_model(model, seed_input=seed), **inputs)["y"]
        key, own = (9, 0) if seed else (int(np.float32(3).view(np.uint32)), 1)
        np.testing.assert_array_equal(found, [Reference(key, i, own).uniform(4) for i in range(3)])


RANDOM = "agraph (float[4] x) => (float[4] y) { y = RandomNormalLike (x) }"


def test_without_a_seed_a_model_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedOp, match="draws random numbers, and no seed was named") as refused:
        compile_model(parsed(RANDOM))
    assert "--seed-input seed" in (refused.value.hint or "")
    assert [obstacle.op_type for obstacle in survey(parsed(RANDOM))] == ["RandomNormalLike"]
    assert survey(parsed(RANDOM), seed_input="seed") == []


def test_a_seed_can_be_fixed_like_any_input() -> None:
    program = compile_model(parsed(RANDOM), seed_input="noise", constants={"noise": np.array(7)})
    assert [spec.name for spec in program.inputs] == ["x"]
    x = np.zeros(4, np.float32)
    np.testing.assert_array_equal(run(program, x=x)["y"], drawn(RANDOM, 7, x=x)["y"])
    for wrong in (np.array(0.5), np.array([1, 2]), np.array(2**63, np.uint64)):
        with pytest.raises(ModelError, match="expected one integer of 64 bits"):
            compile_model(parsed(RANDOM), seed_input="noise", constants={"noise": wrong})


def test_a_seed_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="has an input 'x' already"):
        compile_model(parsed(RANDOM), seed_input="x")
    with pytest.raises(ModelError, match="has no name"):
        compile_model(parsed(RANDOM), seed_input="")
    with pytest.raises(ModelError, match="nothing in the model draws"):
        compile_model(parsed("agraph (float[4] x) => (float[4] y) { y = Relu (x) }"), seed_input="seed")


def test_a_size_that_random_numbers_decide_names_the_seed() -> None:
    text = """agraph (float[4] x) => (float[N] y) { u = RandomUniformLike (x) s = ReduceSum <keepdims=0> (u)
        z = Cast <to=7> (s) a = Constant <value_ints=[0]> () k = Unsqueeze (z, a) y = ConstantOfShape (k) }"""
    with pytest.raises(InputNotFixed, match="depends on the input 'seed'"):
        compile_model(parsed(text), seed_input="seed")


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        ("RandomUniformLike <low=1.0, high=0.0> (x)", "expected a range of finite width"),
        ("RandomUniformLike <low=-3e38, high=3e38> (x)", "expected a range of finite width"),
        ("RandomNormalLike <dtype=6> (x)", "expected a float's"),
        ("Multinomial (x)", "expected rows of one class or more"),
        ("RandomUniform <shape=[4294967296, 4294967296]> ()", "18,446,744,073,709,551,616 random numbers at once"),
    ],
)
def test_numbers_that_no_draw_can_give_are_refused(operator: str, reason: str) -> None:
    with pytest.raises(UnsupportedOp, match=reason):
        compile_model(parsed(f"agraph (float[4] x) => (float[4] y) {{ y = {operator} }}"), seed_input="seed")


def test_training_drops_by_a_ratio_that_data_gives() -> None:
    model = parsed(
        """agraph (float[4000] x, float r) => (float[4000] y, bool[4000] m) {
        t = Constant <value = bool {1}> () y, m = Dropout (x, r, t) }"""
    )
    program = compile_model(model, seed_input="seed")
    x = np.ones(4000, np.float32)
    for ratio in (0.0, 0.2, 0.75):
        found = run(program, x=x, r=np.float32(ratio), seed=np.array([3]))
        np.testing.assert_allclose(found["y"], found["m"] / np.float32(1 - ratio), rtol=1e-6)
        assert abs(found["m"].mean() - (1 - ratio)) < 0.03
    graph = Graph()
    whole = graph.constant(np.array(1.0, np.float32))
    data, training = graph.input("x", [4]), graph.constant(np.array(True))
    with pytest.raises(UnsupportedOp, match="a ratio of 1; expected 0 to less than 1"):
        compile_model(graph.model([graph.node("Dropout", data, whole, training)]), seed_input="seed")


def test_a_registration_tells_the_name_of_the_seed(tmp_path: Path) -> None:
    """So that an ONNX file that was fetched can be compiled again."""
    file = tmp_path / "noise.onnx"
    onnx.save(parsed("agraph (float[N] x) => (float[N] y) { y = RandomNormalLike (x) }"), file)
    given = parse_binding(("N=4",), (), (), "chance")
    program = open_model(file, given)
    told = binding_as_registered(facts_to_be(program, ""), is_language=False, graph_inputs=["x"])
    assert told == Binding(dims={"x.0": 4}, seed_input="chance")
    assert open_model(file, told).model_root == program.model_root
