"""
Long lists of an ONNX file's attributes, read straight from the file's bytes into arrays: `without_long_lists`.

A million nodes of trees are a dozen lists with a million entries each. As protocol buffers they take many times their
bytes in memory, and ONNX's checker copies them again. So they are left out of the node that is parsed, and handed on
beside it. Only what is laid out in the one usual way is read here: entries of one list that follow each other, one tag
each, or all in one packed field. Everything else is left to the parser of everything.

Source: https://protobuf.dev/programming-guides/encoding/ and the field numbers of onnx.proto's AttributeProto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from opml_dispute.engine.mapped_files import expect_unchanged, give_back, mappings_of
from opml_dispute.model.graph_ends import fields_of

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

BY_NODE: Final = ("nodes_", "target_", "class_", "leaf_")
"""How the names of lists begin that have an element for each node of a tree, or each weight: these become arrays."""
LEAST_LIST_BYTES: Final = 1 << 20
"""Shorter lists are read like the rest of the model."""

_NOT_LOOKED_AT: Final = "nodes_hitrates"
"""How often a branch was taken in training says nothing about results."""

_ATTRIBUTE: Final = 5
"""Field of a NodeProto."""
_NAME: Final = 1
_FLOATS, _INTS, _STRINGS = 7, 8, 9
"""Fields of an AttributeProto, like the one before."""
_PACKED_FLOATS, _PACKED_INTS = 0x3A, 0x42
_FLOAT, _INT, _STRING = 0x3D, 0x40, 0x4A
"""What one entry of a list begins with: the field's number times eight, and the wire type."""
_CHUNK_BYTES: Final = 1 << 20
"""Of a list that are looked at together, so that what is computed of them stays small."""
_MOST_VARINT_BYTES: Final = 10
_MOST_ENTRY_BYTES: Final = 2 + 0x7F
"""Of a text whose length has one byte, with its tag."""
_MOST_WORDS: Final = 16
"""Different texts of a list: names of modes, of which there are seven."""


class NotUsual(ValueError):
    """The bytes are laid out in another way than is read here."""


@dataclass(frozen=True, slots=True)
class Words:
    """A list of texts, most of them equal: entry i is `words[codes[i]]`."""

    codes: npt.NDArray[np.uint8]
    words: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.codes.size)

    def __iter__(self) -> Iterator[str]:
        return (self.words[code] for code in self.codes.tolist())


Listed = Array | Words
"""Numbers: f32, or the narrowest signed integers that hold them; or texts."""


class LongList:
    """
    The entries of a list, which its first reader takes away: they are gone as soon as nothing needs them any more.

    They are read from the file again for any other.
    """

    def __init__(self, values: Listed, again: Callable[[], Listed]) -> None:
        self._values: Listed | None = values
        self._again = again
        self._count = len(values)

    def __len__(self) -> int:
        return self._count

    def take(self) -> Listed:
        """The entries. Raises `FileChanged` if they are read again, and the file was written to."""
        values, self._values = self._values, None
        return self._again() if values is None else values


def without_long_lists(data: Bytes, start: int, end: int) -> tuple[onnx.NodeProto, dict[str, LongList]]:
    """
    The node in bytes [start, end), its long lists left empty, and these by the attribute's name.

    Raises `ValueError` or `IndexError` for what is no node, and `DecodeError`.
    """
    view = memoryview(data)  # type: ignore[arg-type]  # numpy's arrays are buffers
    node, lists, done = onnx.NodeProto(), dict[str, LongList](), start
    for number, begin, first, last in fields_of(view, start, end):
        if number != _ATTRIBUTE or last - first < LEAST_LIST_BYTES:
            continue
        try:
            attribute, values = _without_list(data, view, first, last)
        except NotUsual:
            continue
        if attribute.name in lists:
            continue
        node.MergeFromString(bytes(view[done:begin]))
        node.attribute.append(attribute)
        if attribute.name == _NOT_LOOKED_AT:
            values = np.zeros(0, np.float32)
        lists[attribute.name] = LongList(values, partial(_list_again, data, first, last))
        del values
        give_back(data[first:last])
        done = last
    node.MergeFromString(bytes(view[done:end]))
    return node, lists


def _list_again(data: Bytes, first: int, last: int) -> Listed:
    mappings = mappings_of([data])
    expect_unchanged(mappings)
    _, values = _without_list(data, memoryview(data), first, last)  # type: ignore[arg-type]  # as above
    expect_unchanged(mappings)
    give_back(data[first:last])
    return values


def _without_list(data: Bytes, view: memoryview, first: int, last: int) -> tuple[onnx.AttributeProto, Listed]:
    """An attribute without the entries of its list, and these."""
    begin = _end_of_name(view, first, last)
    tag = int(data[begin])
    values: Listed
    if tag == _INT:
        values, end = _integers(data, begin, last)
    elif tag == _FLOAT:
        values, end = _floats(data, begin, last)
    elif tag == _STRING:
        values, end = _texts(data, begin, last)
    elif tag in (_PACKED_FLOATS, _PACKED_INTS):
        _, _, place, end = next(fields_of(view, begin, last))
        values = _packed(data, place, end, is_real=tag == _PACKED_FLOATS)
    else:
        raise NotUsual
    attribute = onnx.AttributeProto()
    attribute.ParseFromString(bytes(view[first:begin]) + bytes(view[end:last]))
    if not attribute.name.startswith(BY_NODE):
        raise NotUsual
    expected = {_FLOATS: attribute.FLOATS, _INTS: attribute.INTS, _STRINGS: attribute.STRINGS}[tag >> 3]
    # A reference to a function's argument, or entries of a second list, or of this one further on.
    if attribute.type != expected or attribute.ref_attr_name or attribute.floats or attribute.ints or attribute.strings:
        raise NotUsual
    return attribute, values


