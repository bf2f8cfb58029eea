"""
Recurrent networks, written out step by step: RNN, GRU, LSTM.

What does not depend on the state, x W' + b, is one contraction for all steps; each step then contracts the state
with R and takes that as its bias. A batch entry whose sequence has ended keeps its state, and gives zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.elementwise import elu, hard_sigmoid, leaky_relu, softsign, thresholded_relu
from opml_dispute.model.lower.index import turned_sequences
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor

Activation = Callable[[Builder, Tensor], Tensor]
Cell = Callable[["Direction", Tensor, Sequence[Tensor]], tuple[Tensor, ...]]
"""One step: the step's x W' + b [batch][gates * hidden] and the states -> new states, the hidden one first."""

# Activations with parameters, and the defaults of alpha and beta.
_DEFAULTS = {"LeakyRelu": (0.01, 0.0), "ThresholdedRelu": (1.0, 0.0), "HardSigmoid": (0.2, 0.5), "Elu": (1.0, 0.0)}


def _activation(name: str, alpha: float | None, beta: float | None, clip: float | None) -> Activation:
    """The function `name`, its argument held within plus and minus `clip`."""
    default_alpha, default_beta = _DEFAULTS.get(name, (1.0, 1.0 if name == "ScaledTanh" else 0.0))
    a = default_alpha if alpha is None else alpha
    b = default_beta if beta is None else beta
    functions: dict[str, Activation] = {
        "Relu": lambda g, x: g.relu(x),
        "Tanh": lambda g, x: g.tanh(x),
        "Sigmoid": lambda g, x: g.sigmoid(x),
        "Affine": lambda g, x: g.add(g.mul(x, a), b),
        "LeakyRelu": lambda g, x: leaky_relu(g, x, alpha=a),
        "ThresholdedRelu": lambda g, x: thresholded_relu(g, x, alpha=a),
        "ScaledTanh": lambda g, x: g.mul(g.tanh(g.mul(x, b)), a),
        "HardSigmoid": lambda g, x: hard_sigmoid(g, x, alpha=a, beta=b),
        "Elu": lambda g, x: elu(g, x, alpha=a),
        "Softsign": lambda g, x: softsign(g, x),
        "Softplus": lambda g, x: g.unary(Unary.SOFTPLUS, x),
    }
    function = functions.get(name)
    if function is None:
        raise Refuse(f"activation {name!r}; expected one of {', '.join(functions)}")
    if clip is None:
        return function
    return lambda g, x: function(g, g.clipped(x, -clip, clip))


class Weights(Protocol):
    """Weights of all gates, for the input or for the state."""

    def product(self, g: Builder, x: Tensor, first: int, count: int, bias: Tensor | None) -> Tensor:
        """x[...][inputs] times `count` columns from `first` on, plus bias: [...][count]."""


@dataclass(frozen=True)
class FloatWeights:
    """Weights [gates * hidden][inputs]."""

    weights: Tensor

    def product(self, g: Builder, x: Tensor, first: int, count: int, bias: Tensor | None) -> Tensor:
        return g.contract(x, self.weights.sliced(0, first, count).transposed((1, 0)), bias)


@dataclass(frozen=True)
class Direction:
    """One direction of one layer: its weights and functions."""

    g: Builder
    hidden: int
    r: Weights
    activations: Sequence[Activation]
    recurrent_bias: Tensor | None
    """[gates * hidden]; None where it is already part of x W' + b."""
    peepholes: Tensor | None = None

    def gate(self, gates: Tensor, number: int) -> Tensor:
        """Columns of one gate."""
        return gates.sliced(gates.rank - 1, number * self.hidden, self.hidden)

    def with_state(self, x: Tensor, state: Tensor, first: int, count: int) -> Tensor:
        """x + state R' for `count` gates from `first` on: [batch][count * hidden]."""
        return self.r.product(self.g, state, first * self.hidden, count * self.hidden, x)


