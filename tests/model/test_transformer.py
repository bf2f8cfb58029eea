"""A transformer written the way exporters write one: half of its nodes compute shapes, and none of those is left."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from tests.model.graphs import Array, Graph

VOCABULARY, WIDTH, HEADS, LAYERS = 50, 16, 4, 2
RNG = np.random.default_rng(7)


def weights(*shape: int) -> Array:
    scaled: Array = (RNG.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
    return scaled


class Exporter(Graph):
    """Operators with constants as operands, as exporters write them."""

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def size(self, x: str, axis: int) -> str:
        """One dimension of x as int64[1]."""
        picked = self.node("Gather", self.node("Shape", x), self.constant(np.array(axis)), axis=0)
        return self.node("Unsqueeze", picked, self.integers(0))

    def normalised(self, x: str) -> str:
        mean = self.node("ReduceMean", x, axes=[-1])
        centred = self.node("Sub", x, mean)
        variance = self.node("ReduceMean", self.node("Pow", centred, self.number(2.0)), axes=[-1])
        spread = self.node("Sqrt", self.node("Add", variance, self.number(1e-5)))
        scaled = self.node("Mul", self.node("Div", centred, spread), self.constant(weights(WIDTH) + 1))
        return self.node("Add", scaled, self.constant(weights(WIDTH)))

    def linear(self, x: str, into: int, out: int) -> str:
        return self.node("Add", self.node("MatMul", x, self.constant(weights(into, out))), self.constant(weights(out)))

    def heads(self, x: str) -> str:
        """[batch][time][width] -> [batch][heads][time][width / heads], with the batch and time taken from x."""
        shape = self.node("Concat", self.size(x, 0), self.size(x, 1), self.integers(HEADS, WIDTH // HEADS), axis=0)
        return self.node("Transpose", self.node("Reshape", x, shape), perm=[0, 2, 1, 3])

    def attention(self, x: str) -> str:
        q, k, v = (self.heads(self.linear(x, WIDTH, WIDTH)) for _ in range(3))
        scores = self.node("MatMul", q, self.node("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.node("Div", scores, self.number((WIDTH // HEADS) ** 0.5))
        # The causal mask: a triangle of the largest size, cut to the sequence's.
        triangle = self.constant(np.tril(np.ones((1, 1, 32, 32), bool)))
        length = self.size(x, 1)
        for axis in (2, 3):
            triangle = self.node("Slice", triangle, self.integers(0), length, self.integers(axis))
        scores = self.node("Where", triangle, scores, self.number(-1e9))
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        shape = self.node("Concat", self.size(x, 0), self.size(x, 1), self.integers(WIDTH), axis=0)
        return self.linear(self.node("Reshape", self.node("Transpose", mixed, perm=[0, 2, 1, 3]), shape), WIDTH, WIDTH)

    def gelu(self, x: str) -> str:
        erf = self.node("Erf", self.node("Div", x, self.number(2**0.5)))
        return self.node("Mul", self.node("Mul", x, self.number(0.5)), self.node("Add", erf, self.number(1.0)))


@pytest.fixture(scope="module")
def transformer() -> onnx.ModelProto:
    """Token ids [batch][time] -> logits [batch][time][vocabulary]."""
    g = Exporter()
    ids = g.input("ids", ["batch", "time"], int(DType.I64))
    embedding = weights(VOCABULARY, WIDTH)
    x = g.node("Gather", g.constant(embedding, "embedding"), ids, axis=0)
    scalar = g.node("Squeeze", g.size(ids, 1))
    positions = g.node("Range", g.constant(np.array(0)), scalar, g.constant(np.array(1)))
    x = g.node("Add", x, g.node("Gather", g.constant(weights(32, WIDTH)), positions, axis=0))
    for _ in range(LAYERS):
        x = g.node("Add", x, g.attention(g.normalised(x)))
        inner = g.gelu(g.linear(g.normalised(x), WIDTH, 4 * WIDTH))
        x = g.node("Add", x, g.linear(inner, 4 * WIDTH, WIDTH))
    logits = g.node("MatMul", g.normalised(x), g.node("Transpose", "embedding", perm=[1, 0]))
    return g.model([logits])


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (1, 7), (3, 12)])
def test_logits_are_onnx_runtimes(transformer: onnx.ModelProto, batch: int, time: int) -> None:
    ids = RNG.integers(0, VOCABULARY, (batch, time))
    program = compile_model(transformer, dims={"batch": batch, "time": time})
    (expected,) = onnxruntime.InferenceSession(transformer.SerializeToString()).run(None, {"ids": ids})
    (got,) = Inference(program, {"ids": ids}).outputs().values()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_no_node_computes_a_shape(transformer: onnx.ModelProto) -> None:
    """Every integer operation was folded: what is left reads tokens, and computes in binary32."""
    program = compile_model(transformer, dims={"batch": 1, "time": 7})
    records = [program.record(i) for i in range(program.node_count)]
    assert all(record.dtype_out is DType.F32 for record in records)
    shapes = {"Shape", "Unsqueeze", "Squeeze", "Concat", "Slice", "Range"}
    assert not shapes & {node.op_type for node in program.nodes}


def test_a_token_outside_the_vocabulary_is_a_provable_error(transformer: onnx.ModelProto) -> None:
    program = compile_model(transformer, dims={"batch": 1, "time": 2})
    inference = Inference(program, {"ids": np.array([[3, VOCABULARY]])})
    inference.run_to(program.node_count)
    assert inference.status == 7
    assert program.nodes[inference.fault_node].kernel == "GATHER"


def test_the_embedding_is_stored_once(transformer: onnx.ModelProto) -> None:
    """Looked up as it is, and multiplied transposed: two views of one block."""
    program = compile_model(transformer, dims={"batch": 1, "time": 2})
    size = VOCABULARY * WIDTH * 4
    assert [np.frombuffer(block.data, np.uint8).size for block in program.weights].count(size) == 1
