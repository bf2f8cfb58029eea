"""
A tensor, for people: its type, shape and place, the range of its values, the first of them, and a picture.

`picture_of` draws what looks like images (the last two dimensions are height and width) as a PNG, planes side by side;
a short row of numbers becomes bars instead. Values are those of our own run; of what others claim only hashes are
known.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_READ_BYTES: Final = 1 << 20
"""Of a larger tensor only the shape is shown."""
_SIDES: Final = range(4, 513)
_SIDES_OF_COLOURS: Final = range(16, 513)
"""Where colours are the last dimension: many small planes of a layer, 24 x 4 x 4, are no image."""
_MAX_PLANES: Final = 16
_MAX_BARS: Final = 32
_SHOWN: Final = 6


@dataclass(frozen=True)
class TensorView:
    """One tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    section: str
    """The part of the segment that it lies in."""
    size_bytes: int
    summary: str = ""
    """The range of its values."""
    first: str = ""
    """The first values."""
    picture: str | None = None
    """A PNG as a data URI."""
    picture_size: tuple[int, int] = (0, 0)
    """Width and height of the picture, in pixels."""
    bars: tuple[tuple[str, float, bool], ...] = ()
    """For a short row of numbers: value in words, part of the longest bar, and whether it is the greatest."""

    @property
    def shape_words(self) -> str:
        """The shape, as people write it."""
        return " × ".join(f"{size:,}" for size in self.shape) or "scalar"


def view_tensor(
    name: str, dtype: str, shape: Sequence[int], section: str, size_bytes: int, values: Array | None
) -> TensorView:
    """What is shown of a tensor; without `values` only what its record says."""
    plain = TensorView(name, dtype, tuple(shape), section, size_bytes)
    if values is None or values.size == 0:
        return plain
    flat = _as_floats(values).reshape(-1)
    finite = flat[np.isfinite(flat)]
    summary = f"{_number(finite.min())} to {_number(finite.max())}" if finite.size else "no finite value"
    if finite.size < flat.size:
        summary += f", {flat.size - finite.size:,} not finite"
    first = ", ".join(_number(value) for value in flat[:_SHOWN]) + (", …" if flat.size > _SHOWN else "")
    drawn = picture_of(values)
    uri, size = (None, (0, 0)) if drawn is None else drawn
    bars = _bars(flat) if uri is None and 2 <= flat.size <= _MAX_BARS else ()
    return TensorView(name, dtype, tuple(shape), section, size_bytes, summary, first, uri, size, bars)


def picture_of(values: Array) -> tuple[str, tuple[int, int]] | None:
    """A PNG as a data URI with its width and height; None for what does not look like images."""
    if values.ndim < 2:
        return None
    array = _as_floats(values)
    if array.ndim >= 3 and array.shape[-1] in (3, 4) and {*array.shape[-3:-1]} <= {*_SIDES_OF_COLOURS}:
        return _png(_stretched(array.reshape(-1, *array.shape[-3:])[0][..., :3]))
    height, width = array.shape[-2:]
    if height not in _SIDES or width not in _SIDES:
        return None
    planes = array.reshape(-1, height, width)
    if len(planes) == 3 and array.ndim >= 3 and array.shape[-3] == 3:
        return _png(_stretched(planes.transpose(1, 2, 0)))
    planes = planes[:_MAX_PLANES]
    gap = max(1, width // 16)
    sheet = np.full((height, len(planes) * (width + gap) - gap), 255, np.uint8)
    grey = _stretched(planes)
    for index, plane in enumerate(grey):
        sheet[:, index * (width + gap) : index * (width + gap) + width] = plane
    return _png(sheet)


def _as_floats(values: Array) -> npt.NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return values.astype(np.float64)


def _stretched(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Values as shades from 0 (the least) to 255 (the greatest); what is not finite is black."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    # Halves, since the whole width of binary64 does not fit into it.
    span = high / 2 - low / 2
    scaled = np.where(np.isfinite(values), (values / 2 - low / 2) / span if span > 0 else 0.0, 0.0)
    return np.clip(np.round(255 * scaled), 0, 255).astype(np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> tuple[str, tuple[int, int]]:
    """[height][width] shades, or [height][width][3] colours."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    colour_type = 2 if pixels.ndim == 3 else 0
    content = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
        + _chunk(b"IDAT", zlib.compress(raw, 6))
        + _chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(content).decode(), (width, height)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bars(flat: npt.NDArray[np.float64]) -> tuple[tuple[str, float, bool], ...]:
    if not np.isfinite(flat).all():
        return ()
    longest = float(np.abs(flat).max())
    greatest = int(flat.argmax())
    return tuple(
        (_number(value), abs(float(value)) / longest if longest else 0.0, index == greatest)
        for index, value in enumerate(flat)
    )


def _number(value: float) -> str:
    """Four digits that count; whole numbers whole."""
    number = float(value)
    if math.isfinite(number) and number == int(number) and abs(number) < 1e9:
        return f"{int(number)}"
    return f"{number:.4g}"
