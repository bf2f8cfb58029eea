"""
What was found about each mutant, so that a campaign can be stopped and gone on with.

A line of the file is `VERDICT  PATH  KEY`: a mutant's key (`Mutant.digest`) depends on its file, the line before and
after, and which of the lines that look so it is, but not on where the line stands. Survivors are judged again, since
a test may have been added meanwhile; the rest is not.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lib.mutant_bench import NO_MUTANT, NOTICED, SURVIVED
from lib.mutants import Mutant


class Verdicts:
    """The lines of one file; without a file they are only counted."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, tuple[str, str]] = {}
        self._read()

    def _read(self) -> None:
        """Takes over what the file says, which other campaigns may have added to."""
        if self._path is not None and self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                verdict, place, key = line.split("\t")
                self._known[key] = (verdict, place)

    def is_settled(self, mutant: Mutant) -> bool:
        """Whether a verdict is known that a new test could not change."""
        verdict, _ = self._known.get(mutant.digest, ("", ""))
        return verdict == NOTICED or verdict in NO_MUTANT

    def has_survived(self, mutant: Mutant) -> bool:
        """Whether no test noticed it when it was judged last."""
        return self._known.get(mutant.digest, ("", ""))[0] == SURVIVED

    def add(self, mutant: Mutant, verdict: str) -> None:
        """Keeps a verdict; it replaces an earlier one."""
        self._known[mutant.digest] = (verdict, str(mutant.path))
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{verdict}\t{mutant.path}\t{mutant.digest}\n")

    def tidy(self, mutants: list[Mutant]) -> None:
        """Rewrites the file: one line a mutant, none for those that the sources no longer have."""
        self._read()
        now = {mutant.digest for mutant in mutants}
        self._known = {key: value for key, value in self._known.items() if key in now}
        if self._path is not None:
            lines = sorted(f"{verdict}\t{place}\t{key}\n" for key, (verdict, place) in self._known.items())
            self._path.write_text("".join(lines), encoding="utf-8")

    def table(self, mutants: list[Mutant], explained: set[str]) -> list[tuple[str, int, int, int, int]]:
        """For each file: its name, mutants, noticed, survived unexplained, explained."""
        files = dict.fromkeys(str(mutant.path) for mutant in mutants)
        count: Counter[tuple[str, str]] = Counter()
        for mutant in mutants:
            verdict, _ = self._known.get(mutant.digest, ("", ""))
            count[str(mutant.path), "explained" if mutant.digest in explained else verdict] += 1
            count[str(mutant.path), "all"] += 1
        return [
            (name, count[name, "all"], count[name, NOTICED], count[name, SURVIVED], count[name, "explained"])
            for name in files
        ]
