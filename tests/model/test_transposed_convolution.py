"""Transposed convolutions with strides: element by element, as ONNX defines them, for any padding, group and size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.model.graphs import Graph

Array = npt.NDArray[Any]


def spread(
    x: Array, w: Array, strides: list[int], extra: list[int], groups: int, dilations: list[int] | None = None
) -> Array:
    """Every element of x times the kernel, added up where it falls; before anything is cut off."""
    n, channels, *spatial = x.shape
    _, m, *kernel = w.shape
    steps = dilations or [1] * len(kernel)
    spans = [d * (k - 1) + 1 for d, k in zip(steps, kernel, strict=True)]
    sizes = [s * (size - 1) + e + k for s, size, e, k in zip(strides, spatial, extra, spans, strict=True)]
    out = np.zeros((n, groups, m, *sizes))
    x, w = x.reshape(n, groups, channels // groups, *spatial), w.reshape(groups, channels // groups, m, *kernel)
    every: tuple[Any, ...] = (slice(None),)
    for at in np.ndindex(*spatial):
        place = tuple(slice(i * s, i * s + k, d) for i, s, k, d in zip(at, strides, spans, steps, strict=True))
        out[every * 3 + place] += np.einsum("ngc,gcm...->ngm...", x[every * 3 + at], w)
    return out.reshape(n, groups * m, *sizes)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_strides_pads_and_groups(rank: int) -> None:
    """Random transposed convolutions agree with the reference."""
    for seed in range(30):
        rng = np.random.default_rng([rank, seed])
        groups = int(rng.choice([1, 1, 2]))
        strides = [int(n) for n in rng.integers(1, 5, rank)]
        kernel = [int(n) for n in rng.integers(1, 6, rank)]
        extra = [int(rng.integers(0, s)) for s in strides]
        x = rng.standard_normal((2, groups * 2, *rng.integers(1, 6, rank))).astype(np.float32)
        w = rng.standard_normal((groups * 2, 3, *kernel)).astype(np.float32)
        bias = rng.standard_normal(groups * 3).astype(np.float32)
        full = spread(x, w, strides, extra, groups)
        room = [(size - 1) // 2 for size in full.shape[2:]]
        pads = [[int(rng.integers(0, min(3, most) + 1)) for most in room] for _ in range(2)]
        cut = tuple(slice(b, size - e) for b, e, size in zip(*pads, full.shape[2:], strict=True))
        expected = full[(slice(None), slice(None), *cut)] + bias.reshape(-1, *(1,) * rank)
        graph = Graph()
        names = [graph.input("x", x.shape), graph.constant(w), graph.constant(bias)]
        attributes: dict[str, Any] = {
            "strides": strides,
            "pads": [*pads[0], *pads[1]],
            "output_padding": extra,
            "group": groups,
        }
        model = graph.model([graph.node("ConvTranspose", *names, **attributes)])
        (found,) = Inference(compile_model(model), {"x": x}).outputs().values()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_no_product_with_zeros_between_elements() -> None:
    """A quarter of the products that zeros between the elements would take."""
    graph = Graph()
    w = graph.constant(np.ones((4, 4, 2, 2), np.float32))
    model = graph.model([graph.node("ConvTranspose", graph.input("x", [1, 4, 8, 8]), w, strides=[2, 2])])
    kernels = [node.kernel for node in compile_model(model).nodes]
    assert kernels.count("CONV") == 4
    assert "FILL" not in kernels


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite_meet_elements_alone(odd: float) -> None:
    """No zero of a padding, or between elements, is multiplied by them: that would be NaN."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        rank, groups = int(rng.integers(1, 3)), int(rng.integers(1, 3))
        strides, steps, kernel, size = ([int(n) for n in rng.integers(1, most, rank)] for most in (4, 3, 4, 5))
        x = rng.integers(-3, 4, (2, groups * 2, *size)).astype(np.float32)
        w = rng.integers(-3, 4, (groups * 2, 2, *kernel)).astype(np.float32)
        w.reshape(-1)[rng.integers(0, w.size)] = odd
        bias = rng.integers(-3, 4, groups * 2).astype(np.float32)
        with np.errstate(invalid="ignore"):
            full = spread(x, w, strides, [0] * rank, groups, steps)
        pads = [int(rng.integers(0, (n - 1) // 2 + 1)) for n in full.shape[2:]]
        cut = tuple(slice(p, n - p) for p, n in zip(pads, full.shape[2:], strict=True))
        expected = full[(slice(None), slice(None), *cut)] + bias.reshape(-1, *(1,) * rank)
        graph = Graph()
        names = [graph.input("x", x.shape), graph.constant(w), graph.constant(bias)]
        more: dict[str, Any] = {"strides": strides, "dilations": steps, "pads": pads * 2, "group": groups}
        model = graph.model([graph.node("ConvTranspose", *names, **more)])
        (found,) = Inference(compile_model(model), {"x": x}).outputs().values()
        np.testing.assert_array_equal(found, expected.astype(np.float32))
