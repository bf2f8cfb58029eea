"""Operators that put values on a common scale: Softmax and its family, the normalisations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import Pooling, Reduction
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor
from opml_dispute.model.windows import Windows

Axes = Sequence[int]


def log_softmax(g: Builder, x: Tensor, axes: Axes) -> Tensor:
    """The logarithm of `Builder.softmax`, without the detour through small numbers."""
    below = g.sub(x, g.reduce_max(x, axes))
    return g.sub(below, g.log(g.reduce_sum(g.exp(below), axes)))


def _hardmax(g: Builder, x: Tensor, axes: Axes) -> Tensor:
    """1 at the first of the greatest, else 0."""
    shape, along = x.shape, axes[0]
    if not x.size:
        return x
    if len(axes) > 1:
        x = g.reshape(x, (*shape[:along], prod(shape[along:])))
    places = g.argreduce(Reduction.MAX, x, along).with_axis(along)
    return g.reshape(g.cast(g.equal(places, column(g.arange(x.shape[along]), x.rank, along)), x.dtype), shape)


def column(vector: Tensor, rank: int, axis: int) -> Tensor:
    """A vector as a tensor of `rank` dimensions that extends along `axis` only."""
    for _ in range(rank - axis - 1):
        vector = vector.with_axis(vector.rank)
    return vector


def _over_axes(name: str, function: Callable[[Builder, Tensor, Axes], Tensor]) -> None:
    @lowers(name, since=13, in_f32=True)
    def lower(g: Builder, x: Tensor, *, axis: int = -1) -> Tensor:
        return function(g, x, (g.axis(x, axis),))

    @lowers(name, in_f32=True)
    def lower_1(g: Builder, x: Tensor, *, axis: int = 1) -> Tensor:
        """Before version 13, all dimensions from `axis` on counted as one."""
        return function(g, x, tuple(range(g.axis(x, axis), x.rank)))


_over_axes("Softmax", lambda g, x, axes: g.softmax(x, axes))
_over_axes("LogSoftmax", log_softmax)
_over_axes("Hardmax", _hardmax)


def standardised(g: Builder, x: Tensor, axes: Axes, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """x with mean 0 and variance 1 over `axes`; the mean; one over the standard deviation."""
    mean = g.reduce_mean(x, axes)
    centred = g.sub(x, mean)
    spread = g.reciprocal(g.sqrt(g.add(g.reduce_mean(g.square(centred), axes), epsilon)))
    return g.mul(centred, spread), mean, spread


@lowers("LayerNormalization", in_f32=True)
def layer_normalization(
    g: Builder,
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean 0 and variance 1 over the dimensions from `axis` on, then scale and bias."""
    y, mean, spread = standardised(g, x, range(g.axis(x, axis), x.rank), epsilon)
    y = g.mul(y, _within(x, scale))
    return y if bias is None else g.add(y, _within(x, bias)), mean, spread


