"""
What long campaigns came to, so that they can be stopped, gone on with, and added up.

A ledger is a file with one JSON object a line: the seeds that a part of a campaign tried (`first`, `count`), the commit
that it tried them on, and what it found. `missing` cuts a range of seeds into the parts that no line covers yet,
`total` adds all lines up. Several processes may append to one ledger.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.environment import ROOT


class Ledger:
    """The lines of one campaign; without a file it only adds up."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._parts: list[dict[str, Any]] = []
        self._commit = _commit()
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            self._parts = [json.loads(line) for line in lines if line.strip()]

    def missing(self, first: int, count: int, part: int) -> Iterator[tuple[int, int]]:
        """(first, count) of the parts of `part` seeds, of `count` seeds from `first`, that no line covers whole."""
        known = {(entry["first"], entry["count"]) for entry in self._parts}
        for start in range(first, first + count, part):
            size = min(part, first + count - start)
            if (start, size) not in known:
                yield start, size

    def add(self, first: int, count: int, found: Mapping[str, Any]) -> None:
        """Appends a line: what the seeds from `first` on came to."""
        entry = {"first": first, "count": count, "commit": self._commit, **found}
        self._parts.append(entry)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    @property
    def tried(self) -> int:
        """Seeds that the lines cover."""
        return sum(entry["count"] for entry in self._parts)

    def total(self) -> dict[str, Any]:
        """The findings of all lines together: numbers and counts by name are added, lists joined."""
        total: dict[str, Any] = {}
        for entry in self._parts:
            for name, value in entry.items():
                if name in ("first", "count", "commit"):
                    continue
                total[name] = value if name not in total else _together(total[name], value)
        return total


def _together(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {
            name: _together(one[name], other[name]) if name in one and name in other else one.get(name, other.get(name))
            for name in {**one, **other}
        }
    return one + other


def _commit() -> str:
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip() or "unknown"
