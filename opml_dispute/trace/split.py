"""
Both phases of a game in one trace, computed here.

The native run of an inference answers the ML phase; forks of a machine run the disputed nodes. A node's run compares
its own result with the *disputed claim's value*: so over a wrong disputed root even the true trace ends in failure, and
every pair of roots has a trace of its own. `runs.VmRuns` keeps them within a budget, and makes several at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, Self, TypeVar

from opml_dispute.game.claim import Game
from opml_dispute.game.depths import Depths
from opml_dispute.game.position import Position
from opml_dispute.game.rules import SubgameRoots
from opml_dispute.primitives import StateHash, StateRoot
from opml_dispute.trace.phases import NodeRun, PhasedTrace
from opml_dispute.trace.provider import LocalRead, StepData, TraceError
from opml_dispute.trace.runs import VmRuns
from opml_dispute.trace.states import StateSource
from opml_dispute.trace.vm import VmFault, VmMachine, VmTrace

LOCAL_KEY_TYPE: Final = 1

T = TypeVar("T")


class GuestMachine(VmMachine, Protocol):
    """A machine that can be given the guest's pre-images and subtrees: `engine.vm.Machine`."""

    def fork(self) -> Self: ...

    def set_local(self, ident: int, data: bytes) -> None:
        """Makes local pre-image `ident` readable."""
        ...

    def add_subtree(self, root: bytes, log2_size: int, blocks: Sequence[Any]) -> None:
        """Makes known what lies below a root that the guest may map."""
        ...


class UnknownStart(TraceError):
    """A subgame starts from a state root that this trace does not know, so the VM cannot be run from it here."""

    def __init__(self, state_index: int, found: bytes, expected: bytes) -> None:
        super().__init__(f"a subgame starts from S_{state_index} = 0x{found.hex()}, expected 0x{expected.hex()}")
        self.state_index, self.found, self.expected = state_index, found, expected


@dataclass(frozen=True, slots=True)
class NodeFault:
    """The fault of a faulty trace: one flipped bit in the VM run of one node."""

    node_index: int
    fault: VmFault


class SplitTrace(PhasedTrace):
    """
    A `GameTrace`: `states` answers the ML phase, forks of `guest` run the FPVM phase.

    `guest` stands at the absolute prestate, without pre-images. With `fault`, `states` must be the native
    continuation of the same story.
    """

    def __init__(
        self,
        states: StateSource[Any],
        guest: GuestMachine,
        *,
        node_count: int,
        depths: Depths | None = None,
        fault: NodeFault | None = None,
        spawn: Callable[[], GuestMachine] | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        """
        `spawn` makes one more machine like `guest`, by default a fork; machines that share nothing can run at the same
        time. `budget_bytes` bounds the memory of the machines that are kept: by default a quarter of the computer's.
        """
        super().__init__(node_count, depths)
        self._states, self._guest = states, guest
        self._fault = fault
        self._spawn = spawn or guest.fork
        self.runs: VmRuns[GuestMachine] = VmRuns(budget_bytes, at_once=spawn is not None)

    @property
    def states(self) -> StateSource[Any]:
        """What answers the ML phase."""
        return self._states

    def state_root(self, t: int) -> StateRoot:
        """S_t."""
        return self._states.state_root(t)

    def prestate(self) -> StateHash:
        """Of the guest."""
        return self._guest.state_hash()

    def run_hash(self, run: NodeRun, place: Position) -> StateHash:
        """See `PhasedTrace`."""
        state_hash: StateHash = self.runs.answer(
            run.key, place.gindex, lambda: self._make_trace(run), lambda trace: trace.claim_at(place)
        )
        return state_hash

    def run_step(self, run: NodeRun, place: Position) -> StepData:
        """See `PhasedTrace`."""
        return self.runs.answer(
            run.key, ("step", place.gindex), lambda: self._make_trace(run), lambda trace: _step_data(trace, place)
        )

    def vm_trace(self, game: Game, outputs: SubgameRoots) -> VmTrace[GuestMachine]:
        """The VM run of one subgame."""
        self.check(game)
        run = NodeRun.of(game, outputs)
        return self.runs.trace(run.key, lambda: self._make_trace(run))

    def ahead(self, judge: Callable[[], T]) -> T:
        """The result of `judge`, after all VM runs that it needs were made, several at a time."""
        with self.runs.deferring() as wanted:
            answer = judge()
        if not wanted:
            return answer
        self.runs.run_all(wanted)
        return judge()

    def make_runs(self, runs: Sequence[NodeRun]) -> None:
        """Makes these VM runs, several at a time. What fails is told when it is asked about."""
        self.runs.run_all({run.key: partial(self._make_trace, run) for run in runs})

    def _make_trace(self, run: NodeRun) -> VmTrace[GuestMachine]:
        known = self._states.state_root(run.node_index)
        if run.starting_root != known:
            raise UnknownStart(run.node_index, run.starting_root, known)
        machine = self._spawn()
        for ident, data in run.local.items():
            machine.set_local(ident, data)
        for root, log2_size, blocks in self._states.subtrees_at(run.node_index):
            machine.add_subtree(root, log2_size, blocks)
        fault = self._fault.fault if self._fault is not None and self._fault.node_index == run.node_index else None
        return VmTrace(machine, depth=run.depth, fault=fault, name=f"node {run.node_index:,}")


def _step_data(trace: VmTrace[GuestMachine], place: Position) -> StepData:
    """The witness of the instruction that leads to the state at `place`, and the local pre-image that it reads."""
    witness = trace.step_witness(place)
    local_read = None
    if witness.preimage is not None:
        if witness.preimage.key[0] != LOCAL_KEY_TYPE:
            # ASSUMES the guest reads local pre-images only (native/guest/main.c); a fault may ask for others.
            raise TraceError(f"a step reads pre-image 0x{witness.preimage.key.hex()}, expected a local one")
        ident = int.from_bytes(witness.preimage.key[1:], "big")
        local_read = LocalRead(ident, witness.preimage.offset)
    return StepData(witness, local_read)
