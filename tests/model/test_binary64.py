"""
Binary64: the same bits as the processor's, for every operation, in the engine and in the VM.

Operands are awkward: every exponent, subnormal numbers, both zeros, infinities, NaN, neighbours, and numbers whose sums
cancel. A NaN has no defined bits and is compared as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import reduce as folded
from typing import Any
from weakref import ref

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.engine.folding import float_mode
from opml_dispute.engine.inference import Inference
from opml_dispute.model.binary64_sums import MOST_PRODUCTS
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_model, compile_operations
from opml_dispute.model.opcodes import Binary, DType, Reduction, Unary
from opml_dispute.model.program import Program
from opml_dispute.model.tensor import Array, Tensor
from tests.model.graphs import parsed
from tests.onnx.in_vm import InVm

RNG = np.random.default_rng(64)
COUNT = 4000
INFINITE = 0x7FF << 52
SPECIAL = np.array(
    [0, 1, (1 << 52) - 1, 1 << 52, INFINITE - 1, INFINITE, 0x7FF8 << 48, 0x3FF0 << 48, 0x3FE0 << 48, 0x4330 << 48,
     0x43E0 << 48, 0x43F0 << 48, 0x47EFFFFFE0000000, 0x47EFFFFFF0000000, 0x36A0 << 48, 0x3690 << 48,
     0x40EFFDFFFFFFFFFF],
    np.uint64,
)  # fmt: skip

Operation = Callable[..., Tensor]


def awkward(count: int = COUNT) -> Array:
    signs = RNG.integers(0, 2, count).astype(np.uint64) << np.uint64(63)
    kinds = (
        RNG.integers(0, 1 << 63, count).astype(np.uint64),
        SPECIAL[RNG.integers(0, SPECIAL.size, count)],
        np.uint64(1023 << 52) + RNG.integers(0, 1 << 56, count).astype(np.uint64),
        (RNG.integers(0, 80, count) / 2).view(np.uint64),
        RNG.integers(0, 1 << 54, count).astype(np.uint64) >> RNG.integers(0, 54, count).astype(np.uint64),
    )
    return np.asarray((np.choose(RNG.integers(0, len(kinds), count), kinds) | signs).view(np.float64))


def pairs(count: int = COUNT) -> tuple[Array, Array]:
    x, y = awkward(count), awkward(count)
    with np.errstate(all="ignore"):
        y[::7] = np.nextafter(x, y)[::7]
    y[::11] = -x[::11]
    return x, y


def program_of(operation: Operation, inputs: Sequence[Array]) -> tuple[Program, dict[str, Array]]:
    values = {f"x{i}": value for i, value in enumerate(inputs)}
    with float_mode():
        g = Builder()
        tensors = [g.new(DType.of(value.dtype), value.shape) for value in inputs]
        for name, tensor in zip(values, tensors, strict=True):
            tensor.buffer.input_name, tensor.buffer.depends = name, frozenset({name})
        made = operation(g, *tensors)
        return compile_operations(g, list(zip(values, tensors, strict=True)), [("y", made)]), values


def computed(operation: Operation, *inputs: Array) -> Array:
    program, values = program_of(operation, inputs)
    return Inference(program, values).outputs()["y"]


def assert_same_bits(found: Array, wanted: Array, *inputs: Array) -> None:
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    if found.dtype.kind in "fV":
        numbers = ~(np.isnan(found.astype(np.float64)) & np.isnan(wanted.astype(np.float64)))
        kind = f"u{found.dtype.itemsize}"
        wrong = np.flatnonzero(numbers & (found.view(kind) != wanted.view(kind)))
    else:
        wrong = np.flatnonzero(found != wanted)
    assert not wrong.size, [(*(x[wrong[0]] for x in inputs), found[wrong[0]], wanted[wrong[0]])]


def _smaller(x: Array, y: Array) -> Array:
    return np.where(np.isnan(x) | np.isnan(y), np.nan, np.where(x < y, x, y))


def _greater(x: Array, y: Array) -> Array:
    return np.where(np.isnan(x) | np.isnan(y), np.nan, np.where(x > y, x, y))


BINARY: dict[Binary, Callable[[Array, Array], Array]] = {
    Binary.ADD: np.add, Binary.SUB: np.subtract, Binary.MUL: np.multiply, Binary.DIV: np.divide, Binary.MIN: _smaller,
    Binary.MAX: _greater, Binary.EQ: np.equal, Binary.LT: np.less, Binary.LE: np.less_equal,
    Binary.PRELU: lambda x, y: np.where(x < 0, x * y, x),
}  # fmt: skip
UNARY: dict[Unary, Callable[[Array], Array]] = {
    Unary.SQRT: np.sqrt, Unary.RECIPROCAL: np.reciprocal, Unary.FLOOR: np.floor, Unary.CEIL: np.ceil,
    Unary.TRUNC: np.trunc, Unary.ROUND: np.rint, Unary.NEG: np.negative, Unary.ABS: np.abs, Unary.ISNAN: np.isnan,
    Unary.SIGN: lambda x: np.where(x == 0, x, np.sign(x)),
    Unary.RELU: lambda x: np.where(np.isnan(x) | (x > 0), x, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("function", BINARY)
def test_an_operation_on_two_numbers_gives_the_processors_bits(function: Binary) -> None:
    x, y = pairs()
    with np.errstate(all="ignore"):
        wanted = BINARY[function](x, y)
    assert_same_bits(computed(lambda g, a, b: g.binary(function, a, b), x, y), wanted, x, y)


@pytest.mark.parametrize("function", UNARY)
def test_an_operation_on_one_number_gives_the_processors_bits(function: Unary) -> None:
    x = awkward()
    with np.errstate(all="ignore"):
        wanted = np.asarray(UNARY[function](x))
    assert_same_bits(computed(lambda g, a: g.unary(function, a), x), wanted, x)


def test_every_exponent_meets_every_other_in_sums_and_products() -> None:
    """A step of five in each operand's exponent, with fractions that are short, long, and in between."""
    exponents = np.arange(0, 2047, 5, dtype=np.uint64)
    fractions = RNG.choice(np.array([0, 1, (1 << 52) - 1, 1 << 51, 0xA5A5A5A5A5A5A], np.uint64), (2, exponents.size**2))
    left, right = (grid.reshape(-1) for grid in np.meshgrid(exponents, exponents))
    x, y = ((e << np.uint64(52) | f).view(np.float64) for e, f in zip((left, right), fractions, strict=True))
    for function in (Binary.ADD, Binary.MUL):
        with np.errstate(all="ignore"):
            wanted = BINARY[function](x, y)
        assert_same_bits(computed(lambda g, a, b, f=function: g.binary(f, a, b), x, y), wanted, x, y)


