"""Integer operators are exact: no float attribute, no detour through binary32 costs a bit."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from math import isqrt, trunc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.lower import control
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import InputNotFixed, UnsupportedOp
from opml_dispute.model.tensor import Array
from tests.model.graphs import single

INTEGERS = tuple(dtype for dtype in DType if dtype.is_integer)
WORDS = (DType.I32, DType.I64, DType.U32, DType.U64)


def run(op_type: str, *arrays: Array, **attributes: Any) -> Array:
    """The operator's only output."""
    named = {f"x{i}": array for i, array in enumerate(arrays)}
    inference = Inference(compile_model(single(op_type, *arrays, **attributes)), named)
    (result,) = inference.outputs().values()
    assert inference.status == 0
    return result


def wrapped(value: int, dtype: DType) -> int:
    """The integer as the type holds it."""
    bits = 8 * dtype.width
    value %= 1 << bits
    return value - (1 << bits) if dtype.is_signed and value >> (bits - 1) else value


def numbers(dtype: DType) -> st.SearchStrategy[int]:
    limits = np.iinfo(dtype.numpy)
    edges = [int(limits.min), int(limits.max), 0, 1, 2]
    return st.one_of(
        st.sampled_from(edges),
        st.integers(max(int(limits.min), -20), 20),
        st.integers(int(limits.min), int(limits.max)),
    )


FACTORS = st.one_of(
    st.sampled_from([0.5, 1.5, -0.5, -2.75, 0.1, 1e-3, 3.0, 255.5, -300.25]), st.floats(-1000, 1000, width=16)
)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(INTEGERS), FACTORS, FACTORS)
def test_shrink_treats_integers_as_the_numbers_they_are(
    data: st.DataObject, dtype: DType, lambd: float, bias: float
) -> None:
    lambd, bias = float(np.float32(lambd)), float(np.float32(bias))
    xs = data.draw(st.lists(numbers(dtype), min_size=1, max_size=12))
    expected = []
    for x in xs:
        value = x + Fraction(bias) if x < -lambd else x - Fraction(bias) if x > lambd else 0
        expected.append(wrapped(trunc(value), dtype))
    assert run("Shrink", np.array(xs, dtype.numpy), lambd=lambd, bias=bias).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(WORDS), FACTORS, FACTORS)
def test_gemm_of_integers_takes_alpha_and_beta_as_they_are(
    data: st.DataObject, dtype: DType, alpha: float, beta: float
) -> None:
    """trunc(alpha * A * B + beta * C), the products wrapped as ever."""
    alpha, beta = float(np.float32(alpha)), float(np.float32(beta))
    a, b, c = (data.draw(st.lists(numbers(dtype), min_size=3, max_size=3)) for _ in range(3))
    expected = []
    for x, y in zip(b, c, strict=True):
        value = Fraction(alpha) * wrapped(a[0] * x, dtype) + (Fraction(beta) * y if beta else 0)
        expected.append(wrapped(trunc(value), dtype))
    kind = dtype.numpy
    arrays = np.array([a[:1]], kind), np.array([b], kind), np.array([c], kind)
    if abs(max((Fraction(alpha).denominator, Fraction(beta).denominator))) > 1 << 38:
        with pytest.raises(UnsupportedOp, match="bits behind the binary point"):
            run("Gemm", *arrays, alpha=alpha, beta=beta)
    else:
        assert run("Gemm", *arrays, alpha=alpha, beta=beta).tolist() == [expected]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-2000, 2000), min_size=1, max_size=8), st.integers(-3, 5))
def test_integers_to_whole_float_powers_are_exact(xs: list[int], power: int) -> None:
    expected = [wrapped(x**power, DType.I64) if power >= 0 else trunc(Fraction(1, x**-power)) for x in xs if x]
    x = np.array([x for x in xs if x], np.int64)
    for exponent in (np.float32(power), np.full(x.shape, power, np.float32)):
        assert run("Pow", x, np.asarray(exponent)).tolist() == expected


