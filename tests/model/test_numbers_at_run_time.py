"""
Lengths and places that are given at run time: within their limits they count, beyond them the inference fails.

A number that is known when the model is compiled means the same: within its limits it gives the same bits, beyond them
the model is refused, since it would fail at every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.fold import INDEX_OUT_OF_RANGE
from opml_dispute.model.refusals import UnsupportedOp
from opml_dispute.model.tensor import Array
from tests.model.graphs import parsed
from tests.onnx.in_vm import InVm

TIME, BATCH, SIZE = 3, 2, 4
LIMITS = {kind: (int(np.iinfo(kind).min), int(np.iinfo(kind).max)) for kind in (np.int32, np.int64)}
"""The ends of the types that such numbers have."""


def floats(*shape: int) -> Array:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def whole(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def narrow(*numbers: int) -> Array:
    return np.array(numbers, np.int32)


@dataclass(frozen=True)
class Case:
    """One operator, and its input number `at`, whose first number has limits."""

    op_type: str
    inputs: Sequence[Array | None]
    at: int
    good: Sequence[int]
    """The ends of what it may be, at least; nothing beyond them is good."""
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    domain: str = ""
    bad: Sequence[int] | None = None
    """Beyond the limits; None for the numbers beside `good` and the ends of the type."""

    def given(self, number: int) -> dict[str, Array]:
        """All inputs by name, with this number."""
        values = {f"x{i}": value for i, value in enumerate(self.inputs) if value is not None}
        changed = values[f"x{self.at}"].copy()
        changed.reshape(-1)[0] = number
        return {**values, f"x{self.at}": changed}

    def wrong(self) -> Sequence[int]:
        if self.bad is not None:
            return self.bad
        kind = self.given(0)[f"x{self.at}"].dtype.type
        return (min(self.good) - 1, max(self.good) + 1, *LIMITS[kind])

    def model(self) -> onnx.ModelProto:
        names = ["" if value is None else f"x{i}" for i, value in enumerate(self.inputs)]
        node = helper.make_node(
            self.op_type, names, [f"y{i}" for i in range(self.outputs)], "node", domain=self.domain, **self.attributes
        )
        infos = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in self.given(0).items()
        ]
        results = [onnx.ValueInfoProto(name=f"y{i}") for i in range(self.outputs)]
        opsets = [helper.make_opsetid("", 24), helper.make_opsetid("ai.onnx.ml", 4)]
        opsets.append(helper.make_opsetid("com.microsoft", 1))
        return helper.make_model(helper.make_graph([node], "g", infos, results), opset_imports=opsets, ir_version=10)


X = floats(TIME, BATCH, SIZE)
HEADS = floats(BATCH, 2, TIME, SIZE)
RECURRENT: list[Array | None] = [X, floats(1, 2, SIZE), floats(1, 2, 2), None, narrow(2, TIME)]
EMBEDDED: list[Array | None] = [
    narrow(0, 1, 2, 0, 1, 2).reshape(2, 3), narrow(0, 1, 1, 0, 0, 1).reshape(2, 3), floats(5, 4), floats(6, 4),
    floats(2, 4), floats(4), floats(4), None, narrow(0, 1, 2).reshape(1, 3),
]  # fmt: skip
GROUPED: list[Array | None] = [floats(2, 1, 32), floats(2, 1, 16), floats(2, 1, 16), floats(2, 1, 6, 16)]
GROUPED += [floats(2, 1, 6, 16), narrow(2, 4), narrow(5), floats(6, 8), floats(6, 8)]
PROMPT: list[Array | None] = [floats(2, 3, 32), floats(2, 3, 16), floats(2, 3, 16), None, None, narrow(2, 1), narrow(3)]
TURNED = [floats(BATCH, TIME, 4), narrow(1), floats(5, 2), floats(5, 2)]


def _gates(count: int) -> list[Array | None]:
    return [X, floats(1, count * 2, SIZE), floats(1, count * 2, 2), None, narrow(2, TIME)]


def _recurrent() -> dict[str, Case]:
    return {
        f"{op_type} {direction}": Case(
            op_type,
            [value if value is None or i not in (1, 2) or direction != "bidirectional" else np.repeat(value, 2, 0)
             for i, value in enumerate(_gates(gates))],
            4, (0, TIME), {"direction": direction, "hidden_size": 2}, 2,
        )
        for op_type, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
        for direction in ("forward", "reverse", "bidirectional")
        if op_type == "RNN" or direction == "forward"
    }  # fmt: skip


QUANTISED_LSTM: list[Array | None] = [
    X, np.ones((1, SIZE, 8), np.int8), np.ones((1, 2, 8), np.int8), None, narrow(2, TIME), None, None, None,
    floats(1) + 2, np.zeros(1, np.int8), floats(1) + 2, np.zeros(1, np.int8),
]  # fmt: skip

CASES: dict[str, Case] = {
    "Gather": Case("Gather", [X, whole(0, 1)], 1, (-TIME, TIME - 1)),
    "GatherElements": Case("GatherElements", [floats(TIME), whole(0, 1)], 1, (-TIME, TIME - 1)),
    "GatherND": Case("GatherND", [X, whole(0, 1, 2).reshape(1, 3)], 1, (-TIME, TIME - 1)),
    "ScatterElements": Case("ScatterElements", [floats(TIME), whole(1), floats(1)], 1, (-TIME, TIME - 1)),
    "ScatterND": Case("ScatterND", [floats(TIME), whole(1).reshape(1, 1), floats(1)], 1, (-TIME, TIME - 1)),
    "ArrayFeatureExtractor": Case(
        "ArrayFeatureExtractor", [floats(2, TIME), whole(0, 1)], 1, (0, TIME - 1), domain="ai.onnx.ml"
    ),
    "ReverseSequence": Case("ReverseSequence", [X, whole(1, 2)], 1, (0, TIME)),
    "ReverseSequence by batch": Case(
        "ReverseSequence", [X, whole(1, 2, 2)], 1, (0, BATCH), {"batch_axis": 0, "time_axis": 1}
    ),
    **_recurrent(),
    "DynamicQuantizeLSTM": Case(
        "DynamicQuantizeLSTM", QUANTISED_LSTM, 4, (0, TIME), {"hidden_size": 2}, domain="com.microsoft"
    ),
    "nonpad_kv_seqlen": Case("Attention", [HEADS, HEADS, HEADS, None, None, None, whole(1, 2)], 6, (0, TIME)),
    "causal nonpad_kv_seqlen": Case(
        "Attention", [HEADS, HEADS, HEADS, None, None, None, whole(1, 2)], 6, (0, TIME), {"is_causal": 1}
    ),
    "TensorScatter": Case("TensorScatter", [HEADS, floats(BATCH, 2, 2, SIZE), whole(0, 1)], 2, (0, TIME - 2)),
    "TensorScatter around": Case(
        "TensorScatter", [HEADS, floats(BATCH, 2, 2, SIZE), whole(0, 1)], 2, (-4, *LIMITS[np.int64]),
        {"mode": "circular"}, bad=(),
    ),
    "RoiAlign": Case(
        "RoiAlign", [floats(2, 1, 4, 4), floats(2, 4) + 2, whole(0, 1)], 2, (0, 1), {"sampling_ratio": 1}
    ),
    "MaxUnpool": Case("MaxUnpool", [floats(1, 1, 2), whole(1, 3).reshape(1, 1, 2)], 1, (0, 3),
                      {"kernel_shape": [2], "strides": [2]}),
    "NegativeLogLikelihoodLoss": Case("NegativeLogLikelihoodLoss", [floats(2, 3), whole(0, 1)], 1, (0, 2)),
    "a class that is ignored": Case(
        "SoftmaxCrossEntropyLoss", [floats(2, 3), whole(0, 1)], 1, (0, 2), {"ignore_index": -100},
        bad=(-1, 3, -99, *LIMITS[np.int64]),
    ),
    "RotaryEmbedding": Case(
        "RotaryEmbedding", [floats(1, 2, 2, 4), floats(5, 2), floats(5, 2), whole(0, 1).reshape(1, 2)], 3, (0, 4)
    ),
    "OneHot": Case("OneHot", [whole(0, 1), whole(3), floats(2)], 0, (-4, -3, 2, 3, *LIMITS[np.int64]), bad=()),
    "EmbedLayerNormalization, tokens": Case(
        "EmbedLayerNormalization", EMBEDDED, 0, (0, 4), outputs=2, domain="com.microsoft"
    ),
    "EmbedLayerNormalization, segments": Case(
        "EmbedLayerNormalization", EMBEDDED, 1, (0, 1), outputs=2, domain="com.microsoft"
    ),
    "EmbedLayerNormalization, positions": Case(
        "EmbedLayerNormalization", EMBEDDED, 8, (0, 5), outputs=2, domain="com.microsoft"
    ),
    "RotaryEmbedding's first position": Case("RotaryEmbedding", TURNED, 1, (0, 2), {"num_heads": 1},
                                             domain="com.microsoft"),
    "seqlens_k": Case("GroupQueryAttention", GROUPED, 5, (0, 5),
                      {"num_heads": 2, "kv_num_heads": 1, "do_rotary": 1}, 3, "com.microsoft"),
    "seqlens_k of a prompt": Case("GroupQueryAttention", PROMPT, 5, (0, 2), {"num_heads": 2, "kv_num_heads": 1}, 3,
                                  "com.microsoft"),
    "the keys in a mask": Case(
        "Attention", [floats(2, 3, 4), floats(4, 12), floats(12), narrow(1, 2)], 3, (0, 3, 4, LIMITS[np.int32][1]),
        {"num_heads": 2}, domain="com.microsoft", bad=(-1, LIMITS[np.int32][0]),
    ),
}  # fmt: skip

FIXED = {"seqlens_k": ("x6",), "seqlens_k of a prompt": ("x6",), "OneHot": ("x1",)}
"""Inputs that must be known when compiling."""


def _compiled(name: str, case: Case, number: int, known: Sequence[str] = ()) -> Inference:
    given = case.given(number)
    fixed = {key: given[key] for key in (*FIXED.get(name, ()), *known)}
    program = compile_model(case.model(), constants=fixed)
    return Inference(program, {key: value for key, value in given.items() if key not in fixed})


@pytest.mark.parametrize("name", CASES)
def test_what_lies_within_the_limits_counts_known_or_not(name: str) -> None:
    case = CASES[name]
    for number in case.good:
        running, folded = _compiled(name, case, number), _compiled(name, case, number, (f"x{case.at}",))
        assert (running.status, folded.status) == (0, 0), number
        for key, value in running.outputs().items():
            assert value.tobytes() == folded.outputs()[key].tobytes(), (number, key)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.bad != ()])
def test_what_lies_beyond_the_limits_ends_the_inference_and_is_refused_when_known(name: str) -> None:
    case = CASES[name]
    for number in case.wrong():
        assert _compiled(name, case, number).status == INDEX_OUT_OF_RANGE, number
        with pytest.raises(UnsupportedOp) as refusal:
            _compiled(name, case, number, (f"x{case.at}",))
        assert type(refusal.value) is UnsupportedOp, refusal.value


@pytest.mark.parametrize("name", ["seqlens_k", "RNN reverse", "ReverseSequence", "RoiAlign", "TensorScatter around"])
def test_the_vm_comes_to_the_same_states_with_good_and_bad_numbers(name: str) -> None:
    case = CASES[name]
    for number in (case.good[0], *case.wrong()[:1]):
        given = case.given(number)
        fixed = {key: given[key] for key in FIXED.get(name, ())}
        program = compile_model(case.model(), constants=fixed)
        inference = Inference(program, {key: value for key, value in given.items() if key not in fixed})
        assert inference.status == (0 if number in case.good else INDEX_OUT_OF_RANGE)
        in_vm = InVm()
        assert all(in_vm.run_node(program, inference, t) for t in range(program.node_count))


def test_an_unsigned_index_beyond_int64_is_none_from_the_end() -> None:
    """2^64 - 1 would be the last place if it wrapped."""
    indices = np.array([2**64 - 1, 2], np.uint64)
    case = Case("OneHot", [indices, whole(3), np.array([0, 1], np.float32)], 0, ())
    program = compile_model(case.model(), constants={"x1": whole(3)})
    (hot,) = Inference(program, {"x0": indices, "x2": np.array([0, 1], np.float32)}).outputs().values()
    assert hot.tolist() == [[0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_an_index_of_any_type_of_integer_is_that_number(kind: type[np.integer[Any]]) -> None:
    """The standard has two types of indices; no other is taken for another number."""
    for numbers, fits in (([0, 2], True), ([0, 3], False), ([0, np.iinfo(kind).max], False)):
        indices = np.array(numbers, kind)
        case = Case("Gather", [floats(3), indices], 1, ())
        given = {"x0": floats(3), "x1": indices}
        inference = Inference(compile_model(case.model()), given)
        assert inference.status == (0 if fits else INDEX_OUT_OF_RANGE)
        if fits:
            known = Inference(compile_model(case.model(), constants={"x1": indices}), {"x0": floats(3)})
            assert known.outputs()["y0"].tolist() == inference.outputs()["y0"].tolist() == [-1, 1]
        else:
            with pytest.raises(UnsupportedOp) as refusal:
                compile_model(case.model(), constants={"x1": indices})
            assert type(refusal.value) is UnsupportedOp


RANGES = {
    (0, 3, 1): [0, 1, 2], (3, 0, -1): [3, 2, 1], (0, 0, 1): [], (0, 3, -1): [], (0, 4, 3): [0, 3], (5, 0, -3): [5, 2],
    (-(2**63), 2**63 - 1, 2**62): [-(2**63), -(2**62), 0, 2**62],
    (2**63 - 1, -(2**63), -(2**63)): [2**63 - 1, -1],
    (2**63 - 2, 2**63 - 1, 2**63 - 1): [2**63 - 2],
    (0, 5, 1): None, (0, 1, 0): None, (0, 0, 0): None, (-(2**63), 2**63 - 1, 1): None,
}  # fmt: skip
"""Start, limit and step; the numbers, or None where the room of four is too small, or there is no step."""


def test_a_range_has_as_many_numbers_as_its_bounds_say_up_to_the_ends_of_int64() -> None:
    text = "main (int64 a, int64 b, int64 c) => (int64[n] y) { y = Range (a, b, c) }"
    program = compile_model(parsed(text), max_sizes={"y": 4})
    for bounds, numbers in RANGES.items():
        inference = Inference(program, dict(zip("abc", map(np.array, bounds), strict=True)))
        assert inference.status == (INDEX_OUT_OF_RANGE if numbers is None else 0), bounds
        if numbers is not None:
            found = inference.outputs()
            assert found["y"][: int(found["y.count"])].tolist() == numbers, bounds


@pytest.mark.parametrize(("trips", "made"), [(-1, 0), (0, 0), (-(2**63), 0), (3, 3), (4, None), (2**63 - 1, None)])
def test_a_loop_makes_as_many_iterations_as_it_is_told_none_of_fewer_than_none(trips: int, made: int | None) -> None:
    text = """
        main (int64 n, float[2] x) => (float[2] y) {
            true = Constant <value = bool {1}> ()
            y = Loop <body = body (int64 i, bool c, float[2] a) => (bool d, float[2] b) {
                d = Identity (c)
                b = Add (a, a)
            }> (n, true, x)
        }
    """
    program = compile_model(parsed(text), max_sizes={"y": 3})
    inference = Inference(program, {"n": np.array(trips), "x": np.ones(2, np.float32)})
    assert inference.status == (INDEX_OUT_OF_RANGE if made is None else 0)
    if made is not None:
        assert inference.outputs()["y"].tolist() == [2**made] * 2
        assert int(inference.outputs()["y.count"]) == made


@pytest.mark.parametrize(("most", "chosen"), [(-1, 0), (-(2**63), 0), (0, 0), (1, 1), (2, 2), (2**63 - 1, 2)])
@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.1, float("nan")])
def test_boxes_are_as_many_as_asked_for_and_overlap_by_a_share(most: int, chosen: int, share: float) -> None:
    text = """
        main (float[1, 2, 4] boxes, float[1, 1, 2] scores, int64 most, float share) => (int64[n, 3] y) {
            y = NonMaxSuppression (boxes, scores, most, share)
        }
    """
    program = compile_model(parsed(text), max_sizes={"y": 2})
    boxes = np.array([[[0, 0, 1, 1], [2, 2, 3, 3]]], np.float32)
    given = {"boxes": boxes, "scores": np.ones((1, 1, 2), np.float32)}
    given |= {"most": np.array(most), "share": np.array(share, np.float32)}
    inference = Inference(program, given)
    assert inference.status == (0 if 0 <= share <= 1 else INDEX_OUT_OF_RANGE)
    if not inference.status:
        assert int(inference.outputs()["y.count"]) == chosen
