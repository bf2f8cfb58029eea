"""
Tensors whose number of elements depends on data: how many are there, and where the rest of their room is padding.

Such a tensor has room for as many elements along one axis as the model's user allows, and zeros after those that are
there (`Padding`). `carried` says along which axis of a result the padding lies. It knows the operators that treat the
elements along that axis one by one; every other operator would mix padding into its results, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor

COUNTED = ("Compress", "If", "Loop", "NonMaxSuppression", "NonZero", "Range", "Unique")
"""Operators whose results can have a size that depends on data."""

MOST_ROOM = 1 << 24
"""Elements along one axis that room can be made for."""


@dataclass(frozen=True, slots=True, eq=False)
class Padding:
    """Along `axis` only the first `count` elements are there; the others are padding."""

    axis: int
    count: Tensor
    """int64, of rank 0."""

    def along(self, axis: int) -> Padding:
        """The same elements along another axis of another tensor."""
        return Padding(axis, self.count)


@dataclass(frozen=True, slots=True)
class Sized:
    """A lowering's result for which the model's user made room."""

    tensor: Tensor
    count: Tensor
    """int64, of rank 0: how many elements are there; for a loop, how often it went round."""
    axis: int | None
    """Along which the count is less than the tensor's size; None if all of the tensor is there."""

    @property
    def padding(self) -> Padding | None:
        """Where the rest of the room is."""
        return None if self.axis is None else Padding(self.axis, self.count)


@dataclass(frozen=True, slots=True)
class _Use:
    """One use of padded tensors: what a rule needs to know of it."""

    version: int
    """Of the operator set."""
    inputs: Sequence[Any]
    paddings: Sequence[Padding | None]
    attributes: Mapping[str, Any]
    result: Tensor

    def only(self, *places: int) -> Padding:
        """The padding of the inputs that `places` name. Raises `Refuse` if another input is padded."""
        found = [padding for padding in self.paddings if padding is not None]
        if any(padding is not None and i not in places for i, padding in enumerate(self.paddings)):
            raise Refuse("an input whose size depends on data where the operator takes no such input")
        return found[0]

    def stretches_none(self, axis: int) -> None:
        """
        Raises `Refuse` if an input that is not padded has more than one element along `axis` of the result.

        The model would be wrong wherever the data gives another number; padding would hide that.
        """
        for value, padding in zip(self.inputs, self.paddings, strict=True):
            if padding is None and isinstance(value, Tensor):
                at = axis - (self.result.rank - value.rank)
                if at >= 0 and value.shape[at] != 1:
                    raise Refuse(f"an input of {value.shape[at]} elements beside one whose size depends on data")

    def rank(self, place: int) -> int:
        """The rank of an input."""
        rank: int = self.inputs[place].rank
        return rank

    def numbers(self, name: str, place: int) -> Shape | None:
        """Axes that are given as an attribute, or as an input that is known; None if they are not given."""
        given = self.attributes.get(name)
        if given is None and place < len(self.inputs) and self.inputs[place] is not None:
            given = tuple(int(n) for n in self.inputs[place].values().reshape(-1))
        return (given,) if isinstance(given, int) else given

    def axes(self, name: str, place: int, rank: int) -> frozenset[int]:
        """As `numbers`, counted from the front; all axes if none are given."""
        given = self.numbers(name, place)
        return frozenset(range(rank)) if not given else frozenset(axis % rank for axis in given)


def _each(use: _Use) -> int:
    """Operators that compute each element by itself, with their operands broadcast."""
    given = [(v, p) for v, p in zip(use.inputs, use.paddings, strict=True) if v is not None]
    if use.version < 7 and len({value.rank for value, _ in given}) > 1:
        raise Refuse("operands of different ranks, one with a size that depends on data, before operator set 7")
    places = {use.result.rank - value.rank + padding.axis for value, padding in given if padding is not None}
    counts = {id(padding.count) for padding in use.paddings if padding is not None}
    if len(places) != 1 or len(counts) != 1:
        raise Refuse("two inputs whose sizes depend on different data")
    axis: int
    (axis,) = places
    use.stretches_none(axis)
    return axis


def _first(use: _Use) -> int:
    """Operators that compute each element of their first input by itself; the others are numbers."""
    return use.only(0).axis


