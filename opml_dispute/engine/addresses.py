"""
Where the operands of a schedule's steps lie: in the segment, the workspace, a worker's buffer, or among the weights.

`addresses_of` answers for all steps at once. The bits that say which it is are native/inference/schedule.c's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.large_pages import Copy, often_read
from opml_dispute.engine.node_record import WINDOWS
from opml_dispute.engine.segment import ARENA, HEADER, WEIGHTS
from opml_dispute.engine.values import Block
from opml_dispute.engine.workspace import Place

IN_WORKSPACE, IN_PROCESS, IN_BUFFER = 1 << 60, 1 << 61, 1 << 62
"""Where an operand lies that is not in the segment (native/inference/schedule.c)."""

Words = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Addresses:
    """The places of operands, and what has to be there for them."""

    at: Words
    """[steps][operand]: the output first."""
    loads: tuple[Block, ...]
    """Weights that must lie in the segment."""
    keeps: tuple[object, ...]
    """What the addresses point into."""
    copies: tuple[Copy, ...]
    """Those of `keeps` that are copies of weights, and have to be filled."""


def addresses_of(
    rows: npt.NDArray[Any],
    reach: Words,
    places: Mapping[int, Place],
    weights: Sequence[Block],
) -> Addresses:
    """
    The addresses of the operands of the records `rows`, whose extents are `reach`; `places` have been laid out.

    `weights` are the program's, ascending.
    """
    at = np.concatenate([rows["out"][:, None], rows["inputs"]], axis=1).astype(np.uint64).astype(np.int64)
    lo, hi = reach[:, :, 0], reach[:, :, 1]
    used = np.arange(at.shape[1]) <= rows["n_in"][:, None]
    _put_places(at, lo, hi, used & (lo >= ARENA.offset), places)
    return _put_weights(at, reach, used & (lo >= WEIGHTS.offset) & (lo < HEADER.offset), rows, weights)


def _put_places(at: Words, lo: Words, hi: Words, wanted: _Flags, places: Mapping[int, Place]) -> None:
    """Moves what lies in a place that comes and goes to the workspace, or to a buffer."""
    ordered = [places[offset] for offset in sorted(places)]
    if not ordered:
        return
    columns = np.array(
        [
            (
                place.offset,
                place.offset + (1 << place.log2_size),
                place.workspace - place.offset,
                -1 if place.buffer is None else place.buffer,
                place.shares is not None,
            )
            for place in ordered
        ],
        np.int64,
    ).T
    starts, ends, moves, buffers, shares = columns
    index = np.searchsorted(starts, lo, "right") - 1
    inside = wanted & (index >= 0) & (hi <= ends[index])
    is_output = np.zeros(at.shape, bool)
    is_output[:, 0] = True
    buffered = inside & (buffers[index] >= 0) & ((shares[index] == 0) | is_output)
    np.copyto(at, IN_WORKSPACE | (at + moves[index]), where=inside & ~buffered)
    np.copyto(at, IN_BUFFER | buffers[index], where=buffered)


def _put_weights(
    at: Words, reach: Words, wanted: _Flags, rows: npt.NDArray[Any], weights: Sequence[Block]
) -> Addresses:
    """Moves weights to where the program, or a copy, holds them, unless they cannot be used there."""
    lo, hi, width = np.moveaxis(reach, 2, 0)
    data = [np.frombuffer(block.data, np.uint8) for block in weights]
    starts = np.array([block.offset for block in weights], np.int64)
    spans = starts + np.array([1 << block.log2_size for block in weights], np.int64)
    if not data:
        return Addresses(at, (), (), ())
    ends = starts + np.array([each.size for each in data], np.int64)
    index = np.searchsorted(starts, lo, "right") - 1
    inside = wanted & (index >= 0) & (hi <= ends[index])
    copies = often_read(data, np.bincount(index[inside], minlength=len(data)).tolist())
    data = [copies[i].data if i in copies else each for i, each in enumerate(data)]
    bases = np.array([each.ctypes.data for each in data], np.int64) - starts
    address = at + bases[index]
    usable = inside & (address % np.maximum(width, 1) == 0)
    usable[:, 1] &= ~np.isin(rows["opcode"], list(WINDOWS))  # there fast paths read past the end
    np.copyto(at, IN_PROCESS | address, where=usable)
    loads: dict[int, Block] = {}
    for first, last in np.unique(np.stack([lo, hi])[:, wanted & ~usable].T, axis=0).tolist():
        for number in range(
            max(int(np.searchsorted(starts, first, "right")) - 1, 0), int(np.searchsorted(starts, last))
        ):
            if spans[number] > first:
                loads[weights[number].offset] = weights[number]
    keeps = tuple(data[number] for number in np.unique(index[usable]).tolist())
    return Addresses(at, tuple(loads.values()), keeps, tuple(copies.values()))
