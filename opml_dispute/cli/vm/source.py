"""
One VM run, as a `vm` command examines it: its first state, its pre-images, and its states by step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from opml_dispute.engine.vm import Machine, Reason
from opml_dispute.errors import OpmlError
from opml_dispute.trace.vm import VmFault, VmStopped, VmTrace

DEPTH: Final = 63
"""The depth of the tree over a run's steps: enough for any run."""


class BadSource(OpmlError):
    """The options do not select one run, or a file of it cannot be read."""

    hint = "see: opml-dispute vm run --help"


class NoSuchStep(OpmlError):
    """A step that the run does not have."""


def way_out(reason: Reason, *, ml: bool) -> str:
    """The hint for a run that cannot continue."""
    match reason:
        case Reason.UNKNOWN_PREIMAGE:
            return "give the data with --preimage FILE, or --local N=HEX"
        case Reason.UNKNOWN_MEMORY | Reason.WRONG_CONTENT:
            return "give the run's own --node I, --model FILE and --input: the tensors are not in a saved state"
        case Reason.UNSUPPORTED_INSTRUCTION | Reason.UNSUPPORTED_SYSCALL if not ml:
            return "if the program needs floating point or tensor calls, run it without --base"
        case Reason.OUT_OF_MEMORY:
            return "the program needs more memory than a machine may use here"
        case _:
            return "the state has no successor (docs/vm.md)"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim on the chain about a run."""

    index: int
    step: int
    """The step of the state that it is about, or the last step if the program exits before."""
    state_hash: bytes


@dataclass(frozen=True)
class Source:
    """One run of the VM."""

    name: str
    machine: Machine
    """The machine at the run's first state; callers fork it and do not run it."""
    preimages: dict[bytes, bytes] = field(default_factory=dict)
    """The data of all pre-images that the machine was given, by key."""
    fault: VmFault | None = None
    claimed: Claimed | None = None

    @cached_property
    def trace(self) -> VmTrace[Machine]:
        """Random access to the run's states, from cached snapshots."""
        return VmTrace(self.machine, depth=DEPTH, fault=self.fault)

    def at(self, step: int) -> Machine:
        """
        The machine after `step` steps, which the caller may run.

        Raises `NoSuchStep` before the first and past the last state, `VmStopped` where there is no next state.
        """
        first = self.machine.step
        if step < first:
            raise NoSuchStep(
                f"step {step:,} lies before the saved state, which is at step {first:,}",
                hint="give a later step, or the program instead of the saved state",
            )
        if step >= 1 << DEPTH:
            raise NoSuchStep(f"step {step:,} found, expected less than 2^{DEPTH}", hint="no run is that long")
        try:
            machine = self.trace.machine_at(step)
        except VmStopped as stopped:
            reason = getattr(stopped.cause, "reason", Reason.NONE)
            stopped.hint = f"{way_out(reason, ml=self.machine.ml)}; the last state is --step {stopped.step}"
            raise
        if machine.step != step:
            raise NoSuchStep(
                f"step {step:,} lies past the end: the program exits at step {machine.step:,}",
                hint=f"the last state is --step {machine.step}; {machine.step - 1} leads to it",
            )
        return machine
