"""
The registry of lowerings: the `lowers` decorator, and `find`.

A lowering is only its operator's mathematics. The frame around it (here and in `importer`) has already turned
attributes into Python values, chosen the version for the model's opset, refused attributes that the function does
not name and, with `in_f32`, made narrow floats binary32 on the way in: for compositions, whose intermediate results
then are not rounded. (A single kernel does the same by itself.) The results get the type that the operator's schema
gives them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, TypeVar

import numpy as np
from onnx import TensorProto

from opml_dispute.model.builder import Builder
from opml_dispute.model.long_lists import LongList, Words
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

Value = Any
"""The value of an edge: a `Tensor`, a list of values (a sequence), or None (an omitted or empty optional)."""

Lowering = Callable[..., Any]
F = TypeVar("F", bound=Lowering)

MICROSOFT = "com.microsoft"
"""The operator set of ONNX Runtime's optimisers."""

NARROW = frozenset({DType.F16, DType.BF16})
"""Floats that are stored as they are, and computed in binary32 (docs/operators.md, "Floats")."""


_ROUND_AT_THE_END = frozenset(
    {"Cast", "CastLike", "Scaler", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"}
)
"""Operators that make binary32 of what they compute in binary64, as their schemas say."""


_TEXT = TensorProto.STRING
_TAKE_TEXT = frozenset(
    {
        "ArrayFeatureExtractor", "Cast", "CastLike", "Compress", "Concat", "Equal", "Expand", "Flatten", "Gather",
        "GatherElements", "GatherND", "Identity", "If", "LabelEncoder", "Loop", "OneHotEncoder", "Reshape", "Scan",
        "ScatterElements", "ScatterND", "Shape", "Size", "Slice", "Split", "Squeeze", "TfIdfVectorizer", "Tile",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
"""Operators that move texts, or compare them."""

_UPDATE_PARAMETERS = frozenset({"Adagrad", "Adam", "Momentum"})
"""Operators whose results have the type of the parameters, input 2 and those behind it, which no schema binds."""

_WALK_GRAPHS = frozenset({"If", "Loop", "Scan", "SequenceMap"})


_MOST_PLACES: Final = 1 << 59
"""As many elements as arrays may have, were it not for their dimensions of 0."""

_FLAGS: Final = frozenset({
    "allowzero", "antialias", "broadcast", "ceil_mode", "center_point_box", "count_include_pad",
    "detect_negative", "detect_positive", "exclude_outside", "exclusive", "fmod", "input_forget", "interleaved",
    "inverse", "is_causal", "is_test", "keepdims", "largest", "layout", "linear_before_reset",
    "noop_with_empty_axes", "one_class", "onesided", "periodic", "reverse", "saturate", "select_last_index",
    "sorted", "spatial", "storage_order", "training_mode", "transA", "transB", "upper", "zeros",
})  # fmt: skip
"""Attributes that say yes or no: ONNX Runtime takes other numbers for a no in some, for a yes in others."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


_KINDS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "int": ("an integer", lambda value: isinstance(value, int)),
    "float": ("a number", _is_number),
    "str": ("a text", lambda value: isinstance(value, str)),
    "Tensor": ("a tensor", lambda value: isinstance(value, Tensor)),
    "Branch": ("a graph", callable),
    **dict.fromkeys(
        ("Shape", "Sequence[int]", "tuple[int, ...]"),
        ("integers", lambda value: _is_list(value, "iu", lambda entry: isinstance(entry, int))),
    ),
    **dict.fromkeys(
        ("Sequence[float]", "tuple[float, ...]"), ("numbers", lambda value: _is_list(value, "fiu", _is_number))
    ),
    **dict.fromkeys(
        ("Sequence[str]", "tuple[str, ...]"),
        ("texts", lambda value: _is_list(value, "O", lambda entry: isinstance(entry, str))),
    ),
}
"""What the value of an attribute has to be, by what its parameter is annotated with; of others nothing is asked."""


def _is_list(value: Any, kinds: str, fits: Callable[[object], bool]) -> bool:
    """Whether an attribute is a list of such entries: a tuple, or an array of one of numpy's kinds."""
    if isinstance(value, LongList | Words):  # whose reader looks
        return True
    if isinstance(value, np.ndarray):
        return value.dtype.kind in kinds
    return isinstance(value, tuple) and all(map(fits, value))


@dataclass(frozen=True, slots=True)
class LoweringEntry:
    """One operator, from one version of its operator set on."""

    function: Lowering
    since: int
    in_f32: bool
    attributes: frozenset[str]
    required: frozenset[str]
    least: int
    """Inputs that must be there, but for those among them that may be left out."""
    optional: frozenset[int]
    """Inputs that may be left out in front of others that are there."""
    named: int
    """Inputs that it takes, each with a meaning of its own."""
    takes_more: bool
    """Whether it takes any number of inputs behind those."""
    counts_outputs: bool
    """Whether the number of outputs says what to compute (parameter `output_count`)."""
    kinds: Mapping[str, str]
    """What each attribute's parameter is annotated with."""
    tensors: frozenset[int]
    """Inputs that are tensors, if they are there; others may be sequences."""
    more_tensors: bool
    """Whether those behind the ones with a meaning of their own are."""
    like: int | None = None
    """Which input's type float results get, of an operator for which ONNX has no schema."""

    def __call__(
        self, g: Builder, inputs: Sequence[Value], attributes: dict[str, Any], output_count: int
    ) -> tuple[Value, ...]:
        """
        The operator's outputs; with `in_f32` they may be binary32 where the schema says a narrower type.

        Raises `Refuse` or `NeedsConstant` with the reason alone.
        """
        self._check(inputs, attributes)
        if g.origin.op_type not in _TAKE_TEXT and any(isinstance(v, Tensor) and v.narrow == _TEXT for v in inputs):
            raise Refuse("it looks into a text, and texts are only numbers here, which are moved and compared")
        if self.counts_outputs:
            attributes = {**attributes, "output_count": output_count}
        given = list(inputs)
        if self.in_f32:
            given = [g.cast(v, DType.F32) if isinstance(v, Tensor) and v.dtype in NARROW else v for v in given]
        results = self._lowered(g, given, attributes)
        for result in results:
            if isinstance(result, Tensor) and prod(size for size in result.shape if size) > _MOST_PLACES:
                raise Refuse(f"a result of shape {list(result.shape)}")
        return results if self.like is None else _with_type_of(g, inputs[self.like], results)

    def _lowered(self, g: Builder, given: Sequence[Value], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """
        The operator's outputs: computed in binary32 where the inputs are binary64 and it has no rules for that.

        The program's notes then name it. Graphs inside of it are not lowered twice.
        """
        is_wide = any(_is_wide(value) for value in given) and g.origin.op_type not in _WALK_GRAPHS
        before = g.narrowed
        try:
            results = _outputs(self.function(g, *given, **attributes))
        except Refuse:
            if not is_wide:
                raise
            narrower = [g.cast(value, DType.F32) if _is_wide(value) else value for value in given]
            results = _outputs(self.function(g, *narrower, **attributes))
            if g.origin.op_type in _UPDATE_PARAMETERS:
                results = tuple(g.cast(result, given[2].dtype) for result in results)
        else:
            if not is_wide or g.narrowed == before or g.origin.op_type in _ROUND_AT_THE_END:
                return results
        note = f"{g.origin.op_type} of binary64 is computed in binary32 (24 bits of precision)"
        if note not in g.notes:
            g.notes.append(note)
        return results

    def _check(self, inputs: Sequence[Value], attributes: dict[str, Any]) -> None:
        unknown = sorted(attributes.keys() - self.attributes)
        if unknown:
            raise Refuse(f"attribute {unknown[0]!r} is not supported; expected {_names(self.attributes)}")
        for name, value in attributes.items():
            kind = _KINDS.get(self.kinds[name])
            if kind is not None and not kind[1](value):
                raise Refuse(f"attribute {name!r} is {_told(value)}; expected {kind[0]}")
        for name in _FLAGS & attributes.keys():
            if attributes[name] not in (0, 1):
                raise Refuse(f"attribute {name!r} is {attributes[name]}; expected 0 or 1")
        missing = sorted(self.required - attributes.keys())
        if missing:
            raise Refuse(f"attribute {missing[0]!r} is missing")
        left_out = {i for i, v in enumerate(inputs[: self.least]) if v is None}
        if len(inputs) < self.least or left_out - self.optional:
            raise Refuse(f"{sum(v is not None for v in inputs)} inputs; expected at least {self.least}")
        if len(inputs) > self.named and not self.takes_more:
            raise Refuse(f"{len(inputs)} inputs; expected at most {self.named}")
        if any(v is None for v in inputs[self.named :]):
            raise Refuse(f"input {list(inputs).index(None, self.named) + 1} is missing")
        for i, value in enumerate(inputs):
            is_tensor = i in self.tensors if i < self.named else self.more_tensors
            if is_tensor and value is not None and not isinstance(value, Tensor):
                raise Refuse(f"input {i + 1} is a sequence; expected a tensor")


_ENTRIES: dict[tuple[str, str], list[LoweringEntry]] = {}


def lowers(
    *names: str, since: int = 1, domain: str = "", in_f32: bool = False, like: int | None = None
) -> Callable[[F], F]:
    """
    Registers a function as the lowering of operators `names` from version `since` of their operator set on.

    Of operators without a schema in ONNX, float results get the type of input number `like`.

    Its positional parameters are the builder and the operator's inputs; keyword-only ones are its attributes.
    """

    def register(function: F) -> F:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "output_count"]
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        more = next((p for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        entry = LoweringEntry(
            function,
            since,
            in_f32,
            frozenset(p.name for p in keywords),
            frozenset(p.name for p in keywords if p.default is p.empty),
            sum(p.default is p.empty for p in positional),
            frozenset(i for i, p in enumerate(positional) if str(p.annotation).endswith("| None")),
            len(positional),
            more is not None,
            any(p.name == "output_count" for p in parameters),
            {p.name: str(p.annotation).removesuffix(" | None") for p in keywords},
            frozenset(i for i, p in enumerate(positional) if str(p.annotation).startswith("Tensor")),
            more is not None and more.annotation == "Tensor",
            like,
        )
        for name in names:
            entries = _ENTRIES.setdefault((domain, name), [])
            assert all(other.since != since for other in entries), (domain, name, since)
            entries.append(entry)
            entries.sort(key=lambda e: e.since)
        return function

    return register


def find(domain: str, op_type: str, version: int) -> LoweringEntry | None:
    """The lowering of an operator in a version of its operator set; None if there is none."""
    return next((e for e in reversed(_ENTRIES.get((domain, op_type), [])) if e.since <= version), None)


def versions(domain: str, op_type: str) -> list[int]:
    """The versions from which on an operator is lowered; empty if it is not known at all."""
    return [entry.since for entry in _ENTRIES.get((domain, op_type), [])]


def operators() -> list[tuple[str, str]]:
    """All (domain, operator) pairs that have a lowering, sorted."""
    return sorted(_ENTRIES)


def _told(value: object) -> str:
    """An attribute's value, as far as an error has to show it."""
    if isinstance(value, bool | int | float | str):
        return repr(value)[:80]
    return "a tensor" if isinstance(value, Tensor) else "a graph" if callable(value) else "a list"


def _is_wide(value: Value) -> bool:
    return isinstance(value, Tensor) and value.dtype is DType.F64


def _outputs(result: Any) -> tuple[Value, ...]:
    return result if isinstance(result, tuple) else (result,)


def _with_type_of(g: Builder, model: Value, results: Sequence[Value]) -> tuple[Value, ...]:
    if not isinstance(model, Tensor) or not model.dtype.is_float:
        return tuple(results)
    return tuple(g.cast(r, model.dtype) if isinstance(r, Tensor) and r.dtype.is_float else r for r in results)


def _names(attributes: frozenset[str]) -> str:
    return ", ".join(sorted(attributes)) or "none"
