"""
Random graphs over a tensor whose size depends on data, of operators that may or may not carry its padding.

`random_graph` adds one operator at a time, with attributes that suit the tensor where all of its room is used, and
keeps what ONNX Runtime computes there. Whether it means the same where less is used is what a test asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from opml_dispute.model.tensor import Array

ROOM_NAME = "p"
"""The tensor whose size depends on data."""


@dataclass
class PaddedGraph:
    """A model from x, f32 of any shape, and keep, bool[n], to what its last operators give."""

    shape: tuple[int, ...]
    """Of x."""
    axis: int
    """Along which the elements are chosen."""
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    values: dict[str, Array] = field(default_factory=dict)
    """Every tensor, where all are chosen."""

    def __post_init__(self) -> None:
        self.nodes.append(helper.make_node("Compress", ["x", "keep"], [ROOM_NAME], axis=self.axis))
        self.values[ROOM_NAME] = self.inputs(self.shape[self.axis])["x"]

    def inputs(self, count: int) -> dict[str, Array]:
        """Inputs of which `count` elements are chosen."""
        room = self.shape[self.axis]
        rng = np.random.default_rng(count)
        x = (np.round(rng.uniform(1, 9, self.shape)) / 2).astype(np.float32)
        return {"x": x, "keep": rng.permutation(np.arange(room) < count)}

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        """A new initializer's name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        """With these outputs, and the operators that they are made by; with all operators if there are none."""
        needed, nodes = set(outputs), list[onnx.NodeProto]()
        for node in reversed(self.nodes):
            if not outputs or needed.intersection(node.output):
                needed |= set(node.input)
                nodes.insert(0, node)
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            nodes, "g", [info("x", 1, self.shape), info("keep", 9, [self.shape[self.axis]])],
            [info(name, helper.np_dtype_to_tensor_dtype(self.values[name].dtype), None) for name in outputs],
            self.constants,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)

    def computed(self, outputs: list[str], count: int) -> list[Array] | None:
        """What ONNX Runtime gives; None if it gives nothing."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = onnxruntime.InferenceSession(self.model(outputs).SerializeToString(), options)
            return [np.asarray(part) for part in session.run(None, self.inputs(count))]
        except Exception:  # ONNX Runtime raises classes of its own, without a common base
            return None

    def add(self, op_type: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> bool:
        """One more operator; False, and nothing changes, if it does not go even where all elements are chosen."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        # Types are not known before they are computed: they are guessed, and then inferred.
        inferred = onnx.shape_inference.infer_shapes(self.model([]))
        kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
        if all(name in kinds for name in names):
            self.values |= {name: np.zeros(0, helper.tensor_dtype_to_np_dtype(kinds[name])) for name in names}
            found = self.computed(names, self.shape[self.axis])
            if found is not None:
                self.values |= dict(zip(names, found, strict=True))
                return True
        self.nodes.pop()
        for name in names:
            self.values.pop(name, None)
        return False


Rng = np.random.Generator
Step = Callable[[PaddedGraph, Rng, str, Array], object]


def random_graph(seed: int, length: int) -> PaddedGraph:
    """A graph of `length` operators behind the chosen elements, or fewer if few would go."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 5))
    shape = tuple(int(n) for n in rng.choice([1, 2, 3, 6], rank))
    graph = PaddedGraph(shape, int(rng.integers(rank)), int(rng.choice([9, 11, 12, 13, 15, 17, 18, 21])))
    for _ in range(4 * length):
        if len(graph.nodes) > length:
            break
        # Mostly the newest tensor, so that chains are made.
        names = list(graph.values)
        name = names[-1] if rng.random() < 0.7 else str(rng.choice(names))
        _STEPS[rng.integers(len(_STEPS))](graph, rng, name, graph.values[name])
    return graph


def _axis(rng: Rng, rank: int) -> int:
    return int(rng.integers(-rank, rank)) if rank else 0


def _axes(g: PaddedGraph, rng: Rng, rank: int, since: int, name: str, **attributes: Any) -> tuple[list[str], Any]:
    """Axes as an attribute before version `since`, as an input from it on; some, or not given."""
    chosen = sorted({_axis(rng, rank) % rank for _ in range(rng.integers(0, 3))}) if rank else []
    if not chosen and (g.opset < since or rng.random() < 0.7):
        return [], attributes
    return ([g.constant(chosen)], attributes) if g.opset >= since else ([], {**attributes, name: chosen})


def _number(g: PaddedGraph, rng: Rng, value: Array, *shapes: tuple[int, ...]) -> str:
    """A constant of the tensor's type, of one of these shapes."""
    shape = shapes[rng.integers(len(shapes))]
    if value.dtype == np.bool_:
        return g.constant(rng.random(shape) < 0.5, np.bool_)
    return g.constant(np.round(rng.uniform(1, 4, shape) * 2) / 2, value.dtype)


