"""Control flow, sequences and functions are gone when a program runs, and the answer is ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import ModelError
from opml_dispute.model.tensor import Array
from tests.model.graphs import parsed

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2


def assert_as_onnx_runtime(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Program:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = session.run(None, dict(inputs))
    program = compile_model(model)
    got = Inference(program, dict(inputs)).outputs()
    for spec, want in zip(program.outputs, expected, strict=True):
        np.testing.assert_allclose(got[spec.name], want, rtol=1e-5)
        assert got[spec.name].dtype == want.dtype
    return program


def kernels(program: Program) -> list[str]:
    return [node.kernel for node in program.nodes]


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_on_an_unknown_condition_is_a_choice(condition: bool) -> None:
    """Both branches see the tensors around them."""
    model = parsed("""
        agraph (float[2,3] x, bool c) => (float[2,3] y) {
            d = Add(x, x)
            y = If (c) <
                then_branch = yes () => (float[2,3] a) { a = Relu(d) },
                else_branch = no () => (float[2,3] b) { b = Neg(x) }
            >
        }""")
    program = assert_as_onnx_runtime(model, {"x": X, "c": np.array(condition)})
    assert "SELECT" in kernels(program)


def test_a_branch_on_a_known_condition_leaves_nothing_behind() -> None:
    """The condition is shape arithmetic; only the branch that is taken is lowered."""
    model = parsed("""
        agraph (float[2,3] x) => (float[2,3] y) {
            rank = Size(x)
            six = Constant <value = int64 {6}> ()
            c = Equal(rank, six)
            y = If (c) <
                then_branch = yes () => (float[2,3] a) { a = Relu(x) },
                else_branch = no () => (int64[2,N] b) { b = NonZero(x) }
            >
        }""")
    assert kernels(compile_model(model)) == ["UNARY.RELU"]


def test_a_loop_is_written_out() -> None:
    """Carried values, values of the scope around it, and the stacked results of every iteration."""
    model = parsed("""
        agraph (float[2,3] x) => (float[2,3] last, float[T,2,3] each) {
            trips = Constant <value = int64 {4}> ()
            going = Constant <value = bool {1}> ()
            last, each = Loop (trips, going, x) <
                body = step (int64 i, bool c, float[2,3] s) => (bool c2, float[2,3] t, float[2,3] u) {
                c2 = Identity(c)
                f = Cast <to = 1> (i)
                t = Add(s, f)
                u = Mul(t, x)
            }>
        }""")
    assert_as_onnx_runtime(model, {"x": X})


def test_a_loop_ends_when_its_own_condition_says_so() -> None:
    model = parsed("""
        agraph (float[2,3] x) => (float[2,3] last) {
            trips = Constant <value = int64 {100}> ()
            going = Constant <value = bool {1}> ()
            last = Loop (trips, going, x) <body = step (int64 i, bool c, float[2,3] s) => (bool c2, float[2,3] t) {
                three = Constant <value = int64 {3}> ()
                c2 = Less(i, three)
                t = Add(s, s)
            }>
        }""")
    assert kernels(assert_as_onnx_runtime(model, {"x": X})).count("BINARY.ADD") == 4


def test_a_scan_walks_slices_forwards_and_backwards() -> None:
    model = parsed("""
        agraph (float[3] start, float[4,3] x, float[3,4] z) => (float[3] last, float[T,3] up, float[3,T] down) {
            last, up, down = Scan <
                num_scan_inputs = 2, scan_input_axes = [0, 1], scan_input_directions = [0, 1],
                scan_output_axes = [0, 1], scan_output_directions = [0, 1],
                body = step (float[3] s, float[3] a, float[3] b) => (float[3] t, float[3] u, float[3] v) {
                    t = Add(s, a)
                    u = Mul(t, b)
                    v = Sub(a, b)
                }
            > (start, x, z)
        }""")
    rng = np.random.default_rng(3)
    arrays = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in (("start", 3), ("x", (4, 3)), ("z", (3, 4)))
    }
    assert_as_onnx_runtime(model, arrays)


def test_sequences_never_reach_the_program() -> None:
    """Made, cut up, changed, counted and joined while compiling."""
    model = parsed("""
        agraph (float[2,3] x, float[2,3] z) => (float[A,B] joined, float[C,2,3] stacked, int64 count, float[1,3] row) {
            one = Constant <value = int64 {1}> ()
            last = Constant <value = int64 {-1}> ()
            s = SequenceConstruct(x, z)
            y = SequenceAt(s, last)
            t = SequenceInsert(s, y, one)
            u = SequenceErase(t, last)
            v = SequenceInsert(u, x)
            joined = ConcatFromSequence <axis = 1> (v)
            stacked = ConcatFromSequence <axis = 0, new_axis = 1> (v)
            count = SequenceLength(v)
            rows = SplitToSequence <axis = 0> (x, one)
            row = SequenceAt(rows, one)
        }""")
    program = assert_as_onnx_runtime(model, {"x": X, "z": X * 3})
    assert set(kernels(program)) <= {"COPY", "FILL"}


def test_splitting_without_sizes_takes_single_slices() -> None:
    model = parsed("""
        agraph (float[2,3] x) => (float[2] column, float[1,3] row) {
            one = Constant <value = int64 {1}> ()
            columns = SplitToSequence <axis = 1, keepdims = 0> (x)
            column = SequenceAt(columns, one)
            rows = SplitToSequence (x)
            row = SequenceAt(rows, one)
        }""")
    assert_as_onnx_runtime(model, {"x": X})


def test_a_map_over_a_sequence_calls_its_body_for_each_element() -> None:
    """ONNX Runtime expands this operator itself, from the function that comes with ONNX."""
    model = parsed("""
        agraph (float[2,3] x, float[2,3] z) => (float[2,6] y) {
            s = SequenceConstruct(x, z)
            t = SequenceMap (s, x) <body = step (float[2,3] a, float[2,3] b) => (float[2,3] c) { c = Add(a, b) }>
            y = ConcatFromSequence <axis = 1> (t)
        }""")
    program = compile_model(model)
    (got,) = Inference(program, {"x": X, "z": X * 3}).outputs().values()
    assert np.array_equal(got, np.concatenate([X + X, X * 3 + X], axis=1))


def test_functions_of_the_model_are_walked_in_place() -> None:
    """With their own names, attributes handed on, and functions inside functions."""
    model = parsed("""
        agraph (float[2,3] x) => (float[2,3] y) {
            x2 = local.twice <factor = 3.0> (x)
            y = local.softened (x2)
        }
        <domain: "local", opset_import: ["" : 18]>
        twice <factor> (a) => (c) {
            k = Constant <value_float: float = @factor> ()
            c = Mul(a, k)
        }
        <domain: "local", opset_import: ["" : 18, "local" : 1]>
        softened (a) => (c) {
            b = local.twice <factor = 0.5> (a)
            c = Softmax <axis = 1> (b)
        }""")
    program = assert_as_onnx_runtime(model, {"x": X})
    assert any("/" in node.name for node in program.nodes), "a node within a function says where"


def test_a_graph_that_is_handed_to_a_function_takes_its_names_from_where_it_is_written() -> None:
    """
    So do its references to attributes. The function has a value and an argument of the same names, which it uses.

    ONNX Runtime takes the function's own value here.
    """
    model = parsed("""
        agraph (float[2,3] x) => (float[2,3] y) {
            x2 = local.outer <scale = 3.0> (x)
            y = Identity(x2)
        }
        <domain: "local", opset_import: ["" : 18, "local" : 1]>
        outer <scale> (x) => (y) {
            k = Constant <value = float {10}> ()
            c = Constant <value = bool {1}> ()
            y = local.chosen <scale = 5.0, body = told () => (float[2,3] r) {
                s = Constant <value_float: float = @scale> ()
                t = Add(x, k)
                r = Mul(t, s)
            }> (c, x)
        }
        <domain: "local", opset_import: ["" : 18]>
        chosen <body, scale> (c, x) => (y) {
            k = Constant <value = float {7}> ()
            s = Constant <value_float: float = @scale> ()
            b = If <then_branch: graph = @body, else_branch: graph = @body> (c)
            d = Mul(b, s)
            y = Add(d, k)
        }""")
    (got,) = Inference(compile_model(model), {"x": X}).outputs().values()
    assert np.array_equal(got, (X + 10) * 3 * 5 + 7)


@pytest.mark.parametrize("way", ["initializer", "constant", "sparse", "function"])
def test_a_constant_inside_a_loop_is_one_however_often_it_comes_round(way: str) -> None:
    """Of 16 MiB, in a loop of 1,000 iterations, it took 8 GiB, and the model was refused."""
    values = np.arange(100, dtype=np.float32)
    model = parsed("""
        agraph (float[100] x) => (float[100] y) {
            trips = Constant <value = int64 {7}> ()
            yes = Constant <value = bool {1}> ()
            y = Loop (trips, yes, x) <body = step (int64 i, bool going, float[100] a) => (bool goes, float[100] b) {
                goes = Identity(going)
                k = Constant <value_float = 0.0> ()
                b = Add(a, k)
            }>
        }
        <domain: "local", opset_import: ["" : 18]>
        given (a) => (k) { k = Constant <value_float = 0.0> () }""")
    body = model.graph.node[2].attribute[0].g
    if way in ("constant", "function"):
        node = body.node[1] if way == "constant" else model.functions[0].node[0]
        node.attribute[0].CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))
    if way == "function":
        body.node[1].CopyFrom(helper.make_node("given", ["a"], ["k"], domain="local"))
    if way in ("initializer", "sparse"):
        del body.node[1]
    if way == "initializer":
        body.initializer.append(numpy_helper.from_array(values, "k"))
    if way == "sparse":
        places = helper.make_tensor("places", TensorProto.INT64, [100], range(100))
        body.sparse_initializer.append(helper.make_sparse_tensor(numpy_helper.from_array(values, "k"), places, [100]))
    program = compile_model(model)
    assert sum(1 << block.log2_size for block in program.weights) == 512
    (got,) = Inference(program, {"x": np.zeros(100, np.float32)}).outputs().values()
    assert np.array_equal(got, 7 * values)


@pytest.mark.parametrize(("functions", "is_refused"), [(20, False), (60, True)])
def test_functions_and_branches_deep_inside_one_another_are_refused(functions: int, is_refused: bool) -> None:
    """Sixty functions, each in a branch of the next: some kilobytes, and more than the interpreter's stack takes."""
    calls = "".join(
        f"""
        <domain: "local", opset_import: ["" : 18, "local" : 1]>
        f{i} (a) => (b) {{
            c = Constant <value = bool {{1}}> ()
            b = If (c) <
                then_branch = yes{i} () => (float[2,3] y{i}) {{ y{i} = local.f{i - 1}(a) }},
                else_branch = no{i} () => (float[2,3] n{i}) {{ n{i} = Identity(a) }}
            >
        }}"""
        for i in range(1, functions)
    )
    model = parsed(f"""
        agraph (float[2,3] x) => (float[2,3] y) {{ y = local.f{functions - 1}(x) }}
        <domain: "local", opset_import: ["" : 18]>
        f0 (a) => (b) {{ b = Neg(a) }}{calls}""")
    if is_refused:
        with pytest.raises(ModelError, match="more than 64 graphs and functions inside one another"):
            compile_model(model)
    else:
        compile_model(model)


