"""Small ONNX models, made by hand and at random, for the tests of the compiler."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.model.opcodes import DType

Array = npt.NDArray[Any]
OPSET = 17


@dataclass
class Graph:
    """A model under construction: `node` adds an operator and gives the names of its outputs."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def input(self, name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def constant(self, values: Array, name: str = "") -> str:
        name = name or f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op_type: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> str:
        """The first output's name; others end in .1, .2, …"""
        name = f"{op_type.lower()}{len(self.nodes)}"
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=name, domain=domain, **attributes))
        return name

    def model(
        self, outputs: Sequence[str], *, opset: int = OPSET, domains: Mapping[str, int] | None = None
    ) -> onnx.ModelProto:
        """The model with these outputs."""
        infos = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, "test", self.inputs, infos, self.constants)
        imports = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **(domains or {})}.items()]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)


def parsed(text: str, opset: int = 18) -> onnx.ModelProto:
    """A model in ONNX's own textual syntax, which may have functions of the domain `local`."""
    head = f'<ir_version: 9, opset_import: ["" : {opset}, "local" : 1]>\n'
    return onnx.parser.parse_model(head + textwrap.dedent(text))


def single(
    op_type: str, *arrays: Array, opset: int = OPSET, domain: str = "", outputs: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """One operator over inputs of the arrays' types and shapes, `x0`, `x1`, …"""
    graph = Graph()
    names = [graph.input(f"x{i}", array.shape, int(DType.of(array.dtype))) for i, array in enumerate(arrays)]
    name = graph.node(op_type, *names, domain=domain, outputs=outputs, **attributes)
    return graph.model([name], opset=opset, domains={domain: 1} if domain else None)


FLOATS = st.floats(-8, 8, width=32)


@st.composite
def models(draw: st.DrawFn) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A random graph of shape-keeping, shape-changing and joining operators, and inputs for it."""
    graph = Graph()
    shapes: dict[str, tuple[int, ...]] = {}
    arrays: dict[str, Array] = {}
    for i in range(draw(st.integers(1, 2))):
        shape = tuple(draw(st.lists(st.integers(1, 4), min_size=0, max_size=4)))
        name = graph.input(f"x{i}", shape)
        shapes[name] = shape
        seed = draw(st.integers(0, 2**32 - 1))
        arrays[name] = np.random.default_rng(seed).uniform(-4, 4, shape).astype(np.float32)
    for _ in range(draw(st.integers(1, 8))):
        source = draw(st.sampled_from(sorted(shapes)))
        name, shape = _step(draw, graph, source, shapes)
        shapes[name] = shape
    made = sorted(set(shapes) - set(arrays))
    outputs = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3, unique=True))
    return graph.model(outputs), arrays


def _step(draw: st.DrawFn, graph: Graph, x: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, tuple[int, ...]]:
    """One more operator over `x`: the new tensor's name and shape."""
    shape = shapes[x]
    rank = len(shape)
    kinds = ["unary", "scalar", "same", "reduce_all"]
    if rank:
        kinds += ["transpose", "flatten", "slice", "reverse", "concat", "softmax", "reduce", "expand", "tile", "pad"]
    kind = draw(st.sampled_from(kinds))
    axis = draw(st.integers(0, rank - 1)) if rank else 0
    if kind == "unary":
        return graph.node(draw(st.sampled_from(["Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Floor"])), x), shape
    if kind == "scalar":
        value = graph.constant(np.array(draw(FLOATS), np.float32))
        return graph.node(draw(st.sampled_from(["Add", "Mul", "Sub", "Max"])), x, value), shape
    if kind == "same":
        others = sorted(name for name, other in shapes.items() if other == shape)
        return graph.node("Add", x, draw(st.sampled_from(others))), shape
    if kind == "reduce_all":
        return graph.node("ReduceSum", x, keepdims=0), ()
    if kind == "transpose":
        order = draw(st.permutations(range(rank)))
        return graph.node("Transpose", x, perm=order), tuple(shape[d] for d in order)
    if kind == "flatten":
        return graph.node("Flatten", x, axis=axis), (
            int(np.prod(shape[:axis])),
            int(np.prod(shape[axis:])),
        )
    if kind in ("slice", "reverse"):
        start = draw(st.integers(0, shape[axis] - 1))
        ends, step = (shape[axis], 1) if kind == "slice" else (-(2**31), -1)
        bounds = [graph.constant(np.array([v], np.int64)) for v in (start, ends, axis, step)]
        size = shape[axis] - start if kind == "slice" else start + 1
        return graph.node("Slice", x, *bounds), (*shape[:axis], size, *shape[axis + 1 :])
    if kind == "concat":
        size = 2 * shape[axis]
        return graph.node("Concat", x, x, axis=axis), (*shape[:axis], size, *shape[axis + 1 :])
    if kind == "softmax":
        return graph.node("Softmax", x, axis=axis), shape
    if kind == "reduce":
        reduced = shape[:axis] + shape[axis + 1 :]
        return graph.node("ReduceMax", x, axes=[axis], keepdims=0), reduced
    if kind == "expand":
        wanted = (2, *shape)
        return graph.node("Expand", x, graph.constant(np.array(wanted, np.int64))), wanted
    if kind == "tile":
        repeats = [2 if d == axis else 1 for d in range(rank)]
        tiled = tuple(size * times for size, times in zip(shape, repeats, strict=True))
        return graph.node("Tile", x, graph.constant(np.array(repeats, np.int64))), tiled
    widths = [1 if d == axis else 0 for d in range(rank)]
    pads = graph.constant(np.array([*widths, *widths], np.int64))
    mode = draw(st.sampled_from(["constant", "edge"]))
    padded = tuple(size + 2 * width for size, width in zip(shape, widths, strict=True))
    return graph.node("Pad", x, pads, mode=mode), padded
