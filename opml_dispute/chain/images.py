"""
Inputs as the chain takes them: an image of the INPUT section.

`slots_of` and `slots_from_json` say what a model wants and where each tensor lies, from its program or from its
registration; `image_of` lays arrays out there, big-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.errors import OpmlError
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import TensorSpec


class BadInput(OpmlError):
    """An input that cannot be read, or is not what the model takes."""


@dataclass(frozen=True)
class Slot:
    """What the model wants for one input."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    """Bytes from the start of the input image."""


def slots_of(specs: Sequence[TensorSpec]) -> list[Slot]:
    """The inputs, or outputs, of a program."""
    base = min((spec.offset for spec in specs), default=0)
    return [Slot(spec.name, spec.dtype, tuple(spec.shape), spec.offset - base) for spec in specs]


def slots_from_json(text: str) -> list[Slot]:
    """The inputs, or outputs, as a registration describes them. Raises `BadInput`."""
    try:
        return [Slot(s["name"], DType[s["dtype"]], tuple(s["shape"]), int(s["offset"])) for s in json.loads(text)]
    except (ValueError, KeyError, TypeError):
        raise BadInput(
            "the registered model does not describe its inputs in a way we can read",
            hint="give a ready input image with --input-image FILE",
        ) from None


def image_of(slots: Sequence[Slot], arrays: Mapping[str, npt.NDArray[Any]], size_bytes: int) -> bytes:
    """The INPUT section's content from offset 0: big-endian tensors at their places."""
    image = bytearray(size_bytes)
    for slot in slots:
        array = np.ascontiguousarray(arrays[slot.name])
        words = array.view(f"u{array.dtype.itemsize}").astype(f">u{array.dtype.itemsize}").tobytes()
        image[slot.offset : slot.offset + len(words)] = words
    return bytes(image)
