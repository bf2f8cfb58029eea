"""
A part of an output, with its proof against the root of the OUTPUT section, as the chain checks it.

Source: docs/game.md, "Outputs by root"; contracts/src/oracle/SegmentRoots.sol, `outputRootWith`.
"""

from __future__ import annotations

from dataclasses import dataclass

from opml_dispute.engine.hashing import LEAF_LOG2, hash_pair, merkle_root, zero_root
from opml_dispute.engine.merkle import root_from_proof
from opml_dispute.engine.segment import OUTPUT
from opml_dispute.primitives import Hash32


@dataclass(frozen=True, slots=True)
class OutputPart:
    """The bytes of one subtree of the OUTPUT section, and what leads from it to the section's root."""

    offset: int
    """From the section's beginning, a multiple of 2^log2_size."""
    log2_size: int
    content: bytes
    """Cut at the end of the output image; zeros follow."""
    siblings: tuple[Hash32, ...]
    """Lowest first, one a level up to the section's root."""

    @property
    def root(self) -> Hash32:
        """The root of the OUTPUT section."""
        return root_from_proof(merkle_root(self.content, self.log2_size), self.offset, self.log2_size, self.siblings)


def output_part(image: bytes, offset: int, size_bytes: int) -> OutputPart:
    """
    The least subtree of the section that holds `size_bytes` bytes at `offset`, all of them in the image.

    >>> part = output_part(bytes(range(200)), 90, 10)
    >>> part.offset, part.log2_size, len(part.content), len(part.siblings)
    (64, 6, 64, 30)
    """
    last = offset + size_bytes - 1
    log2_size = max(LEAF_LOG2, (offset ^ last).bit_length())
    begin = offset >> log2_size << log2_size
    # One pass over the image: its subtrees of the part's size, then those above, and zeros beside them.
    size = 1 << log2_size
    row = [merkle_root(image[at : at + size], log2_size) for at in range(0, len(image), size)]
    siblings: list[Hash32] = []
    index = begin >> log2_size
    for level in range(log2_size, OUTPUT.log2_size):
        beside = index ^ 1
        siblings.append(row[beside] if beside < len(row) else zero_root(level))
        row += [zero_root(level)] * (len(row) % 2)
        row = [hash_pair(row[at], row[at + 1]) for at in range(0, len(row), 2)]
        index >>= 1
    return OutputPart(begin, log2_size, image[begin : begin + size], tuple(siblings))