def _partner(g: PaddedGraph, rng: Rng, value: Array) -> str:
    """An operand beside a tensor: a constant of some shape that broadcasts, or another tensor."""
    if rng.random() < 0.4:
        return str(rng.choice([name for name, other in g.values.items() if other.dtype == value.dtype]))
    some = tuple(n if rng.random() < 0.5 else 1 for n in value.shape)
    return _number(g, rng, value, (), (1,), some, value.shape, value.shape[-1:], (1, *some), (3, *some))


def _unary(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    if value.dtype == np.float32:
        g.add(str(rng.choice(["Relu", "Neg", "Exp", "Sigmoid", "Identity", "Sqrt", "Floor", "Dropout"])), [name])


def _cast(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    g.add("Cast", [name], to=int(rng.choice([1, 7, 9])))


def _binary(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    kinds = ["And", "Or"] if value.dtype == np.bool_ else ["Add", "Mul", "Sub", "Div", "Pow", "Less", "Equal", "PRelu"]
    pair = [name, _partner(g, rng, value)]
    g.add(str(rng.choice(kinds)), pair if rng.random() < 0.5 else pair[::-1])


def _variadic(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    others = [_partner(g, rng, value) for _ in range(rng.integers(0, 3))]
    g.add(str(rng.choice(["Max", "Min", "Sum", "Mean"])), [name, *others])


def _where(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    conditions = [other for other, found in g.values.items() if found.dtype == np.bool_]
    if conditions:
        g.add("Where", [str(rng.choice(conditions)), name, _partner(g, rng, value)])


def _clip(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    low = _partner(g, rng, value) if rng.random() < 0.4 else _number(g, rng, value, ())
    g.add("Clip", [name, low] if g.opset >= 11 else [name])


def _transpose(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    if value.ndim and rng.random() < 0.7:
        g.add("Transpose", [name], perm=[int(d) for d in rng.permutation(value.ndim)])
    else:
        g.add("Transpose", [name])


def _unsqueeze(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    new = sorted({_axis(rng, value.ndim + 1) % (value.ndim + 1)})
    g.add("Unsqueeze", [name, g.constant(new)]) if g.opset >= 13 else g.add("Unsqueeze", [name], axes=new)


def _squeeze(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    inputs, attributes = _axes(g, rng, value.ndim, 13, "axes")
    g.add("Squeeze", [name, *inputs], **attributes)


def _reshape(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    """The same sizes, split, joined or in another order, some of them as 0 and one as -1."""
    sizes = list(value.shape)
    for _ in range(rng.integers(0, 3)):
        way = rng.integers(4)
        at = int(rng.integers(len(sizes) + 1))
        if way == 0:
            sizes.insert(at, 1)
        elif way == 1 and at + 1 < len(sizes):
            sizes[at : at + 2] = [prod(sizes[at : at + 2])]
        elif way == 2 and at < len(sizes) and sizes[at] == 6:
            sizes[at : at + 1] = [2, 3]
        else:
            sizes = [int(n) for n in rng.permutation(sizes)]
    wanted = [0 if d < value.ndim and n == value.shape[d] and rng.random() < 0.3 else n for d, n in enumerate(sizes)]
    if wanted and rng.random() < 0.7:
        wanted[rng.integers(len(wanted))] = -1
    extra = {"allowzero": 1} if g.opset >= 14 and rng.random() < 0.2 else {}
    g.add("Reshape", [name, g.constant(wanted)], **extra)


def _flatten(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    least = -value.ndim if g.opset >= 11 else 0
    g.add("Flatten", [name], **({"axis": int(rng.integers(least, value.ndim + 1))} if rng.random() < 0.8 else {}))


def _concat(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    g.add("Concat", [name, *(_partner(g, rng, value) for _ in range(rng.integers(0, 3)))], axis=_axis(rng, value.ndim))


def _slice(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    start, end = (int(n) for n in rng.integers(-4, 5, 2))
    step = int(rng.choice([1, 2, -1, -2]))
    axis = [_axis(rng, value.ndim)] if rng.random() < 0.8 else [0]
    if g.opset < 10:
        g.add("Slice", [name], starts=[start], ends=[end], axes=axis)
    else:
        g.add("Slice", [name, g.constant([start]), g.constant([end]), g.constant(axis), g.constant([step])])


def _split(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    extra = {"num_outputs": 2} if g.opset >= 18 else {}
    g.add("Split", [name], outputs=2, axis=_axis(rng, value.ndim), **extra)


def _gather(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    """Of a constant by a tensor of places, or of a tensor by constant ones."""
    places = g.constant(rng.integers(-1, 1, [(), (1,), (2,), (2, 2)][rng.integers(4)]))
    if value.dtype == np.int64:
        table = g.constant(rng.uniform(0, 1, (9, 2, 9)), np.float32)
        if rng.random() < 0.5:
            g.add("Gather", [table, name], axis=int(rng.choice([0, 2, -1])))
        else:
            g.add("GatherND", [table, name], **({"batch_dims": int(rng.integers(0, 2))} if g.opset >= 12 else {}))
    elif rng.random() < 0.8:
        g.add("Gather", [name, places], axis=_axis(rng, value.ndim))
    else:
        g.add("GatherElements", [name, g.constant(np.zeros(value.shape))], axis=_axis(rng, value.ndim))


def _reduce(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    kind = str(rng.choice(["ReduceSum", "ReduceMax", "ReduceMean", "ReduceProd", "ReduceL2", "ReduceLogSumExp"]))
    extra = {"keepdims": int(rng.integers(2))}
    since = 13 if kind == "ReduceSum" else 18
    if g.opset >= since and rng.random() < 0.3:
        extra["noop_with_empty_axes"] = 1
    inputs, attributes = _axes(g, rng, value.ndim, since, "axes", **extra)
    g.add(kind, [name, *inputs], **attributes)


def _extreme(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    axis = _axis(rng, value.ndim) % max(value.ndim, 1)
    g.add(str(rng.choice(["ArgMax", "ArgMin"])), [name], axis=axis, keepdims=int(rng.integers(2)))


def _softmax(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    axis = {"axis": _axis(rng, value.ndim)} if rng.random() < 0.6 and value.ndim else {}
    kinds = ["Softmax", "LogSoftmax", "LayerNormalization", "Hardmax"]
    kind = str(rng.choice(kinds if np.isfinite(value).all() else kinds[:3]))  # the Hardmax of NaN is not defined
    if kind == "LayerNormalization":
        g.add(kind, [name, _number(g, rng, value, value.shape[-1:], value.shape)], **axis)
    else:
        g.add(kind, [name], **axis)


def _matmul(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    if not value.ndim:
        return
    last, other = value.shape[-1], value.shape[-2:-1]
    if rng.random() < 0.6:
        right = _number(g, rng, value, (last,), (last, 2), (*value.shape[:-2], last, 2), (2, last, 2))
        g.add("MatMul", [name, right])
    else:
        g.add("MatMul", [_number(g, rng, value, (2, *(other or (last,))), other or (last,)), name])


def _gemm(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    if value.ndim != 2:
        return
    turned, rows, columns = bool(rng.integers(2)), *value.shape
    rows, columns = (columns, rows) if turned else (rows, columns)
    weights = _number(g, rng, value, (columns, 2))
    bias = [_number(g, rng, value, (), (2,), (1, 2), (rows, 1), (rows, 2))] if rng.random() < 0.8 else []
    g.add("Gemm", [name, weights, *bias], transA=int(turned), alpha=0.5, beta=2.0)


def _windowed(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    if value.ndim < 3:
        return
    channels, spatial = value.shape[1], value.ndim - 2
    kind = str(rng.choice(["Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"]))
    if kind == "Conv":
        g.add(kind, [name, _number(g, rng, value, (2, channels, *(1,) * spatial))])
    elif kind == "ConvTranspose":
        g.add(kind, [name, _number(g, rng, value, (channels, 2, *(1,) * spatial))])
    elif kind.startswith("Global"):
        g.add(kind, [name])
    else:
        g.add(kind, [name], outputs=int(rng.integers(1, 3)) if kind == "MaxPool" else 1, kernel_shape=[1] * spatial)


def _batch(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    if value.ndim < 2:
        return
    each = [_number(g, rng, value, (value.shape[1],)) for _ in range(4)]
    if value.ndim > 2 and rng.random() < 0.4:
        g.add("InstanceNormalization", [name, *each[:2]])
    elif g.opset >= 14 and rng.random() < 0.5:
        g.add("BatchNormalization", [name, *each], outputs=3, training_mode=1)
    else:
        g.add("BatchNormalization", [name, *each])


def _other(g: PaddedGraph, rng: Rng, name: str, value: Array) -> None:
    """Operators that carry no padding."""
    rank = value.ndim
    kind = str(rng.choice(["CumSum", "Shape", "Size", "Tile", "Expand", "NonZero", "TopK", "Trilu", "EyeLike", "LRN"]))
    if kind == "CumSum" and g.opset >= 11:
        g.add(kind, [name, g.constant(_axis(rng, rank))])
    elif kind == "Tile":
        g.add(kind, [name, g.constant(rng.integers(1, 3, rank))])
    elif kind == "Expand":
        g.add(kind, [name, g.constant([2, *value.shape])])
    elif kind == "TopK" and g.opset >= 10:
        g.add(kind, [name, g.constant([1])], outputs=2, axis=_axis(rng, rank))
    elif kind == "LRN":
        g.add(kind, [name], size=3)
    elif kind in ("Shape", "Size", "NonZero", "Trilu", "EyeLike"):
        g.add(kind, [name])


_STEPS: tuple[Step, ...] = (
    _unary, _cast, _binary, _binary, _variadic, _where, _clip, _transpose, _unsqueeze, _squeeze, _reshape, _reshape,
    _flatten, _concat, _slice, _split, _gather, _gather, _reduce, _extreme, _softmax, _matmul, _gemm, _windowed, _batch,
    _other,
)  # fmt: skip
