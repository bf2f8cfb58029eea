"""
How a machine runs its instructions: one at a time, or compiled to the processor's own. The states are the same.

Compiling is on unless the environment variable OPML_JIT is 0; where the processor or the system does not allow it, the
interpreter goes on alone and nothing else changes. docs/vm.md, "Compiled code".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from opml_dispute.errors import OpmlError

VARIABLE: Final = "OPML_JIT"


class Execution(IntEnum):
    """What runs a machine's instructions."""

    INTERPRETED = 0
    """The interpreter alone."""
    COMPILED = 1
    """The interpreter, until a program has run for a while; then code that is run often is compiled."""
    COMPILED_AT_ONCE = 2
    """Everything is compiled when it is first met. For tests: short runs take longer."""
    COMPILED_EARLY = 3
    """As `COMPILED`, but without a while, and after few visits. For tests: its regions are those of real runs."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened in a run beside its states, as the OP Stack's cannon counts it."""

    linked_stores: int
    """Stores conditional that were made,"""
    failed_stores: int
    """and that were not."""
    longest_link: int
    """Steps from a load linked to the store conditional of its thread, at most."""
    lost_reservations: int
    """Reservations that other stores ended."""
    preemptions: int
    """Turns that ended with their slice."""
    idle_steps: int
    """Steps between two turns of thread 0."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What was compiled for one machine."""

    possible: bool
    """False: it was tried, and the processor or the system does not allow it, or the program changes too often."""
    entries: int
    """Addresses of the program where compiled code starts."""
    code_bytes: int
    drops: int
    """How often all of it was dropped because the program had changed under it."""


class BadExecution(OpmlError):
    """OPML_JIT is none of its values."""


_WORDS: Final = {"0": Execution.INTERPRETED, "1": Execution.COMPILED, "2": Execution.COMPILED_AT_ONCE}


def default_execution() -> Execution:
    """What OPML_JIT asks for: 0, 1 (also if it is not set) or 2. Raises `BadExecution` for anything else."""
    word = os.environ.get(VARIABLE, "") or "1"
    if word not in _WORDS:
        raise BadExecution(
            f"{VARIABLE} is {word!r}; known are 0 (interpret), 1 (compile what runs long), 2 (compile all)",
            hint=f"unset {VARIABLE}: the states are the same either way",
        )
    return _WORDS[word]
