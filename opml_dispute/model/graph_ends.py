"""
The names of an ONNX graph's inputs and outputs, without reading its weights: `graph_ends`; and the places of a
message's fields: `fields_of`.

A file of gigabytes is mapped, and only the lengths of its fields are looked at. What a name stands for is `onnx_file`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opml_dispute.engine.mapped_files import map_file, unchanged

_GRAPH: Final = 7
"""Field of a ModelProto."""
_INITIALIZER, _INPUT, _OUTPUT, _SPARSE_INITIALIZER = 5, 11, 12, 15
"""Fields of a GraphProto."""
_VALUE_NAME: Final = 1
_TENSOR_NAME: Final = 8
_SPARSE_VALUES: Final = 1
_LENGTH_DELIMITED: Final = 2
_MOST_FIELDS: Final = 1 << 22
"""Of one message: beyond any model, and looked through in some seconds."""
_FIXED: Final = {1: 8, 5: 4}
"""Bytes of a field, by wire type."""


@dataclass(frozen=True)
class GraphEnds:
    """What goes into a graph and comes out of it, by name."""

    inputs: tuple[str, ...]
    """Without those that have a value in the file."""
    outputs: tuple[str, ...]


def graph_ends(path: Path) -> GraphEnds | None:
    """None for what is no ONNX file, or cannot be read. Raises `FileChanged` for one that is written to meanwhile."""
    try:
        if not path.is_file():
            return None
        with unchanged():
            return _ends(map_file(path).data)
    except (OSError, ValueError, IndexError):
        return None


def _ends(data: memoryview) -> GraphEnds | None:
    ends: dict[int, list[str]] = {_INPUT: [], _OUTPUT: [], _INITIALIZER: [], _SPARSE_INITIALIZER: []}
    found = False
    for number, _, start, end in fields_of(data, 0, len(data)):
        if number != _GRAPH:
            continue
        found = True
        for part, _, first, last in fields_of(data, start, end):
            if part == _SPARSE_INITIALIZER:
                for piece, _, begin, close in fields_of(data, first, last):
                    if piece == _SPARSE_VALUES:
                        ends[part].append(_name(data, begin, close, _TENSOR_NAME))
            elif part in ends:
                ends[part].append(_name(data, first, last, _TENSOR_NAME if part == _INITIALIZER else _VALUE_NAME))
    given = {*ends[_INITIALIZER], *ends[_SPARSE_INITIALIZER]}
    inputs = tuple(name for name in ends[_INPUT] if name not in given)
    return GraphEnds(inputs, tuple(ends[_OUTPUT])) if found else None


def _name(data: memoryview, start: int, end: int, field: int) -> str:
    for number, _, first, last in fields_of(data, start, end):
        if number == field:
            return bytes(data[first:last]).decode("utf-8", "replace")
    return ""


def fields_of(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """
    Each length-delimited field of a message: its number, where it begins, and the place of its content.

    Raises `ValueError` or `IndexError` for what is no message.
    """
    at = start
    for _ in range(_MOST_FIELDS):
        if at >= end:
            return
        begin = at
        tag, at = _varint(data, at)
        kind = tag & 7
        if not tag >> 3:
            raise ValueError("a field without a number, as in a file of zeros")
        if kind == _LENGTH_DELIMITED:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("a field that is longer than its message")
            yield tag >> 3, begin, at, at + size
            at += size
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind == 0:
            _, at = _varint(data, at)
        else:
            raise ValueError("no protocol buffer")
    raise ValueError("more fields than a graph has")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number and the place behind it. Raises `IndexError` at the file's end, `ValueError` if it does not end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