@lowers("RMSNormalization", in_f32=True)
def rms_normalization(
    g: Builder, x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Over its root mean square over the dimensions from `axis` on, then scaled."""
    mean_square = g.reduce_mean(g.square(x), range(g.axis(x, axis), x.rank))
    return g.mul(g.mul(x, g.reciprocal(g.sqrt(g.add(mean_square, epsilon)))), _within(x, scale))


def _within(x: Tensor, factor: Tensor) -> Tensor:
    """`factor`, which broadcasts to x; one that would make more of x is refused."""
    missing = x.rank - factor.rank
    if missing < 0 or any(size not in (1, x.shape[missing + d]) for d, size in enumerate(factor.shape)):
        raise Refuse(f"numbers of shape {list(factor.shape)} for {list(x.shape)}")
    return factor


def _per_channel(x: Tensor, vector: Tensor) -> Tensor:
    """vector[C] as it lies along dimension 1 of x. Raises `Refuse` if x has not as many channels."""
    channels = x.shape[1] if x.rank > 1 else 1
    if vector.shape != (channels,):
        raise Refuse(f"numbers of shape {list(vector.shape)} for the {channels} channels of {list(x.shape)}")
    return column(vector, x.rank, 1)


@lowers("InstanceNormalization", in_f32=True)
def instance_normalization(
    g: Builder, x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5, consumed_inputs: object = None
) -> Tensor:
    y, _, _ = standardised(g, x, range(2, x.rank), epsilon)
    return g.add(g.mul(y, _per_channel(x, scale)), _per_channel(x, bias))


@lowers("GroupNormalization", in_f32=True)
def group_normalization(
    g: Builder, x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Mean 0 and variance 1 within each group of channels. Scale has one element a channel, or (18) a group."""
    g.expect_rank(x, 2, None, "the input")
    n, c = x.shape[:2]
    if num_groups < 1 or c % num_groups:
        raise Refuse(f"{num_groups} groups of {c} channels")
    grouped = g.reshape(x, (n, num_groups, c // num_groups, *x.shape[2:]))
    y, _, _ = standardised(g, grouped, range(2, grouped.rank), epsilon)
    if scale.size == num_groups != c:
        y = g.add(g.mul(y, _per_channel(y, scale)), _per_channel(y, bias))
        return g.reshape(y, x.shape)
    return g.add(g.mul(g.reshape(y, x.shape), _per_channel(x, scale)), _per_channel(x, bias))


@lowers("BatchNormalization", in_f32=True)
def batch_normalization(
    g: Builder,
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
    is_test: int = 1,
    consumed_inputs: object = None,
) -> tuple[Tensor, ...]:
    """With the given mean and variance; in training mode with the batch's own, and running ones as outputs."""
    if not spatial:  # one mean and variance for each element of a batch entry: each is a channel then
        flat = g.reshape(x, (x.shape[0], prod(x.shape[1:])))
        given = (g.reshape(t, (flat.shape[1],)) for t in (scale, bias, mean, variance))
        y, *running_flat = batch_normalization(
            g, flat, *given, epsilon=epsilon, momentum=momentum, training_mode=training_mode
        )
        return g.reshape(y, x.shape), *(g.reshape(t, mean.shape) for t in running_flat)
    running: tuple[Tensor, ...] = ()
    if training_mode:
        axes = (0, *range(2, x.rank))
        own = g.reduce_mean(x, axes, keepdims=False)
        centred = g.sub(x, _per_channel(x, own))
        own_variance = g.reduce_mean(g.square(centred), axes, keepdims=False)
        pairs = ((mean, own), (variance, own_variance))
        running = tuple(g.add(g.mul(old, momentum), g.mul(new, 1 - momentum)) for old, new in pairs)
        mean, variance = own, own_variance
    for vector in (scale, bias, mean, variance):
        _per_channel(x, vector)
    # One multiplication and one addition an element: the rest is done once a channel.
    factor = g.mul(scale, g.reciprocal(g.sqrt(g.add(variance, epsilon))))
    shift = g.sub(bias, g.mul(mean, factor))
    return g.add(g.mul(x, _per_channel(x, factor)), _per_channel(x, shift)), *running


@lowers("LRN", in_f32=True)
def lrn(g: Builder, x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """Over a power of the mean square of the `size` channels around each."""
    if x.rank < 2 or size < 1:
        raise Refuse(f"{size} channels around each of {list(x.shape)}; expected two dimensions or more, and a channel")
    n, c, rest = x.shape[0], x.shape[1], prod(x.shape[2:])
    before = (size - 1) // 2
    at = Windows((size, 1), (1, 1), (1, 1), (before, 0), (size - 1 - before, 0), (c, rest))
    squares = g.reshape(g.square(x), (n, 1, c, rest))
    sums = g.reshape(g.pool(Pooling.SUM, squares, at), x.shape)
    return g.div(x, g.power(g.add(g.mul(sums, alpha / size), bias), beta))


@lowers("LpNormalization", in_f32=True)
def lp_normalization(g: Builder, x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """Over its norm along `axis`; what has norm 0 stays 0."""
    along = (g.axis(x, axis),)
    if p == 1:
        norm = g.reduce_sum(g.absolute(x), along)
    elif p == 2:
        norm = g.sqrt(g.reduce_sum(g.square(x), along))
    else:
        raise Refuse(f"p {p}; expected 1 or 2")
    return g.choose(g.equal(norm, 0), 0, g.div(x, norm))


@lowers("MeanVarianceNormalization", in_f32=True)
def mean_variance_normalization(g: Builder, x: Tensor, *, axes: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    centred = g.sub(x, g.reduce_mean(x, axes))
    return g.div(centred, g.add(g.sqrt(g.reduce_mean(g.square(centred), axes)), 1e-9))


def _reduced_loss(g: Builder, losses: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    total = g.reduce_sum(losses, None, keepdims=False)
    if reduction == "sum":
        return total
    if reduction != "mean":
        raise Refuse(f"reduction {reduction!r}; expected 'none', 'mean' or 'sum'")
    return g.div(total, losses.size if weights is None else g.reduce_sum(weights, None, keepdims=False))


def _nll(
    g: Builder, scores: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int | None, reduction: str
) -> Tensor:
    """-scores[n][target[n][...]][...], weighted by class; what is to be ignored weighs nothing."""
    g.expect_rank(scores, 2, None, "scores")
    if target.shape != (*scores.shape[:1], *scores.shape[2:]) or (
        weight is not None and weight.shape != scores.shape[1:2]
    ):
        given = "" if weight is None else f" and weights {list(weight.shape)}"
        raise Refuse(f"classes {list(target.shape)}{given} for scores {list(scores.shape)}")
    target = g.index(target)
    weights: Tensor | None = None
    if ignore_index is not None:
        ignored = g.equal(target, ignore_index)
        target = g.choose(ignored, 0, target)
    target = g.bounded(target, 0, scores.shape[1] - 1, "a class")
    losses = g.negate(g.take_along(scores, target.with_axis(1), 1).without(1))
    if weight is not None:
        weights = g.take(weight, target, 0)
    if ignore_index is not None:
        weights = g.choose(ignored, 0, weights if weights is not None else g.filled(target.shape, 1, scores.dtype))
    return _reduced_loss(g, losses if weights is None else g.mul(losses, weights), weights, reduction)


@lowers("NegativeLogLikelihoodLoss", in_f32=True)
def negative_log_likelihood_loss(
    g: Builder,
    scores: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    return _nll(g, scores, target, weight, ignore_index, reduction)


@lowers("SoftmaxCrossEntropyLoss", in_f32=True)
def softmax_cross_entropy_loss(
    g: Builder,
    scores: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    logs = log_softmax(g, scores, (1,))
    return _nll(g, logs, labels, weight, ignore_index, reduction), logs
