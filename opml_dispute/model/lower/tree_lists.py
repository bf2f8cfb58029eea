"""
Lists that describe trees: attributes in either of their forms, and nodes found by the numbers that models give them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from opml_dispute.model.long_lists import LongList, Words
from opml_dispute.model.tensor import Array, Tensor

_MOST_ROOM = 4
"""Places for identifiers, for each node that there is."""
_AT_ONCE = 1 << 16
"""Elements of a list that are worked on together."""


Numbers = Tensor | Sequence[float] | Array | LongList | None
"""An attribute in any of its forms."""


def taken(value: Numbers | Words | Sequence[str]) -> Any:
    """What a long list holds; anything else as it is."""
    return value.take() if isinstance(value, LongList) else value


def exact_numbers(value: Numbers) -> Array:
    """An attribute given as a list or as a tensor, in binary64."""
    value = taken(value)
    if isinstance(value, Tensor):
        return np.asarray(value.values().reshape(-1), np.float64)
    return np.asarray([] if value is None else value, np.float64)


def numbers_as_given(value: Numbers) -> Array:
    """As `exact_numbers`, but a list of binary32 stays one."""
    value = taken(value)
    return value if isinstance(value, np.ndarray) and value.dtype == np.float32 else exact_numbers(value)


def given_as(listed: Sequence[float] | LongList | None, tensor: Tensor | None) -> Numbers:
    """One of the two ways in which an attribute may be given."""
    return tensor if listed is None or not len(listed) else listed


def whole_numbers(value: Sequence[int] | Array | LongList | None) -> Array:
    """In i64, or in the signed integers that they are given as."""
    value = taken(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "i":
        return value
    return np.asarray([] if value is None else value, np.int64)


def distinct(values: Array) -> Array:
    """Each value once, ascending: faster than by hashing, for lists that are nearly in order."""
    ordered = np.sort(values, kind="stable")
    is_new: Array = np.concatenate([np.ones(min(ordered.size, 1), np.bool_), ordered[1:] != ordered[:-1]])
    return np.asarray(ordered[is_new])


def pieces(count: int) -> Iterator[tuple[int, int]]:
    """Where each piece of a list of so many elements begins and ends: what is computed of one piece stays small."""
    return ((first, min(first + _AT_ONCE, count)) for first in range(0, count, _AT_ONCE))


def picked(values: Array, at: Array) -> Array:
    """`values[at]`, without the room for all of `at` in 64 bits that numpy takes for it."""
    chosen = np.empty(at.size, values.dtype)
    for first, end in pieces(at.size):
        chosen[first:end] = values[at[first:end]]
    return chosen


class Places:
    """The number of each node by its tree's and its own identifier; of equal ones the last."""

    def __init__(self, trees: Array, ids: Array) -> None:
        self.trees, self.ids = distinct(trees), distinct(ids)
        keys = self._keys(trees, ids)
        self.table = self.order = self.keys = np.zeros(0, np.int32)
        # Nearly all files number a tree's nodes from 0 on: then there is room for every number in every tree.
        self.is_dense = self.trees.size * self.ids.size <= _MOST_ROOM * trees.size
        if self.is_dense:
            self.table = np.full(self.trees.size * self.ids.size, -1, np.int32)
            self.table[keys] = np.arange(keys.size, dtype=np.int32)
        else:
            self.order = np.argsort(keys, kind="stable").astype(np.int32)
            self.keys = keys[self.order]

    def _keys(self, trees: Array, ids: Array) -> Array:
        """-1 for an identifier that no node has."""
        kind = np.int32 if self.trees.size * self.ids.size < 1 << 31 else np.int64
        keys, tree_is_known = _ranks(self.trees, trees, kind)
        keys *= self.ids.size
        ranks, is_known = _ranks(self.ids, ids, kind)
        keys += ranks
        keys[~(is_known & tree_is_known)] = -1
        return keys

    def of(self, trees: Array, ids: Array) -> Array:
        """In i32; -1 for a node that there is not."""
        keys = self._keys(trees, ids)
        if self.is_dense:
            found = picked(self.table, keys) if self.table.size else keys.astype(np.int32)
            found[keys < 0] = -1
            return found
        at = np.searchsorted(self.keys, keys, side="right") - 1
        return np.where((at >= 0) & (keys >= 0) & (self.keys[at] == keys), self.order[at], np.int32(-1))


def _ranks(known: Array, given: Array, kind: type[np.signedinteger[Any]]) -> tuple[Array, Array]:
    """
    Where each number given stands among the known ones, which ascend, as `kind`; and whether it is one of them.

    What is said of a number that is not among them means nothing.
    """
    if not known.size:
        return np.zeros(given.size, kind), np.zeros(given.size, np.bool_)
    first, last = int(known[0]), int(known[-1])
    if last - first == known.size - 1:  # all numbers between them: no search
        is_known = (given >= first) & (given <= last)
        fits = given.size > 0 and given.dtype.itemsize <= 4 and first >= -(1 << 31) and bool(is_known.all())
        ranks = given.astype(kind if fits else np.int64)
        ranks -= first
        return ranks.astype(kind, copy=False), is_known
    ranks = np.searchsorted(known, given)
    ranks[ranks == known.size] = 0
    return ranks.astype(kind), known[ranks] == given
