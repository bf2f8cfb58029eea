"""The operators that `scripts/bench operators` measures: small models of one operator each, in sizes of real models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from lib.benchmarks.double_cases import double_cases
from lib.benchmarks.operator_models import (
    FLOAT,
    HALF,
    I32,
    I64,
    U8,
    Array,
    OperatorCase,
    brain_case,
    case,
    case_of,
    half_case,
    normal,
    whole,
)
from onnx import helper


def cases() -> Iterator[OperatorCase]:
    """Every case, in families."""
    yield from _matrices()
    yield from _integers()
    yield from _halves()
    yield from _convolutions()
    yield from _pools()
    yield from _movers()
    yield from _indices()
    yield from _elementwise()
    yield from _casts()
    yield from _reductions()
    yield from _normalisations()
    yield from _orders()
    yield from _sequences()
    yield from double_cases()


def _matrices() -> Iterator[OperatorCase]:
    yield case("MatMul 512^3", "MatMul", [normal(512, 512), normal(512, 512)], [1])
    yield case("MatMul 64^3", "MatMul", [normal(64, 64), normal(64, 64)], [1])
    for rows in (1, 12, 40):
        yield case(f"MatMul {rows}x768 by 768x3072", "MatMul", [normal(rows, 768), normal(768, 3072)], [1])
    for inner, columns in ((4, 4), (3, 10)):
        yield case(f"MatMul 8400x{inner}x{columns}", "MatMul", [normal(8400, inner), normal(inner, columns)], [1])
    yield case("MatMul 12x128x64 by 64x128", "MatMul", [normal(12, 128, 64), normal(12, 64, 128)])
    yield case("Gemm 128x768x768 transB", "Gemm", [normal(128, 768), normal(768, 768), normal(768)], [1, 2], transB=1)
    yield case("Gemm 1x2048x1000 transB", "Gemm", [normal(1, 2048), normal(1000, 2048), normal(1000)], [1, 2], transB=1)


def _integers() -> Iterator[OperatorCase]:
    a, b = whole(128, 768, dtype=np.uint8, low=0, high=256), whole(768, 768, dtype=np.int8, low=-127, high=128)
    zero, none = np.array(128, np.uint8), np.array(0, np.int8)
    yield case("MatMulInteger u8 i8 128x768x768", "MatMulInteger", [a, b, zero, none], [1, 2, 3])
    yield case("MatMulInteger u8 i8 no zero points", "MatMulInteger", [a, b], [1])
    yield case("MatMulInteger i8 i8", "MatMulInteger", [(a.astype(np.int16) - 128).astype(np.int8), b], [1])
    yield case("MatMulInteger u8 u8 zero points", "MatMulInteger", [a, a.reshape(768, 128), zero, zero], [1, 2, 3])
    yield case("MatMulInteger 1x768x3072", "MatMulInteger", [a[:1], np.tile(b, (1, 4)), zero, none], [1, 2, 3])
    scale = np.array(0.02, np.float32)
    yield case(
        "QLinearMatMul u8 128x768x768",
        "QLinearMatMul",
        [a, scale, zero, b, scale, none, scale, zero],
        [1, 2, 3, 4, 5, 6, 7],
    )
    x, w = whole(1, 64, 56, 56, dtype=np.uint8, low=0, high=256), whole(64, 64, 3, 3, dtype=np.int8, low=-127, high=128)
    wu = (w.astype(np.int16) + 127).astype(np.uint8)
    yield case("ConvInteger 64x56x56 3x3", "ConvInteger", [x, wu, zero, zero], [1, 2, 3], pads=[1] * 4)
    bias = whole(64, dtype=np.int32, low=-1000, high=1000)
    yield case(
        "QLinearConv 64x56x56 3x3", "QLinearConv", [x, scale, zero, w, scale, none, scale, zero, bias],
        range(1, 9), pads=[1] * 4,
    )  # fmt: skip
    yield case(
        "QLinearConv 64x56x56 1x1", "QLinearConv", [x, scale, zero, w[:, :, :1, :1], scale, none, scale, zero, bias],
        range(1, 9),
    )  # fmt: skip
    yield case(
        "QLinearConv 64x56x56 depthwise", "QLinearConv", [x, scale, zero, w[:, :1], scale, none, scale, zero, bias],
        range(1, 9), pads=[1] * 4, group=64,
    )  # fmt: skip


def _halves() -> Iterator[OperatorCase]:
    yield half_case("MatMul f16 256x512x512", "MatMul", [normal(256, 512), normal(512, 512)], [1])
    yield half_case("MatMul f16 1x768x3072", "MatMul", [normal(1, 768), normal(768, 3072)], [1])
    yield half_case("MatMul f16 4x768x768", "MatMul", [normal(4, 768), normal(768, 768)], [1])
    yield half_case("Conv f16 64x56x56 3x3", "Conv", [normal(1, 64, 56, 56), normal(64, 64, 3, 3)], [1], pads=[1] * 4)
    yield half_case("Add f16 1M", "Add", [normal(1024, 1024), normal(1024, 1024)])
    yield half_case("Relu f16 1M", "Relu", [normal(1024, 1024)])
    yield half_case("Sigmoid f16 1M", "Sigmoid", [normal(1024, 1024)])
    yield half_case("Softmax f16 512x512", "Softmax", [normal(512, 512)])
    yield half_case(
        "LayerNormalization f16", "LayerNormalization", [normal(128, 768), normal(768), normal(768)], [1, 2]
    )
    yield half_case(
        "LayerNormalization f16 512x768", "LayerNormalization", [normal(512, 768), normal(768), normal(768)], [1, 2]
    )
    yield half_case("MaxPool f16 64x56x56", "MaxPool", [normal(1, 64, 56, 56)], kernel_shape=[3, 3], strides=[2, 2])
    yield brain_case("MatMul bf16 256x512x512", "MatMul", [normal(256, 512), normal(512, 512)])
    yield brain_case("Add bf16 1M", "Add", [normal(1024, 1024), normal(1024, 1024)])


def _convolutions() -> Iterator[OperatorCase]:
    x, three = normal(1, 64, 56, 56), normal(64, 64, 3, 3)
    yield case("Conv 3x3 64x56x56", "Conv", [x, three, normal(64)], [1, 2], pads=[1] * 4)
    yield case("Conv 1x1 256x28x28", "Conv", [normal(1, 256, 28, 28), normal(64, 256, 1, 1)], [1])
    yield case(
        "Conv 7x7 stride 2 3x224x224",
        "Conv",
        [normal(1, 3, 224, 224), normal(64, 3, 7, 7)],
        [1],
        pads=[3] * 4,
        strides=[2, 2],
    )
    yield case("Conv 3x3 stride 2 64x56x56", "Conv", [x, three], [1], pads=[1] * 4, strides=[2, 2])
    yield case("Conv 3x3 4 channels 224x224", "Conv", [normal(1, 4, 224, 224), normal(8, 4, 3, 3)], [1], pads=[1] * 4)
    yield case("Conv 1d k3 80x1500", "Conv", [normal(1, 80, 1500), normal(384, 80, 3)], [1], pads=[1, 1])
    yield case("Conv depthwise 3x3 64x56x56", "Conv", [x, three[:, :1]], [1], pads=[1] * 4, group=64)
    yield case("Conv depthwise 3x3 stride 2", "Conv", [x, three[:, :1]], [1], pads=[1] * 4, group=64, strides=[2, 2])
    yield case(
        "Conv depthwise 5x5 96x28x28", "Conv", [normal(1, 96, 28, 28), normal(96, 1, 5, 5)], [1], pads=[2] * 4, group=96
    )
    yield case(
        "Conv depthwise 5x5 512x7x7", "Conv", [normal(1, 512, 7, 7), normal(512, 1, 5, 5)], [1], pads=[2] * 4, group=512
    )
    yield case(
        "Conv depthwise 5x5 240x14x14",
        "Conv",
        [normal(1, 240, 14, 14), normal(240, 1, 5, 5)],
        [1],
        pads=[2] * 4,
        group=240,
    )
    yield case(
        "Conv groups 8 64x28x28", "Conv", [normal(1, 64, 28, 28), normal(64, 8, 3, 3)], [1], pads=[1] * 4, group=8
    )
    yield case("Conv 16x16 patches", "Conv", [normal(1, 3, 224, 224), normal(192, 3, 16, 16)], [1], strides=[16, 16])
    yield case(
        "ConvTranspose 2x2 stride 2",
        "ConvTranspose",
        [normal(1, 64, 28, 28), normal(64, 32, 2, 2)],
        [1],
        strides=[2, 2],
    )
    yield case(
        "ConvTranspose 4x4 stride 2",
        "ConvTranspose",
        [normal(1, 64, 28, 28), normal(64, 32, 4, 4)],
        [1],
        strides=[2, 2],
        pads=[1] * 4,
    )
    yield case("ConvTranspose 3x3", "ConvTranspose", [normal(1, 64, 28, 28), normal(64, 32, 3, 3)], [1], pads=[1] * 4)


def _pools() -> Iterator[OperatorCase]:
    x = normal(1, 64, 112, 112)
    yield case("MaxPool 3x3 stride 2", "MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    yield case("MaxPool 2x2 stride 2", "MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    yield case("MaxPool 5x5", "MaxPool", [normal(1, 128, 20, 20)], kernel_shape=[5, 5], pads=[2] * 4)
    yield case("MaxPool 2x2 with places", "MaxPool", [x], outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    yield case("AveragePool 3x3", "AveragePool", [x], kernel_shape=[3, 3], pads=[1] * 4)
    yield case("AveragePool 5x5", "AveragePool", [normal(1, 64, 28, 28)], kernel_shape=[5, 5], pads=[2] * 4)
    yield case("AveragePool 7x7 512x7x7", "AveragePool", [normal(1, 512, 7, 7)], kernel_shape=[7, 7])
    bytes_ = whole(1, 64, 56, 56, dtype=np.uint8, low=0, high=256)
    yield case("MaxPool u8 2x2 stride 2", "MaxPool", [bytes_], kernel_shape=[2, 2], strides=[2, 2])
    yield case("GlobalAveragePool 512x7x7", "GlobalAveragePool", [normal(1, 512, 7, 7)])


def _movers() -> Iterator[OperatorCase]:
    x = normal(1, 64, 56, 56)
    yield case("Transpose 1024x1024", "Transpose", [normal(1024, 1024)], perm=[1, 0])
    yield case("Transpose NCHW to NHWC", "Transpose", [x], perm=[0, 2, 3, 1])
    yield case("Transpose NHWC to NCHW", "Transpose", [normal(1, 56, 56, 64)], perm=[0, 3, 1, 2])
    yield case("Transpose heads 128x12x64", "Transpose", [normal(1, 128, 12, 64)], perm=[0, 2, 1, 3])
    yield case("Transpose u8 1024x1024", "Transpose", [whole(1024, 1024, dtype=np.uint8, low=0, high=256)], perm=[1, 0])
    bytes_ = whole(1, 64, 56, 56, dtype=np.uint8, low=0, high=256)
    yield case("Transpose u8 NCHW to NHWC", "Transpose", [bytes_], perm=[0, 2, 3, 1])
    yield case("Tile 64x64 by 8x8", "Tile", [normal(64, 64), np.array([8, 8])], [1])
    yield case("Tile 1x64x1x16 by 1x1x64x4", "Tile", [normal(1, 64, 1, 16), np.array([1, 1, 64, 4])], [1])
    yield case("Expand 64x1x1 to 64x56x56", "Expand", [normal(64, 1, 1), np.array([64, 56, 56])], [1])
    yield case("Concat 2 by channels", "Concat", [x, x], axis=1)
    yield case("Concat 2 by last axis", "Concat", [normal(1024, 64), normal(1024, 64)], axis=1)
    yield case(
        "Slice step 2",
        "Slice",
        [x, np.array([0, 0]), np.array([56, 56]), np.array([2, 3]), np.array([2, 2])],
        [1, 2, 3, 4],
    )
    yield case(
        "Slice reversed", "Slice", [x, np.array([-1]), np.array([-1000]), np.array([3]), np.array([-1])], [1, 2, 3, 4]
    )
    yield case("Pad 1 each side", "Pad", [x, np.array([0, 0, 1, 1, 0, 0, 1, 1])], [1])
    yield case("Pad reflect", "Pad", [x, np.array([0, 0, 2, 2, 0, 0, 2, 2])], [1], mode="reflect")
    yield case("Split 2", "Split", [x], outputs=2, axis=1, num_outputs=2)
    yield case("DepthToSpace 2", "DepthToSpace", [x], blocksize=2)
    yield case("SpaceToDepth 2", "SpaceToDepth", [x], blocksize=2)
    scales = np.array([1, 1, 2, 2], np.float32)
    yield case(
        "Resize nearest x2",
        "Resize",
        [x, None, scales],
        [2],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    yield case("Resize nearest x1.5", "Resize", [x, None, np.array([1, 1, 1.5, 1.5], np.float32)], [2], mode="nearest")
    yield case("Resize linear x2", "Resize", [x, None, scales], [2], mode="linear")
    yield case("Resize cubic x2", "Resize", [normal(1, 16, 56, 56), None, scales], [2], mode="cubic")


def _indices() -> Iterator[OperatorCase]:
    table, places = normal(30000, 64), whole(16, 128, dtype=np.int64, low=0, high=30000)
    yield case("Gather rows of 64", "Gather", [table, places], [0])
    yield case(
        "Gather rows of 768", "Gather", [normal(3000, 768), whole(1, 128, dtype=np.int64, low=0, high=3000)], [0]
    )
    points, some = normal(5000, 3), whole(20000, dtype=np.int64, low=0, high=5000)
    yield case("Gather rows of 3", "Gather", [points, some])
    yield case("Gather rows of 3, float16", "Gather", [points.astype(np.float16), some])
    yield case("Gather axis 1", "Gather", [normal(512, 512), whole(256, dtype=np.int64, low=0, high=512)], axis=1)
    yield case(
        "GatherElements", "GatherElements", [normal(512, 512), whole(512, 512, dtype=np.int64, low=0, high=512)], axis=1
    )
    yield case("GatherND", "GatherND", [normal(256, 256, 16), whole(4096, 2, dtype=np.int64, low=0, high=256)])
    yield case(
        "ScatterND rows",
        "ScatterND",
        [normal(1024, 64), np.random.default_rng(3).permutation(1024)[:512, None], normal(512, 64)],
    )
    yield case(
        "ScatterElements",
        "ScatterElements",
        [normal(512, 512), np.tile(np.arange(512)[::-1], (512, 1)), normal(512, 512)],
        axis=1,
    )
    yield case(
        "ScatterND add",
        "ScatterND",
        [normal(1024, 64), whole(512, 1, dtype=np.int64, low=0, high=1024), normal(512, 64)],
        reduction="add",
    )
    yield case(
        "ScatterElements add i32",
        "ScatterElements",
        [whole(128, 512, dtype=kind, low=0, high=99) for kind in (np.int32, np.int64, np.int32)],
        axis=1,
        reduction="add",
    )
    yield case(
        "OneHot 128x1000",
        "OneHot",
        [whole(128, dtype=np.int64, low=0, high=1000), np.array(1000), np.array([0, 1], np.float32)],
        [1, 2],
    )
    grid = np.random.default_rng(4).uniform(-1, 1, (1, 56, 56, 2)).astype(np.float32)
    yield case("GridSample linear", "GridSample", [normal(1, 32, 56, 56), grid], mode="linear")
    yield case("GridSample nearest", "GridSample", [normal(1, 32, 56, 56), grid], mode="nearest")
    wide = grid.astype(np.float64)
    yield case("GridSample double", "GridSample", [normal(1, 8, 56, 56, dtype=np.float64), wide], mode="linear")
    regions = np.array([[1, 1, 20, 20], [3, 5, 40, 30], [10, 10, 50, 50], [0, 0, 55, 55]] * 8, np.float32)
    yield case(
        "RoiAlign 7x7 of 32 regions",
        "RoiAlign",
        [normal(1, 64, 56, 56), regions, np.zeros(32, np.int64)],
        [2],
        output_height=7,
        output_width=7,
        sampling_ratio=2,
    )
    columns = [normal(1, 64 * 9, 28 * 28), np.array([28, 28]), np.array([3, 3])]
    yield case("Col2Im 3x3 64x28x28", "Col2Im", columns, [1, 2], pads=[1] * 4)
    yield case(
        "Where broadcast", "Where", [whole(1024, 1, dtype=np.bool_, low=0, high=2), normal(1024, 512), normal(1, 512)]
    )


def _elementwise() -> Iterator[OperatorCase]:
    x = normal(1024, 1024)
    for op in ("Add", "Mul", "Sub", "Div"):
        yield case(f"{op} 1M", op, [x, normal(1024, 1024, seed=5)])
    yield case("Add 4k", "Add", [normal(4096), normal(4096, seed=5)])
    yield case("Add row", "Add", [x, normal(1024)])
    yield case("Mul by channel 64x56x56", "Mul", [normal(1, 64, 56, 56), normal(64, 1, 1)])
    yield case("Greater 1M", "Greater", [x, normal(1024, 1024, seed=5)])
    yield case("Pow 2 1M", "Pow", [x, np.array(2, np.float32)], [1])
    yield case("Pow 0.5 1M", "Pow", [np.abs(x), np.array(0.7, np.float32)], [1])
    for op in ("Relu", "Abs", "Neg", "Sqrt", "Exp", "Log", "Tanh", "Sigmoid", "Erf", "Sin", "Cos", "Softplus", "Floor"):
        yield case(f"{op} 1M", op, [np.abs(x) if op in ("Sqrt", "Log") else x])
    for op in ("Gelu", "HardSwish", "LeakyRelu", "Elu", "Selu", "Mish", "HardSigmoid", "Softsign"):
        yield case(f"{op} 256k", op, [normal(512, 512)])
    for op in ("Add", "Greater"):
        yield case(f"{op} column and row", op, [normal(512, 1), normal(1, 512)], result=None)
    for op, kind in (("Less", np.uint8), ("And", np.bool_)):
        column, row = (whole(*shape, dtype=kind, low=0, high=2) for shape in ((512, 1), (1, 512)))
        yield case(f"{op} column and row, {np.dtype(kind).name}", op, [column, row])
    yield case("Pow column 14000x7", "Pow", [np.abs(normal(14000, 7)), normal(14000, 1)])
    yield from _of_views()
    yield case("Atan 256k", "Atan", [normal(512, 512)])
    yield case("Clip 1M", "Clip", [x, np.array(-1, np.float32), np.array(1, np.float32)], [1, 2])
    yield case("PRelu 64x56x56", "PRelu", [normal(1, 64, 56, 56), normal(64, 1, 1)], [1])
    yield case(
        "Add i64 256k",
        "Add",
        [whole(512, 512, dtype=np.int64, low=0, high=99), whole(512, 512, dtype=np.int64, low=0, high=99)],
    )


def _of_views() -> Iterator[OperatorCase]:
    """Of tensors whose elements do not lie side by side."""
    of = {
        "300x512": (normal(512, 300), [1, 0]),
        "112x112x3": (normal(3, 112, 112), [1, 2, 0]),
        "3x112x112": (normal(112, 112, 3), [2, 0, 1]),
    }
    for shape, (x, perm) in of.items():
        turned = helper.make_node("Transpose", ["x0"], ["turned"], perm=perm)
        for op in ("Exp", "Add", "Pow", "Gelu", "Softmax", "Cast"):
            names = ["turned", "x1"] if op in ("Add", "Pow") else ["turned"]
            inputs = [np.abs(x), np.array(1.7, np.float32)][: len(names)]
            attributes: dict[str, Any] = {"to": U8} if op == "Cast" else {}
            node = helper.make_node(op, names, ["y0"], **attributes)
            yield case_of(f"{op} of a transposed {shape}", [turned, node], inputs, range(1, len(names)), 1)


def _casts() -> Iterator[OperatorCase]:
    x, bytes_ = normal(1024, 1024), whole(1024, 1024, dtype=np.uint8, low=0, high=256)
    scale, zero = np.array(0.02, np.float32), np.array(128, np.uint8)
    yield case("QuantizeLinear 1M", "QuantizeLinear", [x, scale, zero], [1, 2])
    yield case("DequantizeLinear 1M", "DequantizeLinear", [bytes_, scale, zero], [1, 2])
    yield case("DynamicQuantizeLinear 1M", "DynamicQuantizeLinear", [x], outputs=3, result=None)
    yield case("Cast f32 f16 1M", "Cast", [x], to=HALF)
    yield case("Cast f16 f32 1M", "Cast", [x.astype(np.float16)], to=FLOAT)
    yield case("Cast u8 f32 1M", "Cast", [bytes_], to=FLOAT)
    yield case("Cast f32 u8 1M", "Cast", [np.abs(x)], to=U8)
    yield case("Cast f16 i32 256k", "Cast", [normal(512, 512, dtype=np.float16)], to=I32)
    yield case("Cast i64 f32 256k", "Cast", [whole(512, 512, dtype=np.int64, low=-999, high=999)], to=FLOAT)
    yield case("Cast f32 i64 256k", "Cast", [normal(512, 512)], to=I64)
    yield case("Cast bool u8 256k", "Cast", [whole(512, 512, dtype=np.bool_, low=0, high=2)], to=U8)
    yield case("Cast i32 i64 256k", "Cast", [whole(512, 512, dtype=np.int32, low=-999, high=999)], to=I64)


def _reductions() -> Iterator[OperatorCase]:
    x = normal(1024, 1024)
    for op in ("ReduceSum", "ReduceMax", "ReduceMean"):
        yield case(f"{op} last axis", op, [x, np.array([1])], [1])
        yield case(f"{op} axis 0", op, [x, np.array([0])], [1])
    yield case("ReduceMean NCHW middle", "ReduceMean", [normal(8, 64, 28, 28), np.array([1])], [1])
    yield case("ReduceL2 last axis", "ReduceL2", [x, np.array([1])], [1])
    yield case("ArgMax last axis", "ArgMax", [x], axis=1)
    yield case("ArgMax axis 0", "ArgMax", [x], axis=0)
    yield case("ArgMax 8400x80", "ArgMax", [normal(1, 8400, 80)], axis=2)
    yield case("ArgMax f16 axis 0", "ArgMax", [normal(512, 512, dtype=np.float16)], axis=0)
    for axis in (0, 1):
        integers = whole(512, 512, dtype=np.int32, low=0, high=1000)
        yield case(f"ArgMax i32 axis {axis}", "ArgMax", [integers], axis=axis)
    yield case("CumSum last axis", "CumSum", [x, np.array(1)], [1])
    yield case("ArgMax axis 1 of 1x19x128x128", "ArgMax", [normal(1, 19, 128, 128)], axis=1)
    for op in ("ReduceSum", "ReduceMax"):
        yield case(f"{op} 20000x3", op, [normal(20000, 3), np.array([1])], [1])
    yield case("ReduceMax u8", "ReduceMax", [whole(512, 512, dtype=np.uint8, low=0, high=256), np.array([1])], [1])
    yield case("ReduceMin bool", "ReduceMin", [whole(512, 512, dtype=np.bool_, low=0, high=2), np.array([1])], [1])
    yield case("CumSum i64 axis 0", "CumSum", [whole(512, 256, dtype=np.int64, low=0, high=9), np.array(0)], [1])
    yield case("CumSum axis 0", "CumSum", [x, np.array(0)], [1])


def _normalisations() -> Iterator[OperatorCase]:
    yield case("Softmax 512x512", "Softmax", [normal(512, 512)])
    yield case("Softmax 12x128x128", "Softmax", [normal(12, 128, 128)])
    yield case("Softmax 10000x4", "Softmax", [normal(10000, 4)])
    yield case("Softmax 8400x16", "Softmax", [normal(8400, 16)])
    yield case("Softmax axis 1 of 3", "Softmax", [normal(8, 64, 256)], axis=1)
    yield case("LogSoftmax 128x1000", "LogSoftmax", [normal(128, 1000)])
    yield case("LayerNormalization 128x768", "LayerNormalization", [normal(128, 768), normal(768), normal(768)], [1, 2])
    yield case(
        "InstanceNormalization 64x56x56",
        "InstanceNormalization",
        [normal(1, 64, 56, 56), normal(64), normal(64)],
        [1, 2],
    )
    yield case(
        "GroupNormalization-like", "InstanceNormalization", [normal(1, 8, 8 * 56 * 56), normal(8), normal(8)], [1, 2]
    )
    statistics = [normal(64), normal(64), normal(64), np.abs(normal(64))]
    yield case("BatchNormalization 64x56x56", "BatchNormalization", [normal(1, 64, 56, 56), *statistics], [1, 2, 3, 4])
    yield case("LpNormalization 1024x256", "LpNormalization", [normal(1024, 256)], axis=1, p=2)
    yield case("LRN 64x28x28", "LRN", [normal(1, 64, 28, 28)], size=5)


def _orders() -> Iterator[OperatorCase]:
    yield case("TopK 5 of 128x1000", "TopK", [normal(128, 1000), np.array([5])], [1], outputs=2)
    yield case("TopK 100 of 8x8400", "TopK", [normal(8, 8400), np.array([100])], [1], outputs=2)
    yield case("TopK all of 64x512", "TopK", [normal(64, 512), np.array([512])], [1], outputs=2)


def _sequences() -> Iterator[OperatorCase]:
    def weights(*shape: int) -> Array:
        """Small: with large ones a recurrence doubles every difference at each step."""
        return normal(*shape) * np.float32(0.05)

    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}
    for operator, steps, batch, hidden, directions in (
        ("LSTM", 32, 1, 128, 1),
        ("GRU", 32, 1, 128, 1),
        ("RNN", 32, 1, 128, 1),
        ("LSTM", 20, 1, 8, 1),
        ("LSTM", 50, 1, 32, 1),
        ("LSTM", 10, 1, 64, 2),
        ("LSTM", 20, 4, 64, 1),
        ("GRU", 50, 1, 16, 1),
        ("GRU", 20, 1, 64, 2),
        ("GRU", 20, 4, 64, 1),
        ("RNN", 50, 1, 32, 1),
    ):
        rows = gates[operator] * hidden
        yield case(
            f"{operator} {steps}x{batch}x{hidden}" + (" both ways" if directions == 2 else ""),
            operator,
            [
                normal(steps, batch, hidden),
                weights(directions, rows, hidden),
                weights(directions, rows, hidden),
                weights(directions, 2 * rows),
            ],
            [1, 2, 3],
            hidden_size=hidden,
            direction="bidirectional" if directions == 2 else "forward",
        )
