"""The feed-forward part of a decoder's layer, emitted as kernels: down(activation(gate) * up), or without a gate."""

from __future__ import annotations

from math import pi, sqrt

from opml_dispute.generation.checkpoint import Activation
from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import Unary
from opml_dispute.model.tensor import Tensor


def activated(g: Builder, x: Tensor, activation: Activation) -> Tensor:
    """The activation of each element."""
    match activation:
        case "silu":
            return g.mul(x, g.sigmoid(x))
        case "gelu":  # x / 2 (1 + tanh(y)) is x sigmoid(2 y)
            cubic = g.add(g.mul(g.square(x), 2 * sqrt(2 / pi) * 0.044715), 2 * sqrt(2 / pi))
            return g.mul(x, g.sigmoid(g.mul(x, cubic)))
        case "gelu_erf":
            return g.mul(g.mul(x, 0.5), g.add(g.unary(Unary.ERF, g.mul(x, sqrt(0.5))), 1.0))
        case "relu":
            return g.relu(x)
        case "relu2":
            return g.square(g.relu(x))
