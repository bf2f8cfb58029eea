"""Small models of one operator, or of a few, with their inputs, for `scripts/bench operators`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
OPSET = 20
FLOAT, HALF, BRAIN, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE
U8, I8, I32, I64 = TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64


@dataclass(frozen=True)
class OperatorCase:
    """One operator, or a few that belong together, with its inputs."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, Array]
    peer: onnx.ModelProto | None = None
    """What ONNX Runtime runs instead, where it has no kernel for the model."""


def normal(*shape: int, dtype: Any = np.float32, seed: int = 1) -> Array:
    """Normally distributed numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32).astype(dtype)


def whole(*shape: int, dtype: Any, low: int, high: int) -> Array:
    """Integers from low to high - 1."""
    return np.random.default_rng(2).integers(low, high, shape).astype(dtype)


def case(
    name: str,
    op: str,
    inputs: Sequence[Array | None],
    constants: Sequence[int] = (),
    outputs: int = 1,
    result: int | None = None,
    **attributes: Any,
) -> OperatorCase:
    """`op` on `inputs`; those numbered in `constants` are part of the model. `result`: the outputs' element type."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], **attributes)
    return case_of(name, [node], inputs, constants, outputs, result)


def case_of(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: Sequence[Array | None],
    constants: Sequence[int],
    outputs: int,
    result: int | None = None,
) -> OperatorCase:
    """The same of a graph: `nodes` read x0, x1 ... and make y0, y1 ..."""
    given = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    fixed = {f"x{i}" for i in constants}
    infos = [
        helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for key, x in given.items()
        if key not in fixed
    ]
    initializers = [numpy_helper.from_array(given[key], key) for key in sorted(fixed)]
    kind = FLOAT if result is None else result
    results = [helper.make_tensor_value_info(f"y{i}", kind, None) for i in range(outputs)]
    graph = helper.make_graph(nodes, "operator", infos, results, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    if result is None:
        # The types of the outputs follow from the inputs.
        del graph.output[:]
        del model.graph.output[:]
        graph.output.extend(helper.make_empty_tensor_value_info(f"y{i}") for i in range(outputs))
        model.graph.CopyFrom(graph)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        model = inferred
    return OperatorCase(name, model, {key: x for key, x in given.items() if key not in fixed})


def half_case(name: str, op: str, inputs: Sequence[Array], constants: Sequence[int] = (), **kw: Any) -> OperatorCase:
    """The same in binary16."""
    return case(name, op, [x.astype(np.float16) for x in inputs], constants, **kw)


def brain_case(name: str, op: str, inputs: Sequence[Array], **attributes: Any) -> OperatorCase:
    """
    The same in bfloat16, between casts from and to binary32.

    ONNX Runtime has no such kernels for a processor, so it gets the operator in binary32, without the casts.
    """
    nodes = [helper.make_node("Cast", [f"x{i}"], [f"b{i}"], to=BRAIN) for i in range(len(inputs))]
    nodes.append(helper.make_node(op, [f"b{i}" for i in range(len(inputs))], ["b"], **attributes))
    nodes.append(helper.make_node("Cast", ["b"], ["y0"], to=FLOAT))
    whole = case_of(name, nodes, inputs, (), 1)
    return replace(whole, peer=case(name, op, inputs, **attributes).model)
