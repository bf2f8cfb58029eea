"""The operators of ONNX Runtime's own set, held against ONNX Runtime over random shapes, attributes and inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.onnx.microsoft_cases import CASES, Array, Case, model_of

COUNT = 12
"""Random nodes of each kind; thousands were tried."""


def computed(case: Case) -> list[Array]:
    """What the native engine computes."""
    model, inputs = model_of(case)
    inference = Inference(compile_model(model), inputs)
    assert inference.status == 0
    return list(inference.outputs().values())


def expected(case: Case) -> list[Array]:
    """What ONNX Runtime computes, on one thread and without rewriting the node."""
    model, inputs = model_of(case)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def difference(case: Case) -> str:
    """What differs from ONNX Runtime by more than the case allows; empty if nothing does."""
    for i, (have, want) in enumerate(zip(computed(case), expected(case), strict=True)):
        if have.dtype != want.dtype or have.shape != want.shape:
            return f"output {i} is {have.dtype}{list(have.shape)}; expected {want.dtype}{list(want.shape)}"
        wide, close = want.astype(np.float64), have.astype(np.float64)
        allowed = (
            case.units if want.dtype.kind in "iu" else case.rtol * max(1.0, float(np.max(np.abs(wide), initial=0)))
        )
        if not np.allclose(close, wide, rtol=0, atol=allowed, equal_nan=True):
            return (
                f"output {i} is off by {np.max(np.abs(close - wide))}: {have.reshape(-1)[:6]}; {want.reshape(-1)[:6]}"
            )
    return ""


@pytest.mark.parametrize("kind", CASES)
def test_random_nodes_agree_with_onnx_runtime(kind: str) -> None:
    random = np.random.default_rng(list(CASES).index(kind))
    for _ in range(COUNT):
        case = CASES[kind](random)
        shapes = [None if x is None else x.shape for x in case.inputs]
        assert not (found := difference(case)), f"{case.op_type} {case.attributes} of {shapes}: {found}"


def test_packed_queries_keys_and_values_are_those_apart() -> None:
    """ONNX Runtime's CPU kernel does not take them packed."""
    random = np.random.default_rng(5)
    q, k, v = (random.normal(size=(2, 3, 8)).astype(np.float32) for _ in range(3))
    apart = Case("MultiHeadAttention", [q, k, v], {"num_heads": 2})
    heads = [t.reshape(2, 3, 2, 4) for t in (q, k, v)]
    all_in_one = replace(apart, inputs=[np.stack(heads, 3)])
    keys_and_values = replace(apart, inputs=[q, np.stack(heads[1:], 3)])
    (want,) = computed(apart)
    for packed in (all_in_one, keys_and_values):
        (have,) = computed(packed)
        assert have.tobytes() == want.tobytes()


def test_a_convolution_with_channels_last_is_that_with_channels_first() -> None:
    """ONNX Runtime's CPU kernels have no NhwcConv."""
    random = np.random.default_rng(6)
    x, w = (random.normal(size=shape).astype(np.float32) for shape in ((2, 4, 6, 5), (6, 2, 3, 3)))
    attributes = {"group": 2, "pads": [1, 0, 1, 1], "strides": [2, 1]}
    (want,) = computed(Case("Conv", [x, w], attributes, domain=""))
    moved: list[Array | None] = [np.ascontiguousarray(t.transpose(0, 2, 3, 1)) for t in (x, w)]
    (have,) = computed(Case("NhwcConv", moved, attributes))
    assert have.transpose(0, 3, 1, 2).tobytes() == want.tobytes()


@pytest.mark.parametrize("kind", ["skip", "gelus", "fused matmul", "attention", "multi-head attention"])
def test_float16_is_widened_as_a_whole_and_rounded_once(kind: str) -> None:
    random = np.random.default_rng(7)
    for _ in range(3):
        case = CASES[kind](random)
        if case.op_type == "QAttention":
            continue
        halves = [x.astype(np.float16) if x is not None and x.dtype == np.float32 else x for x in case.inputs]
        wide = [x.astype(np.float32) if x is not None and x.dtype == np.float16 else x for x in halves]
        have, want = computed(replace(case, inputs=halves)), computed(replace(case, inputs=wide))
        for a, b in zip(have, want, strict=True):
            assert a.tobytes() == (b.astype(np.float16) if b.dtype == np.float32 else b).tobytes()


def test_weights_of_few_bits_are_as_near_as_their_blocks_allow() -> None:
    """Blocks of 16, of 2 bits and with float zero points become floats; the others stay, and quantise activations."""
    random = np.random.default_rng(8)
    x = random.normal(size=(3, 64)).astype(np.float32)
    for bits, block, float_zeros in ((4, 16, False), (2, 32, False), (8, 32, True), (4, 32, False), (8, 64, False)):
        blocks, shift = 64 // block, 1 << (bits - 1)
        q = random.integers(0, 1 << bits, (5, 64))
        scales = random.uniform(0.01, 0.1, (5, blocks)).astype(np.float32)
        zeros = np.full((5, blocks), shift + 0.5 if float_zeros else shift, np.float32)
        per_byte = 8 // bits
        packed = sum(q.reshape(5, -1, per_byte)[:, :, i] << (bits * i) for i in range(per_byte))
        data = np.asarray(packed).astype(np.uint8).reshape(5, blocks, -1)
        inputs: list[Array | None] = [x, data, scales.reshape(-1), zeros.reshape(-1) if float_zeros else None]
        attributes = {"K": 64, "N": 5, "bits": bits, "block_size": block}
        (have,) = computed(Case("MatMulNBits", inputs, attributes, constants=frozenset({1, 2, 3})))
        spread = [np.repeat(t, block, axis=1) for t in (zeros, scales)]
        want = x.astype(np.float64) @ ((q - spread[0]) * spread[1]).T
        exact = block == 16 or bits == 2 or float_zeros
        np.testing.assert_allclose(have, want, atol=(1e-5 if exact else 1e-2) * np.abs(want).max())
