"""
From ONNX operators to kernels: one module a family, one short function an operator.

Importing this package registers them all. How to add one is docs/operators.md, "Adding an operator".
"""

from . import convolution, elementwise, linear, normalise, pooling, shape
from .registry import Entry, Value, find, lowers, operators, versions

__all__ = [
    "Entry",
    "Value",
    "convolution",
    "elementwise",
    "find",
    "linear",
    "lowers",
    "normalise",
    "operators",
    "pooling",
    "shape",
    "versions",
]
