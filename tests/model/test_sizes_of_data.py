"""
Results whose size depends on data: in the room that the user makes for them, with ONNX Runtime's elements and number.

Every model here is run by ONNX Runtime as it is, and by a program with room; what the program says is there must be
equal, and what lies behind it must be zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from opml_dispute.model.padding import Padding, carried
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import ModelError, Refuse, SizeDependsOnData, UnsupportedOp
from opml_dispute.model.tensor import Array
from tests.model.graphs import Graph, parsed

RNG = np.random.default_rng(7)
INDEX_OUT_OF_RANGE = 7


def run(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of an inference that succeeds."""
    inference = Inference(program, dict(inputs))
    assert inference.status == 0
    return inference.outputs()


def assert_as_onnx_runtime(
    model: onnx.ModelProto, inputs: Mapping[str, Array], max_sizes: Mapping[str, int], axes: Mapping[str, int]
) -> Program:
    """`axes` says of each padded output along which axis its padding lies."""
    program = compile_model(model, max_sizes=max_sizes)
    assert_runs_as_onnx_runtime(program, model, inputs, axes)
    return program


def assert_runs_as_onnx_runtime(
    program: Program, model: onnx.ModelProto, inputs: Mapping[str, Array], axes: Mapping[str, int]
) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    got = run(program, inputs)
    for name, want in zip(names, session.run(None, dict(inputs)), strict=True):
        found = got[name]
        if name in axes:
            there = want.shape[axes[name]]
            behind = np.take(found, np.arange(there, found.shape[axes[name]]), axes[name])
            assert not behind.any(), name
            found = np.take(found, np.arange(there), axes[name])
        np.testing.assert_allclose(found, want, rtol=1e-6, err_msg=name)
        assert (found.dtype, found.shape) == (want.dtype, want.shape), name


@pytest.mark.parametrize("room", [24, 40])
@pytest.mark.parametrize("kind", ["float", "int32", "bool", "uint8"])
def test_indices_of_what_is_not_zero(kind: str, room: int) -> None:
    model = parsed(f"agraph ({kind}[2,3,4] x) => (int64[3,N] y) {{ y = NonZero(x) }}")
    dtype = {"float": np.float32, "int32": np.int32, "bool": np.bool_, "uint8": np.uint8}[kind]
    for share in (0.0, 0.4, 1.0):
        x: Array = (RNG.random((2, 3, 4)) < share).astype(dtype)
        assert_as_onnx_runtime(model, {"x": x}, {"y": room}, {"y": 1})


