"""
Inputs as the operator gives them: NumPy files, a sample of the package, or a ready image.

`read_inputs` turns `--input NAME=FILE` and `--sample N` into arrays; a number may stand for an input of one element. A
file's header is compared with what the model takes before anything is read, so that a wrong shape or type is reported,
and no file can use more memory than its tensor needs.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.segment import BadInput, Placed
from opml_dispute.models import digit_samples
from opml_dispute.reading import Unreadable, read_bytes

_HEADER_BYTES: Final = 1 << 16
"""The most header bytes of a NumPy file; usual ones have 128."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")
"""A number as it is typed."""

_HEADER_READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_inputs(slots: Sequence[Placed], inputs: Sequence[str], sample: int | None) -> dict[str, npt.NDArray[Any]]:
    """The validated arrays of all inputs. Raises `BadInput`."""
    if sample is not None:
        if inputs:
            raise BadInput("both --input and --sample were given", hint="give one of them")
        if len(slots) != 1:
            raise BadInput(f"--sample gives one image, but the model takes {len(slots)} inputs", hint="use --input")
        return {slots[0].name: _fitting(slots[0], digit_samples()[0][sample : sample + 1])}
    files: dict[str, str] = {}
    for text in inputs:
        name, file = _named(text, slots)
        if name in files:
            raise BadInput(f"--input {name} was given twice", hint="give each input once")
        files[name] = file
    missing = [slot.name for slot in slots if slot.name not in files]
    if missing:
        raise BadInput(f"no value for input {', '.join(missing)}", hint="give it with --input NAME=FILE.npy")
    return {slot.name: _typed(slot, files[slot.name]) for slot in slots}


def _typed(slot: Placed, text: str) -> npt.NDArray[Any]:
    """One tensor, from a file or, of one element, from its number. Raises `BadInput`."""
    if math.prod(slot.shape) != 1 or _NUMBER.fullmatch(text) is None or Path(text).exists():
        return _read(slot, text)
    kind = slot.dtype.numpy
    limits = np.iinfo(kind) if kind.kind in "iu" else None
    if limits is not None and (not text.lstrip("-").isdigit() or not limits.min <= int(text) <= limits.max):
        raise BadInput(
            f"input {slot.name} takes one {kind}, and {text} is none",
            hint=f"a whole number: {limits.min} to {limits.max}",
        )
    number = int(text) if limits is not None else float(text)
    return np.full(slot.shape, number, kind)


def _named(text: str, slots: Sequence[Placed]) -> tuple[str, str]:
    """The input that an `--input` names, and its file."""
    names = {slot.name for slot in slots}
    # The longest matching name is taken: both names and paths may contain an equals sign.
    for name in sorted(names, key=len, reverse=True):
        if text.startswith(name + "=") and len(text) > len(name) + 1:
            return name, text.removeprefix(name + "=")
    name, separator, _ = text.partition("=")
    if separator and not Path(text).exists():
        raise BadInput(f"the model has no input called {name!r}", hint=f"its inputs: {', '.join(sorted(names))}")
    if len(slots) != 1:
        raise BadInput(f"--input {text} names no input, and the model takes {len(slots)}", hint="write NAME=FILE")
    return slots[0].name, text


def _read(slot: Placed, file: str) -> npt.NDArray[Any]:
    """One tensor from a NumPy file. Raises `BadInput`."""
    size_bytes = math.prod(slot.shape) * slot.dtype.numpy.itemsize
    try:
        raw = io.BytesIO(read_bytes(Path(file), max_bytes=size_bytes + _HEADER_BYTES, cut=True))
    except Unreadable as error:
        raise BadInput(f"cannot read {file}: {error.reason}", hint="check the path") from None
    try:
        version = np.lib.format.read_magic(raw)
        read_header = _HEADER_READERS[version]
        shape, is_fortran, dtype = read_header(raw)
    except Exception as error:  # the header is Python text, and NumPy raises many kinds of errors for a bad one
        raise BadInput(f"{file} is not a NumPy array file", hint="make it with numpy.save") from error
    _expect_fitting(slot, tuple(shape), dtype)
    content = raw.read()
    if len(content) != size_bytes:
        raise BadInput(
            f"{file} does not hold the {size_bytes:,} bytes of data that its header promises",
            hint="make it again with numpy.save",
        )
    if dtype.kind == "V":  # NumPy itself has no bfloat16, and writes its elements as bytes
        dtype = slot.dtype.numpy
    array = np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")
    return np.ascontiguousarray(array.reshape(slot.shape), dtype=slot.dtype.numpy)


def _fitting(slot: Placed, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    _expect_fitting(slot, array.shape, array.dtype)
    return array.reshape(slot.shape)


def _expect_fitting(slot: Placed, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises `BadInput` unless an array of that shape and type is what the model takes."""
    wanted = slot.dtype.numpy
    is_bfloat16 = wanted.name == "bfloat16" and dtype == np.dtype("V2")
    if dtype.newbyteorder("=") != wanted and not is_bfloat16:
        raise BadInput(
            f"input {slot.name} has type {dtype}, but the model takes {wanted}",
            hint=f"convert it: array.astype({wanted.name!r})",
        )
    wanted_shape = tuple(slot.shape)
    if shape != wanted_shape and not (wanted_shape[:1] == (1,) and shape == wanted_shape[1:]):
        raise BadInput(
            f"input {slot.name} has shape {list(shape)}, but the model takes {list(slot.shape)}",
            hint="reshape it, or compile the model for that shape with --dim",
        )
