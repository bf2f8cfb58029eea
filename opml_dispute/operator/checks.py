"""
One checked condition: its name, a verdict, what was found, and what the operator can do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Verdict(Enum):
    """The result of a check."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "unknown"
    """It could not be checked here, or the operator should look at it."""


@dataclass(frozen=True)
class Check:
    """One checked condition."""

    name: str
    verdict: Verdict
    found: str
    """The finding, as a clause without a full stop."""
    way_out: str = ""
    """What the operator can do if the condition does not hold."""


Finding: TypeAlias = tuple[Verdict, str, str]
"""A verdict, what was found, and the way out."""


def holds(found: str) -> Finding:
    """The condition holds."""
    return Verdict.HOLDS, found, ""


def fails(found: str, way_out: str) -> Finding:
    """The condition fails."""
    return Verdict.FAILS, found, way_out


def unsure(found: str, way_out: str) -> Finding:
    """The operator should look at it."""
    return Verdict.UNKNOWN, found, way_out
