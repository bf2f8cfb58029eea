"""Training steps (ai.onnx.preview.training): one update of each parameter from its gradient."""

from __future__ import annotations

from collections.abc import Sequence

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

TRAINING = "ai.onnx.preview.training"


def _groups(tensors: tuple[Tensor, ...], size: int) -> list[tuple[Tensor, ...]]:
    """Parameters, then their gradients, then each kind of state: the i-th of all kinds belong together."""
    if len(tensors) % size:
        raise Refuse(f"{len(tensors)} tensors; expected {size} for each parameter")
    count = len(tensors) // size
    return [tensors[i::count] for i in range(count)]


def _joined(updated: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """All new parameters, then all new states of the first kind, and so on."""
    return tuple(tensor for kind in zip(*updated, strict=True) for tensor in kind)


@lowers("Momentum", domain=TRAINING, in_f32=True)
def momentum(
    g: Builder,
    rate: Tensor,
    step: Tensor,
    *tensors: Tensor,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> tuple[Tensor, ...]:
    updated = []
    for x, gradient, velocity in _groups(tensors, 3):
        slope = g.add(g.mul(x, norm_coefficient), gradient)
        factor = g.choose(g.less(0, step), beta, g.scalar(1.0, x.dtype))
        velocity = g.add(g.mul(velocity, alpha), g.mul(slope, factor))
        if mode == "standard":
            move = velocity
        elif mode == "nesterov":
            move = g.add(slope, g.mul(velocity, alpha))
        else:
            raise Refuse(f"mode {mode!r}; expected 'standard' or 'nesterov'")
        updated.append((g.sub(x, g.mul(move, rate)), velocity))
    return _joined(updated)


@lowers("Adagrad", domain=TRAINING, in_f32=True)
def adagrad(
    g: Builder,
    rate: Tensor,
    step: Tensor,
    *tensors: Tensor,
    decay_factor: float = 0.0,
    epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
) -> tuple[Tensor, ...]:
    slowed = g.div(rate, g.add(g.mul(_number(g, step, rate), decay_factor), 1))
    updated = []
    for x, gradient, squares in _groups(tensors, 3):
        slope = g.add(g.mul(x, norm_coefficient), gradient)
        squares = g.add(squares, g.square(slope))
        move = g.div(slope, g.add(g.sqrt(squares), epsilon))
        updated.append((g.sub(x, g.mul(move, slowed)), squares))
    return _joined(updated)


@lowers("Adam", domain=TRAINING, in_f32=True)
def adam(
    g: Builder,
    rate: Tensor,
    step: Tensor,
    *tensors: Tensor,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 1e-8,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> tuple[Tensor, ...]:
    number = _number(g, step, rate)
    bias = g.div(g.sqrt(g.sub(1, g.power(beta, number))), g.sub(1, g.power(alpha, number)))
    rate = g.select(g.less(0, step), g.mul(rate, bias), rate)
    updated = []
    for x, gradient, first, second in _groups(tensors, 4):
        slope = g.add(g.mul(x, norm_coefficient), gradient)
        first = g.add(g.mul(first, alpha), g.mul(slope, 1 - alpha))
        second = g.add(g.mul(second, beta), g.mul(g.square(slope), 1 - beta))
        x = g.sub(x, g.mul(g.div(first, g.add(g.sqrt(second), epsilon)), rate))
        updated.append((g.mul(x, 1 - norm_coefficient_post) if norm_coefficient_post else x, first, second))
    return _joined(updated)


def _number(g: Builder, step: Tensor, like: Tensor) -> Tensor:
    """The step's number as a float."""
    return g.cast(step, like.dtype)