def test_every_square_of_small_integers_is_right() -> None:
    x = np.arange(-4097, 4098, dtype=np.int32)
    assert (run("Pow", x, np.array(2, np.float32)) == x * x).all()
    assert (run("Pow", x, np.array(1, np.float32)) == x).all()


def test_the_root_of_an_integer_is_its_integer_root() -> None:
    """Also just below squares that binary32 cannot hold."""
    squares = np.array([n * n + d for n in (2, 7, 4096, 46340, 3037000499) for d in (-1, 0, 1)], np.int64)
    assert run("Pow", squares, np.array(0.5, np.float32)).tolist() == [isqrt(int(x)) for x in squares]
    assert run("ReduceL2", squares.reshape(-1, 1) % 30000, axes=[1], keepdims=0).tolist() == [
        int(x) % 30000 for x in squares
    ]


def test_a_negative_base_keeps_its_sign_under_large_odd_powers() -> None:
    powers = np.array([16777217, 16777216, 3], np.int64)
    assert run("Pow", np.full(3, -1, np.float32), powers).tolist() == [-1.0, 1.0, -1.0]
    assert run("Pow", np.full(3, -1, np.int32), powers).tolist() == [-1, 1, -1]


@pytest.mark.parametrize("dtype", WORDS)
def test_the_logarithm_of_a_sum_of_integers_is_cut_off_exactly(dtype: DType) -> None:
    """Around powers of e, where binary32 would round up."""
    powers = [int(Context(prec=50).exp(Decimal(k))) for k in range(1, 21 if dtype.width == 4 else 43)]
    sums = [p + d for p in powers for d in (0, 1)]
    got = run("ReduceLogSum", np.array(sums, dtype.numpy).reshape(-1, 1), axes=[1], keepdims=0)
    assert got.tolist() == [int(Decimal(n).ln(Context(prec=50))) for n in sums]


@pytest.mark.parametrize(
    ("op_type", "values", "expected"),
    [
        ("ReduceLogSumExp", [3, 4], 4),
        ("ReduceLogSumExp", [-5, -5], -4),
        ("ReduceLogSumExp", [2**31 - 1, 0], 2**31 - 1),
        ("ReduceL2", [3, 4], 5),
        ("ReduceLogSum", [3, 4], 1),
        ("ReduceMean", [2**31 - 1, 2**31 - 3], 2**31 - 2),
    ],
)
def test_reductions_of_integers(op_type: str, values: list[int], expected: int) -> None:
    """Reductions of integers give exact results."""
    assert run(op_type, np.array(values, np.int32), opset=13, keepdims=0).tolist() == expected


def test_narrow_integers_multiply_and_wrap() -> None:
    a, b = np.array([[100, 100]], np.int8), np.array([[3], [2]], np.int8)
    assert run("Einsum", a, b, equation="ij,jk->ik").tolist() == [[wrapped(500, DType.I8)]]


def test_a_factor_too_large_beside_a_fraction_is_refused() -> None:
    ones = np.ones((1, 1), np.int64)
    with pytest.raises(UnsupportedOp, match="with fractions"):
        run("Gemm", ones, ones, ones, alpha=0.5, beta=float(2**30))