def _run(
    g: Builder,
    cell: Cell,
    gates: int,
    functions: Sequence[str],
    x: Tensor,
    weights: Sequence[tuple[Weights, Weights]],
    hidden: int,
    bias: Tensor | None,
    lengths: Tensor | None,
    initial: Sequence[Tensor | None],
    *,
    peepholes: Tensor | None = None,
    split_bias: bool = False,
    activations: Sequence[str] | None,
    activation_alpha: Sequence[float] | None,
    activation_beta: Sequence[float] | None,
    clip: float | None,
    direction: str,
    layout: int,
) -> tuple[Tensor, ...]:
    """
    All directions: Y [time][direction][batch][hidden], then each final state [direction][batch][hidden].

    `weights` are those of the input and of the state, for each direction.
    """
    if direction not in ("forward", "reverse", "bidirectional"):
        raise Refuse(f"direction {direction!r}; expected 'forward', 'reverse' or 'bidirectional'")
    g.expect_rank(x, 3, 3, "the input")
    directions = len(weights)
    if directions != (2 if direction == "bidirectional" else 1):
        raise Refuse(f"weights of {directions} directions for direction {direction!r}")
    if layout:
        x = x.transposed((1, 0, 2))
        initial = [None if state is None else state.transposed((1, 0, 2)) for state in initial]
    time, batch, _ = x.shape
    _expect_shape("a bias", bias, (directions, 2 * gates * hidden))
    _expect_shape("peepholes", peepholes, (directions, 3 * hidden))
    _expect_shape("lengths", lengths, (batch,))
    for state in initial:
        _expect_shape("a first state", state, (directions, batch, hidden))
    if lengths is not None and lengths.is_constant and np.all(lengths.values() == time):
        lengths = None
    if lengths is not None:
        lengths = g.bounded(lengths, 0, time, "the length of a sequence")
    names = list(activations) if activations else list(functions) * directions
    if len(names) != len(functions) * directions:
        raise Refuse(f"activations {names}; expected {len(functions)} for each of {directions} directions")
    chosen = _activations(names, activation_alpha, activation_beta, clip, len(functions))
    outputs, finals = [], []
    for d in range(directions):
        backwards = direction == "reverse" or d == 1
        # The bias of the recurrence joins that of the input, unless the cell needs it apart.
        both = None if bias is None else bias.picked(0, d)
        b = None if both is None else both.sliced(0, 0, gates * hidden)
        rb = None if both is None else both.sliced(0, gates * hidden, gates * hidden)
        if b is not None and rb is not None and not split_bias:
            b, rb = g.add(b, rb), None
        run = chosen[d * len(functions) : (d + 1) * len(functions)]
        p = None if peepholes is None else peepholes.picked(0, d)
        side = Direction(g, hidden, weights[d][1], run, rb, p)
        sequence = _turned(g, x, lengths) if backwards else x
        projected = weights[d][0].product(g, sequence, 0, gates * hidden, b)
        zeros = g.filled((batch, hidden), 0, x.dtype)
        states: Sequence[Tensor] = [zeros if state is None else state.picked(0, d) for state in initial]
        steps = []
        for t in range(time):
            new = cell(side, projected.picked(0, t), states)
            if lengths is None:
                states, shown = new, new[0]
            else:
                alive = g.less(t, lengths).with_axis(1)
                shown = g.choose(alive, new[0], 0)
                states = [g.select(alive, after, before) for after, before in zip(new, states, strict=True)]
            steps.append(shown)
        y = g.stack(steps, 0)
        outputs.append(_turned(g, y, lengths) if backwards else y)
        finals.append(states)
    y = g.stack(outputs, 1)
    last = [g.stack([states[i] for states in finals], 0) for i in range(len(initial))]
    if layout:
        return y.transposed((2, 0, 1, 3)), *(state.transposed((1, 0, 2)) for state in last)
    return y, *last


def _weights(w: Tensor, r: Tensor, gates: int, hidden_size: int | None) -> tuple[list[tuple[Weights, Weights]], int]:
    """The weights of each direction, and the size of the state."""
    if (w.rank, r.rank) != (3, 3):
        raise Refuse(f"weights {list(w.shape)} and {list(r.shape)}; expected three dimensions")
    hidden = r.shape[2]
    if hidden_size not in (None, hidden):
        raise Refuse(f"states of {hidden_size} numbers with weights {list(r.shape)}")
    if w.shape[0] != r.shape[0] or w.shape[1] != gates * hidden or r.shape[1] != gates * hidden:
        raise Refuse(f"weights {list(w.shape)} and {list(r.shape)} of {gates} gates")
    pairs: list[tuple[Weights, Weights]] = [
        (FloatWeights(w.picked(0, d)), FloatWeights(r.picked(0, d))) for d in range(w.shape[0])
    ]
    return pairs, hidden


def _expect_shape(what: str, given: Tensor | None, shape: Shape) -> None:
    if given is not None and given.shape != shape:
        raise Refuse(f"{what} of shape {list(given.shape)}; expected {list(shape)}")


def _turned(g: Builder, x: Tensor, lengths: Tensor | None) -> Tensor:
    """The time steps in reverse; each batch entry's own, if they have lengths."""
    if lengths is None:
        return x.sliced(0, x.shape[0] - 1, x.shape[0], -1)
    return turned_sequences(g, x, lengths)


def _activations(
    names: Sequence[str],
    alphas: Sequence[float] | None,
    betas: Sequence[float] | None,
    clip: float | None,
    each: int,
) -> list[Activation]:
    """
    `each` functions a direction. Parameters are given in the order of the functions that have any.

    What goes into the gates is clipped. The third function of an LSTM takes the cell's state, which is not: so ONNX
    Runtime has it, and a state of several times the threshold is usual.
    """
    left_alphas, left_betas = list(alphas or ()), list(betas or ())
    chosen = []
    for number, name in enumerate(names):
        takes_alpha = name in ("Affine", "ScaledTanh", *_DEFAULTS)
        takes_beta = name in ("Affine", "ScaledTanh", "HardSigmoid")
        alpha = left_alphas.pop(0) if takes_alpha and left_alphas else None
        beta = left_betas.pop(0) if takes_beta and left_betas else None
        chosen.append(_activation(name, alpha, beta, clip if number % each < 2 else None))
    return chosen


