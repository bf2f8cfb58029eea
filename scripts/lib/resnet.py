"""ResNet-50 at its real size, without a download: the graph that the package onnx brings, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

BRANCH_SCALE = 0.3
"""Of the last normalisation in each residual branch, so that sixteen of them do not blow the numbers up."""


def write_resnet50(path: Path, *, seed: int = 1) -> None:
    """
    Writes the model: ONNX's light one with normal numbers (He) as kernels, and norms that do nothing.

    The light one has a constant for each tensor of weights, so all 1000 numbers of its answers are alike.
    """
    light = Path(onnx.__file__).parent / "backend/test/data/light/light_resnet50.onnx"
    model, rng = onnx.load(light), np.random.default_rng(seed)
    shapes = {held.name: numpy_helper.to_array(held) for held in model.graph.initializer}
    weights = {}
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            weights[node.output[0]] = tuple(int(size) for size in shapes[node.input[0]])
    kept = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    made = {name: _made_up(name, shape, rng) for name, shape in weights.items()}
    norms = [node for node in kept if node.op_type == "BatchNormalization"]
    for node in norms:
        scale, bias, mean, variance = node.input[1:]
        shape = made[scale].shape if scale in made else shapes[scale].shape
        made[scale] = np.full(shape, BRANCH_SCALE if "branch2c" in scale else 1, np.float32)
        made[bias] = made[mean] = np.zeros(shape, np.float32)
        made[variance] = np.ones(shape, np.float32)
    others = [held for held in model.graph.initializer if held.name not in made and not held.name.endswith("__SHAPE")]
    graph = helper.make_graph(
        kept,
        "resnet50",
        [model.graph.input[0]],
        list(model.graph.output),
        [*others, *(numpy_helper.from_array(values, name) for name, values in made.items())],
    )
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def _made_up(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Zeros for a bias; for a kernel numbers that keep the size of what goes through it."""
    if len(shape) < 2:
        return np.zeros(shape, np.float32)
    inputs = int(np.prod(shape[1:]))
    return (rng.standard_normal(shape, np.float32) * np.float32((2 / inputs) ** 0.5)).astype(np.float32)