def _transposed(use: _Use) -> int:
    axis = use.only(0).axis
    order = use.attributes.get("perm") or tuple(reversed(range(use.rank(0))))
    return [int(d) for d in order].index(axis)


def _unsqueezed(use: _Use) -> int:
    axis, rank = use.only(0).axis, use.result.rank
    new = use.axes("axes", 1, rank)
    return [d for d in range(rank) if d not in new][axis]


def _squeezed(use: _Use) -> int:
    axis, rank = use.only(0).axis, use.rank(0)
    gone = {d % rank for d in use.numbers("axes", 1) or ()}
    if axis in gone or not gone:  # without axes it would be taken away wherever the data gives one element
        raise Refuse("the dimension whose size depends on data would be taken away")
    return axis - sum(d < axis for d in gone)


def _reshaped(use: _Use) -> int:
    """The size that depends on data has to be left open: by -1, or by a 0 that stands for the input's own."""
    axis, wanted = use.only(0).axis, use.numbers("shape", 1) or ()
    copied = axis < len(wanted) and wanted[axis] == 0 and not use.attributes.get("allowzero", 0)
    if not copied and -1 not in wanted:
        raise Refuse(f"{list(use.inputs[0].shape)} as {list(wanted)}, where one size depends on data; expected a -1")
    return _regrouped(use, axis if copied else wanted.index(-1))


def _flattened(use: _Use) -> int:
    rank, at = use.rank(0), int(use.attributes.get("axis", 1))
    return _regrouped(use, 0 if use.only(0).axis < (at + rank if at < 0 else at) else 1)


def _regrouped(use: _Use, d: int) -> int:
    """`d`, if that dimension of the result walks over the same elements in the same steps as the padded one."""
    axis, before, after = use.only(0).axis, use.inputs[0].shape, use.result.shape
    if after[d] != before[axis] or prod(after[:d]) != prod(before[:axis]):
        raise Refuse(
            f"{list(before)} as {list(after)}, where dimension {axis}, whose size depends on data, is not kept"
        )
    return d


def _gathered(use: _Use) -> int:
    """Places that are padded give padded results; rows of padded data stay where they are."""
    axis = int(use.attributes.get("axis", 0)) % use.rank(0)
    if use.paddings[0] is None:
        return axis + use.only(1).axis
    kept = use.only(0).axis
    if kept == axis:
        raise Refuse("places in a dimension whose size depends on data")
    return kept if kept < axis else kept - 1 + use.rank(1)


def _gathered_nd(use: _Use) -> int:
    axis = use.only(1).axis
    if axis == use.rank(1) - 1 or axis < use.attributes.get("batch_dims", 0):
        raise Refuse("places whose number of components, or of batch entries, depends on data")
    return axis


def _joined(use: _Use) -> int:
    found = {(id(p.count), p.axis) if p is not None else None for p in use.paddings}
    axis = int(use.attributes["axis"]) % use.result.rank
    first = use.paddings[0]
    if len(found) != 1 or first is None or first.axis == axis:
        raise Refuse("tensors joined along a dimension whose size depends on data, or that one of them alone has")
    return first.axis


def _sliced(use: _Use) -> int:
    padding, rank = use.only(0), use.rank(0)
    given = use.numbers("axes", 3)
    starts = use.numbers("starts", 1) or ()
    cut = set(range(len(starts))) if given is None else {axis % rank for axis in given}
    return _beside(padding.axis, cut)


def _beside(axis: int, over: set[int] | frozenset[int]) -> int:
    """`axis`, if the operator does not work along it."""
    if axis in over:
        raise Refuse("it works along a dimension whose size depends on data, so padding would get into its result")
    return axis


def _split(use: _Use) -> int:
    return _beside(use.only(0).axis, {int(use.attributes.get("axis", 0)) % use.rank(0)})


def _reduced(use: _Use) -> int:
    over = use.axes("axes", 1, use.rank(0))
    axis = _beside(use.only(0).axis, over)
    return axis if use.attributes.get("keepdims", 1) else axis - sum(d < axis for d in over)


def _place_of_extreme(use: _Use) -> int:
    over = {int(use.attributes.get("axis", 0)) % use.rank(0)}
    axis = _beside(use.only(0).axis, over)
    return axis if use.attributes.get("keepdims", 1) else axis - sum(d < axis for d in over)


