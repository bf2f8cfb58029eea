"""A graph over a padded tensor is refused, or fails, or means the same as ONNX Runtime's of the true size."""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import ModelError
from opml_dispute.model.tensor import Array
from tests.model.padded_graphs import ROOM_NAME, PaddedGraph, random_graph


def unlike(graph: PaddedGraph, output: str) -> str | None:
    """How the program's output differs from ONNX Runtime's, for any count of elements; None if the model is refused."""
    room = graph.shape[graph.axis]
    try:
        program = compile_model(graph.model([output]), max_sizes={ROOM_NAME: room})
    except ModelError:
        return None
    for count in range(room + 1):
        inference = Inference(program, graph.inputs(count))
        if inference.status:
            continue
        got, want = inference.outputs(), graph.computed([output], count)
        assert int(got[f"{ROOM_NAME}.count"]) == count
        if want is None:
            if count:  # where there are no elements at all, ONNX Runtime does not know a size that is left open
                return f"a result where ONNX Runtime has none, for {count} of {room}"
        elif not _agrees(got[output], want[0], count, room):
            return f"{got[output].tolist()} {got[output].shape} for {count} of {room}, expected {want[0].tolist()}"
    return ""


def _agrees(got: Array, want: Array, count: int, room: int) -> bool:
    if got.ndim != want.ndim or got.dtype != want.dtype:
        return False
    if not count and not want.size:
        return got.size == 0 or room in got.shape  # ONNX Runtime does not cut the other dimensions of nothing
    differing = [d for d in range(got.ndim) if got.shape[d] != want.shape[d]]
    if differing:
        (axis, *more) = differing
        if more or (got.shape[axis], want.shape[axis]) != (room, count):
            return False
        got = np.take(got, np.arange(count), axis)
    return bool(np.allclose(got, want, rtol=1e-4, atol=1e-5, equal_nan=True))


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs_over_a_padded_tensor(seed: int) -> None:
    """Some of each twenty are compiled, so that the comparison is of results."""
    compiled = 0
    for number in range(20):
        graph = random_graph(1000 * seed + number, 1 + number % 4)
        found = unlike(graph, list(graph.values)[-1])
        assert not found, (1000 * seed + number, found, [node.op_type for node in graph.nodes], graph.opset)
        compiled += found is not None
    assert compiled > 2
