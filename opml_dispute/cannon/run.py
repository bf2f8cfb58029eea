"""
The run loop: from one wanted step to the next, asking the pre-image server on the way.

`run` stops at whatever comes first: the program's exit, a step of `stop_at`, or the pre-image of `stop_at_preimage`. A
snapshot at step k is the state before it; a proof at step k is of the instruction that leads to k + 1. If the program
exits before a wanted step, there is no file for that step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from opml_dispute.cannon.files import numbered, proof_content, write_json, write_state
from opml_dispute.cannon.pattern import MAX_STEP, StepPattern
from opml_dispute.cannon.preimage_stop import PreimageStop
from opml_dispute.cannon.supply import Preimages, Supplied
from opml_dispute.engine.vm import Machine, Reason, StopKind, VmError
from opml_dispute.errors import OpmlError

NEVER = StepPattern.parse("never")
_CHUNK_STEPS = 1 << 28
"""Hints are passed on after at most this many steps."""


class VmPanic(OpmlError):
    """The machine met an instruction that has no successor. Cannon ends with exit code 2 here."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Wishes:
    """The files that a run writes, and where it stops."""

    proof_at: StepPattern = NEVER
    proof_name: str = "proof-%d.json.gz"
    snapshot_at: StepPattern = NEVER
    snapshot_name: str = "state-%d.bin.gz"
    stop_at: StepPattern = NEVER
    stop_at_preimage: PreimageStop | None = None
    info_at: StepPattern = NEVER

    def next_at(self, step: int) -> int | None:
        """The first step, not before `step`, at which anything is wanted."""
        patterns = (self.proof_at, self.snapshot_at, self.stop_at, self.info_at)
        return min((at for pattern in patterns if (at := pattern.next_at(step)) is not None), default=None)


@dataclass
class _Run:
    supplied: Supplied
    wishes: Wishes
    say: Callable[[str], None]
    started_s: float = field(default_factory=time.monotonic)

    @property
    def machine(self) -> Machine:
        """The machine that runs."""
        return self.supplied.machine

    def to(self, step: int) -> bool:
        """Runs to `step` or to the exit; True if the pre-image to stop at was read."""
        machine = self.machine
        while machine.step < step and not machine.exited:
            stop = self.supplied.advance(min(step - machine.step, _CHUNK_STEPS))
            if stop.kind == StopKind.UNKNOWN_PREIMAGE:
                if self._stops_here():
                    return True
            elif stop.kind not in {StopKind.EXITED, StopKind.STEP_LIMIT}:
                raise VmPanic(stop.message, hint="the machine has no next state; see docs/vm.md for the reason")
        return False

    def prove(self) -> dict[str, object]:
        """The proof of the next step, with the pre-image that it reads."""
        try:
            self.machine.step_witness()
        except VmError as error:
            if error.reason != Reason.UNKNOWN_PREIMAGE:
                raise VmPanic(str(error), hint="the step has no proof; see docs/vm.md for the reason") from None
            self.supplied.supply()
        witness = self.machine.step_witness()
        if witness.preimage is not None and witness.preimage.key != self.supplied.key:
            self.supplied.supply()  # a key that was requested before: its data are fetched again
        if self.wishes.stop_at_preimage is not None:
            self.machine.forget_preimages()  # so that the read itself is noticed
        return proof_content(self.machine, witness, self.supplied.preimage)

    def inform(self) -> None:
        """Report the run's step and speed in one line."""
        seconds = max(time.monotonic() - self.started_s, 1e-9)
        machine = self.machine
        self.say(
            f"step={machine.step} pc=0x{machine.pc:x} seconds={seconds:.1f} memory_bytes={machine.memory_used_bytes}"
        )

    def _stops_here(self) -> bool:
        """
        Execute the read of the pre-image just supplied; True if the run stops after it.

        If a later read of the same one may be, the machine forgets the pre-image, so that it comes back here.
        """
        wanted, before = self.wishes.stop_at_preimage, self.machine.scalars
        key, size = self.supplied.key, len(self.supplied.preimage)
        if wanted is None or not wanted.may_match(key, size):
            return False
        self.machine.run(1)
        self.machine.forget_preimages()
        return wanted.matches(key, size, before.preimage_offset, before.step)


def run(
    machine: Machine,
    wishes: Wishes,
    server: Preimages | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """
    Runs `machine` to its exit or to where the wishes say, and writes what they ask for on the way.

    `say` is told what `info_at` wants. Raises `VmPanic` if the machine has no next state, `NoServer`, `ServerProblem`
    and `files.BadFile`.
    """
    running = _Run(Supplied(machine, server), wishes, say)
    while not machine.exited:
        step = machine.step
        if wishes.info_at.wants(step):
            running.inform()
        if wishes.stop_at.wants(step):
            return
        if wishes.snapshot_at.wants(step):
            write_state(numbered(wishes.snapshot_name, step), machine)
        if wishes.proof_at.wants(step):
            write_json(numbered(wishes.proof_name, step), running.prove())
        following = wishes.next_at(step + 1)
        if running.to(MAX_STEP if following is None else following):
            return
