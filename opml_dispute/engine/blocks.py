"""Sizes of the blocks in which weights are quantised (native/program/block_formats.h has the same)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ACTIVATION_HEAD: Final = 4
"""Bytes before the elements in a block of quantised activations: its scale."""

BLOCK_SIZES: Final[Mapping[int, tuple[int, int]]] = {
    2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    12: (256, 144), 13: (256, 176), 14: (256, 210), 100: (32, 24), 101: (32, 40),
}  # fmt: skip
"""Elements and bytes of a block, by the format's number."""


def block_elements(number: int) -> int:
    """Elements of a block of format `number`. Raises `KeyError` for a number that names none."""
    return BLOCK_SIZES[number][0]
