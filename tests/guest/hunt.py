"""
The hunt for a node that takes more VM steps than its bound.

`taken` runs a record of `hunted` in the VM. `Tally` keeps what was found: the worst ratio of steps taken to the bound
for each kernel, and how tight the bound is in the middle.

    python -m tests.guest.hunt --seconds 60 --first 0 --largest 22
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any, Final

from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.segment import (
    HEADER,
    INPUT,
    SEGMENT_LOG2,
    WEIGHTS,
    Section,
    big_endian,
    header_leaf,
)
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.engine.vm import Block, StopKind
from opml_dispute.model.record import Record
from opml_dispute.primitives import MOST_LOG2_STEPS, item_data
from tests.guest.hunted import hunted
from tests.guest.programs import prestate, program
from tests.kernels.maker import Array, Case

LARGE_STEPS: Final = 1 << 18
"""Bounds of fewer steps are mostly what every node does once, counted at its most: they do not say how tight it is."""


def bound(record: Record) -> int:
    """VM steps that a node of this record takes, at most."""
    return int(validate_records(record.pack()).steps[0])


def taken(case: Case) -> int:
    """VM steps that the guest takes."""
    made = program([case.record.pack()])
    contents = [*made.model_blocks, Block(HEADER.offset, 6, header_leaf(0) + bytes(32))]
    contents += [block for section in (WEIGHTS, INPUT) if (block := _block(section, case.arrays)) is not None]
    start = SparseTree(SEGMENT_LOG2, contents).root
    machine = prestate().fork()
    machine.set_local(2, start)
    machine.set_local(3, bytes(32))  # whatever it is compared with, it takes as many steps
    machine.set_local(6, item_data())
    machine.add_subtree(start, SEGMENT_LOG2, contents)
    stop = machine.run(1 << MOST_LOG2_STEPS)
    assert stop.kind is StopKind.EXITED, str(stop)
    return machine.step


def _block(section: Section, arrays: Sequence[tuple[int, Array]]) -> Block | None:
    """What a section holds, as the VM holds it."""
    content = bytearray()
    for offset, array in arrays:
        if section.offset <= offset < section.end:
            begin = offset - section.offset
            content.extend(bytes(max(0, begin + array.nbytes - len(content))))
            content[begin : begin + array.nbytes] = big_endian(array)
    if not content:
        return None
    return Block(section.offset, max(6, (len(content) - 1).bit_length()), bytes(content))


@dataclass
class _Found:
    records: int = 0
    worst: float = 0.0
    worst_seed: int = -1
    ratios: Counter[int] = field(default_factory=Counter)
    """How often the bound of a large record was how many times too high, in powers of `RATIO`."""

    def median_ratio(self) -> float:
        """How many times the bound is too high in the middle of the large records; NaN if there were none."""
        powers = sorted(self.ratios.elements())
        return RATIO ** powers[len(powers) // 2] if powers else float("nan")


RATIO: Final = 1.01
"""The distance of what is told apart of how tight a bound is."""


@dataclass
class Tally:
    """What a hunt came to, by kernel."""

    found: dict[str, _Found] = field(default_factory=dict)
    above: list[int] = field(default_factory=list)
    """Seeds of records that took more than their bound: there must be none."""

    def add(self, seed: int, case: Case, steps: int, most: int) -> None:
        here = self.found.setdefault(case.record.opcode.name, _Found())
        here.records += 1
        ratio = steps / most
        if most >= LARGE_STEPS:
            here.ratios[round(log(most / steps, RATIO))] += 1
        if ratio > here.worst:
            here.worst, here.worst_seed = ratio, seed
        if steps > most:
            self.above.append(seed)

    def merge(self, other: Tally) -> None:
        """Takes in what another hunt came to."""
        self.above += other.above
        for name, each in other.found.items():
            here = self.found.setdefault(name, _Found())
            here.records += each.records
            here.ratios.update(each.ratios)
            if each.worst > here.worst:
                here.worst, here.worst_seed = each.worst, each.worst_seed

    def to_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {
            "above": self.above,
            "found": {name: vars(each) | {"ratios": dict(each.ratios)} for name, each in self.found.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tally:
        """What `to_json` gave."""
        tally = cls(above=list(content["above"]))
        for name, each in content["found"].items():
            ratios = Counter({int(power): count for power, count in each["ratios"].items()})
            tally.found[name] = _Found(each["records"], each["worst"], each["worst_seed"], ratios)
        return tally

    @property
    def records(self) -> int:
        return sum(found.records for found in self.found.values())

    def rows(self) -> list[tuple[str, int, float, float, int]]:
        """
        Kernel, records, worst ratio of steps to the bound, how many times too high the bound is in the middle of the
        large records, seed of the worst.
        """
        return [
            (name, each.records, each.worst, each.median_ratio(), each.worst_seed)
            for name, each in sorted(self.found.items())
        ]


def hunt(first: int, largest_log2: int, go_on: Callable[[int], bool]) -> Tally:
    """Tries the seeds from `first` on, as long as `go_on` (of how many were tried) says so."""
    tally, seed = Tally(), first
    while go_on(seed - first):
        case = hunted(seed, largest_log2)
        tally.add(seed, case, taken(case), bound(case.record))
        seed += 1
    return tally


def main() -> None:
    """Hunts for a while; exits with 1 if a record took more steps than its bound."""
    parser = argparse.ArgumentParser(prog="scripts/hunt-steps", description=main.__doc__)
    parser.add_argument("--seconds", type=float, help="how long to hunt (default: until --records)")
    parser.add_argument("--records", type=int, default=1_000_000, help="how many records to try (default: 1,000,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes hunt (default: 1)")
    parser.add_argument("--largest", type=int, default=24, help="log2 of the largest bound of a record (default: 24)")
    parser.add_argument("--ledger", type=Path, help="a file that keeps what was tried: goes on there, and adds up")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    tally = _through(options, time.time() + options.seconds if options.seconds else float("inf"))
    if options.json:
        print(json.dumps({"records": tally.records, "above": tally.above, "kernels": tally.rows()}))
    else:
        print(f"{'kernel':<12} {'records':>9} {'worst':>7} {'too high':>8}   seed of the worst")
        for name, records, worst, median, seed in tally.rows():
            print(f"{name:<12} {records:>9,} {worst:>7.3f} {median:>7.2f}×   {seed}")
        print(f"{tally.records:,} records, {len(tally.above)} above their bound {tally.above[:10] or ''}")
    raise SystemExit(1 if tally.above else 0)


PART: Final = 2_000
"""Records between two lines of a ledger."""


def _through(options: argparse.Namespace, end_s: float) -> Tally:
    """All records asked for that a ledger does not have, part by part, and those that it has."""
    tally, done = Tally(), set()
    if options.ledger is not None and options.ledger.exists():
        for line in options.ledger.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            done.add((entry["first"], entry["largest"]))
            tally.merge(Tally.from_json(entry))
    parts = [
        _Part(first, min(PART, options.first + options.records - first), options.largest, end_s)
        for first in range(options.first, options.first + options.records, PART)
        if (first, options.largest) not in done
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        for part, found in zip(parts, pool.map(_hunt_part, parts), strict=True):
            tally.merge(found)
            if found.records == part.size and options.ledger is not None:  # else the time was over: it is tried again
                with options.ledger.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"first": part.first, "largest": part.largest, **found.to_json()}) + "\n")
            if sys.stderr.isatty():
                print(f"{tally.records:,} records", end="\r", file=sys.stderr)
    return tally


@dataclass(frozen=True)
class _Part:
    first: int
    size: int
    largest: int
    end_s: float


def _hunt_part(part: _Part) -> Tally:
    return hunt(part.first, part.largest, lambda tried: tried < part.size and time.time() < part.end_s)


if __name__ == "__main__":
    main()
