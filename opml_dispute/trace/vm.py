"""
The FPVM phase: the states of one node's run in the VM.

The guest runs once; on the way, forks of the machine are kept as snapshots, evenly spaced and never more than
`MAX_SNAPSHOTS`. Any state is then one short run away from the snapshot before it. Trace index i is the state after
i + 1 instructions; past the program's exit its last state repeats.

A `VmFault` makes this a liar's trace: one bit flips between two instructions, and the machine goes on from there.
`actors.liars` chooses faults.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar

from opml_dispute import working
from opml_dispute.errors import OpmlError
from opml_dispute.game.position import Position
from opml_dispute.primitives import StateHash
from opml_dispute.trace.provider import TraceError

if TYPE_CHECKING:
    from opml_dispute.engine.vm import StepWitness

MAX_SNAPSHOTS: Final = 64
FIRST_INTERVAL: Final = 1 << 14


class VmMachine(Protocol):
    """The interface that a trace needs of a machine: `engine.vm.Machine`."""

    @property
    def memory_used_bytes(self) -> int:
        """What this machine and all its forks hold."""
        ...

    @property
    def step(self) -> int:
        """Instructions executed since the start."""
        ...

    @property
    def exited(self) -> bool:
        """Whether the program has ended."""
        ...

    @property
    def exit_code(self) -> int:
        """What it ended with."""
        ...

    def fork(self) -> Self:
        """A cheap copy that runs independently."""
        ...

    def run(self, max_steps: int) -> object:
        """Up to `max_steps` more instructions; the answer says why it stopped."""
        ...

    def state_hash(self) -> StateHash:
        """The hash of the present state, status byte first."""
        ...

    def step_witness(self, *, compact: bool = False) -> StepWitness:
        """State and proofs for the next instruction; compact proofs leave out the zero subtrees."""
        ...

    def flip_bit(self, target: Any) -> None:
        """Flips one bit of the state."""
        ...


MachineT = TypeVar("MachineT", bound=VmMachine)


@dataclass(frozen=True, slots=True)
class VmFault:
    """One flipped bit in a VM run."""

    after_step: int
    """How many instructions run before the bit flips: the state after that many is the first wrong one."""

    target: object
    """Which bit: an `engine.vm.FaultTarget`."""


class VmStopped(TraceError):
    """The VM met an instruction or a state that it cannot execute. The guest never does without a fault."""

    def __init__(self, step: int, cause: object) -> None:
        super().__init__(f"the VM stopped at step {step}: {cause}; expected it to run until it exits")
        self.step, self.cause = step, cause


class VmUnfinished(TraceError):
    """The program is still running when its tree ends: the game is too shallow for it."""

    def __init__(self, steps: int) -> None:
        super().__init__(f"the VM has not exited after {steps} steps, all that the game's depth has room for")
        self.steps = steps


class VmTrace(Generic[MachineT]):
    """
    The states of one run; the leaves of its tree are at `depth`.

    `machine` stands at the absolute prestate with all its pre-images and subtrees; it is forked, never changed.
    """

    def __init__(self, machine: MachineT, *, depth: int, fault: VmFault | None = None, name: str = "a program") -> None:
        """`name` says what runs, to a person who waits for it."""
        self.depth, self.name = depth, name
        self._fault = fault
        self._snapshots: dict[int, MachineT] = {}
        self._snapshot_steps: list[int] = []
        self._interval = FIRST_INTERVAL
        self._hashes: dict[int, StateHash] = {}
        self._exit_step: int | None = None
        self._last_asked = 0
        start = machine.fork()
        if fault is not None and fault.after_step == 0:
            raise ValueError("a fault before the first instruction would change the absolute prestate")
        self._keep(start)

    def claim_at(self, position: Position) -> StateHash:
        """The state hash at `position`; raises `VmStopped` or, for the whole trace, `VmUnfinished`."""
        steps = position.trace_index(self.depth) + 1
        state_hash = self.state_hash(steps)
        if position.is_root and self._exit_step is None:
            raise VmUnfinished(steps)
        return state_hash

    def step_witness(self, position: Position) -> StepWitness:
        """The witness of the instruction that leads to the state at `position`, a leaf."""
        if position.depth != self.depth:
            raise ValueError(f"position at depth {position.depth} found, expected a leaf, at depth {self.depth}")
        return self.machine_at(position.index_at_depth).step_witness(compact=True)

    def state_hash(self, steps: int) -> StateHash:
        """The hash of the state after `steps` instructions, of the last state if the program exits before."""
        key = steps if self._exit_step is None else min(steps, self._exit_step)
        if key not in self._hashes:
            self._hashes[key] = self.machine_at(key).state_hash()
        return self._hashes[key]

    @property
    def memory_used_bytes(self) -> int:
        """What the run's machines hold."""
        return self._snapshots[self._snapshot_steps[0]].memory_used_bytes

    def shrink(self) -> None:
        """Drops all snapshots but the first, the last, and the two around what was asked last."""
        place = bisect_right(self._snapshot_steps, self._last_asked)
        kept = {self._snapshot_steps[0], self._snapshot_steps[-1], *self._snapshot_steps[max(place - 1, 0) : place + 1]}
        self._snapshots = {step: machine for step, machine in self._snapshots.items() if step in kept}
        self._snapshot_steps = sorted(self._snapshots)

    def machine_at(self, steps: int) -> MachineT:
        """A machine in the state after `steps` instructions, the caller's to keep."""
        if self._exit_step is not None:
            steps = min(steps, self._exit_step)
        if steps < 1 << self.depth:  # the end of the run does not predict the next question
            self._last_asked = steps
        nearest = self._snapshot_steps[bisect_right(self._snapshot_steps, steps) - 1]
        machine = self._snapshots[nearest].fork()
        is_first_run = nearest == self._snapshot_steps[-1]
        with working.under_way():
            while machine.step < steps and not machine.exited:
                stop_at = min(steps, (machine.step // self._interval + 1) * self._interval)
                self._advance(machine, stop_at)
                if is_first_run and (machine.exited or machine.step % self._interval == 0):
                    self._keep(machine.fork())
                working.tell(lambda: f"running {self.name} in the VM: {machine.step:,} steps")
        if machine.exited:
            self._exit_step = machine.step
        return machine

    @property
    def exit_code(self) -> int:
        """What the program exits with. Runs it, if it has not been run."""
        machine = self.machine_at(1 << self.depth)
        if not machine.exited:
            raise VmUnfinished(1 << self.depth)
        return machine.exit_code

    @property
    def exit_step(self) -> int:
        """How many instructions the program takes. Runs it, if it has not been run."""
        machine = self.machine_at(1 << self.depth)
        if not machine.exited:
            raise VmUnfinished(1 << self.depth)
        return machine.step

    def _advance(self, machine: MachineT, stop_at: int) -> None:
        """Runs `machine` to `stop_at`, and through the fault if that lies on the way."""
        fault = self._fault
        if fault is not None and machine.step < fault.after_step <= stop_at:
            self._run(machine, fault.after_step)
            # INVARIANT: a machine at or past the fault's step has the flipped bit, snapshots included.
            if machine.step == fault.after_step and not machine.exited:
                machine.flip_bit(fault.target)
        self._run(machine, stop_at)

    def _run(self, machine: MachineT, stop_at: int) -> None:
        if machine.exited or machine.step >= stop_at:
            return
        before = machine.step
        try:
            stop = machine.run(stop_at - before)
        except OpmlError as error:
            raise VmStopped(machine.step, error) from error
        if not machine.exited and machine.step != stop_at:
            raise VmStopped(machine.step, stop)

    def _keep(self, machine: MachineT) -> None:
        """Adds a snapshot, at the end; thins them all out when there are too many."""
        self._snapshots[machine.step] = machine
        if len(self._snapshots) > MAX_SNAPSHOTS:
            self._interval *= 2
            self._snapshots = {
                step: kept for step, kept in self._snapshots.items() if step % self._interval == 0 or kept.exited
            }
        self._snapshot_steps = sorted(self._snapshots)
