"""
An answer's steps, written once and repeated.

Every step of an answer runs the same operations: its records differ from those of the step before in the addresses of
what it makes and of the rows that it takes of longer tensors, and these move on by the same number of bytes each time.
So a program is planned for a few steps (`PLANNED_STEPS`), and `unrolled` writes the records of all: a step between is
what the third is to the second, and the last is the last one planned, moved. The assumptions are checked record by
record; the result is validated like any other program (`model.rules`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from opml_dispute.model.record import MAX_FREES
from opml_dispute.primitives import RECORD_BYTES

PLANNED_STEPS: Final = 4
"""Of more steps the first, the second, the third and the last."""

_WORDS: Final = RECORD_BYTES // 8
_ADDRESSES: Final = slice(4, 11)
"""Of the output and six inputs: words of a record (docs/segment.md, "Node record")."""
_FREES: Final = slice(11, 11 + MAX_FREES)
_OFFSET_BITS: Final = np.uint64((1 << 56) - 1)

Words = npt.NDArray[np.uint64]


class NotPeriodic(AssertionError):
    """Steps that do not repeat: a bug of the loop that was planned."""


@dataclass(frozen=True)
class PlannedNode:
    """Where a planned record belongs."""

    step: int
    """0: before the first step."""
    operation: int
    """Counted from the step's start, as they were emitted."""
    tile: int


def unrolled(
    records: bytes | bytearray, nodes: Sequence[PlannedNode], steps: int, arena_start: int
) -> tuple[bytes, list[tuple[int, int]]]:
    """
    The records of a program with `steps` steps of which `PLANNED_STEPS` were planned, and for each record the number of
    the planned one that it repeats, and its step.

    `arena_start` is where the first step's activations begin. Raises `NotPeriodic`.
    """
    rows = np.frombuffer(records, ">u8").reshape(-1, _WORDS)
    groups: list[list[int]] = [[] for _ in range(PLANNED_STEPS + 1)]
    for i, node in enumerate(nodes):
        groups[node.step].append(i)
    before, second, third, last = ([*groups[0], *groups[1]], *(groups[k] for k in range(2, PLANNED_STEPS + 1)))
    if before != list(range(len(before))):
        raise NotPeriodic("the records of the first step are not all before those of the second")
    second_words, third_words, last_words = (rows[group].astype(np.uint64) for group in (second, third, last))
    places = {(nodes[i].operation, nodes[i].tile): row for row, i in enumerate(third)}
    if [(nodes[i].operation, nodes[i].tile) for i in second] != list(places):
        raise NotPeriodic("the second and the third step run different operations")
    moved = third_words - second_words  # modulo 2^64
    _check(second_words, moved, arena_start)
    try:
        alike = [places[nodes[i].operation, nodes[i].tile] for i in last]
    except KeyError:
        raise NotPeriodic("the last step runs operations that the third does not") from None
    ended = _moved_end(last_words, third_words[alike], moved[alike], steps - PLANNED_STEPS, arena_start)
    between = range(steps - PLANNED_STEPS + 2)  # the second step, the third, and more
    # WHY NOT in one array: the words of one step stay in the cache, and records are there twice at no time.
    repeated = [(second_words + np.uint64(k) * moved).astype(">u8").tobytes() for k in between]
    first = memoryview(records)[: len(before) * RECORD_BYTES]
    made_of = [(i, nodes[i].step) for i in before]
    made_of += [(i, 2 + k) for k in between for i in second]
    made_of += [(i, steps) for i in last]
    return b"".join([first, *repeated, ended.astype(">u8").tobytes()]), made_of


def _check(second: Words, moved: Words, arena_start: int) -> None:
    """Raises `NotPeriodic` unless steps differ in addresses alone, and blocks of activations move all alike."""
    same = np.ones(_WORDS, bool)
    same[_ADDRESSES], same[_FREES] = False, False
    if moved[:, same].any():
        raise NotPeriodic("the second and the third step do other work")
    offsets = second[:, _FREES] & _OFFSET_BITS
    freed = second[:, _FREES] != 0
    if np.any(freed & (offsets < np.uint64(arena_start))):
        raise NotPeriodic("a step in the middle frees what was made before the first")
    if np.unique(moved[:, _FREES][freed]).size > 1:
        raise NotPeriodic("the blocks that steps free lie unequally far apart")


def _moved_end(last: Words, third: Words, moved: Words, by: int, arena_start: int) -> Words:
    """The planned last step's records `by` steps later."""
    if not np.array_equal(last[:, _ADDRESSES] - third[:, _ADDRESSES], moved[:, _ADDRESSES]):
        raise NotPeriodic("the last step does not lie where the third one's successor would")
    ended = last.copy()
    ended[:, _ADDRESSES] += np.uint64(by) * moved[:, _ADDRESSES]
    distances = np.unique(moved[:, _FREES][third[:, _FREES] != 0])
    if distances.size != 1:
        raise NotPeriodic("the blocks that steps free lie unequally far apart")
    own = (last[:, _FREES] & _OFFSET_BITS) >= np.uint64(arena_start)
    ended[:, _FREES][own] += np.uint64(by) * distances[0]
    return ended