def test_a_call_with_more_inputs_than_the_function_takes_is_refused() -> None:
    model = parsed("""
        agraph (float[2,3] x) => (float[2,3] y) { y = local.f(x, x) }
        <domain: "local", opset_import: ["" : 18]>
        f (a) => (c) { c = Relu(a) }""")
    with pytest.raises(ModelError, match="2 inputs; expected at most 1"):
        compile_model(model)


def test_a_reference_to_an_attribute_outside_of_functions_is_refused() -> None:
    model = parsed("agraph (float[2,3] x) => (float[2,3] y) { y = LeakyRelu <alpha: float = @a> (x) }")
    with pytest.raises(ModelError, match="attribute 'alpha' refers to 'a'"):
        compile_model(model)


def test_a_loop_without_iterations_gives_nothing_of_its_narrow_type() -> None:
    model = parsed(
        """
        agraph (float[2,3] x) => (float8e4m3fn[N,2,3] y) {
            none = Constant <value = int64 {0}> ()
            yes = Constant <value = bool {1}> ()
            y = Loop (none, yes) <body = step (int64 i, bool going) => (bool goes, float8e4m3fn[2,3] z) {
                goes = Identity(going)
                z = Cast <to = 17> (x)
            }>
        }""",
        19,
    )
    (got,) = Inference(compile_model(model), {"x": X}).outputs().values()
    assert got.shape == (0, 2, 3)


