"""
A model's inputs, made concrete: an element type and a number for every dimension (`bind`), or a value (`fixed_value`).

`constant_values` and `held_type` read the model's own constants and element types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.model import elements
from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import DType
from opml_dispute.model.recorder import MOST_KNOWN
from opml_dispute.model.refusals import InvalidModel, ModelError, Refuse, UnboundDimension, UnsupportedType
from opml_dispute.model.tensor import Array, Shape


def bind(value: onnx.ValueInfoProto, dims: Mapping[str, int]) -> tuple[DType, int, Shape]:
    """
    The element type of a graph input, the narrow type that it holds (or 0), and the concrete shape.

    `dims` gives sizes to named dimensions, and to nameless ones as `input.position`. Raises `UnsupportedType` or
    `UnboundDimension`.
    """
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedType(value.name, f"{kind or 'no type'}; expected a tensor")
    tensor = value.type.tensor_type
    dtype, narrow = held_type(value.name, tensor.elem_type)
    if not tensor.HasField("shape"):
        raise UnsupportedType(value.name, "no shape; expected one, if only of named dimensions")
    shape, missing = [], []
    if len(tensor.shape.dim) > MOST_KNOWN:
        raise UnsupportedType(value.name, f"{len(tensor.shape.dim):,} dimensions; expected {MOST_KNOWN} at most")
    for position, dim in enumerate(tensor.shape.dim):
        size = dim.dim_value if dim.HasField("dim_value") else dims.get(dim.dim_param)
        size = dims.get(f"{value.name}.{position}", size)
        if size is None or size < 0:
            missing.append((value.name, dim.dim_param, position))
        else:
            shape.append(int(size))
    if missing:
        raise UnboundDimension(missing)
    return dtype, narrow, tuple(shape)


def dimension_names(model: onnx.ModelProto) -> list[str]:
    """What `dims` may name: the inputs' named dimensions, then every `input.position`."""
    given = names_of_constants(model.graph)
    named, placed = [], []
    for value in model.graph.input:
        if value.name not in given and value.type.WhichOneof("value") == "tensor_type":
            for position, dim in enumerate(value.type.tensor_type.shape.dim):
                if dim.dim_param and dim.dim_param not in named:
                    named.append(dim.dim_param)
                placed.append(f"{value.name}.{position}")
    return named + placed


def fixed_value(value: onnx.ValueInfoProto, array: Array, dims: Mapping[str, int]) -> Array:
    """A graph input whose value is given when compiling."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedType(value.name, f"{kind or 'no type'}; expected a tensor")
    dtype, narrow = held_type(value.name, value.type.tensor_type.elem_type)
    given = np.asarray(array)
    if given.dtype.kind in "OSU":
        raise UnsupportedType(value.name, "a fixed value of text; expected the numbers of texts, or numbers")
    values = given.astype(dtype.numpy)
    if narrow and given.dtype == helper.tensor_dtype_to_np_dtype(narrow):
        return _shaped(value, values, dims)
    # Any type will do that holds the same numbers; and what is typed on a command line is binary64.
    if given.dtype != dtype.numpy and not (given.dtype == np.float64 and dtype.is_float):
        if given.dtype.kind not in "biuf" or not np.array_equal(values, given):
            raise UnsupportedType(value.name, f"a fixed value of type {given.dtype}; expected {dtype.numpy}")
    elif given.dtype == np.float64:
        values = elements.as_type(given, dtype)
    return _shaped(value, values, dims)


def _shaped(value: onnx.ValueInfoProto, values: Array, dims: Mapping[str, int]) -> Array:
    """A fixed input's value in the shape that the model declares. Raises `UnsupportedType` if it has another."""
    if not value.type.tensor_type.HasField("shape"):
        return values
    wanted = []
    for position, dim in enumerate(value.type.tensor_type.shape.dim):
        size = dim.dim_value if dim.HasField("dim_value") else dims.get(dim.dim_param)
        wanted.append(dims.get(f"{value.name}.{position}", size))
    if values.size == 1 and all(size in (1, None) for size in wanted):
        return values.reshape((1,) * len(wanted))
    if len(wanted) != values.ndim or any(w not in (None, n) for w, n in zip(wanted, values.shape, strict=True)):
        told = ", ".join("any" if size is None else str(size) for size in wanted)
        raise UnsupportedType(value.name, f"a fixed value of shape {list(values.shape)}; expected [{told}]")
    return values


def refuse_unknown(what: str, given: Mapping[str, object], known: Sequence[str]) -> None:
    """Raises `ModelError` if `given` names what is not among `known`."""
    unknown = sorted(given.keys() - set(known))
    if unknown:
        expected = ", ".join(repr(name) for name in known) or "none"
        raise ModelError(
            f"{what} names {unknown[0]!r}, which the model does not have; expected {expected}",
            hint="leave it out, or give one that the model has",
        )


def constant_values(name: str, tensor: TensorProto) -> Array:
    try:
        return elements.values_of(tensor)
    except Refuse as refusal:
        raise UnsupportedType(name, str(refusal)) from None
    except (ValueError, TypeError) as error:
        raise InvalidModel(f"constant {name!r} cannot be read: {error}") from None


def sparse_values(sparse: onnx.SparseTensorProto, values: Array) -> Array:
    """A sparse constant with these values, as large as its dimensions say. Raises `InvalidModel`."""
    try:
        indices = numpy_helper.to_array(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        if indices.ndim == 2:
            dense[tuple(indices.T)] = values
        else:
            dense.reshape(-1)[indices] = values
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise InvalidModel(f"sparse constant {sparse.values.name!r} cannot be read: {error}") from None
    return dense


def expect_as_declared(graph: onnx.GraphProto) -> None:
    """Raises `InvalidModel` if an initializer that stands among the inputs has another type or shape there."""
    declared = {value.name: value.type.tensor_type for value in graph.input}
    for tensor in graph.initializer:
        kind = declared.get(tensor.name)
        if kind is None:
            continue
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
        fits = len(sizes) == len(tensor.dims) and all(
            size is None or size < 0 or size == n for size, n in zip(sizes, tensor.dims, strict=False)
        )
        if kind.elem_type not in (0, tensor.data_type) or (kind.HasField("shape") and not fits):
            name_of_type = elements.name_of(tensor.data_type)
            raise InvalidModel(
                f"constant {tensor.name!r} is {name_of_type} of shape {list(tensor.dims)}; the model declares an input"
                f" {elements.name_of(kind.elem_type) if kind.elem_type else 'of any type'} of shape"
                f" {['any' if size is None else size for size in sizes]}"
            )


def names_of_constants(graph: onnx.GraphProto) -> set[str]:
    """Tensors that have a value in the graph, which may stand among its inputs as well."""
    return {t.name for t in graph.initializer} | {sparse.values.name for sparse in graph.sparse_initializer}


def constant_texts(g: Builder, tensor: TensorProto) -> Array:
    """The numbers of a constant's texts. Raises `InvalidModel`."""
    try:
        texts = numpy_helper.to_array(tensor)
        return g.text_numbers([str(text) for text in texts.reshape(-1).tolist()]).reshape(texts.shape)
    except (ValueError, TypeError) as error:
        raise InvalidModel(f"constant {tensor.name!r} cannot be read: {error}") from None


def held_type(name: str, number: int) -> tuple[DType, int]:
    """As `elements.held`, for the tensor `name`."""
    try:
        return elements.held(number)
    except Refuse as refusal:
        raise UnsupportedType(name, str(refusal)) from None
