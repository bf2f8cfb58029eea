"""From an ONNX file to a program: the same bytes everywhere, and the answers of ONNX Runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from onnx import parser

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program_file import read_program, write_program
from opml_dispute.model.tensor import Array
from opml_dispute.models import DIGITS, digit_samples
from opml_dispute.primitives import LEAST_LOG2_STEPS, RECORD_BYTES
from tests.model import interpreter
from tests.model.graphs import Graph, models, single

DIGITS_MODEL_ROOT = Path(__file__).with_name("digits-model-root.txt")


def test_the_digit_reader_has_its_committed_model_root() -> None:
    """A change here is a change of every registered program: make it on purpose, then renew the file."""
    assert compile_model(DIGITS).model_root.hex() == DIGITS_MODEL_ROOT.read_text().strip()


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_bytes_do_not_depend_on_the_process(seed: str) -> None:
    """Not on the hashing of strings, which Python seeds anew, nor on anything else that differs between runs."""
    code = "from opml_dispute.model.compiler import compile_model; from opml_dispute.models import DIGITS; " \
        "print(compile_model(DIGITS).model_root.hex())"  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
    )
    assert result.stdout == DIGITS_MODEL_ROOT.read_text()


def test_path_bytes_and_loaded_model_give_one_program() -> None:
    first = compile_model(DIGITS)
    assert compile_model(DIGITS.read_bytes()) == first
    assert compile_model(onnx.load(DIGITS)) == first
    assert compile_model(str(DIGITS)) == first


@pytest.mark.parametrize("listed", [True, False])
def test_a_file_of_format_3_gives_the_same_program_whether_or_not_it_lists_weights_as_inputs(listed: bool) -> None:
    """ONNX Runtime reads both; only from version 4 on do the rules allow what converters had always written."""
    model = onnx.load(DIGITS)
    expected = compile_model(model)
    model.ir_version = 3
    del model.metadata_props[:]
    if listed:
        for weight in model.graph.initializer:
            model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    onnxruntime.InferenceSession(model.SerializeToString())
    assert compile_model(model) == expected
    assert model.ir_version == 3


def test_the_digit_reader_answers_as_onnx_runtime_does() -> None:
    """Every probability, on every held-out image, to 1e-5 of itself; and with the accuracy that digits.json states."""
    program = compile_model(DIGITS)
    session = onnxruntime.InferenceSession(DIGITS)
    images, labels = digit_samples()
    correct = 0
    for image, label in zip(images, labels, strict=True):
        got = Inference(program, {"image": image[None]}).outputs()["probabilities"]
        np.testing.assert_allclose(got, session.run(None, {"image": image[None]})[0], rtol=1e-5, atol=0)
        correct += int(got.argmax() == label)
    stated = json.loads(DIGITS.with_suffix(".json").read_text())
    assert (correct, len(labels)) == (stated["correct"], stated["held_out"])
    assert stated["accuracy"] >= 0.97
    assert DIGITS.stat().st_size == stated["size_bytes"]


def test_node_descriptions_lead_back_to_the_onnx_nodes() -> None:
    program = compile_model(DIGITS)
    named = {node.name: node.op_type for node in onnx.load(DIGITS).graph.node}
    assert [node.record_index for node in program.nodes] == list(range(program.node_count))
    for node in program.nodes:
        assert named[node.name] == node.op_type
    assert {node.kernel for node in program.nodes if node.name == "softmax"} == {
        "REDUCE.MAX", "BINARY.SUB", "UNARY.EXP", "REDUCE.SUM", "BINARY.DIV",
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(models())
def test_random_models_run_alike_in_the_kernels_and_in_the_slow_interpreter(
    pair: tuple[onnx.ModelProto, dict[str, Array]],
) -> None:
    """Compiling checks the rules; two readings of the records, which share no code, then agree."""
    model, arrays = pair
    program = compile_model(model)
    inputs = {spec.name: arrays[spec.name] for spec in program.inputs}
    slow = interpreter.run(program, inputs)
    fast = Inference(program, inputs)
    for name, array in fast.outputs().items():
        np.testing.assert_allclose(array, slow[name], rtol=2e-5, atol=1e-5)
    assert fast.status == 0


@settings(max_examples=30, deadline=None)
@given(models())
def test_tiles_change_no_bit_of_the_result(pair: tuple[onnx.ModelProto, dict[str, Array]]) -> None:
    """However small the budget, and however many nodes come of it."""
    model, arrays = pair
    whole, cut = compile_model(model), compile_model(model, tile_budget=1 << 16)
    assert cut.node_count >= whole.node_count
    inputs = {spec.name: arrays[spec.name] for spec in whole.inputs}
    assert Inference(whole, inputs).output_image() == Inference(cut, inputs).output_image()


def test_the_step_limit_is_the_least_that_admits_every_record() -> None:
    for budget in (1 << 26, 1 << 17, 1 << 16):
        made = compile_model(DIGITS, tile_budget=budget)
        most = max(made.node_steps)
        assert most <= 1 << made.log2_steps
        assert made.log2_steps == LEAST_LOG2_STEPS or most > 1 << (made.log2_steps - 1)
        assert made.header_bytes[0x18:0x20] == made.log2_steps.to_bytes(8, "big")


def test_an_output_that_costs_more_than_the_budget_raises_the_limit() -> None:
    """It cannot be cut: the game is as deep as its node is long."""
    x = np.ones((2, 40_000), np.float32)
    program = compile_model(single("MatMul", x, x.T.copy()), tile_budget=1 << LEAST_LOG2_STEPS)
    assert max(program.node_steps) > 1 << LEAST_LOG2_STEPS
    assert program.log2_steps == (max(program.node_steps) - 1).bit_length() == 19
    assert Inference(program, {spec.name: x.reshape(spec.shape) for spec in program.inputs}).status == 0


def test_a_tile_budget_below_what_any_node_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 2\\^16 at least"):
        compile_model(DIGITS, tile_budget=1 << 15)


def test_a_tile_budget_bounds_every_node_that_can_be_cut() -> None:
    whole = compile_model(DIGITS)
    budget = max(whole.node_steps) // 3
    cut = compile_model(DIGITS, tile_budget=budget)
    assert max(cut.node_steps) <= budget
    conv = [node for node in cut.nodes if node.name == "conv2"]
    assert len(conv) > 1
    assert [node.tile for node in conv] == list(range(conv[0].tiles))


def test_symbolic_dimensions_are_bound_by_name_or_by_place() -> None:
    graph = Graph()
    graph.input("x", ["batch", 3])
    model = graph.model([graph.node("Relu", "x")])
    assert compile_model(model, dims={"batch": 2}).inputs[0].shape == (2, 3)
    assert compile_model(model, dims={"x.0": 5}).inputs[0].shape == (5, 3)


def test_a_fixed_input_is_part_of_the_program() -> None:
    """The new shape is a constant then, and the reshape a view."""
    model = single("Reshape", np.zeros((2, 3), np.float32), np.zeros(1, np.int64))
    program = compile_model(model, constants={"x1": np.array([6])})
    assert [spec.name for spec in program.inputs] == ["x0"]
    assert program.outputs[0].shape == (6,)
    assert program.fixed["x1"].tolist() == [6]


def test_binary64_stays_what_it_is() -> None:
    program = compile_model(single("Add", np.zeros(2), np.zeros(2)))
    assert program.notes == ()
    (sums,) = Inference(program, {"x0": np.array([1.0, 0.1]), "x1": np.array([2.0**-52, 0.2])}).outputs().values()
    assert sums.tolist() == [1 + 2.0**-52, 0.1 + 0.2]


def test_an_output_that_nothing_computes_is_copied() -> None:
    """An input, a constant, and one tensor under two names."""
    graph = Graph()
    graph.input("x", [3])
    double = graph.node("Add", "x", "x")
    names = [
        graph.node("Identity", "x"),
        graph.node("Identity", graph.constant(np.array([7.0], np.float32))),
        graph.node("Identity", double),
        double,
    ]
    program = compile_model(graph.model(names))
    x = np.array([1, 2, 3], np.float32)
    got = list(Inference(program, {"x": x}).outputs().values())
    assert [array.tolist() for array in got] == [[1, 2, 3], [7], [2, 4, 6], [2, 4, 6]]


def test_a_program_of_empty_tensors_still_has_a_node() -> None:
    program = compile_model(single("Relu", np.zeros((0, 3), np.float32)))
    assert program.node_count == 1
    (result,) = Inference(program, {"x0": np.zeros((0, 3), np.float32)}).outputs().values()
    assert result.shape == (0, 3)


def test_unused_nodes_leave_nothing_behind() -> None:
    graph = Graph()
    graph.input("x", [3])
    graph.node("NonZero", "x")  # could not even be compiled
    program = compile_model(graph.model([graph.node("Relu", "x")]))
    assert [node.kernel for node in program.nodes] == ["UNARY.RELU"]


def test_transposing_slicing_and_expanding_cost_no_node() -> None:
    graph = Graph()
    graph.input("x", [2, 3, 4])
    y = graph.node("Transpose", "x", perm=[2, 0, 1])
    bounds = [graph.constant(np.array([v], np.int64)) for v in (3, -(2**31), 0, -2)]
    y = graph.node("Slice", y, *bounds)
    y = graph.node("Expand", y, graph.constant(np.array([5, 1, 1, 1], np.int64)))
    program = compile_model(graph.model([graph.node("Relu", y)]))
    assert program.node_count == 1
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 12
    (got,) = Inference(program, {"x": x}).outputs().values()
    expected = np.maximum(np.broadcast_to(x.transpose(2, 0, 1)[3::-2], (5, 2, 2, 3)), 0)
    assert np.array_equal(got, expected)


def test_more_than_eight_dimensions_are_cut_into_several_nodes() -> None:
    shape = (2, 1, 2, 2, 2, 1, 2, 2, 2, 2, 2)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    order = [10, 0, 8, 2, 6, 4, 3, 7, 1, 9, 5]
    model = single("Transpose", x, perm=order)
    program = compile_model(model)
    assert program.node_count > 1
    (got,) = Inference(program, {"x0": x}).outputs().values()
    assert np.array_equal(got, x.transpose(order))


def test_the_header_counts_nodes_and_the_bytes_of_both_images() -> None:
    program = compile_model(DIGITS)
    assert (program.node_count, program.input_bytes, program.output_bytes) == (14, 256, 40)
    assert len(program.records) == 14 * RECORD_BYTES
    assert Inference(program, {"image": digit_samples()[0][:1]}).output_image()[:40]


def test_a_product_over_nothing_is_zero_plus_the_bias() -> None:
    a, b, c = np.zeros((2, 0), np.float32), np.zeros((0, 3), np.float32), np.arange(3, dtype=np.float32)
    program = compile_model(single("Gemm", a, b, c))
    (got,) = Inference(program, {"x0": a, "x1": b, "x2": c}).outputs().values()
    assert got.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_an_output_that_is_listed_twice_is_one_output(tmp_path: Path) -> None:
    """ONNX allows it; a program with two outputs of one name could not be read from its file again."""
    x = np.arange(3, dtype=np.float32)
    head, body = '<ir_version: 8, opset_import: ["" : 17]>', "{ y = Neg (x0) }"
    model = parser.parse_model(f"{head} g (float[3] x0) => (float[3] y, float[3] y) {body}")
    onnx.checker.check_model(model, full_check=True)
    program = compile_model(model)
    write_program(program, tmp_path / "model.program")
    again = read_program(tmp_path / "model.program")
    assert again.model_root == program.model_root
    assert [spec.name for spec in again.outputs] == ["y"]
    (got,) = Inference(again, {"x0": x}).outputs().values()
    assert got.tolist() == [0, -1, -2]