@pytest.mark.parametrize("dtype", [dtype for dtype in INTEGERS if dtype.is_signed])
def test_the_logarithm_of_nothing_is_the_least_integer(dtype: DType) -> None:
    empty = np.zeros((2, 0), dtype.numpy)
    least = int(np.iinfo(dtype.numpy).min)
    for op_type in ("ReduceLogSumExp", "ReduceLogSum"):
        assert run(op_type, empty, opset=13, axes=[1], keepdims=0).tolist() == [least, least]


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(INTEGERS), FACTORS, FACTORS)
def test_old_clip_takes_its_bounds_as_the_numbers_they_are(
    data: st.DataObject, dtype: DType, low: float, high: float
) -> None:
    """Also where a bound lies outside of the integers' type, as the defaults do."""
    low, high = sorted((float(np.float32(low)), float(np.float32(high))))
    xs = data.draw(st.lists(numbers(dtype), min_size=1, max_size=12))
    limits = np.iinfo(dtype.numpy)
    inside = [min(max(trunc(bound), int(limits.min)), int(limits.max)) for bound in (low, high)]
    x = np.array(xs, dtype.numpy)
    assert run("Clip", x, opset=6, min=low, max=high).tolist() == [min(max(v, inside[0]), inside[1]) for v in xs]
    assert run("Clip", x, opset=6).tolist() == xs


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(INTEGERS), st.sampled_from([np.float32, np.float16]))
def test_a_float_cast_to_an_integer_loses_its_fraction_and_wraps(data: st.DataObject, dtype: DType, kind: Any) -> None:
    """As in ONNX Runtime and numpy, within the range where these agree on every processor's word size."""
    wide = dtype.width == 8 or dtype is DType.U32
    limit = 2.0**62 if wide else 2147483520.0
    floats = st.floats(-60000, 60000, width=16) if kind is np.float16 else st.floats(-limit, limit, width=32)
    xs = data.draw(st.lists(floats, min_size=1, max_size=12))
    got = run("Cast", np.array(xs, kind), to=int(dtype))
    assert got.tolist() == [wrapped(trunc(x), dtype) for x in xs]


def test_a_float_beyond_the_integers_becomes_the_nearest_one() -> None:
    x = np.array([3e9, -3e9, np.inf, -np.inf, np.nan], np.float32)
    limits = np.iinfo(np.int32)
    assert run("Cast", x, to=TensorProto.INT32).tolist() == [limits.max, limits.min, limits.max, limits.min, 0]
    assert run("Cast", np.array([1.8e19, 2e19], np.float32), to=TensorProto.UINT64).tolist() == [
        int(np.float32(1.8e19)),
        2**64 - 1,
    ]


@pytest.mark.parametrize("op_type", ["Erf"])
def test_a_float_function_of_integers_is_cut_off(op_type: str) -> None:
    assert run(op_type, np.array([0, 3, -9], np.int32), opset=9).tolist() == [0, 0, -1]


def test_a_loop_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cut off after the most iterations that are written out, without a word."""
    assert control.MAX_ITERATIONS == 65_536
    monkeypatch.setattr(control, "MAX_ITERATIONS", 300)  # writing all of them out takes minutes

    def info(name: str, shape: list[int], kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Less", ["i", "limit"], ["on"]), helper.make_node("Add", ["v", "one"], ["out"])],
        "body",
        [info("i", [], TensorProto.INT64), info("c", [], TensorProto.BOOL), info("v", [1])],
        [info("on", [], TensorProto.BOOL), info("out", [1])],
    )
    constants = [
        numpy_helper.from_array(np.ones(1, np.float32), "one"),
        numpy_helper.from_array(np.array(320), "limit"),
        numpy_helper.from_array(np.array(True), "go"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "go", "one"], ["y"], body=body)], "loop", [info("x", [1])], [info("y", [1])],
        constants,
    )  # fmt: skip
    with pytest.raises(UnsupportedOp, match="more than 300 iterations"):
        compile_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_a_branch_that_does_not_go_names_the_input_that_decides() -> None:
    """A squeeze that only fits in one branch: the input can be fixed."""

    def branch(name: str, size: int) -> Any:
        nodes = [helper.make_node("Slice", ["x", "zero", "end", "one", f"step{size}"], [f"c{name}"])]
        nodes.append(helper.make_node("Squeeze", [f"c{name}", "one"], [f"y{name}"]))
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"y{name}", 1, None)])

    values = {"zero": [0], "end": [99], "one": [1], "step4": [4], "step2": [2], "rate": 16000}
    graph = helper.make_graph(
        [
            helper.make_node("Equal", ["sr", "rate"], ["is"]),
            helper.make_node("If", ["is"], ["y"], then_branch=branch("a", 4), else_branch=branch("b", 2)),
        ],
        "two",
        [helper.make_tensor_value_info("x", 1, [1, 4]), helper.make_tensor_value_info("sr", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(np.array(v), n) for n, v in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(InputNotFixed) as refused:
        compile_model(model)
    assert refused.value.inputs == {"sr"}
    assert compile_model(model, constants={"sr": np.array(16000)}).node_count == 1
