"""The operators of binary64, as scikit-learn's models have them, that `scripts/bench operators` measures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from lib.benchmarks.operator_models import DOUBLE, FLOAT, I32, U8, Array, OperatorCase, case, case_of, normal
from onnx import helper


def double_cases() -> Iterator[OperatorCase]:
    """Every case."""

    def wide(*shape: int) -> Array:
        return normal(*shape, dtype=np.float64)

    square, row = wide(512, 512), wide(30)
    for op in ("Add", "Div", "Less"):
        yield case(f"{op} double 512x512", op, [square, square + 1])
    for op in ("Sqrt", "Floor"):
        yield case(f"{op} double 512x512", op, [np.abs(square)])
    yield case("Cast float to double", "Cast", [normal(512, 512)], to=DOUBLE)
    for to, kind in {"float": FLOAT, "u8": U8, "i32": I32}.items():
        yield case(f"Cast double to {to}", "Cast", [square if kind == FLOAT else 50 * np.abs(square)], to=kind)
    for axis in (0, 1):
        yield case(f"ReduceSum double axis {axis}", "ReduceSum", [square, np.array([axis])], [1])
        yield case(f"CumSum double axis {axis}", "CumSum", [square, np.array(axis)], [1])
    yield case("ReduceMax double axis 1", "ReduceMax", [square, np.array([1])], [1])
    yield case("ArgMin double axis 1", "ArgMin", [square], axis=1)
    yield case("ReduceSum double 1000x30", "ReduceSum", [wide(1000, 30), np.array([1])], [1])
    for rows, inner, columns in ((1, 30, 3), (100, 30, 10), (64, 64, 64), (128, 128, 128), (1, 512, 512)):
        factors = [wide(rows, inner), wide(inner, columns)]
        yield case(f"MatMul double {rows}x{inner}x{columns}", "MatMul", factors, [1])
    yield case("MatMul double 8x64x64x64", "MatMul", [wide(8, 64, 64), wide(8, 64, 64)])
    yield case("Gemm double transB", "Gemm", [wide(128, 128), wide(128, 128), wide(128)], [1, 2], transB=1)
    for rows in (1, 1000):
        nodes = [
            helper.make_node("Sub", ["x0", "x1"], ["a"]),
            helper.make_node("Div", ["a", "x2"], ["b"]),
            helper.make_node("MatMul", ["b", "x3"], ["c"]),
            helper.make_node("Add", ["c", "x4"], ["y0"]),
        ]
        constants = [row, np.abs(row) + 1, wide(30, 3), wide(3)]
        name = f"scaler and linear model, double {rows}x30"
        yield case_of(name, nodes, [wide(rows, 30), *constants], [1, 2, 3, 4], 1)
