"""
Weights of large ONNX files, which stay in their files: they are mapped, and read when they are looked at.

Both weights inside a large ONNX file (`parse_apart`) and those in files beside it (`map_beside`) are replaced by empty
tensors of the same name and type, and answered as arrays by name. Only initializers of the graph itself are: those of
graphs inside it are few, and read as ever. `parse_apart` also takes out the long lists of the graph's nodes
(`long_lists`), of smaller files as well, since these are read at once.

WHY NOT for every file: a mapped file must not be written to while the program is in use (`engine.mapped_files`), which
a user of small models, exported again and again, would not expect.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, external_data_helper, helper

from opml_dispute.engine.mapped_files import give_back, map_file, map_opened
from opml_dispute.model.graph_ends import fields_of
from opml_dispute.model.long_lists import LEAST_LIST_BYTES, LongList, without_long_lists
from opml_dispute.model.refusals import ModelFileError
from opml_dispute.model.weights_beside import open_beside, place_beside

Array = npt.NDArray[Any]

LEAST_FILE_BYTES: Final = 64 << 20
"""Smaller files are read whole."""
LEAST_TENSOR_BYTES: Final = 1 << 20
"""Smaller weights of a large file are read like the rest of the model."""

_GRAPH: Final = 7
"""Field of a ModelProto."""
_NODE, _INITIALIZER = 1, 5
"""Fields of a GraphProto."""
_RAW_DATA: Final = 9
"""Field of a TensorProto."""

_MAPPED_TYPES: Final = frozenset(
    {
        TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL,
        TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
        TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
    }
)  # fmt: skip
"""Types whose elements lie side by side in whole bytes."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A model without what takes most room, and that."""

    model: onnx.ModelProto
    weights: dict[str, Array] = field(default_factory=dict)
    """Elements of the graph's initializers, by name."""
    lists: dict[str, Mapping[str, LongList]] = field(default_factory=dict)
    """By a node's first output, and by the attribute's name."""


def parse_apart(path: Path) -> Parts | None:
    """
    The model in a file, without its large weights if the file is large, and without its long lists; None if the file
    should be read whole.

    That is so for a small file without long lists, and for one that is not laid out as usual: whether it is a model at
    all is then found out by who parses it. Raises `OSError`.
    """
    size_bytes = path.stat().st_size
    if sys.byteorder != "little" or size_bytes < min(LEAST_FILE_BYTES, LEAST_LIST_BYTES):
        return None
    maps = size_bytes >= LEAST_FILE_BYTES
    data = map_file(path) if maps else np.frombuffer(path.read_bytes(), np.uint8)
    try:
        parts = _apart(data, maps=maps)
    except (ValueError, IndexError, DecodeError):
        return None
    return parts if parts is not None and (maps or parts.lists) else None


def _apart(data: npt.NDArray[np.uint8], *, maps: bool) -> Parts | None:
    """As `parse_apart`; raises `ValueError`, `IndexError` or `DecodeError` for what is no model."""
    view = memoryview(data)  # type: ignore[arg-type]  # numpy's arrays are buffers
    graphs = [found for found in fields_of(view, 0, len(view)) if found[0] == _GRAPH]
    if len(graphs) != 1:
        return None
    _, begin, start, end = graphs[0]
    parts = Parts(onnx.ModelProto())
    parts.model.ParseFromString(bytes(view[:begin]) + bytes(view[end:]))
    graph, done = parts.model.graph, start
    for number, begin, first, last in fields_of(view, start, end):
        if number == _NODE and last - first >= LEAST_LIST_BYTES:
            node, lists = without_long_lists(data, first, last)
            if not lists or not node.output or not node.output[0] or node.output[0] in parts.lists:
                continue
            graph.MergeFromString(bytes(view[done:begin]))
            graph.node.append(node)
            parts.lists[node.output[0]] = lists
            give_back(data[first:last])
            done = last
        elif maps and number == _INITIALIZER and last - first >= LEAST_TENSOR_BYTES:
            tensor, raw = _without_raw(view, first, last)
            array = None if raw is None else _as_array(data, tensor, *raw)
            if array is None or tensor.name in parts.weights:
                continue
            graph.MergeFromString(bytes(view[done:begin]))
            graph.initializer.append(_placeholder(tensor))
            parts.weights[tensor.name] = array
            done = last
    graph.MergeFromString(bytes(view[done:end]))
    return parts


def map_beside(model: onnx.ModelProto, beside: Path) -> dict[str, Array]:
    """
    Takes the large weights that lie in large files beside the model's own, `beside`, out of the model; answers them by
    name. Raises as `weights_beside.place_beside` and `open_beside`, and `ModelFileError` for a file that is too short.
    """
    arrays: dict[str, Array] = {}
    files: dict[Path, npt.NDArray[np.uint8] | None] = {}
    for tensor in model.graph.initializer:
        if not external_data_helper.uses_external_data(tensor) or tensor.name in arrays:
            continue
        size_bytes = _size_bytes(tensor)
        if sys.byteorder != "little" or size_bytes is None or size_bytes < LEAST_TENSOR_BYTES:
            continue
        path, place = place_beside(tensor, beside)
        if path not in files:
            files[path] = _mapped_if_large(path, beside)
        data = files[path]
        if data is None:
            continue
        offset = place.offset or 0
        length = data.size - offset if place.length is None else place.length
        if length != size_bytes or offset + length > data.size:
            raise ModelFileError(
                f"{path} has {data.size:,} bytes; the tensor {tensor.name!r} of {size_bytes:,} bytes "
                f"was expected at {offset:,}, in {length:,}"
            )
        array = _as_array(data, tensor, offset, offset + length)
        if array is not None:
            arrays[tensor.name] = array
            tensor.CopyFrom(_placeholder(tensor))
    return arrays


def _mapped_if_large(path: Path, beside: Path) -> npt.NDArray[np.uint8] | None:
    """Raises as `weights_beside.open_beside`."""
    file = open_beside(path, beside)
    if os.fstat(file.fileno()).st_size < LEAST_FILE_BYTES:
        file.close()
        return None
    return map_opened(file, path)


def _without_raw(view: memoryview, first: int, last: int) -> tuple[TensorProto, tuple[int, int] | None]:
    """A tensor without its raw data, and where these lie; None if they are not in one piece."""
    raw = [(begin, start, end) for number, begin, start, end in fields_of(view, first, last) if number == _RAW_DATA]
    tensor = TensorProto()
    if len(raw) != 1:
        return tensor, None
    begin, start, end = raw[0]
    tensor.ParseFromString(bytes(view[first:begin]) + bytes(view[end:last]))
    return tensor, None if external_data_helper.uses_external_data(tensor) else (start, end)


def _as_array(data: npt.NDArray[np.uint8], tensor: TensorProto, start: int, end: int) -> Array | None:
    """The tensor whose elements are bytes [start, end) of `data`; None where that is not how it is stored."""
    if end - start != _size_bytes(tensor) or tensor.HasField("segment"):
        return None
    return data[start:end].view(helper.tensor_dtype_to_np_dtype(tensor.data_type)).reshape(tuple(tensor.dims))


def _size_bytes(tensor: TensorProto) -> int | None:
    """Bytes of its elements; None for a type that is not mapped, or sizes that no tensor has."""
    if tensor.data_type not in _MAPPED_TYPES or any(size < 0 for size in tensor.dims):
        return None
    item_bytes: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(prod(tensor.dims)) * item_bytes


def _placeholder(tensor: TensorProto) -> TensorProto:
    """What stands in the model for a mapped tensor: its name and type, and no elements."""
    return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0])