def _whole(x: Array, dtype: Any) -> Array:
    """Towards zero, saturated, and 0 for NaN."""
    limits = np.iinfo(dtype)
    clamp = [0 if v != v else limits.max if v >= limits.max else limits.min if v <= limits.min else int(v) for v in x]
    return np.array(clamp, dtype)


@pytest.mark.parametrize(
    "kind", [DType.F32, DType.F16, DType.BF16, DType.I64, DType.U64, DType.I32, DType.U8, DType.BOOL]
)
def test_casts_both_ways_round_once(kind: DType) -> None:
    x = awkward()
    with np.errstate(all="ignore"):
        wanted = (
            _whole(x, kind.numpy) if kind.is_integer else x.astype(kind.numpy) if kind is not DType.BOOL else x != 0
        )
    assert_same_bits(computed(lambda g, a: g.cast(a, kind), x), wanted, x)
    bits = x.view(np.uint64) >> RNG.integers(0, 64, x.size).astype(np.uint64)
    integer = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[kind.width]
    back = bits.astype(np.bool_) if kind is DType.BOOL else bits.astype(integer).view(kind.numpy)
    with np.errstate(all="ignore"):
        assert_same_bits(computed(lambda g, a: g.cast(a, DType.F64), back), back.astype(np.float64), back)