def test_an_optional_without_an_element_is_known_to_be_empty() -> None:
    model = parsed("""
        agraph (float[2,3] x) => (float[2,3] y) {
            o = Optional (x)
            has = OptionalHasElement (o)
            y = If (has) <
                then_branch = yes () => (float[2,3] a) { a = OptionalGetElement(o) },
                else_branch = no () => (float[2,3] b) { b = Neg(x) }
            >
        }""")
    program = compile_model(model)
    (got,) = Inference(program, {"x": X}).outputs().values()
    assert np.array_equal(got, X)


@pytest.mark.parametrize("size", [1, "one", None])
@pytest.mark.parametrize("known", [True, False])
def test_a_loops_number_has_the_dimensions_that_its_body_declares(size: int | str | None, known: bool) -> None:
    """tf2onnx declares it with one dimension, and what is gathered by it keeps that."""
    inner = [
        helper.make_node("Add", ["i", "one"], ["next"]),
        helper.make_node("Gather", ["x", "i"], ["row"]),
        helper.make_node("Less", ["next", "trips"], ["more"]),
        helper.make_node("Squeeze", ["more", "zero"], ["goes"]),
    ]
    value, flag = TensorProto.INT64, TensorProto.BOOL
    body = helper.make_graph(
        inner, "body",
        [helper.make_tensor_value_info("i", value, [size]), helper.make_tensor_value_info("on", flag, [])],
        [helper.make_tensor_value_info("goes", flag, []), onnx.ValueInfoProto(name="row")],
    )  # fmt: skip
    weights = {"one": np.array([1]), "zero": np.array([0]), "true": np.array(True)}
    if known:
        weights["trips"] = np.array([3])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true"], ["rows"], body=body)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 2])]
        + ([] if known else [helper.make_tensor_value_info("trips", value, [1])]),
        [onnx.ValueInfoProto(name="rows")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    given = {"x": np.arange(8, dtype=np.float32).reshape(4, 2)} | ({} if known else {"trips": np.array([3])})
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, given)
    program = compile_model(model, max_sizes={} if known else {"rows": 4})
    found = Inference(program, given).outputs()["rows"]
    assert np.array_equal(found[:3], expected)
