"""
Safetensors files: a length, a JSON header of that length, and the tensors, which stay in the mapped file.

The tensors follow one another and fill the rest of the file, as the format has it. A file with a gap, or with a tensor
in the place of another, was damaged, or means something else to another reader.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Final

from opml_dispute import plain_json
from opml_dispute.engine.mapped_files import unchanged
from opml_dispute.generation.checkpoint import Weight
from opml_dispute.generation.gguf_file import mapped
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.model.tensor import Array

_MAX_HEADER_BYTES: Final = 1 << 27
_TYPES: Final = {"F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("bfloat16", 2)}


def read_safetensors(path: Path) -> dict[str, Weight]:
    """A safetensors file's tensors, mapped. Raises `BadModelFile`, `UnsupportedLanguageModel`, `FileChanged`."""
    with unchanged():
        return _read(path, mapped(path))


def _read(path: Path, data: Array) -> dict[str, Weight]:

    def damaged(reason: str) -> BadModelFile:
        return BadModelFile(f"{path} ({data.size:,} bytes) is cut short or damaged: {reason}")

    if data.size < 8:
        raise damaged("it has no header")
    (size,) = struct.unpack("<Q", data[:8].tobytes())
    if size > min(data.size - 8, _MAX_HEADER_BYTES):
        raise damaged(f"it ends within its header of {size:,} bytes")
    try:
        header = plain_json.loads(data[8 : 8 + size].tobytes().decode())
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise damaged(f"its header is not JSON: {reason}") from None
    if not isinstance(header, dict):
        raise damaged("its header is no object")
    header.pop("__metadata__", None)
    body = data[8 + size :]
    tensors: dict[str, Weight] = {}
    places: list[tuple[int, int, str]] = []
    for name, facts in header.items():
        try:
            encoding, shape, (start, end) = facts["dtype"], tuple(facts["shape"]), facts["data_offsets"]
            sizes_hold = all(type(n) is int and 0 < n < 1 << 40 for n in shape) and type(start) is type(end) is int
        except (TypeError, KeyError, ValueError):
            raise damaged(f"tensor {name[:80]!r} is not described by type, shape and place") from None
        if not isinstance(encoding, str) or encoding not in _TYPES:
            raise UnsupportedLanguageModel(
                f"tensor {name[:80]!r} has the type {str(encoding)[:20]!r}; known are {', '.join(_TYPES)}"
            )
        if not sizes_hold or not 0 <= start <= end <= body.size or end - start != prod(shape) * _TYPES[encoding][1]:
            place = f"{str(start)[:20]} to {str(end)[:20]}"
            raise damaged(f"tensor {name[:80]!r} of shape {str(list(shape)[:8])[:80]} does not lie in bytes {place}")
        tensors[name] = Weight(name, encoding, shape, _elements(body[start:end], encoding, shape))
        places.append((start, end, name))
    if gap := _gap(places, body.size):
        raise damaged(gap)
    return tensors


def _gap(places: Iterable[tuple[int, int, str]], size: int) -> str | None:
    """Where the tensors do not follow one another up to the end; None if they do."""
    done = 0
    for start, end, name in sorted(places):
        if start != done:
            return f"tensor {name[:80]!r} begins at byte {start:,} and the one before it ends at {done:,}"
        done = end
    return None if done == size else f"{size - done:,} bytes behind its tensors belong to none"


def _elements(raw: Array, encoding: str, shape: tuple[int, ...]) -> Array:
    kind = _TYPES[encoding][0]
    if kind == "bfloat16":
        import ml_dtypes

        narrow: Array = raw.view("<u2").view(ml_dtypes.bfloat16).reshape(shape)
        return narrow
    elements: Array = raw.view(kind).reshape(shape)
    return elements
