"""
The element types in ONNX's schemas: those of an operator's inputs, and those of its results.

`check_inputs` refuses kinds of inputs (floats, integers, bool) that the operator's schema does not allow, and answers
what each type variable of the schema stands for. It does not go by width: that an early
version takes float and no bfloat16 has no reason in mathematics. `result_types` says from that which type each output
must have. Operators without a schema (of other vendors' domains) are not checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import onnx
from onnx import TensorProto

from opml_dispute.model.elements import name_of
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

_VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic
_NAMES = {f"tensor({name.lower()})": number for name, number in TensorProto.DataType.items()}
_NAMES |= {"tensor(float)": TensorProto.FLOAT, "tensor(double)": TensorProto.DOUBLE}
_DTYPES = {number: DType(number) for number in _NAMES.values() if number in {int(dtype) for dtype in DType}}


class TwoTypes(Refuse):
    """Inputs of two types where the schema demands one: the model contradicts itself."""


@cache
def schema_of(domain: str, op_type: str, version: int) -> onnx.defs.OpSchema | None:
    """The schema of an operator in a version of its set; None if ONNX has none."""
    try:
        return onnx.defs.get_schema(op_type, max_inclusive_version=version, domain=domain)
    except onnx.defs.SchemaError:
        return None


Kind = tuple[DType, int]
"""An element type, and the narrow type that it holds (or 0): `elements`."""


def check_inputs(schema: onnx.defs.OpSchema, inputs: Sequence[Any]) -> dict[str, Kind]:
    """
    What the schema's type variables stand for, given these inputs.

    Raises `Refuse` for a type that the schema does not allow, and for two types where it demands one.
    """
    bound: dict[str, Kind] = {}
    formals = list(schema.inputs)
    for i, value in enumerate(inputs):
        if not isinstance(value, Tensor) or not formals:
            continue
        formal = formals[min(i, len(formals) - 1)]
        if i >= len(formals) and formal.option != _VARIADIC:
            continue  # too many inputs: the lowering says so
        if value.narrow:
            names = _type_names(schema, formal.type_str)
            if (name := f"tensor({name_of(value.narrow).lower()})") not in names and names != [formal.type_str]:
                raise Refuse(f"input {i + 1} ({formal.name}) is {name}; expected one of {', '.join(sorted(names))}")
        allowed = _allowed(schema, formal.type_str)
        if not value.narrow and allowed and _kind(value.dtype) not in map(_kind, allowed):
            kinds = ", ".join(sorted(dtype.name for dtype in allowed))
            raise Refuse(f"input {i + 1} ({formal.name}) is {value.dtype.name}; expected one of {kinds}")
        if not formal.is_homogeneous:
            continue
        kind = (value.dtype, value.narrow)
        known = bound.setdefault(formal.type_str, kind)
        if known != kind:
            found, other = (name_of(narrow or dtype) for dtype, narrow in (kind, known))
            raise TwoTypes(
                f"input {i + 1} ({formal.name}) is {found}, and another is {other}; expected one type for both"
            )
    return bound


def result_types(schema: onnx.defs.OpSchema, bound: Mapping[str, Kind], count: int) -> list[Kind | None]:
    """The element type of each of `count` outputs; None where the inputs do not decide it."""
    formals = list(schema.outputs)
    types: list[Kind | None] = []
    for i in range(count if formals else 0):
        formal = formals[min(i, len(formals) - 1)]
        only = _allowed(schema, formal.type_str)
        names = _type_names(schema, formal.type_str)
        types.append(bound.get(formal.type_str, (next(iter(only)), 0) if len(only) == len(names) == 1 else None))
    return types


def _kind(dtype: DType) -> str:
    return "float" if dtype.is_float else "integer" if dtype.is_integer else "bool"


def _allowed(schema: onnx.defs.OpSchema, type_str: str) -> frozenset[DType]:
    """The element types behind a type variable or a type's own name; empty if it is no tensor's."""
    return _allowed_of(schema.domain, schema.name, schema.since_version, type_str)


def _type_names(schema: onnx.defs.OpSchema, type_str: str) -> list[str]:
    """What a type variable may stand for, or a type's own name."""
    return next(
        (list(c.allowed_type_strs) for c in schema.type_constraints if c.type_param_str == type_str), [type_str]
    )


@cache
def _allowed_of(domain: str, op_type: str, version: int, type_str: str) -> frozenset[DType]:
    names = _type_names(onnx.defs.get_schema(op_type, max_inclusive_version=version, domain=domain), type_str)
    return frozenset(_DTYPES[_NAMES[name]] for name in names if _NAMES.get(name) in _DTYPES)
