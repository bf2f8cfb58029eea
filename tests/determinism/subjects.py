"""
What is run to compare bits: the sample digit reader, one small model for each kernel, real architectures.

`SUBJECTS` names them all; `runs` makes one anew, the same in every process. The model of a kernel (`KERNELS`) is large
enough for two threads to share its nodes; random records for that kernel go with it, in every dtype and function, on
NaNs, infinities, subnormals and signed zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from opml_dispute.engine.analysis import ProgramLike
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import INPUT, input_image
from opml_dispute.model.block_formats import BlockFormat
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType, Opcode, Unary
from opml_dispute.model.program import TensorSpec
from opml_dispute.model.tensor import Tensor
from opml_dispute.models import DIGITS, digit_samples
from tests.guest.programs import image, program
from tests.kernels import block_cases, cases
from tests.kernels.maker import Case, Maker
from tests.model.built import built
from tests.model.graphs import Graph

Array = npt.NDArray[Any]

RANDOM_RECORDS = 16
"""Random records that go with each kernel's model."""


@dataclass(frozen=True)
class Run:
    """One program on one input."""

    program: ProgramLike
    image: bytes

    def inference(self, threads: int = 1) -> Inference:
        return Inference(self.program, self.image, threads=threads)


def runs(name: str) -> list[Run]:
    """The runs that make up a subject."""
    return SUBJECTS[name]()


def _compiled(model: onnx.ModelProto | Path, inputs: Mapping[str, Array]) -> Run:
    made = compile_model(model)
    return Run(made, input_image(made.inputs, inputs))


# One small model for each kernel


def awkward(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """float32 of all sizes; one in fifty is NaN, infinite, subnormal or a signed zero."""
    x = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape)).astype(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-45, 3e38], np.float32)
    return np.where(rng.random(shape) < 0.02, rng.choice(special, shape), x)


def _trees(graph: Graph, x: str, trees: int, depth: int, features: int) -> str:
    """A forest of whole binary trees that ask random questions."""
    rng = np.random.default_rng(depth)
    inner, size = (1 << depth) - 1, (1 << depth + 1) - 1
    node = np.tile(np.arange(size), trees)
    tree = np.repeat(np.arange(trees), size)
    is_leaf = node >= inner
    leaves = int(is_leaf.sum())
    return graph.node(
        "TreeEnsembleRegressor",
        x,
        domain="ai.onnx.ml",
        n_targets=2,
        nodes_treeids=tree.tolist(),
        nodes_nodeids=node.tolist(),
        nodes_featureids=rng.integers(0, features, node.size).tolist(),
        nodes_modes=["LEAF" if leaf else "BRANCH_LEQ" for leaf in is_leaf],
        nodes_values=rng.standard_normal(node.size).tolist(),
        nodes_truenodeids=np.where(is_leaf, 0, 2 * node + 1).tolist(),
        nodes_falsenodeids=np.where(is_leaf, 0, 2 * node + 2).tolist(),
        target_treeids=tree[is_leaf].tolist(),
        target_nodeids=node[is_leaf].tolist(),
        target_ids=rng.integers(0, 2, leaves).tolist(),
        target_weights=rng.standard_normal(leaves).tolist(),
    )


@dataclass(frozen=True)
class KernelModel:
    """A model whose work is one kernel's."""

    shape: tuple[int, ...]
    """Of its input, float32."""
    build: Callable[[Graph, str], str]
    """Adds the operators; gives the output's name."""


def _constant(graph: Graph, *shape: int) -> str:
    return graph.constant(awkward(np.random.default_rng(shape), shape))


def _indices(graph: Graph, limit: int, *shape: int) -> str:
    return graph.constant(np.random.default_rng(shape).integers(-limit, limit, shape))


def _axis(graph: Graph, axis: int) -> str:
    return graph.constant(np.array(axis, np.int64))


