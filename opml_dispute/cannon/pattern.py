"""Patterns that say at which steps of a run to write something: `never`, `always`, `=123`, `%1000`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from opml_dispute.errors import OpmlError

MAX_STEP = (1 << 64) - 1


class BadPattern(OpmlError):
    """A step pattern that cannot be read."""

    hint = "write never, always, =N (at step N) or %N (at every multiple of N)"


@dataclass(frozen=True, slots=True)
class StepPattern:
    """A set of steps: all of `first`, `first + every`, `first + 2 * every`, ...; none if `first` is None."""

    first: int | None
    every: int | None
    """Distance between two steps; None: there is only the first."""

    @classmethod
    def parse(cls, text: str) -> StepPattern:
        """The pattern as Cannon writes it. Numbers may be decimal or 0x…. Raises `BadPattern`."""
        if text in {"", "never"}:
            return cls(None, None)
        if text == "always":
            return cls(0, 1)
        match = re.fullmatch(r"([=%])(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})", text)
        if match is None:
            raise BadPattern(f"{text!r} is not a step pattern")
        number = int(match[2], 0) if match[2][:2].lower() == "0x" else int(match[2])
        if number > MAX_STEP:
            raise BadPattern(f"{text!r} names a step beyond 2^64")
        if match[1] == "=":
            return cls(number, None)
        if number == 0:
            raise BadPattern(f"{text!r} asks for every multiple of 0")
        return cls(0, number)

    def next_at(self, step: int) -> int | None:
        """
        The first wanted step that is not before `step`; None if there is none.

        >>> StepPattern.parse("%10").next_at(11), StepPattern.parse("=7").next_at(8)
        (20, None)
        """
        if self.first is None or self.every is None:
            return self.first if self.first is not None and self.first >= step else None
        return -(-step // self.every) * self.every

    def wants(self, step: int) -> bool:
        """Whether `step` is in the set."""
        return self.next_at(step) == step
