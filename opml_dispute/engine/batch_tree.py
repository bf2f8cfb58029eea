"""
The Merkle tree over the items of a batch: of their segments, or of their inputs, side by side.

`batch_root` is the root that the chain computes as well (contracts/src/oracle/BatchTree.sol), `siblings_of` what leads
to it from one item. Source: docs/segment.md, "Batches".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opml_dispute.engine.hashing import hash_pair, merkle_root, zero_root
from opml_dispute.primitives import Hash32

MOST_ITEMS: Final = 256
"""A batch has 2 to this many items."""

INPUT_LOG2: Final = 36
"""Of the INPUT section."""


def room_log2(item_count: int) -> int:
    """
    Log2 of the number of items that a batch of `item_count` has room for.

    >>> [room_log2(count) for count in (1, 2, 3, 64, 65)]
    [0, 1, 2, 6, 7]
    """
    return (item_count - 1).bit_length()


def batch_root(roots: Sequence[bytes], level: int) -> Hash32:
    """The root of subtrees of 2^level bytes side by side, then zeros up to a power of two of them."""
    return Hash32(_levels(roots, level)[-1][0])


def siblings_of(item: int, roots: Sequence[bytes], level: int) -> list[bytes]:
    """What stands beside an item's root on the way up to `batch_root`, lowest first."""
    found = []
    for number, row in enumerate(_levels(roots, level)[:-1]):
        beside = (item >> number) ^ 1
        found.append(row[beside] if beside < len(row) else zero_root(level + number))
    return found


def _levels(roots: Sequence[bytes], level: int) -> list[list[bytes]]:
    """The roots of each level, lowest first; the last level has one. What a level lacks are zeros."""
    levels = [list(roots)]
    while len(levels[-1]) > 1:
        row = levels[-1] + [zero_root(level + len(levels) - 1)] * (len(levels[-1]) % 2)
        levels.append([hash_pair(row[at], row[at + 1]) for at in range(0, len(row), 2)])
    return levels


def item_images(image: bytes, item_count: int) -> list[bytes]:
    """The input images of a batch's items, given one behind the other."""
    size = len(image) // item_count
    return [image[item * size : (item + 1) * size] for item in range(item_count)]


def input_root_of(image: bytes, item_count: int) -> Hash32:
    """The input root of a request: of its image, or of its items' INPUT sections side by side."""
    if item_count == 1:
        return merkle_root(image, INPUT_LOG2)
    return batch_root([merkle_root(each, INPUT_LOG2) for each in item_images(image, item_count)], INPUT_LOG2)