def by_pairs(numbers: Iterable[Any], operation: Callable[[Any, Any], Any]) -> Any:
    """Neighbours, then neighbours of these; what is left over is taken along."""
    left = list(numbers)
    while len(left) > 1:
        joined = [operation(a, b) for a, b in zip(left[::2], left[1::2], strict=False)]
        left = joined + ([left[-1]] if len(left) % 2 else [])
    return left[0]


def test_sums_products_and_matrices_are_made_by_pairs() -> None:
    x, w = RNG.standard_normal((5, 13)), RNG.standard_normal((13, 4))
    for how, operation in ((Reduction.SUM, np.add), (Reduction.PROD, np.multiply)):
        wanted = np.array([by_pairs(row, operation) for row in x])
        assert_same_bits(computed(lambda g, a, f=how: g.reduce(f, a, (1,)), x), wanted)
        both = computed(lambda g, a, f=how: g.reduce(f, a, (0, 1)), x)
        assert_same_bits(both, np.array(by_pairs(x.reshape(-1), operation)))
    wanted = np.array([[by_pairs(row * column, np.add) for column in w.T] for row in x])
    assert_same_bits(computed(lambda g, a, b: g.contract(a, b), x, w), wanted)
    bias = RNG.standard_normal(4)
    assert_same_bits(computed(lambda g, a, b, c: g.contract(a, b, c), x, w, bias), wanted + bias)


def test_extremes_and_their_places_follow_the_order_of_numbers() -> None:
    x = awkward(600).reshape(30, 20)
    finite = np.where(np.isnan(x), 0.0, x)
    assert_same_bits(computed(lambda g, a: g.reduce(Reduction.MAX, a, (1,)), x), np.max(x, 1) + 0.0)
    assert_same_bits(computed(lambda g, a: g.argreduce(Reduction.MIN, a, 1), finite), finite.argmin(1))
    order = computed(lambda g, a: g.topk(a, 20, 1, largest=True), finite)
    assert_same_bits(order, np.argsort(-finite, 1, kind="stable"))


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_cumulative_sums_of_whole_numbers_are_exact(exclusive: bool, reverse: bool) -> None:
    x = RNG.integers(-1000, 1000, (3, 21)).astype(np.float64)
    way = x[:, ::-1] if reverse else x
    wanted = np.cumsum(way, 1) - (way if exclusive else 0)
    found = computed(lambda g, a: g.scan(Reduction.SUM, a, 1, exclusive=exclusive, reverse=reverse), x)
    np.testing.assert_array_equal(found, wanted[:, ::-1] if reverse else wanted)


def test_an_emitter_is_gone_with_its_last_name() -> None:
    """It holds a model's constants, which must not wait for a collection."""
    g = Builder()
    g.wide.add(*(g.scalar(value, DType.F64) for value in (1.0, 2.0)))
    left = ref(g)
    del g
    assert left() is None


def test_infinities_are_told_apart() -> None:
    x = awkward()
    for signs, wanted in ((0, np.zeros(x.shape, np.bool_)), (1, np.isneginf(x)), (2, np.isposinf(x)), (3, np.isinf(x))):
        assert_same_bits(computed(lambda g, a, s=signs: g.unary(Unary.ISINF, a, s), x), wanted, x)


@pytest.mark.parametrize(
    "operation",
    [
        lambda g, a, b: g.add(a, b),
        lambda g, a, b: g.mul(a, b),
        lambda g, a, b: g.less(a, b),
        lambda g, a, b: g.cast(g.floor(a), DType.I64),
        lambda g, a, b: g.div(a, b),
        lambda g, a, b: g.reduce(Reduction.MAX, g.binary(Binary.MIN, a, b), (0,)),
        lambda g, a, b: g.cast(g.cast(a, DType.F16), DType.F64),
        lambda g, a, b: g.topk(a, 5, 0, largest=False),
    ],
)
def test_the_vm_computes_the_same_numbers_as_the_engine(operation: Operation) -> None:
    program, values = program_of(operation, pairs(12))
    in_vm = InVm()
    in_vm(program, values)
    assert in_vm.outcome == "equal"