def _rnn_cell(side: Direction, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (side.activations[0](side.g, side.with_state(x, states[0], 0, 1)),)


@lowers("RNN", in_f32=True)
def rnn(
    g: Builder,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    *,
    activation_alpha: tuple[float, ...] | None = None,
    activation_beta: tuple[float, ...] | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Tensor, ...]:
    return _run(
        g, _rnn_cell, 1, ["Tanh"], x, *_weights(w, r, 1, hidden_size), bias, lengths, [hidden], activations=activations,
        activation_alpha=activation_alpha, activation_beta=activation_beta, clip=clip, direction=direction,
        layout=layout,
    )  # fmt: skip


@lowers("GRU", in_f32=True)
def gru(
    g: Builder,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    *,
    activation_alpha: tuple[float, ...] | None = None,
    activation_beta: tuple[float, ...] | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    output_sequence: int = 0,
) -> tuple[Tensor, ...]:
    def cell(side: Direction, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Gates in the order z (update), r (reset), h (hidden)."""
        (state,) = states
        f, h = side.activations
        both = side.with_state(x.sliced(1, 0, 2 * side.hidden), state, 0, 2)
        if side.recurrent_bias is not None:
            both = g.add(both, side.recurrent_bias.sliced(0, 0, 2 * side.hidden))
        update, reset = (f(g, side.gate(both, i)) for i in range(2))
        own, rb = side.gate(x, 2), None
        if side.recurrent_bias is not None:
            rb = side.gate(side.recurrent_bias, 2)
        last = (2 * side.hidden, side.hidden)
        if linear_before_reset:
            candidate = g.add(own, g.mul(reset, side.r.product(g, state, *last, rb)))
        else:
            candidate = side.r.product(g, g.mul(reset, state), *last, own)
            candidate = candidate if rb is None else g.add(candidate, rb)
        return (g.add(g.mul(g.sub(1, update), h(g, candidate)), g.mul(update, state)),)

    return _run(
        g, cell, 3, ["Sigmoid", "Tanh"], x, *_weights(w, r, 3, hidden_size), bias, lengths, [hidden], split_bias=True,
        activations=activations, activation_alpha=activation_alpha, activation_beta=activation_beta, clip=clip,
        direction=direction, layout=layout,
    )  # fmt: skip


@lowers("LSTM", in_f32=True)
def lstm(
    g: Builder,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    cell_state: Tensor | None = None,
    peepholes: Tensor | None = None,
    *,
    activation_alpha: tuple[float, ...] | None = None,
    activation_beta: tuple[float, ...] | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Tensor, ...]:
    weights, size = _weights(w, r, 4, hidden_size)
    return long_short_term_memory(
        g, x, weights, size, bias, lengths, hidden, cell_state, peepholes, activation_alpha=activation_alpha,
        activation_beta=activation_beta, activations=activations, clip=clip, direction=direction,
        input_forget=input_forget, layout=layout,
    )  # fmt: skip


def long_short_term_memory(
    g: Builder,
    x: Tensor,
    weights: Sequence[tuple[Weights, Weights]],
    size: int,
    bias: Tensor | None,
    lengths: Tensor | None,
    hidden: Tensor | None,
    cell_state: Tensor | None,
    peepholes: Tensor | None,
    *,
    activation_alpha: Sequence[float] | None,
    activation_beta: Sequence[float] | None,
    activations: Sequence[str] | None,
    clip: float | None,
    direction: str,
    input_forget: int,
    layout: int,
) -> tuple[Tensor, ...]:
    """LSTM with weights of any kind, for the input and for a state of `size` elements."""

    def cell(side: Direction, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Gates in the order i (input), o (output), f (forget), c (cell)."""
        state, memory = states
        f, h_cell, h_out = side.activations
        gates = side.with_state(x, state, 0, 4)
        i, o, forget, c = (side.gate(gates, n) for n in range(4))
        if side.peepholes is not None:
            i = g.add(i, g.mul(side.gate(side.peepholes, 0), memory))
            forget = g.add(forget, g.mul(side.gate(side.peepholes, 2), memory))
        taken = f(g, i)
        kept = g.sub(1, taken) if input_forget else f(g, forget)
        memory = g.add(g.mul(kept, memory), g.mul(taken, h_cell(g, c)))
        if side.peepholes is not None:
            o = g.add(o, g.mul(side.gate(side.peepholes, 1), memory))
        return g.mul(f(g, o), h_out(g, memory)), memory

    return _run(
        g, cell, 4, ["Sigmoid", "Tanh", "Tanh"], x, weights, size, bias, lengths, [hidden, cell_state],
        peepholes=peepholes, activations=activations, activation_alpha=activation_alpha,
        activation_beta=activation_beta, clip=clip, direction=direction, layout=layout,
    )  # fmt: skip
