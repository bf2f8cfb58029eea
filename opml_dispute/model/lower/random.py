"""
Operators that draw random numbers, from a seed: docs/operators.md, "Random numbers".

`_words` gives the words of one draw: those of a counter-based generator (`philox`), keyed by the program's seed, or by
the operator's own. `_uniform` and `_normal` make numbers of them; each operator is a formula in these.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.elements import held
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Reduction, Unary
from opml_dispute.model.philox import Words, high_word, low_word, philox
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor

WORDS_PER_BLOCK = 4
_MOST_BLOCKS = 1 << 32
ALWAYS_DRAW = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Operators of ONNX's own set that draw, unless what they draw is empty."""
NO_SEED = "it draws random numbers, and no seed was named to draw them from"
_NAME_A_SEED = "draw them from a seed in the request: --seed-input seed (from Python: seed_input='seed')"


def _words(g: Builder, size: int, seed: float | None) -> Words:
    """The next draw's words, u64[blocks] four times: number i of `size` has word i mod 4 of block i div 4."""
    blocks = -(-size // WORDS_PER_BLOCK)
    if blocks > _MOST_BLOCKS:
        raise Refuse(f"{size:,} random numbers at once; expected at most {WORDS_PER_BLOCK * _MOST_BLOCKS:,}")
    count, zero = g.arange(blocks, DType.U64), g.constant(np.zeros(1, np.uint64))
    if seed is None:
        if g.seed is None:
            raise Refuse(NO_SEED, hint=_NAME_A_SEED)
        key, own = g.cast(g.seed, DType.U64), 0
        number = g.next_draw(None)
    else:
        key, own = g.constant(np.array([np.float32(seed)]).view(np.uint32).astype(np.uint64)), 1
        number = g.next_draw((g.origin.name, int(key.values()[0])))
        note = f"{g.origin.op_type} {g.origin.name!r} has its own seed, {seed:g}: all inferences draw the same numbers"
        if note not in g.notes:
            g.notes.append(note)
    draw, whose = (g.constant(np.array([value], np.uint64)) for value in (number, own))
    return philox(g, (count, zero, draw, whose), (low_word(g, key), high_word(g, key)))


def _joined(g: Builder, numbers: Sequence[Tensor], shape: Shape) -> Tensor:
    """Four tensors of numbers, a block each, as one tensor of `shape`, row-major."""
    size = prod(shape)
    flat = g.reshape(g.stack(numbers, 1), (WORDS_PER_BLOCK * numbers[0].size,))
    return g.reshape(flat.sliced(0, 0, size), shape)


def _fraction(g: Builder, word: Tensor) -> Tensor:
    """The upper 24 bits of a word over 2^24: binary32, in [0, 1)."""
    return g.mul(g.cast(g.div(word, 256), DType.F32), 2.0**-24)


def _uniform(g: Builder, shape: Shape, seed: float | None) -> Tensor:
    """Uniform over the multiples of 2^-24 in [0, 1), binary32."""
    if 0 in shape:
        return g.filled(shape, 0.0, DType.F32)
    words = _words(g, prod(shape), seed)
    return _joined(g, [_fraction(g, word) for word in words], shape)


def _normal(g: Builder, shape: Shape, seed: float | None) -> Tensor:
    """Normal, of mean 0 and deviation 1, binary32: two numbers of two words each, by Box and Muller."""
    if 0 in shape:
        return g.filled(shape, 0.0, DType.F32)
    a, b, c, d = _words(g, prod(shape), seed)
    numbers = []
    for radius, turn in ((a, b), (c, d)):
        chance = g.mul(g.cast(g.add(radius, 1), DType.F32), 2.0**-32)  # in (0, 1]
        length = g.sqrt(g.mul(g.log(chance), -2.0))
        angle = g.mul(_fraction(g, turn), float(np.float32(2 * np.pi)))
        numbers += [g.mul(length, g.unary(function, angle)) for function in (Unary.COS, Unary.SIN)]
    return _joined(g, numbers, shape)


def _made_type(dtype: int | None, like: Tensor | None = None) -> DType:
    """The type of an operator's results: as its attribute says, else that of `like`, which has to be a float's."""
    if dtype is None and like is not None:
        kind, narrow = like.dtype, like.narrow
    else:
        kind, narrow = held(1 if dtype is None else dtype)
    if narrow or not kind.is_float:
        raise Refuse(f"random numbers of type {kind.name}; expected a float's")
    return kind


def _uniform_between(g: Builder, shape: Shape, kind: DType, low: float, high: float, seed: float | None) -> Tensor:
    """low + u (high - low), and not `high`, which rounding could give."""
    low, high = float(np.float32(low)), float(np.float32(high))
    rounded = np.float32 if kind is DType.F64 else kind.numpy  # what is computed in binary32 is rounded to it
    with np.errstate(all="ignore"):
        width = float(np.float32(high) - np.float32(low))
        most = float(np.nextafter(np.asarray(high, rounded), np.asarray(-np.inf, rounded)))
        most = max(most, float(np.asarray(low, rounded)))
    if not 0 <= width < np.inf:
        raise Refuse(f"numbers from {low:g} to {high:g}; expected a range of finite width")
    numbers = g.add(g.mul(_uniform(g, shape, seed), width), low)
    return g.cast(g.minimum(numbers, most), kind)


def _normal_about(g: Builder, shape: Shape, kind: DType, mean: float, scale: float, seed: float | None) -> Tensor:
    return g.cast(g.add(g.mul(_normal(g, shape, seed), float(np.float32(scale))), float(np.float32(mean))), kind)


def _wanted(shape: Sequence[int]) -> Shape:
    if any(size < 0 for size in shape):
        raise Refuse(f"the shape {list(shape)}; expected no negative size")
    return tuple(shape)


@lowers("RandomUniform")
def random_uniform(
    g: Builder,
    *,
    dtype: int | None = None,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
    shape: Sequence[int],
) -> Tensor:
    return _uniform_between(g, _wanted(shape), _made_type(dtype), low, high, seed)


@lowers("RandomUniformLike")
def random_uniform_like(
    g: Builder, x: Tensor, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Tensor:
    return _uniform_between(g, x.shape, _made_type(dtype, x), low, high, seed)


@lowers("RandomNormal")
def random_normal(
    g: Builder,
    *,
    dtype: int | None = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    shape: Sequence[int],
) -> Tensor:
    return _normal_about(g, _wanted(shape), _made_type(dtype), mean, scale, seed)


@lowers("RandomNormalLike")
def random_normal_like(
    g: Builder, x: Tensor, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Tensor:
    return _normal_about(g, x.shape, _made_type(dtype, x), mean, scale, seed)


@lowers("Bernoulli")
def bernoulli(g: Builder, x: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    """1 where a uniform number lies below the probability `x`, else 0."""
    drawn = g.less(_uniform(g, x.shape, seed), g.cast(x, DType.F32))
    if dtype is None:
        return g.cast(drawn, x.dtype)
    kind, narrow = held(dtype)
    return g.cast(drawn, kind).marked(narrow) if narrow else g.cast(drawn, kind)


@lowers("Multinomial", in_f32=True)
def multinomial(
    g: Builder, x: Tensor, *, dtype: int = int(DType.I32), sample_size: int = 1, seed: float | None = None
) -> Tensor:
    """x[N][classes]: logarithms of weights. Of each row `sample_size` classes, drawn one apart from the other."""
    if x.rank != 2 or not x.shape[1]:
        raise Refuse(f"logarithms of weights of shape {list(x.shape)}; expected rows of one class or more")
    if dtype not in (DType.I32, DType.I64):
        raise Refuse(f"dtype {dtype}; expected INT32 or INT64")
    rows, classes = x.shape
    weights = g.exp(g.sub(x, g.reduce_max(x, (1,))))
    sums = g.scan(Reduction.SUM, weights, 1)
    # Rounded, a fraction below 1 of a sum lies below it: so some class is left, and it has a weight.
    aims = g.mul(_uniform(g, _wanted((rows, sample_size)), seed), sums.sliced(1, classes - 1, 1))
    passed = g.cast(g.less_equal(sums.with_axis(1), aims.with_axis(2)), DType(dtype))
    return g.minimum(g.reduce_sum(passed, (2,), keepdims=False), classes - 1)


@lowers("Dropout", since=12)
def dropout(
    g: Builder, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None, *, seed: float | None = None
) -> tuple[Tensor, Tensor]:
    """
    Training drops each element with probability `ratio`, and divides the others by the probability of staying.

    Inference drops nothing; so does training with a ratio of 0.
    """
    rate = g.scalar(0.5, DType.F32) if ratio is None else g.cast(g.reshape(ratio, ()), DType.F32)
    known = float(rate.values()) if rate.is_constant else None
    if training is None or not g.known(training, "the training mode").any() or known == 0:
        return x, g.filled(x.shape, True, DType.BOOL)
    if known is not None and not 0 <= known < 1:
        raise Refuse(f"training with a ratio of {known:g}; expected 0 to less than 1")
    stays = g.less_equal(rate, _uniform(g, x.shape, seed))
    scaled = g.mul(g.cast(x, DType.F32), g.reciprocal(g.sub(1.0, rate)))
    return g.cast(g.choose(stays, scaled, 0.0), x.dtype), stays