def run(model: onnx.ModelProto, inputs: Mapping[str, Array], **options: Any) -> tuple[Program, list[Array]]:
    program = compile_model(model, **options)
    return program, list(Inference(program, dict(inputs)).outputs().values())


def test_binary64_moves_and_computes_as_such() -> None:
    """Inputs, constants and results keep all their bits."""
    model = parsed(
        """agraph (double[3,4] x, int64[2] i) => (double[2,4] g, double[3,4] s, double[4,3] t, double[3,8] c,
        double[3] m) {
        third = Constant <value = double {0.3333333333333333}> ()
        g = Gather (x, i) s = Mul (x, third) t = Transpose (s) c = Concat <axis=1> (x, s)
        axis = Constant <value_ints=[1]> () m = ReduceMean <keepdims=0> (x, axis) }"""
    )
    x = RNG.standard_normal((3, 4))
    inputs = {"x": x, "i": np.array([2, 0])}
    program, found = run(model, inputs)
    assert program.notes == ()
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    for have, want in zip(found[:4], expected[:4], strict=True):
        assert_same_bits(have, want)
    np.testing.assert_allclose(found[4], expected[4], rtol=1e-15)


def test_what_has_no_rules_for_binary64_says_that_it_computes_in_binary32() -> None:
    """Functions, and products of matrices that are too large; the result is of the declared type."""
    program, (found,) = run(parsed("agraph (double[5] x) => (double[5] y) { y = Exp (x) }"), {"x": np.arange(5.0)})
    assert program.notes == ("Exp of binary64 is computed in binary32 (24 bits of precision)",)
    np.testing.assert_allclose(found, np.exp(np.arange(5.0)), rtol=1e-6)
    assert found.dtype == np.float64
    size = int(MOST_PRODUCTS ** (1 / 3)) + 2
    large = parsed(f"agraph (double[{size},{size}] x) => (double[{size},{size}] y) {{ y = MatMul (x, x) }}")
    assert compile_model(large).notes == ("MatMul of binary64 is computed in binary32 (24 bits of precision)",)


MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


def trees(op_type: str, count: int, targets: int, *, features: int = 3) -> tuple[onnx.ModelProto, Array]:
    """Full trees of depth 3 over binary64 thresholds, some of them equal; and these thresholds."""
    inner, nodes = 7, 15
    prefix = "class" if op_type.endswith("Classifier") else "target"
    thresholds = RNG.choice(RNG.standard_normal(12), (count, inner))
    lists: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "featureids", "modes", "truenodeids",
                                                         "falsenodeids", "missing_value_tracks_true")}  # fmt: skip
    for tree in range(count):
        for node in range(nodes):
            leaf = node >= inner
            row = (tree, node, 0 if leaf else int(RNG.integers(features)), "LEAF" if leaf else MODES[RNG.integers(6)],
                   0 if leaf else 2 * node + 1, 0 if leaf else 2 * node + 2, int(RNG.integers(2)))  # fmt: skip
            for name, value in zip(lists, row, strict=True):
                lists[name].append(value)
    values = np.concatenate([thresholds, np.zeros((count, nodes - inner))], 1).reshape(-1)
    leaves = [
        (tree, node, target) for tree in range(count) for node in range(inner, nodes) for target in range(targets)
    ]
    weights = RNG.standard_normal(len(leaves))
    attributes: dict[str, Any] = {f"nodes_{name}": value for name, value in lists.items()}
    attributes |= {
        "nodes_values_as_tensor": numpy_helper.from_array(values, "values"),
        f"{prefix}_treeids": [leaf[0] for leaf in leaves],
        f"{prefix}_nodeids": [leaf[1] for leaf in leaves],
        f"{prefix}_ids": [leaf[2] for leaf in leaves],
        f"{prefix}_weights_as_tensor": numpy_helper.from_array(weights, "weights"),
        "base_values_as_tensor": numpy_helper.from_array(RNG.standard_normal(targets), "base"),
        "post_transform": "NONE",
    }
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    if prefix == "class":
        attributes["classlabels_int64s"] = list(range(targets))
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, None))
    else:
        attributes["n_targets"] = targets
    node = helper.make_node(op_type, ["x"], [o.name for o in outputs], domain="ai.onnx.ml", **attributes)
    rows = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [200, features])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([node], "trees", [rows], outputs), opset_imports=opsets, ir_version=9)
    return model, thresholds.reshape(-1)


