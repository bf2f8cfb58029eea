"""
From ONNX operators to kernels: one module a family, one short function an operator.

Importing this package registers them all. How to add one is docs/operators.md, "Adding an operator".
"""

from opml_dispute.model.lower import (
    attention,
    classic,
    control,
    convolution,
    counted,
    create,
    elementwise,
    index,
    linear,
    microsoft,
    normalise,
    pooling,
    quantise,
    random,
    recurrent,
    reduction,
    resize,
    sample,
    shape,
    signal,
    svm,
    train,
    trees,
)
from opml_dispute.model.lower.registry import LoweringEntry, Value, find, lowers, operators, versions

__all__ = [
    "LoweringEntry",
    "Value",
    "attention",
    "classic",
    "control",
    "convolution",
    "counted",
    "create",
    "elementwise",
    "find",
    "index",
    "linear",
    "lowers",
    "microsoft",
    "normalise",
    "operators",
    "pooling",
    "quantise",
    "random",
    "recurrent",
    "reduction",
    "resize",
    "sample",
    "shape",
    "signal",
    "svm",
    "train",
    "trees",
    "versions",
]
