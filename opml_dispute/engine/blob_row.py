"""
The row of words by which an input is published in blobs.

An image's leaves, 32 bytes each, are followed by the roots of its subtrees of 2^10, 2^15, 2^20, … bytes, until a level
has one root only. Every word above the leaves is then the root over at most 32 neighbours, and whatever is wrong in a
row is wrong in one such group (docs/game.md, "Inputs in blobs").

1. `RowShape` says where which word is, and what it commits to.
2. `row_of` makes the row of an image, `blobs_of` its blobs.
3. `read_blobs` reads blobs that others made; `image_in` gives their leaves, and `fault_in` a group that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from opml_dispute.engine.hashing import hash_pair, merkle_root, zero_root
from opml_dispute.primitives import Hash32

WORD_BYTES: Final = 32
ELEMENT_BYTES: Final = 31
"""Bytes of the row in a field element, behind one zero."""
ELEMENTS_PER_BLOB: Final = 4096
BLOB_BYTES: Final = 32 * ELEMENTS_PER_BLOB
MAX_BLOBS: Final = 1024
"""Of one publication."""

_GROUP: Final = 32
_LOG2_GROUP: Final = 5
_LOG2_INPUT: Final = 36


@dataclass(frozen=True)
class WordGroup:
    """Neighbours of one level of a row, and what is above them."""

    first: int
    """The place of the first in the row."""
    count: int
    """1 to 32."""
    log2_size: int
    """Each is the root of 2^log2_size bytes."""
    log2_above: int
    """The word above them is the root of 2^log2_above bytes."""
    is_top: bool
    """Whether it is the input root, which is not in the row."""


@dataclass(frozen=True)
class RowShape:
    """The places of words, elements and blobs in the row of an image with this many leaves."""

    leaf_count: int
    """At least 1."""

    @classmethod
    def of(cls, size_bytes: int) -> RowShape:
        """For an image of this size; an empty one has one leaf of zeros."""
        return cls(max(1, -(-size_bytes // WORD_BYTES)))

    @cached_property
    def levels(self) -> tuple[tuple[int, int, int], ...]:
        """The place of a level's first word, the number of its words, and the log2 of the bytes that each is of."""
        found = [(0, self.leaf_count, 5)]
        while found[-1][1] > 1:
            first, count, log2_size = found[-1]
            found.append((first + count, -(-count // _GROUP), log2_size + _LOG2_GROUP))
        return tuple(found)

    @property
    def word_count(self) -> int:
        """Words in the row."""
        first, count, _ = self.levels[-1]
        return first + count

    @property
    def element_count(self) -> int:
        """Field elements that hold a part of the row."""
        return -(-self.word_count * WORD_BYTES // ELEMENT_BYTES)

    @property
    def blob_count(self) -> int:
        """Blobs that the row takes."""
        return -(-self.element_count // ELEMENTS_PER_BLOB)

    def group_under(self, word: int) -> WordGroup:
        """What a word above the leaves commits to; the place after the last word stands for the input root."""
        if word == self.word_count:
            first, count, log2_size = self.levels[-1]
            return WordGroup(first, count, log2_size, _LOG2_INPUT, is_top=True)
        for (first, count, log2_size), (above, count_above, log2_above) in zip(
            self.levels, self.levels[1:], strict=False
        ):
            if above <= word < above + count_above:
                skipped = _GROUP * (word - above)
                return WordGroup(first + skipped, min(_GROUP, count - skipped), log2_size, log2_above, is_top=False)
        raise IndexError(f"word {word} is none above {self.leaf_count} leaves")

    def word_above(self, word: int) -> int:
        """The place of the word that commits to this one."""
        for first, count, _ in self.levels:
            if word < first + count:
                return first + count + (word - first) // _GROUP
        raise IndexError(f"word {word} is not in a row of {self.word_count}")

    def elements_of(self, word: int, count: int = 1) -> range:
        """The elements that hold a part of these words."""
        return range(word * WORD_BYTES // ELEMENT_BYTES, ((word + count) * WORD_BYTES - 1) // ELEMENT_BYTES + 1)

    def elements_for(self, word: int) -> list[int]:
        """The elements that a refutation of this word opens: of its group, then of the word itself."""
        group = self.group_under(word)
        above = range(0) if group.is_top else self.elements_of(word)
        return [*self.elements_of(group.first, group.count), *above]


def row_of(image: bytes) -> bytes:
    """The row of an image."""
    shape = RowShape.of(len(image))
    parts = [image.ljust(shape.leaf_count * WORD_BYTES, b"\0")]
    for _, _, log2_size in shape.levels[1:]:
        size = 1 << log2_size
        parts += [merkle_root(image[at : at + size], log2_size) for at in range(0, len(image), size)]
    return b"".join(parts)


def blobs_of(image: bytes) -> list[bytes]:
    """The blobs that hold the row of an image."""
    return pack(row_of(image))


def pack(row: bytes) -> list[bytes]:
    """The blobs of a row: 31 bytes an element, behind a zero."""
    per_blob = ELEMENT_BYTES * ELEMENTS_PER_BLOB
    blobs = []
    for at in range(0, len(row), per_blob):
        part = row[at : at + per_blob]
        elements = [b"\0" + part[i : i + ELEMENT_BYTES] for i in range(0, len(part), ELEMENT_BYTES)]
        blobs.append(b"".join(elements).ljust(BLOB_BYTES, b"\0"))
    return blobs


@dataclass(frozen=True)
class ReadRow:
    """What the blobs of a publication hold."""

    shape: RowShape
    row: bytes
    odd_element: int | None
    """The first element that begins with another byte than zero; None if there is none."""

    def words(self, first: int, count: int) -> list[bytes]:
        """Neighbours in the row."""
        return [self.row[at * WORD_BYTES : (at + 1) * WORD_BYTES] for at in range(first, first + count)]


def read_blobs(blobs: Sequence[bytes], shape: RowShape) -> ReadRow:
    """Reads all blobs of a publication, `shape.blob_count` of BLOB_BYTES each."""
    content = b"".join(blobs)
    count = shape.element_count
    heads = content[0 : 32 * count : 32]
    odd = next((element for element, head in enumerate(heads) if head), None) if any(heads) else None
    row = b"".join(content[32 * e + 1 : 32 * e + 32] for e in range(count))
    return ReadRow(shape, row[: shape.word_count * WORD_BYTES], odd)


def image_in(read: ReadRow) -> bytes:
    """The image that the leaves of a row are, whatever the words above them say; zeros fill its last leaf."""
    return read.row[: read.shape.leaf_count * WORD_BYTES]


def fault_in(read: ReadRow, input_root: bytes) -> int | None:
    """
    The place of a word that refutes the row; None if the row is right.

    It is a word above the leaves that is not the root over its group, or the place after the last word if that one does
    not lead to `input_root`, or a word whose group or which itself lies in an element that begins with another byte
    than zero.
    """
    shape = read.shape
    if read.odd_element is not None:
        return shape.word_above(read.odd_element * ELEMENT_BYTES // WORD_BYTES)
    for word in range(shape.leaf_count, shape.word_count + 1):
        group = shape.group_under(word)
        expected = input_root if group.is_top else read.words(word, 1)[0]
        if root_over(read.words(group.first, group.count), group) != expected:
            return word
    return None


def root_over(words: Sequence[bytes], group: WordGroup) -> Hash32:
    """The root over a group's words, with zeros behind them."""
    if group.log2_size == _LOG2_GROUP:
        return merkle_root(b"".join(words), group.log2_above)
    level = [Hash32(word) for word in words]
    for log2_size in range(group.log2_size, group.log2_above):
        if len(level) % 2:
            level.append(zero_root(log2_size))
        level = [hash_pair(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]