@pytest.mark.parametrize("op_type", ["TreeEnsembleRegressor", "TreeEnsembleClassifier"])
@pytest.mark.parametrize(("count", "targets"), [(1, 1), (8, 3)])
def test_trees_over_binary64_decide_and_add_as_onnx_runtime_does(op_type: str, count: int, targets: int) -> None:
    """At thresholds, right beside them, and for NaN and infinities; sums are rounded to binary32 once."""
    if op_type.endswith("Classifier") and targets == 1:
        targets = 4
    model, thresholds = trees(op_type, count, targets)
    x = RNG.choice(thresholds, (200, 3))
    x[::3], x[1::3] = np.nextafter(x[::3], np.inf), np.nextafter(x[1::3], -np.inf)
    x[::17, 0], x[::19, 1], x[::23, 2] = np.nan, np.inf, -np.inf
    program, found = run(model, {"x": x})
    assert program.notes == ()
    for have, want in zip(
        found, onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x}), strict=True
    ):
        assert_same_bits(have, want)


def test_the_vm_walks_the_same_trees_as_the_engine() -> None:
    model, thresholds = trees("TreeEnsembleRegressor", 2, 2)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    x = thresholds[:9].reshape(3, 3).copy()
    x[0, 0], x[1] = np.nan, np.nextafter(x[1], np.inf)
    in_vm = InVm()
    in_vm(compile_model(model), {"x": x})
    assert in_vm.outcome == "equal"


def test_more_trees_than_are_added_in_order_are_added_by_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    model, thresholds = trees("TreeEnsembleRegressor", 9, 2)
    x = RNG.choice(thresholds, (200, 3))
    _, (in_order,) = run(model, {"x": x})
    monkeypatch.setattr("opml_dispute.model.lower.wide_trees.MOST_IN_ORDER", 4)
    _, (by_twos,) = run(model, {"x": x})
    np.testing.assert_allclose(by_twos, in_order, rtol=1e-6)


def test_a_scaler_rounds_once_at_its_end() -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.1, 1e6], scale=[3.0, 0.5])],
            "scaler",
            [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [40, 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [40, 2])],
        ),
        opset_imports=[helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 18)],
        ir_version=9,
    )
    values = RNG.standard_normal((40, 2)) + np.array([0.1, 1e6])
    _, (found,) = run(model, {"x": values})
    offset, scale = (np.array(pair, np.float32).astype(np.float64) for pair in ((0.1, 1e6), (3.0, 0.5)))
    assert_same_bits(found, ((values - offset) * scale).astype(np.float32))


def test_sums_in_any_order_of_exact_numbers_agree() -> None:
    """The fold by hand and the pairs meet where nothing is rounded."""
    x = RNG.integers(-(1 << 20), 1 << 20, 37).astype(np.float64)
    found = computed(lambda g, a: g.reduce(Reduction.SUM, a, (0,)), x)
    assert float(found) == folded(lambda a, b: a + b, x.tolist())


def test_bfloat16_takes_what_lies_between_its_numbers_to_the_even_one() -> None:
    """Halfway between two numbers, and a little to either side, where rounding by way of binary32 errs."""
    steps = np.arange(1, 60, dtype=np.float64) * 2.0**-8 + 1
    x = np.concatenate([steps, np.nextafter(steps, 2), np.nextafter(steps, 0)])
    wanted = np.array([round(Fraction(float(v)) * 128) / 128 for v in x])  # Fraction rounds ties to even
    assert_same_bits(computed(lambda g, a: g.cast(a, DType.BF16), x), wanted.astype(ml_dtypes.bfloat16), x)