def test_more_elements_than_there_is_room_for_end_the_inference() -> None:
    """Nothing is cut off: with one element too many the result is an error, which can be proven like any other."""
    program = compile_model(parsed("agraph (float[8] x) => (int64[1,N] y) { y = NonZero(x) }"), max_sizes={"y": 3})
    x = np.zeros(8, np.float32)
    x[[1, 5, 6]] = 1
    assert run(program, {"x": x})["y.count"] == 3
    x[7] = 2
    assert Inference(program, {"x": x}).status == INDEX_OUT_OF_RANGE


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_slices_that_a_condition_keeps(axis: int | None) -> None:
    attribute = "" if axis is None else f"<axis = {axis}>"
    model = parsed(f"agraph (float[4,4] x, bool[4] c) => (float[N] y) {{ y = Compress {attribute} (x, c) }}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    x = RNG.standard_normal((4, 4)).astype(np.float32)
    along = 0 if axis is None else axis % 2
    for bits in ([True, False, True, True], [False] * 4, [True] * 4):
        inputs = {"x": x, "c": np.array(bits)}
        assert_as_onnx_runtime(model, inputs, {"y": 4}, {"y": along})


@pytest.mark.parametrize("in_order", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
def test_distinct_elements_and_slices(dtype: type, axis: int | None, in_order: int) -> None:
    """Distinct elements and slices are found, and their number is an output."""
    attributes: dict[str, Any] = {"sorted": in_order} | ({} if axis is None else {"axis": axis})
    node = helper.make_node("Unique", ["x"], ["y", "first", "inverse", "often"], **attributes)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    outputs += [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in ("first", "inverse", "often")]
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", kind, [6, 3])], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for most in (1, 2, 5):
        x: Array = RNG.integers(-most, most + 1, (6, 3)).astype(dtype)
        along = {"y": axis or 0, "first": 0, "often": 0}
        for room in (18, 23):
            assert_as_onnx_runtime(model, {"x": x}, {"y": room}, along)


def suppressed(center: int = 0, *, least: bool = True, most: bool = True) -> onnx.ModelProto:
    """NonMaxSuppression over 2 batches of 3 classes and 20 boxes."""
    names = ["boxes", "scores", "most" if most else "", "overlap", "least" if least else ""]
    while not names[-1]:
        names.pop()
    node = helper.make_node("NonMaxSuppression", names, ["y"], center_point_box=center)
    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [2, 20, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [2, 3, 20]),
        *([helper.make_tensor_value_info("most", TensorProto.INT64, [1])] if most else []),
        helper.make_tensor_value_info("overlap", TensorProto.FLOAT, [1]),
        *([helper.make_tensor_value_info("least", TensorProto.FLOAT, [1])] if least else []),
    ]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.INT64, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("least", [False, True])
def test_boxes_that_overlap_no_better_one(center: int, least: bool) -> None:
    """Of equal scores the first box wins; corners may be given either way round; boxes without area overlap none."""
    model = suppressed(center, least=least)
    program = compile_model(model, max_sizes={"y": 120})
    for trial in range(4):
        corners = RNG.integers(0, 12, (2, 20, 4)).astype(np.float32)
        scores = (RNG.integers(0, 6, (2, 3, 20)) / 5).astype(np.float32)
        inputs: dict[str, Array] = {
            "boxes": corners,
            "scores": scores,
            "most": np.array([(0, 1, 4, 30)[trial]], np.int64),
            "overlap": np.array([(0.0, 0.3, 0.5, 0.9)[trial]], np.float32),
            **({"least": np.array([0.3], np.float32)} if least else {}),
        }
        assert_runs_as_onnx_runtime(program, model, inputs, {"y": 0})


@pytest.mark.parametrize("room", [1, 3, 5, 6, 9])
@pytest.mark.parametrize("classes", [1, 2])
def test_more_boxes_of_one_class_than_there_is_room_for(classes: int, room: int) -> None:
    """Six boxes lie apart, so a class has six; as many as there is room for would be a wrong answer."""
    text = f"agraph (float[1,6,4] b, float[1,{classes},6] s) => (int64[N,3] y)"
    model = parsed(text + " { most = Constant <value = int64 {99}> () y = NonMaxSuppression (b, s, most) }")
    corners = np.arange(6, dtype=np.float32)[None, :, None] * 2 + np.array([0, 0, 1, 1], np.float32)
    inputs: dict[str, Array] = {"b": corners, "s": RNG.random((1, classes, 6), dtype=np.float32)}
    if room >= 6 * classes:
        assert_as_onnx_runtime(model, inputs, {"y": room}, {"y": 0})
    else:
        assert Inference(compile_model(model, max_sizes={"y": room}), inputs).status == INDEX_OUT_OF_RANGE


def test_boxes_that_are_known_need_no_room() -> None:
    """What the compiler can choose, it chooses: the result has the size that it has."""
    inputs: dict[str, Array] = {
        "boxes": RNG.random((2, 20, 4), dtype=np.float32),
        "scores": RNG.random((2, 3, 20), dtype=np.float32),
        "most": np.array([3], np.int64),
        "overlap": np.array([0.4], np.float32),
        "least": np.array([0.2], np.float32),
    }
    model = suppressed()
    (want,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    got = run(compile_model(model, constants=inputs), {})
    assert list(got) == ["y"]
    np.testing.assert_array_equal(got["y"], want)


def test_a_range_that_data_ends() -> None:
    model = parsed("agraph (int64 a, int64 b, int64 c) => (int64[N] y) { y = Range(a, b, c) }")
    for bounds in ((0, 7, 1), (3, 12, 4), (9, -4, -3), (5, 5, 1), (5, 2, 1), (0, 8, 8), (-3, 6, 3)):
        inputs = {name: np.array(value, np.int64) for name, value in zip("abc", bounds, strict=True)}
        program = assert_as_onnx_runtime(model, inputs, {"y": 9}, {"y": 0})
    nothing = {name: np.array(value, np.int64) for name, value in zip("abc", (0, 5, 0), strict=True)}
    assert Inference(program, nothing).status == INDEX_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("bounds", "count"),
    [
        ((-(2**63), 2**63 - 1, 1), None),
        ((2**63 - 1, -(2**63), -1), None),
        ((0, -(2**63), -1), None),
        ((-(2**63), 2**63 - 1, -1), 0),
        ((2**63 - 1, -(2**63), 1), 0),
        ((-1, -(2**63), -(2**63)), 1),
        ((3, 4, 2**63 - 1), 1),
    ],
)
def test_a_range_over_more_than_its_type_can_count(bounds: tuple[int, int, int], count: int | None) -> None:
    """The way from end to end wraps: it may not come out as a range of none."""
    program = compile_model(
        parsed("agraph (int64 a, int64 b, int64 c) => (int64[N] y) { y = Range(a, b, c) }"), max_sizes={"y": 4}
    )
    inputs = {name: np.array(value, np.int64) for name, value in zip("abc", bounds, strict=True)}
    if count is None:
        assert Inference(program, inputs).status == INDEX_OUT_OF_RANGE
    else:
        assert run(program, inputs)["y.count"] == count


LOOP = """
    agraph (int64 n, float[3] x, float most) => (float[3] last, float[M,3] steps) {{
        start = Constant <value = bool {{1}}> ()
        last, steps = Loop ({trips}, start, x) <
            body = turn (int64 i, bool go, float[3] v) => (bool again, float[3] next, float[3] step) {{
                f = CastLike (i, v)
                next = Add (v, f)
                step = Mul (next, next)
                top = ReduceMax <keepdims = 0> (next)
                again = Less (top, most)
            }}
        >
    }}"""


@pytest.mark.parametrize("trips", ["n", ""])
def test_a_loop_that_data_ends(trips: str) -> None:
    """The room is for iterations; the carried values stay as the last iteration leaves them."""
    model = parsed(LOOP.format(trips=trips))
    for n, most in ((5, 100.0), (0, 100.0), (6, 3.0), (3, -9.0)):
        inputs: dict[str, Array] = {
            "n": np.array(n, np.int64),
            "x": np.array([0.5, -1, 0], np.float32),
            "most": np.array(most, np.float32),
        }
        if not trips and most > 50:
            continue
        program = assert_as_onnx_runtime(model, inputs, {"steps": 6}, {"steps": 0})
    if trips:
        inputs["n"], inputs["most"] = np.array(7, np.int64), np.array(1e9, np.float32)
        assert Inference(program, inputs).status == INDEX_OUT_OF_RANGE


def test_a_loop_that_is_over_reads_no_further() -> None:
    """Its body would read row 4 of 4 in the fifth of six iterations written out."""
    model = parsed("""
        agraph (int64 n, float[4,2] rows) => (float[2] total) {
            go = Constant <value = bool {1}> ()
            zero = Constant <value = float[2] {0, 0}> ()
            total = Loop (n, go, zero) <
                body = turn (int64 i, bool c, float[2] sum) => (bool again, float[2] next) {
                    row = Gather (rows, i)
                    next = Add (sum, row)
                    again = Identity (c)
                }
            >
        }""")
    rows = RNG.standard_normal((4, 2)).astype(np.float32)
    for n in range(5):
        program = assert_as_onnx_runtime(model, {"n": np.array(n, np.int64), "rows": rows}, {"total": 6}, {})
    assert run(program, {"n": np.array(3, np.int64), "rows": rows})["total.count"] == 3


@pytest.mark.parametrize("condition", [False, True])
def test_branches_of_different_sizes(condition: bool) -> None:
    """Branches with results of different sizes fit the room given; a branch above it is refused."""
    model = parsed("""
        agraph (float[2,3] x, bool c) => (float[2,N] y) {
            y = If (c) <
                then_branch = yes () => (float[2,6] a) { a = Concat <axis = 1> (x, x) },
                else_branch = no () => (float[2,3] b) { b = Neg(x) }
            >
        }""")
    x = RNG.standard_normal((2, 3)).astype(np.float32)
    assert_as_onnx_runtime(model, {"x": x, "c": np.array(condition)}, {"y": 8}, {"y": 1})
    with pytest.raises(UnsupportedOp, match="room for 5 elements where a branch gives 6"):
        compile_model(model, max_sizes={"y": 5})


DETECTOR = """
    agraph (float[1,10,4] boxes, float[1,2,10] scores) => (float[N,4] kept, float[N] best, int64[N] label) {
        most = Constant <value = int64 {4}> ()
        overlap = Constant <value = float {0.4}> ()
        chosen = NonMaxSuppression (boxes, scores, most, overlap)
        two = Constant <value = int64[1] {2}> ()
        one = Constant <value = int64[1] {1}> ()
        three = Constant <value = int64[1] {3}> ()
        zero = Constant <value = int64[1] {0}> ()
        numbers = Slice (chosen, two, three, one)
        flat = Squeeze (numbers, one)
        all = Squeeze (boxes, zero)
        kept = Gather (all, flat)
        classes = Slice (chosen, one, two, one)
        label = Squeeze (classes, one)
        pairs = Slice (chosen, one, three, one)
        table = Squeeze (scores, zero)
        best = GatherND (table, pairs)
    }"""


def test_what_is_made_of_a_padded_tensor_is_padded() -> None:
    """As the end of a detector: the boxes, scores and labels of what non-maximum suppression keeps."""
    model = parsed(DETECTOR)
    inputs = {
        "boxes": RNG.random((1, 10, 4), dtype=np.float32),
        "scores": RNG.random((1, 2, 10), dtype=np.float32),
    }
    session = onnxruntime.InferenceSession(model.SerializeToString())
    kept, best, label = session.run(None, inputs)
    got = run(compile_model(model, max_sizes={"chosen": 12}), inputs)
    count = int(got["chosen.count"])
    assert count == len(kept)
    for name, want in (("kept", kept), ("best", best), ("label", label)):
        assert got[name].shape[0] == 12
        np.testing.assert_array_equal(got[name][:count], want)


@pytest.mark.parametrize(
    "use",
    [
        "y = ReduceSum <keepdims = 0> (p)",
        "y = Squeeze (p)",
        "n = Constant <value = int64[1] {6}> () y = Reshape (p, n)",
        "n = Constant <value = int64[2] {6, -1}> () y = Reshape (p, n)",
        "n = Constant <value = int64[2] {2, -1}> () y = Reshape (p, n)",
        "lo = Constant <value = float {0}> () y = Clip (lo, p)",
        "s = SequenceConstruct (p, p) y = ConcatFromSequence <axis = 0> (s)",
        "o = Optional (p) y = OptionalGetElement (o)",
        "n = Constant <value = int64 {2}> () go = Constant <value = bool {1}> () y = Loop (n, go, x) < body = b "
        "(int64 i, bool on, float[6] v) => (bool again, float[6] w) { again = Identity (on) w = Add (v, p) } >",
        "big = ReduceMax <keepdims = 0> (x) t = Equal (big, big) y = If (t) < "
        "then_branch = a () => (float[N] f) { f = Neg (p) }, else_branch = b () => (float[N] h) { h = Abs (p) } >",
        "y = Softmax <axis = 0> (p)",
        "s = Shape (p) y = CastLike (s, x)",
        "y = Concat <axis = 0> (p, x)",
        "y = CumSum (p, zero)",
        "y = Gather (p, zero)",
        "y = Add (p, x)",
        "f = NonZero (p) y = CastLike (f, x)",
        "k = Constant <value = int64[1] {1}> () y, i = TopK (p, k)",
        "y = MatMul (p, x)",
        "n = Constant <value = int64[1] {-1}> () one = Constant <value = int64[1] {1}> () y = Slice (p, n, one)",
    ],
)
def test_nothing_that_would_mix_padding_into_its_result_is_lowered(use: str) -> None:
    """What the original model gives cannot be had from a padded tensor, so the model is refused, with the operator."""
    model = parsed(
        "agraph (float[6] x, bool[6] c) => (float y) "
        "{ zero = Constant <value = int64 {0}> () p = Compress <axis = 0> (x, c) " + use + " }"
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match=r"depends?|beside"):
        compile_model(model, max_sizes={"p": 6})


def test_the_mean_of_a_padded_batch_is_refused() -> None:
    model = parsed("""
        agraph (float[6,2] x, bool[6] c, float[2] s) => (float[N,2] y) {
            p = Compress <axis = 0> (x, c)
            y, m, v = BatchNormalization <training_mode = 1> (p, s, s, s, s)
        }""")
    with pytest.raises(UnsupportedOp, match="the mean of a batch whose size depends on data"):
        compile_model(model, max_sizes={"p": 6})


def test_a_rule_is_of_its_own_set_of_operators() -> None:
    """An operator of another set may share the name of one that carries padding, and mean something else."""
    tensor = Builder().filled((6,), 0, DType.F32)
    padding = Padding(0, Builder().scalar(3, DType.I64))
    for domain, name, carries in (("", "Neg", True), ("com.microsoft", "Neg", False), ("com.microsoft", "Gelu", True)):
        if carries:
            (found,) = carried((domain, name, 18), [tensor], [padding], {}, [tensor])
            assert found is not None
            assert found.axis == 0
        else:
            with pytest.raises(Refuse, match="padding would get into the result"):
                carried((domain, name, 18), [tensor], [padding], {}, [tensor])


def test_one_operator_has_one_room() -> None:
    model = parsed("agraph (float[6] x) => (float[N] a, int64[N] b) { a, b = Unique (x) }")
    with pytest.raises(ModelError, match="a=5, b=6; expected one number"):
        compile_model(model, max_sizes={"a": 5, "b": 6})
    x = np.array([3, 1, 3, 3, 2, 1], np.float32)
    got = run(compile_model(model, max_sizes={"a": 6, "b": 6}), {"x": x})
    assert [int(got["a.count"]), int(got["b.count"])] == [3, 3]


def test_without_room_the_error_names_the_option() -> None:
    with pytest.raises(SizeDependsOnData, match="depends on the input 'x'") as caught:
        compile_model(parsed("agraph (float[8] x) => (int64[1,N] y) { y = NonZero(x) }"))
    assert "--max-size y=N" in str(caught.value.hint)
    assert "--constant x=VALUE" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ({"z": 3}, "'z', which the model does not have; expected 'y'"),
        ({"y": 0}, "room for 0 elements"),
        ({"y": -1}, "room for -1 elements"),
        ({"y": 10**17}, "expected 1 to 16,777,216"),
    ],
)
def test_room_that_makes_no_sense_is_refused(sizes: dict[str, int], what: str) -> None:
    with pytest.raises(ModelError, match=what):
        compile_model(parsed("agraph (float[8] x) => (int64[1,N] y) { y = NonZero(x) }"), max_sizes=sizes)


def test_room_for_what_is_known_is_refused() -> None:
    model = parsed("agraph (float[8] x) => (int64[1,N] y) { y = NonZero(x) }")
    with pytest.raises(ModelError, match="does not depend on data here"):
        compile_model(model, max_sizes={"y": 3}, constants={"x": np.ones(8, np.float32)})


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3, 4)])
def test_nothing_has_no_elements_to_count(shape: tuple[int, ...]) -> None:
    """It needs no room, though what it holds is not known."""
    graph = Graph()
    y = graph.node("NonZero", graph.input("x", shape))
    (places,) = Inference(compile_model(graph.model([y])), {"x": np.zeros(shape, np.float32)}).outputs().values()
    assert places.shape == (len(shape), 0)
