"""
The inputs of a batch as the requester gives them: an array with one more dimension in front, or a file of ready images.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opml_dispute.engine.batch_tree import MOST_ITEMS
from opml_dispute.engine.segment import Placed, input_image
from opml_dispute.errors import OpmlError
from opml_dispute.operator.publishing import MAX_WHOLE_INPUT_BYTES
from opml_dispute.reading import Unreadable, read_bytes

_HEADER_BYTES = 1 << 16
"""The most header bytes of a NumPy file."""
_NUMPY_MAGIC = b"\x93NUMPY"


class BadBatch(OpmlError):
    """A file does not hold the inputs of a batch, or no batch can be made of them."""

    hint = "give 2 to 256 inputs of the model: an array of them (.npy), or their input images one behind the other"


def read_batch(file: Path, slots: Sequence[Placed], input_bytes: int) -> list[bytes]:
    """
    The input image of each item. Raises `BadBatch`.

    A NumPy array is for models of one input: its first dimension counts the items, the others are the input's, whose
    own leading 1 may be left out.
    """
    try:
        raw = read_bytes(file, max_bytes=MOST_ITEMS * input_bytes + _HEADER_BYTES)
    except Unreadable as error:
        raise BadBatch(f"cannot read the batch {file}: {error.reason}") from None
    if raw.startswith(_NUMPY_MAGIC):
        return _images_of_array(file, raw, slots)
    if input_bytes == 0 or len(raw) % input_bytes:
        raise BadBatch(f"{file} has {len(raw):,} bytes, and the input images of the model have {input_bytes:,} each")
    return [raw[at : at + input_bytes] for at in range(0, len(raw), input_bytes)]


def _images_of_array(file: Path, raw: bytes, slots: Sequence[Placed]) -> list[bytes]:
    if len(slots) != 1:
        raise BadBatch(f"{file} is one array, and the model takes {len(slots)} inputs")
    (slot,) = slots
    try:
        array = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise BadBatch(f"{file} cannot be read as a NumPy array") from None
    shape, wanted = tuple(array.shape[1:]), tuple(slot.shape)
    fits = shape == wanted or (wanted[:1] == (1,) and shape == wanted[1:])
    if array.ndim == 0 or not fits or array.dtype != slot.dtype.numpy:
        raise BadBatch(
            f"{file} holds {array.dtype} {list(array.shape)}, expected items of {slot.dtype.numpy} {list(wanted)}"
        )
    return [input_image(slots, {slot.name: item.reshape(wanted)}) for item in array]


def expect_batch(images: Sequence[bytes], fee_wei: int) -> None:
    """Refuses what the contract, or a node, would refuse. Raises `BadBatch`."""
    count, size = len(images), sum(map(len, images))
    if not 2 <= count <= MOST_ITEMS:
        raise BadBatch(f"the batch has {count} items; a batch has 2 to {MOST_ITEMS}")
    if size > MAX_WHOLE_INPUT_BYTES:
        raise BadBatch(
            f"the batch has {size:,} bytes, and at most {MAX_WHOLE_INPUT_BYTES:,} can be sent together",
            hint="ask in several batches",
        )
    if fee_wei % count:
        raise BadBatch(
            f"a fee of {fee_wei} wei cannot be shared by {count} items alike",
            hint=f"offer {fee_wei - fee_wei % count} or {fee_wei - fee_wei % count + count} wei",
        )
