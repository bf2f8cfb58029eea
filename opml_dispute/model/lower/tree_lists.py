"""
Lists that describe trees: attributes in either of their forms, and nodes found by the numbers that models give them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opml_dispute.model.tensor import Array, Tensor


def exact_numbers(value: Tensor | Sequence[float] | None) -> Array:
    """An attribute given as a list or as a tensor, in binary64."""
    if isinstance(value, Tensor):
        return np.asarray(value.values().reshape(-1), np.float64)
    return np.asarray([] if value is None else value, np.float64)


def given_as(listed: Sequence[float] | None, tensor: Tensor | None) -> Tensor | Sequence[float] | None:
    """One of the two ways in which an attribute may be given."""
    return tensor if listed is None or not len(listed) else listed


def whole_numbers(value: Sequence[int] | None) -> Array:
    return np.asarray([] if value is None else value, np.int64)


def distinct(values: Array) -> Array:
    """Each value once, ascending: faster than by hashing, for lists that are nearly in order."""
    ordered = np.sort(values, kind="stable")
    is_new: Array = np.concatenate([np.ones(min(ordered.size, 1), np.bool_), ordered[1:] != ordered[:-1]])
    return np.asarray(ordered[is_new])


class Places:
    """The number of each node by its tree's and its own identifier; of equal ones the last."""

    def __init__(self, trees: Array, ids: Array) -> None:
        self.trees, self.ids = distinct(trees), distinct(ids)
        keys = self._keys(trees, ids)
        self.order = np.argsort(keys, kind="stable")
        self.keys = keys[self.order]

    def _keys(self, trees: Array, ids: Array) -> Array:
        """-1 for an identifier that no node has."""
        ranks = [np.searchsorted(known, given) for known, given in ((self.trees, trees), (self.ids, ids))]
        found = np.ones(trees.size, np.bool_)
        for known, rank, given in zip((self.trees, self.ids), ranks, (trees, ids), strict=True):
            rank[rank == known.size] = 0
            found &= known[rank] == given if known.size else False
        return np.where(found, ranks[0] * self.ids.size + ranks[1], -1)

    def of(self, trees: Array, ids: Array) -> Array:
        """-1 for a node that there is not."""
        keys = self._keys(trees, ids)
        at = np.searchsorted(self.keys, keys, side="right") - 1
        return np.where((at >= 0) & (keys >= 0) & (self.keys[at] == keys), self.order[at], -1)
