"""
Both phases of a game in one trace, in the context of a claim.

Down to the split depth a claim is about a state root, wherever it stands. Below, it is about the run of one node,
and its ancestors say which: `game.rules.subgame_roots_of`. That run starts from the agreed root and compares its own
result with the *disputed claim's value*: so over a wrong disputed root even the true trace ends in failure, and
every pair of roots has a trace of its own. `runs.VmRuns` keeps them within a budget, and makes several at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.position import Position
from opml_dispute.game.rules import SubgameRoots, local_data, subgame_roots_below, subgame_roots_of
from opml_dispute.primitives import Hash32, StateHash, StateRoot
from opml_dispute.trace.provider import LocalRead, StepData, TraceError, WrongInference
from opml_dispute.trace.runs import RunKey, VmRuns
from opml_dispute.trace.states import StateSource, StateTrace
from opml_dispute.trace.vm import VmFault, VmMachine, VmTrace

LOCAL_KEY_TYPE: Final = 1

T = TypeVar("T")


class GuestMachine(VmMachine, Protocol):
    """A machine that can be given what the guest asks for: `engine.vm.Machine`."""

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
    """The fault that a liar's story rests on: one flipped bit in the VM run of one node."""

    node_index: int
    fault: VmFault


SubgameProgress = Callable[[int, int], None]
"""Told, now and then, that the VM run of a node (first argument) has made so many steps (second)."""


class SplitTrace:
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
        fault: NodeFault | None = None,
        spawn: Callable[[], GuestMachine] | None = None,
        budget_bytes: int | None = None,
        progress: SubgameProgress | None = None,
    ) -> None:
        """
        `spawn` makes one more machine like `guest`, by default a fork; machines that share nothing can run at the same
        time. `budget_bytes` bounds the memory of the machines that are kept: by default a quarter of the computer's.
        """
        self._states, self._guest, self.node_count = states, guest, node_count
        self._fault, self._progress = fault, progress
        self._spawn = spawn or guest.fork
        self.runs: VmRuns[GuestMachine] = VmRuns(budget_bytes, at_once=spawn is not None)
        self._checked: set[str] = set()

    def root_claim(self) -> Hash32:
        """S_n."""
        return Hash32(self._states.state_root(self.node_count))

    def state_root(self, t: int) -> StateRoot:
        """S_t."""
        return self._states.state_root(t)

    def claim_at(self, game: Game, claim: Claim) -> Hash32:
        """The right value where `claim` stands."""
        if claim.position.depth <= game.depths.split:
            return self._state_root(game, claim.position)
        return self._state_hash(game, subgame_roots_of(game, claim.index), claim.position)

    def reply_at(self, game: Game, claim: Claim, *, is_attack: bool) -> Hash32:
        """The right value where an answer to `claim` would stand."""
        position = claim.position.move(is_attack=is_attack)
        if position.depth <= game.depths.split:
            return self._state_root(game, position)
        if claim.position.depth == game.depths.split:
            return self._state_hash(game, subgame_roots_below(game, claim.index, is_attack=is_attack), position)
        return self._state_hash(game, subgame_roots_of(game, claim.index), position)

    def step_at(self, game: Game, claim: Claim, *, is_attack: bool) -> StepData:
        """What a step against the leaf `claim` needs: an attack runs the instruction before it, a defence after."""
        leaf = claim.position.within_subtree(game.depths.execution_root)
        place = leaf if is_attack else leaf.right_neighbour()
        outputs = subgame_roots_of(game, claim.index)
        return self.runs.answer(
            _key(game, outputs),
            ("step", place.gindex),
            lambda: self._make_trace(game, outputs),
            lambda trace: _step_data(trace, place),
        )

    def vm_trace(self, game: Game, outputs: SubgameRoots) -> VmTrace[GuestMachine]:
        """The VM run of one subgame."""
        return self.runs.trace(_key(game, outputs), lambda: self._make_trace(game, outputs))

    def ahead(self, judge: Callable[[], T]) -> T:
        """What `judge` answers, after all VM runs that it needs were made, several at a time."""
        with self.runs.deferring() as wanted:
            answer = judge()
        if not wanted:
            return answer
        self.runs.run_all(wanted)
        return judge()

    def _make_trace(self, game: Game, outputs: SubgameRoots) -> VmTrace[GuestMachine]:
        self._check(game)
        node_index = outputs.node_index(game)
        known = self._states.state_root(node_index)
        if outputs.starting.root != known:
            raise UnknownStart(node_index, outputs.starting.root, known)
        machine = self._spawn()
        for ident, data in local_data(game, outputs).items():
            machine.set_local(ident, data)
        machine.add_subtree(known, SEGMENT_LOG2, self._states.blocks_at(node_index))
        fault = self._fault.fault if self._fault is not None and self._fault.node_index == node_index else None
        progress = self._progress
        report = None if progress is None else lambda steps: progress(node_index, steps)
        return VmTrace(machine, depth=game.depths.execution, fault=fault, progress=report)

    def _state_root(self, game: Game, position: Position) -> Hash32:
        self._check(game)
        trace = StateTrace(self._states, node_count=self.node_count, split_depth=game.depths.split)
        return Hash32(trace.claim_at(position))

    def _state_hash(self, game: Game, outputs: SubgameRoots, position: Position) -> Hash32:
        local = position.within_subtree(game.depths.execution_root)
        state_hash: StateHash = self.runs.answer(
            _key(game, outputs),
            local.gindex,
            lambda: self._make_trace(game, outputs),
            lambda trace: trace.claim_at(local),
        )
        return Hash32(state_hash)

    def _check(self, game: Game) -> None:
        """Refuses a game about another program, another input or another guest."""
        if game.address in self._checked:  # none of this changes during a game
            return
        if game.node_count != self.node_count:
            raise WrongInference(f"the game is about {game.node_count} nodes, this program has {self.node_count}")
        first = self._states.state_root(0)
        if game.starting_root != first:
            raise WrongInference(f"the game starts at 0x{game.starting_root.hex()}, this run at 0x{first.hex()}")
        prestate = self._guest.state_hash()
        if game.absolute_prestate != prestate:
            raise WrongInference(
                f"the game's VM starts at 0x{game.absolute_prestate.hex()}, this release's guest at 0x{prestate.hex()}",
                hint="the contracts belong to another release of the guest",
            )
        self._checked.add(game.address)


def _key(game: Game, outputs: SubgameRoots) -> RunKey:
    return game.address, bytes(outputs.local_context)


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