KERNELS: Mapping[Opcode, KernelModel] = {
    Opcode.COPY: KernelModel((96, 50, 40), lambda g, x: g.node("Transpose", x, perm=[2, 0, 1])),
    Opcode.FILL: KernelModel((3, 200, 300), lambda g, x: g.node("Pad", x, g.constant(np.array([1, 2, 3, 4, 5, 6])))),
    Opcode.UNARY: KernelModel((2, 70_000), lambda g, x: g.node("Tanh", g.node("Exp", x))),
    Opcode.BINARY: KernelModel((3, 1, 260, 200), lambda g, x: g.node("Div", x, _constant(g, 2, 1, 200))),
    Opcode.SELECT: KernelModel(
        (500, 300), lambda g, x: g.node("Where", g.node("Less", x, _constant(g, 300)), x, _constant(g, 500, 1))
    ),
    Opcode.CAST: KernelModel((500, 300), lambda g, x: g.node("Cast", x, to=TensorProto.INT32)),
    Opcode.CONTRACT: KernelModel((2, 67, 90), lambda g, x: g.node("MatMul", x, _constant(g, 90, 75))),
    Opcode.CONV: KernelModel(
        (1, 8, 23, 25), lambda g, x: g.node("Conv", x, _constant(g, 14, 8, 3, 3), _constant(g, 14), pads=[1, 1, 1, 1])
    ),
    Opcode.POOL: KernelModel((2, 8, 70, 60), lambda g, x: g.node("AveragePool", x, kernel_shape=[3, 3])),
    Opcode.REDUCE: KernelModel((300, 500), lambda g, x: g.node("ReduceSum", x, _axis(g, -1), keepdims=0)),
    Opcode.ARGREDUCE: KernelModel((300, 500), lambda g, x: g.node("ArgMax", x, axis=0, keepdims=0)),
    Opcode.GATHER: KernelModel((400, 30), lambda g, x: g.node("Gather", x, _indices(g, 400, 4500))),
    Opcode.SCATTER: KernelModel(
        (50, 60),
        lambda g, x: g.node("ScatterElements", x, _indices(g, 50, 40, 60), _constant(g, 40, 60), reduction="add"),
    ),
    Opcode.TOPK: KernelModel(
        (700, 200), lambda g, x: g.node("TopK", x, g.constant(np.array([7])), outputs=2, axis=-1) + ".1"
    ),
    Opcode.SCAN: KernelModel((300, 500), lambda g, x: g.node("CumSum", x, _axis(g, 1))),
    Opcode.TREE: KernelModel((900, 12), lambda g, x: _trees(g, x, trees=20, depth=6, features=12)),
    Opcode.POOL_INDEX: KernelModel(
        (2, 8, 70, 60), lambda g, x: g.node("MaxPool", x, kernel_shape=[3, 3], outputs=2) + ".1"
    ),
}
"""A model for each kernel but those of blocks."""


def _weights(rows: int, k: int) -> npt.NDArray[np.uint8]:
    return block_cases.weights(Maker(np.random.default_rng(rows), awkward=False), BlockFormat.Q4_1, rows, k).copy()


def _looked_up(builder: Builder, indices: Tensor) -> Tensor:
    return builder.block_gather(builder.constant(_weights(50, 256)), indices, BlockFormat.Q4_1)


BUILT: Mapping[Opcode, tuple[tuple[int, ...], Callable[[Builder, Tensor], Tensor]]] = {
    Opcode.BLOCK_QUANTISE: ((300, 512), lambda b, x: b.block_quantise(x, BlockFormat.Q4_1)),
    Opcode.BLOCK_CONTRACT: (
        (24, 256),
        lambda b, x: b.block_linear(x, b.constant(_weights(400, 256)), BlockFormat.Q4_1),
    ),
    Opcode.BLOCK_GATHER: ((40, 20), lambda b, x: _looked_up(b, b.cast(b.unary(Unary.SIGN, x), DType.I64))),
}
"""Programs of kernels that no operator of ONNX comes to: the shape of the input, and what is made of it."""


def kernel_model(opcode: Opcode) -> Run:
    """The model of one kernel, on awkward numbers."""
    if opcode in BUILT:
        shape, write = BUILT[opcode]
        made = built(write, shape)
        return Run(made, input_image(made.inputs, {"x": awkward(np.random.default_rng(opcode), shape)}))
    chosen, graph = KERNELS[opcode], Graph()
    output = chosen.build(graph, graph.input("x", chosen.shape))
    model = graph.model([output], opset=18, domains={"ai.onnx.ml": 3})
    return _compiled(model, {"x": awkward(np.random.default_rng(opcode), chosen.shape)})


def random_record(opcode: Opcode, seed: int) -> Run:
    """A program of one random record."""
    case = cases.case(np.random.default_rng([opcode, seed]), opcode, awkward=True)
    made = program([case.record.pack()], case.arrays, inputs=_specs(case))
    return Run(made, image(case.arrays))


def _specs(case: Case) -> list[TensorSpec]:
    return [
        TensorSpec(str(i), DType.of(array.dtype), array.shape, offset, 6)
        for i, (offset, array) in enumerate(case.arrays)
        if INPUT.offset <= offset < INPUT.end
    ]


def _kernel(opcode: Opcode) -> list[Run]:
    return [kernel_model(opcode), *(random_record(opcode, seed) for seed in range(RANDOM_RECORDS))]


# Whole models


def _digits() -> list[Run]:
    images, _ = digit_samples()
    made = compile_model(DIGITS)
    (spec,) = made.inputs
    return [Run(made, input_image(made.inputs, {spec.name: images[:1].reshape(spec.shape)}))]


def _light_files() -> list[Path]:
    return sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


def _light(path: Path) -> list[Run]:
    model = onnx.load(path)
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = {}
    for value in model.graph.input:
        if value.name not in given:
            shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            inputs[value.name] = np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)
    return [_compiled(model, inputs)]


SUBJECTS: Mapping[str, Callable[[], list[Run]]] = {
    "digits": _digits,
    **{f"kernel:{opcode.name}": partial(_kernel, opcode) for opcode in Opcode},
    **{path.stem: partial(_light, path) for path in _light_files()},
}
"""Every subject by name."""
