"""Recurrent networks with quantised weights."""

from __future__ import annotations

from dataclasses import dataclass

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.microsoft.quantise import scaled_product
from opml_dispute.model.lower.quantise import dynamic_quantize_linear
from opml_dispute.model.lower.recurrent import long_short_term_memory
from opml_dispute.model.lower.registry import MICROSOFT, lowers
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor


@dataclass(frozen=True)
class QuantisedWeights:
    """Weights [inputs][gates * hidden] of bytes; what they multiply is quantised over its own range each time."""

    weights: Tensor
    scale: Tensor
    zero_point: Tensor

    def product(self, g: Builder, x: Tensor, first: int, count: int, bias: Tensor | None) -> Tensor:
        """x times `count` columns from `first` on, plus the bias."""
        lead, flat = x.shape[:-1], g.reshape(x, (-(-x.size // max(x.shape[-1], 1)), x.shape[-1]))
        integers, scale, zero = dynamic_quantize_linear(g, flat)
        weights = self.weights.sliced(1, first, count)
        own = [t.sliced(0, first, count) if t.size > 1 else t for t in (self.scale, self.zero_point)]
        y = g.reshape(scaled_product(g, integers, weights, scale, own[0], zero, own[1]), (*lead, count))
        return y if bias is None else g.add(y, bias)


def _per_direction(vector: Tensor, direction: int, directions: int, columns: int) -> Tensor:
    """The scales or zero points of one direction: [directions], or [directions][gates * hidden]."""
    if vector.shape not in ((directions,), (directions, 1), (directions, columns)):
        raise Refuse(f"scales or zero points {list(vector.shape)} for {directions} directions of {columns} columns")
    own = vector.picked(0, direction)
    return own.with_axis(0) if own.rank == 0 else own


@lowers("DynamicQuantizeLSTM", domain=MICROSOFT, in_f32=True, like=0)
def dynamic_quantize_lstm(
    g: Builder,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    hidden: Tensor | None,
    cell_state: Tensor | None,
    peepholes: Tensor | None,
    w_scale: Tensor,
    w_zero: Tensor,
    r_scale: Tensor,
    r_zero: Tensor,
    *,
    activation_alpha: tuple[float, ...] | None = None,
    activation_beta: tuple[float, ...] | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
) -> tuple[Tensor, ...]:
    """
    LSTM with weights of bytes, w[directions][inputs][4 * hidden] and r[directions][hidden][4 * hidden].

    The inputs of all steps are quantised together, the hidden state anew at each step, for the whole batch.
    """
    if (w.rank, r.rank) != (3, 3) or w.shape[2] != 4 * r.shape[1] or r.shape != (w.shape[0], r.shape[1], w.shape[2]):
        raise Refuse(f"weights {list(w.shape)} and {list(r.shape)}; expected four gates of one size")
    if hidden_size not in (None, r.shape[1]):
        raise Refuse(f"states of {hidden_size} numbers with weights {list(r.shape)}")
    directions = w.shape[0]
    pairs = [
        [
            QuantisedWeights(t.picked(0, d), *(_per_direction(v, d, directions, w.shape[2]) for v in (s, z)))
            for t, s, z in ((w, w_scale, w_zero), (r, r_scale, r_zero))
        ]
        for d in range(directions)
    ]
    return long_short_term_memory(
        g, x, [(own, state) for own, state in pairs], r.shape[1], bias, lengths, hidden, cell_state, peepholes,
        activation_alpha=activation_alpha, activation_beta=activation_beta, activations=activations, clip=clip,
        direction=direction, input_forget=input_forget, layout=0,
    )  # fmt: skip