def _normalised(use: _Use) -> int:
    """Along one axis in newer versions, along all from it on in older ones; so what lies before it is safe."""
    rank = use.rank(0)
    axis = _beside(use.only(0).axis, set(range(int(use.attributes.get("axis", 1 - rank)) % rank, rank)))
    use.stretches_none(axis)
    return axis


def _multiplied(use: _Use) -> int:
    """Rows of the left operand are rows of the product."""
    axis, rank, other = use.only(0).axis, use.rank(0), use.rank(1)
    if rank < 2 or other < 2 or (axis != rank - 2 and (other > 2 or axis == rank - 1)):
        raise Refuse("a product along a dimension whose size depends on data")
    return axis + use.result.rank - rank


def _affine(use: _Use) -> int:
    axis = use.only(0).axis
    bias = use.inputs[2] if len(use.inputs) > 2 else None
    if use.attributes.get("transA", 0) or axis or (bias is not None and bias.rank == 2 and bias.shape[0] != 1):
        raise Refuse("a product along a dimension whose size depends on data")
    return axis


def _batched(use: _Use) -> int:
    """Operators that take the entries of a batch one by one."""
    if use.attributes.get("training_mode", 0):
        raise Refuse("the mean of a batch whose size depends on data")
    return _beside(use.only(0).axis, set(range(1, use.rank(0))))


def _regions(use: _Use) -> int:
    """Every region has four numbers, and its image's number: both inputs are padded alike, or the model is wrong."""
    image, regions, numbers = use.paddings
    if image is not None or regions is None or numbers is None or regions.count is not numbers.count or regions.axis:
        raise Refuse("images whose size depends on data, or regions without an image's number for each")
    return 0


def _rules(rule: Callable[[_Use], int], names: str) -> dict[str, Callable[[_Use], int]]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, Callable[[_Use], int]] = {
    **_rules(
        _each,
        "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil "
        "Celu Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid "
        "HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or "
        "PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum "
        "Swish Tan Tanh ThresholdedRelu Where Xor",
    ),
    **_rules(_first, "Bernoulli Clip Dropout RandomNormalLike RandomUniformLike"),
    **_rules(
        _reduced,
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare",
    ),
    **_rules(_place_of_extreme, "ArgMax ArgMin"),
    **_rules(_normalised, "Softmax LogSoftmax Hardmax LayerNormalization RMSNormalization"),
    **_rules(
        _batched,
        "Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool BatchNormalization "
        "InstanceNormalization",
    ),
    "Concat": _joined,
    "Flatten": _flattened,
    "Gather": _gathered,
    "GatherND": _gathered_nd,
    "Gemm": _affine,
    "MatMul": _multiplied,
    "Reshape": _reshaped,
    "RoiAlign": _regions,
    "Slice": _sliced,
    "Split": _split,
    "Squeeze": _squeezed,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}


_ELSEWHERE = {("com.microsoft", "Gelu"): _each}
"""Operators of other sets than ONNX's own."""


def carried(
    operator: tuple[str, str, int],
    inputs: Sequence[Any],
    paddings: Sequence[Padding | None],
    attributes: Mapping[str, Any],
    results: Sequence[Any],
) -> list[Padding | None]:
    """
    The padding of an operator's results, given that of its inputs (None where all of a tensor is there).

    `operator` is its set's domain, its name and its set's version.
    Raises `Refuse` where an operator would mix padding into what it computes.
    """
    first = next((padding for padding in paddings if padding is not None), None)
    if first is None:
        return [None] * len(results)
    domain, op_type, version = operator
    rule = _ELSEWHERE.get((domain, op_type)) if domain else _RULES.get(op_type)
    if rule is None or not all(isinstance(result, Tensor) for result in results):
        raise Refuse("an input has a size that depends on data (--max-size), and its padding would get into the result")
    room = next(v.shape[p.axis] for v, p in zip(inputs, paddings, strict=True) if p is not None)
    axes = [rule(_Use(version, inputs, paddings, attributes, result)) for result in results]
    if any(result.shape[axis] != room for axis, result in zip(axes, results, strict=True)):
        raise Refuse("the dimension whose size depends on data is not kept")
    return [first.along(axis) for axis in axes]
