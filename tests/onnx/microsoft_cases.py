"""
Random nodes of the operators of ONNX Runtime's own set, `com.microsoft`: shapes, attributes, inputs left out.

`CASES` has a maker for each operator: from a generator of random numbers to a `Case`. `model_of` makes it a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]
Random = np.random.Generator


@dataclass
class Case:
    """One node and its inputs."""

    op_type: str
    inputs: Sequence[Array | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    rtol: float = 1e-5
    units: float = 0
    """How far an integer result may be off: ONNX Runtime's vector kernels round halves by themselves."""
    constants: frozenset[int] = frozenset()
    """Inputs that are part of the model."""
    domain: str = "com.microsoft"


def model_of(case: Case) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The model, and its inputs by name."""
    infos, initial, given = [], [], {}
    for i, value in enumerate(case.inputs):
        if value is None:
            continue
        if i in case.constants:
            initial.append(numpy_helper.from_array(value, f"x{i}"))
        else:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            infos.append(helper.make_tensor_value_info(f"x{i}", kind, value.shape))
            given[f"x{i}"] = value
    names = ["" if value is None else f"x{i}" for i, value in enumerate(case.inputs)]
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op_type, names, outputs, name="node", domain=case.domain, **case.attributes)
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph([node], "microsoft", infos, results, initial)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), given


def _floats(r: Random, *shape: int, scale: float = 1.0) -> Array:
    return np.asarray(r.normal(0, scale, shape), np.float32)


def _bytes(r: Random, *shape: int, signed: bool = False) -> Array:
    kind = np.int8 if signed else np.uint8
    limits = np.iinfo(kind)
    return r.integers(limits.min, limits.max + 1, shape).astype(kind)


def _scale(r: Random, *shape: int) -> Array:
    return np.asarray(np.exp2(r.uniform(-7, -3, shape)), np.float32)


def _coarse(r: Random) -> Array:
    """A scale for sums of products."""
    return np.asarray(_scale(r) * 64, np.float32)


def _one_of(r: Random, *choices: Any) -> Any:
    return choices[int(r.integers(len(choices)))]


def _size(r: Random, low: int = 1, high: int = 5) -> int:
    return int(r.integers(low, high + 1))


def _zero(r: Random, signed: bool) -> Array:
    return _bytes(r, signed=signed).reshape(())


# Normalisations and activations


def _simplified(r: Random) -> Case:
    shape = (_size(r), _size(r), _size(r, 1, 16))
    domain = _one_of(r, "", "")
    return Case("SimplifiedLayerNormalization", [_floats(r, *shape), _floats(r, shape[2])], {"epsilon": 1e-6},
                domain=domain, rtol=1e-4)  # fmt: skip


def _skip(r: Random) -> Case:
    b, s, h = _size(r), _size(r), _size(r, 2, 16)
    simplified = bool(r.integers(2))
    inputs = [_floats(r, b, s, h), _floats(r, *_one_of(r, (b, s, h), (1, s, h), (s, h))), _floats(r, h)]
    inputs += [] if simplified else [_one_of(r, None, _floats(r, h))]
    inputs += [_one_of(r, None, _floats(r, h))]
    name = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    return Case(name, inputs, {"epsilon": _one_of(r, 1e-5, 1e-6)}, rtol=1e-3)


def _embed(r: Random) -> Case:
    b, s, h = _size(r), _size(r), _size(r, 2, 12)
    segments = bool(r.integers(2))
    ids = r.integers(0, 7, (b, s)).astype(np.int32)
    inputs: list[Array | None] = [
        ids,
        r.integers(0, 2, (b, s)).astype(np.int32) if segments else None,
        _floats(r, 7, h),
        _floats(r, 8, h),
        _floats(r, 2, h) if segments else None,
        _floats(r, h),
        _floats(r, h),
        _one_of(r, None, r.integers(0, 2, (b, s)).astype(np.int32)),
    ]
    return Case("EmbedLayerNormalization", inputs, {"epsilon": 1e-5}, outputs=2, rtol=1e-3)


def _gelus(r: Random) -> Case:
    shape = (_size(r), _size(r, 1, 9))
    name = _one_of(r, "Gelu", "BiasGelu", "FastGelu", "QuickGelu")
    inputs: list[Array | None] = [_floats(r, *shape, scale=2)]
    if name == "BiasGelu" or (name == "FastGelu" and r.integers(2)):
        inputs.append(_floats(r, shape[1]))
    attributes = {"alpha": float(r.uniform(0.5, 2))} if name == "QuickGelu" and r.integers(2) else {}
    return Case(name, inputs, attributes, rtol=1e-4)


# Products


def _fused_matmul(r: Random) -> Case:
    batch, m, k, n = _size(r), _size(r), _size(r), _size(r)
    flags = {name: int(r.integers(2)) for name in ("transA", "transB", "transBatchA", "transBatchB")}
    inner = [(k, m) if flags["transA"] else (m, k), (n, k) if flags["transB"] else (k, n)]
    shapes = [
        (rows, batch, columns) if flags[name] else (batch, rows, columns)
        for (rows, columns), name in zip(inner, ("transBatchA", "transBatchB"), strict=True)
    ]
    return Case("FusedMatMul", [_floats(r, *s) for s in shapes], {**flags, "alpha": float(r.uniform(-2, 2))}, rtol=1e-4)


def _fused_conv(r: Random) -> Case:
    group, m, c, size = _size(r, 1, 2), _size(r, 1, 3), _size(r, 1, 3), _size(r, 4, 7)
    x, w = _floats(r, 1, group * c, size, size), _floats(r, group * m, c, 3, 3)
    name, parameters = _one_of(
        r, ("Relu", []), ("Tanh", []), ("Sigmoid", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5]),
        ("HardSigmoid", [0.3, 0.4]),
    )  # fmt: skip
    attributes = {"activation": name, "group": group, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    if parameters:
        attributes["activation_params"] = parameters
    z = _one_of(r, None, _floats(r, 1, group * m, size, size))
    return Case("FusedConv", [x, w, _one_of(r, None, _floats(r, group * m)), z], attributes, rtol=1e-4)


def _fused_gemm(r: Random) -> Case:
    m, k, n = _size(r), _size(r), _size(r)
    name = _one_of(r, "Relu", "Tanh", "Sigmoid", "LeakyRelu")
    attributes = {"activation": name, "alpha": 0.5, "beta": 1.5, "transB": int(r.integers(2))}
    if name == "LeakyRelu":
        attributes["activation_alpha"] = 0.3
    b = _floats(r, n, k) if attributes["transB"] else _floats(r, k, n)
    return Case("FusedGemm", [_floats(r, m, k), b, _floats(r, n)], attributes, rtol=1e-4)


# Quantised


def _qlinear_two(r: Random) -> Case:
    name, signed = _one_of(r, "QLinearAdd", "QLinearMul"), bool(r.integers(2))
    a, b = _one_of(r, ((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((3, 1), (1, 5)), ((5,), ()))
    inputs: list[Array | None] = []
    for shape in (a, b):
        inputs += [_bytes(r, *shape, signed=signed), _scale(r), _zero(r, signed)]
    return Case(name, [*inputs, _scale(r), _zero(r, signed)], units=1)


def _qlinear_one(r: Random) -> Case:
    name = _one_of(r, "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax")
    signed = bool(r.integers(2)) and name != "QLinearSoftmax"
    x = _bytes(r, 3, 2, 5, signed=signed)
    attributes: dict[str, Any] = {}
    if name == "QLinearLeakyRelu":
        attributes["alpha"] = float(r.uniform(0, 1))
    if name == "QLinearSoftmax":
        attributes = {"axis": _one_of(r, 1, 2, -1), "opset": _one_of(r, 12, 13)}
    y_scale = np.float32(1 / 256) if name != "QLinearLeakyRelu" else _scale(r)
    y_zero = np.zeros((), x.dtype) if name == "QLinearSoftmax" else _zero(r, signed)
    inputs: list[Array | None] = [x, _scale(r), _zero(r, signed), np.asarray(y_scale), y_zero]
    return Case(name, inputs, attributes, units=1, constants=frozenset({1, 2, 3, 4}))


def _qlinear_pool(r: Random) -> Case:
    last, signed = int(r.integers(2)), bool(r.integers(2))
    shape = (2, 5, 6, 3) if last else (2, 3, 5, 6)
    x = _bytes(r, *shape, signed=signed)
    quantities: list[Array | None] = [_scale(r), _zero(r, signed), _scale(r), _zero(r, signed)]
    if r.integers(2):
        return Case("QLinearGlobalAveragePool", [x, *quantities], {"channels_last": last}, units=1)
    attributes = {
        "channels_last": last, "kernel_shape": [3, 2], "strides": [_size(r, 1, 2), 1],
        "pads": _one_of(r, [0] * 4, [1, 0, 1, 1]),
        "count_include_pad": int(r.integers(2)),
    }  # fmt: skip
    return Case("QLinearAveragePool", [x, *quantities], attributes, units=1)


def _qlinear_concat(r: Random) -> Case:
    signed = bool(r.integers(2))
    inputs: list[Array | None] = [_scale(r), _zero(r, signed)]
    for size in (2, 1, 3):
        inputs += [_bytes(r, 2, size, 3, signed=signed), _scale(r), _zero(r, signed)]
    return Case("QLinearConcat", inputs, {"axis": _one_of(r, 1, -2)}, units=1, constants=frozenset(range(2)))


def _qlinear_more(r: Random) -> Case:
    signed = bool(r.integers(2))
    if r.integers(2):
        x, y = (_bytes(r, 3, 4, signed=signed) for _ in range(2))
        inputs: list[Array | None] = [r.integers(0, 2, (3, 4)).astype(bool)]
        for value in (x, y):
            inputs += [value, _scale(r), _zero(r, signed)]
        return Case(
            "QLinearWhere", [*inputs, _scale(r), _zero(r, signed)], units=1, constants=frozenset({2, 3, 5, 6, 7, 8})
        )
    x = _bytes(r, 2, 5, 4, 3, signed=signed)
    w = _bytes(r, 2, 3, 3, 3, signed=True)
    w_zero = np.zeros((), np.int8)
    inputs = [x, _scale(r), _zero(r, signed), w, _scale(r), w_zero, _coarse(r), _zero(r, signed)]
    return Case("QLinearConv", inputs, {"channels_last": 1, "pads": [1, 1, 1, 1]}, units=1, constants=frozenset({3}))


def _integer_product(r: Random) -> Case:
    m, k, n = _size(r), _size(r, 1, 9), _size(r)
    name = _one_of(r, "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
    b_signed, columns = bool(r.integers(2)), _one_of(r, (), (n,))
    b = _bytes(r, k, n, signed=b_signed)
    b_zero = _one_of(r, None, np.resize(_bytes(r, n, signed=b_signed), columns))
    bias = _one_of(r, None, _floats(r, n))
    constants = frozenset(_one_of(r, (), (1,)))
    if name == "DynamicQuantizeMatMul":
        return Case(name, [_floats(r, 2, m, k), b, _scale(r, *columns), b_zero, bias], rtol=1e-3, constants=constants)
    a = _bytes(r, 2, m, k)
    a_zero = _one_of(r, None, _zero(r, False))
    return Case(name, [a, b, _scale(r), _scale(r, *columns), a_zero, b_zero, bias], rtol=1e-4, constants=constants)


def _qgemm(r: Random) -> Case:
    m, k, n = _size(r), _size(r, 1, 9), _size(r)
    flags = {"transA": int(r.integers(2)), "transB": int(r.integers(2)), "alpha": _one_of(r, 1.0, 0.5)}
    a = _bytes(r, *((k, m) if flags["transA"] else (m, k)))
    b = _bytes(r, *((n, k) if flags["transB"] else (k, n)), signed=True)
    inputs: list[Array | None] = [a, _scale(r), _zero(r, False), b, _scale(r), np.zeros((), np.int8)]
    inputs.append(_one_of(r, None, r.integers(-1000, 1000, (n,)).astype(np.int32)))
    if r.integers(2):
        return Case("QGemm", [*inputs, _coarse(r), _zero(r, False)], flags, units=1)
    return Case("QGemm", inputs, flags, rtol=1e-4)


def _quantised_lstm(r: Random) -> Case:
    time, batch, size, hidden = _size(r), _size(r, 1, 3), _size(r, 1, 6), _size(r, 1, 6)
    direction = _one_of(r, "forward", "reverse", "bidirectional")
    d = 2 if direction == "bidirectional" else 1
    signed = bool(r.integers(2))
    w, weights = _bytes(r, d, size, 4 * hidden, signed=signed), _bytes(r, d, hidden, 4 * hidden, signed=signed)
    per_column = (d, 4 * hidden) if r.integers(2) else (d,)
    zeros = [np.zeros(per_column, w.dtype) if signed else np.full(per_column, 128, w.dtype) for _ in range(2)]
    inputs: list[Array | None] = [
        _floats(r, time, batch, size), w, weights, _one_of(r, None, _floats(r, d, 8 * hidden)), None,
        _one_of(r, None, _floats(r, d, batch, hidden)), _one_of(r, None, _floats(r, d, batch, hidden)), None,
        _scale(r, *per_column) / 8, zeros[0], _scale(r, *per_column) / 8, zeros[1],
    ]  # fmt: skip
    attributes = {"direction": direction, "hidden_size": hidden}
    return Case("DynamicQuantizeLSTM", inputs, attributes, 3, rtol=2e-2, constants=frozenset({1, 2, 8, 9, 10, 11}))


def _few_bits(r: Random) -> Case:
    """ONNX Runtime quantises activations as we do at accuracy level 4 only; the difference is below one part in 50."""
    bits, block, k, n = _one_of(r, 4, 4, 8), _one_of(r, 16, 32, 64), _one_of(r, 32, 64, 96, 128), _size(r, 1, 9)
    blocks = -(-k // block)
    packed = _bytes(r, n, blocks, block * bits // 8)
    scales = _scale(r, n * blocks)
    zeros = _one_of(r, None, _bytes(r, n * -(-blocks * bits // 8)))
    attributes = {"K": k, "N": n, "bits": bits, "block_size": block, "accuracy_level": _one_of(r, 0, 4)}
    return Case("MatMulNBits", [_floats(r, 2, _size(r), k), packed, scales, zeros], attributes, rtol=2e-2,
                constants=frozenset({1, 2, 3}))  # fmt: skip


def _parts_of_blocks(r: Random) -> Case:
    bits, block, rows, blocks = _one_of(r, 4, 4, 8), _one_of(r, 16, 32, 64), _size(r, 1, 9), _size(r, 1, 4)
    k = block * blocks - _one_of(r, 0, 0, 2, 6)
    data, scales = _bytes(r, rows, k * bits // 8), _scale(r, rows, blocks)
    zeros = _one_of(r, None, _bytes(r, rows, -(-blocks * bits // 8)))
    places = r.integers(-rows, rows, _one_of(r, (), (3,), (2, 4)))
    attributes = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": _one_of(r, 1, -1)}
    indices = places.astype(_one_of(r, np.int32, np.int64))
    return Case("GatherBlockQuantized", [data, np.asarray(indices), scales, zeros], attributes, rtol=1e-6,
                constants=frozenset({0, 2, 3}))  # fmt: skip


# Attention


def _masks(r: Random, batch: int, queries: int, keys: int) -> Array | None:
    raw = r.integers(0, 2, (batch, keys)).astype(np.int32)
    raw[:, 0] = 1
    ends = r.integers(1, keys + 1, (batch,)).astype(np.int32)
    square = np.maximum(r.integers(0, 2, (batch, queries, keys)), np.eye(queries, keys)).astype(np.int32)
    chosen: Array | None = _one_of(r, None, raw, ends, np.concatenate([ends, np.zeros(batch, np.int32)]), square)
    return chosen


def _attention(r: Random) -> Case:
    b, s, n, size, past = _size(r, 1, 3), _size(r), _size(r, 1, 3), _size(r, 1, 4), _one_of(r, 0, 0, 3)
    h, width = n * size, _size(r, 1, 8)
    quantised = bool(r.integers(3) == 0)
    mask = _masks(r, b, s, s + past)
    cache = _floats(r, 2, b, n, past, size) if past else None
    attributes: dict[str, Any] = {"num_heads": n, "unidirectional": int(r.integers(2)) if not past else 1}
    if quantised:
        scale: list[Array | None] = [_scale(r), _scale(r)]
        signed = bool(r.integers(2))
        w = _bytes(r, width, 3 * h, signed=signed)
        w_zero = np.full((), 0 if signed else 128, w.dtype)
        inputs = [_bytes(r, b, s, width), w, _floats(r, 3 * h), *scale, mask, _zero(r, False), w_zero, cache]
        return Case("QAttention", inputs, attributes, 2 if past else 1, rtol=1e-3)
    bias = None if past else _one_of(r, None, _floats(r, _one_of(r, 1, b), _one_of(r, 1, n), s, s + past))
    inputs = [_floats(r, b, s, width), _floats(r, width, 3 * h), _floats(r, 3 * h), mask, cache, bias]
    if r.integers(2):
        attributes["scale"] = 0.3
    return Case("Attention", inputs, attributes, 2 if past else 1, rtol=1e-3)


def _multi_head(r: Random) -> Case:
    b, s, n, size = _size(r, 1, 3), _size(r), _size(r, 1, 3), _size(r, 1, 4)
    h = n * size
    by_heads, keys = bool(r.integers(3) == 0), _size(r)
    past = 0 if by_heads else _one_of(r, 0, 3)
    shape = (b, n, keys, size) if by_heads else (b, keys, h)
    inputs: list[Array | None] = [_floats(r, b, s, h), _floats(r, *shape), _floats(r, *shape)]
    bias = None if by_heads else _one_of(r, None, _floats(r, 3 * h))
    total = keys + past
    mask = _masks(r, b, s, total)
    mask = mask if mask is None or mask.ndim > 1 or mask.size == b else None
    extra = _one_of(r, None, _floats(r, _one_of(r, 1, b), _one_of(r, 1, n), s, total))
    inputs += [bias, mask, extra]
    if past:
        inputs += [_floats(r, b, n, past, size), _floats(r, b, n, past, size)]
    attributes = {"num_heads": n} | ({"scale": 0.4} if r.integers(2) else {})
    if keys == s and r.integers(2):
        attributes["unidirectional"] = 1
    return Case("MultiHeadAttention", inputs, attributes, 3 if past else 1, rtol=1e-3)


def _rotary(r: Random) -> Case:
    b, s, n, size = _size(r, 1, 3), _size(r), _size(r, 1, 3), _one_of(r, 8, 16)
    turned = _one_of(r, size, size // 2)
    angles = r.uniform(-3, 3, (s + 5, turned // 2))
    tables = [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]
    positions = _one_of(r, np.array([2], np.int64), r.integers(0, s + 5, (b, s)).astype(np.int64))
    attributes: dict[str, Any] = {"interleaved": int(r.integers(2))}
    if turned != size:
        attributes |= {"rotary_embedding_dim": turned, "num_heads": n}
        return Case("RotaryEmbedding", [_floats(r, b, s, n * size), positions, *tables], attributes)
    x = _one_of(r, _floats(r, b, n, s, size), _floats(r, b, s, n * size))
    return Case("RotaryEmbedding", [x, positions, *tables], attributes)


def _grouped(r: Random) -> Case:
    b, kv, group, size = _size(r, 1, 2), _size(r, 1, 2), _size(r, 1, 3), 16
    prompt = bool(r.integers(2))
    s = _size(r) if prompt else 1
    past = 0 if prompt else _size(r)
    total = s + past
    n = kv * group
    last = np.full((b,), total - 1, np.int32)
    if not prompt:
        last = r.integers(max(total - 2, 0), total, (b,)).astype(np.int32)
        last[0] = total - 1
    packed = bool(r.integers(2))
    parts: list[Array | None] = [_floats(r, b, s, n * size), _floats(r, b, s, kv * size), _floats(r, b, s, kv * size)]
    if packed:
        parts = [_floats(r, b, s, (n + 2 * kv) * size), None, None]
    attributes: dict[str, Any] = {"num_heads": n, "kv_num_heads": kv}
    tables: list[Array | None] = [None, None]
    if r.integers(2):
        angles = r.uniform(-3, 3, (total + 3, size // 2))
        tables = [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]
        attributes |= {"do_rotary": 1, "rotary_interleaved": int(r.integers(2))}
    for name, value in (("scale", 0.3), ("softcap", 5.0), ("local_window_size", 2), ("smooth_softmax", 1)):
        if r.integers(3) == 0:
            attributes[name] = value
    inputs = [*parts, _floats(r, b, kv, past, size), _floats(r, b, kv, past, size), last, np.array([total], np.int32)]
    return Case("GroupQueryAttention", [*inputs, *tables], attributes, 3, rtol=1e-3, constants=frozenset({6}))


CASES: dict[str, Callable[[Random], Case]] = {
    "simplified": _simplified,
    "skip": _skip,
    "embed": _embed,
    "gelus": _gelus,
    "fused matmul": _fused_matmul,
    "fused conv": _fused_conv,
    "fused gemm": _fused_gemm,
    "qlinear of two": _qlinear_two,
    "qlinear of one": _qlinear_one,
    "qlinear pool": _qlinear_pool,
    "qlinear concat": _qlinear_concat,
    "qlinear where and conv": _qlinear_more,
    "integer product": _integer_product,
    "qgemm": _qgemm,
    "quantised lstm": _quantised_lstm,
    "products of few bits": _few_bits,
    "parts of few bits": _parts_of_blocks,
    "attention": _attention,
    "multi-head attention": _multi_head,
    "rotary embedding": _rotary,
    "grouped attention": _grouped,
}