def _end_of_name(view: memoryview, first: int, last: int) -> int:
    """Where the field after the attribute's name begins."""
    number, begin, _, end = next(fields_of(view, first, last))
    if number != _NAME or begin != first or end >= last:
        raise NotUsual
    return end


def _integers(data: Bytes, begin: int, last: int) -> tuple[Array, int]:
    """The entries from `begin` on that are integers with a tag each, and the place behind them."""
    parts, at = [], begin
    while at < last and data[at] == _INT:
        chunk = data[at : min(last, at + _CHUNK_BYTES)]
        # Each byte below 128 ends a number or is a tag; they alternate for as long as the list lasts.
        ends = np.flatnonzero(chunk < 0x80)
        pairs = ends.size // 2
        tags, values = ends[0 : 2 * pairs : 2], ends[1 : 2 * pairs : 2]
        follows = np.concatenate([np.zeros(1, np.int64), values[:-1] + 1])
        is_entry = (tags == follows) & (chunk[tags] == _INT)
        count = pairs if is_entry.all() else int(np.argmin(is_entry))
        if count == 0:
            raise NotUsual
        parts.append(_narrowed(_varints(chunk, tags[:count] + 1, values[:count])))
        at += int(values[count - 1]) + 1
    return np.concatenate(parts), at


def _varints(chunk: Bytes, firsts: Array, lasts: Array) -> Array:
    """The numbers whose bytes are [first, last] in `chunk`, seven bits each, lowest first."""
    sizes = lasts - firsts + 1
    longest = int(sizes.max(initial=0))
    if longest > _MOST_VARINT_BYTES:
        raise NotUsual
    numbers = np.zeros(firsts.size, np.uint64)
    for i in range(longest):
        longer = np.flatnonzero(sizes > i) if i else slice(None)
        numbers[longer] |= (chunk[firsts[longer] + i] & 0x7F).astype(np.uint64) << np.uint64(7 * i)
    return numbers.view(np.int64)


def _narrowed(numbers: Array) -> Array:
    least, greatest = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    return numbers.astype(np.promote_types(np.min_scalar_type(min(least, -1)), np.min_scalar_type(-1 - greatest)))


def _floats(data: Bytes, begin: int, last: int) -> tuple[Array, int]:
    """As `_integers`, for binary32."""
    entries = data[begin : begin + (last - begin) // 5 * 5].reshape(-1, 5)
    is_entry = entries[:, 0] == _FLOAT
    count = entries.shape[0] if is_entry.all() else int(np.argmin(is_entry))
    return np.ascontiguousarray(entries[:count, 1:]).view("<f4").reshape(-1), begin + 5 * count


def _packed(data: Bytes, begin: int, end: int, *, is_real: bool) -> Array:
    """All entries of a list in one field."""
    if is_real:
        if (end - begin) % 4:
            raise NotUsual
        return np.frombuffer(data[begin:end].tobytes(), "<f4")
    parts, at = [np.zeros(0, np.int32)], begin
    while at < end:
        chunk = data[at : min(end, at + _CHUNK_BYTES)]
        lasts = np.flatnonzero(chunk < 0x80)
        if not lasts.size:
            raise NotUsual
        parts.append(_narrowed(_varints(chunk, np.concatenate([np.zeros(1, np.int64), lasts[:-1] + 1]), lasts)))
        at += int(lasts[-1]) + 1
    return np.concatenate(parts)


def _texts(data: Bytes, begin: int, last: int) -> tuple[Words, int]:
    """As `_integers`, for texts of a few different words, none of which has the letter that is a tag."""
    words: list[bytes] = []
    parts, at = [], begin
    while at + 1 < last and data[at] == _STRING:
        chunk = data[at : min(last, at + _CHUNK_BYTES)]
        tags = np.flatnonzero(chunk[:-1] == _STRING)
        sizes = chunk[tags + 1].astype(np.int64)
        # Each entry begins where the one before it ends; the last of the chunk may be cut short.
        ends = tags + 2 + sizes
        is_entry = (ends[:-1] == tags[1:]) & (sizes[:-1] < 0x80)
        whole = is_entry.size if is_entry.all() else int(np.argmin(is_entry))
        if whole < tags.size and sizes[whole] < 0x80 and ends[whole] <= chunk.size:
            whole += 1
        if whole == 0:
            raise NotUsual
        parts.append(_codes(chunk, tags[:whole] + 2, sizes[:whole], words))
        at += int(ends[whole - 1])
        if ends[whole - 1] + _MOST_ENTRY_BYTES <= chunk.size and data[at] == _STRING:
            raise NotUsual  # a text has the tag's letter: one entry at a time would take for ever
    try:
        return Words(np.concatenate(parts), tuple(word.decode() for word in words)), at
    except UnicodeDecodeError:
        raise NotUsual from None


def _codes(chunk: Bytes, firsts: Array, sizes: Array, words: list[bytes]) -> Array:
    """Which of `words` each text is; new ones are added."""
    codes = np.zeros(firsts.size, np.uint8)
    left = np.arange(firsts.size)
    tried = 0
    while left.size:
        if tried == len(words):
            if len(words) == _MOST_WORDS:
                raise NotUsual
            first, size = int(firsts[left[0]]), int(sizes[left[0]])
            words.append(chunk[first : first + size].tobytes())
        word = np.frombuffer(words[tried], np.uint8)
        alike = left[sizes[left] == word.size]
        for i, letter in enumerate(word):
            alike = alike[chunk[firsts[alike] + i] == letter]
        codes[alike] = tried
        is_left = np.ones(firsts.size, np.bool_)
        is_left[alike] = False
        left = left[is_left[left]]
        tried += 1
    return codes
