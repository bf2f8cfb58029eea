"""
An inference and a VM made of hashes alone: every value of a game of any depth, in a few microseconds.

Nothing about a dispute depends on what a node computes, only on who has which value where. So here a state root is a
counter and a hash of the root before it; a VM state is the roots that it works on and the number of steps done. A fault
is a tag that one node's run picks up at one step and keeps, and every later root depends on it: a `Trace` with a fault
is consistent down to that one instruction, as the liar of the real system is (`actors.liars`).

`execute_step` is the chain's part: it executes one step from presented state data, and so finds the fault.

The hash function is a parameter: SHA-256 is fast; with Keccak-256 the same values hold on the real contracts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from opml_dispute.engine.preimage_key import unlocalized_key
from opml_dispute.engine.values import PreimageRead, StepWitness
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.position import Position
from opml_dispute.game.rules import SubgameRoots, subgame_roots_below, subgame_roots_of
from opml_dispute.primitives import Hash32, StateHash, StateRoot, VmStatus
from opml_dispute.trace.provider import LocalRead, StepData
from opml_dispute.trace.split import UnknownStart

Digest = Callable[[bytes], bytes]
"""32 bytes of a hash."""

READ_STEPS: Final = 2
"""The first two steps read the starting root and the disputed root as local pre-images."""

LENGTH_PREFIX_BYTES: Final = 8
STATE_BYTES: Final = 81


class WrongWitness(OpmlError):
    """Presented state data is no state of the symbolic VM."""


def sha256(data: bytes) -> bytes:
    """The digest of the rules level."""
    return hashlib.sha256(data).digest()


@dataclass(frozen=True, slots=True)
class Inference:
    """The true inference: S_0 follows from the seed, S_{t+1} from S_t."""

    seed: int
    node_count: int
    steps_per_node: int
    """VM steps of each node's run, the last of which exits; more than 3."""
    digest: Digest = sha256
    reverts_after: int | None = None
    """The step of every run that the chain cannot execute: a machine without a defined outcome of an exception."""

    def __post_init__(self) -> None:
        if self.node_count < 1 or self.steps_per_node <= READ_STEPS + 1:
            raise ValueError(f"{self.node_count} nodes of {self.steps_per_node} steps are no inference")

    def first_root(self) -> StateRoot:
        """S_0."""
        return StateRoot(bytes(8) + self.digest(b"input %d" % self.seed)[:24])

    def after_node(self, root: bytes, fault_tag: int = 0) -> StateRoot:
        """The root after one node; past the last node nothing changes."""
        counter = int.from_bytes(root[:8], "big")
        if counter >= self.node_count:
            return StateRoot(bytes(root))
        body = self.digest(root + (fault_tag.to_bytes(8, "big") if fault_tag else b""))
        return StateRoot((counter + 1).to_bytes(8, "big") + body[:24])


@dataclass(frozen=True, slots=True)
class Fault:
    """One bit flips after `after_step` steps of the run of node `node_index`."""

    node_index: int
    after_step: int
    """At least 3, less than the node's steps: after the roots were read, before the program exits."""
    tag: int
    """Which bit: two faults at one place with different tags end in different roots. Not 0."""


@dataclass(frozen=True, slots=True)
class VmState:
    """A state of the symbolic VM."""

    step: int = 0
    starting: bytes = bytes(32)
    disputed: bytes = bytes(32)
    fault_tag: int = 0
    status: VmStatus = VmStatus.UNFINISHED

    def encode(self) -> bytes:
        """As presented to the chain: 81 bytes."""
        return (
            self.step.to_bytes(8, "big")
            + self.starting
            + self.disputed
            + self.fault_tag.to_bytes(8, "big")
            + bytes([self.status])
        )

    @classmethod
    def decode(cls, data: bytes) -> VmState:
        """Raises `WrongWitness` for what no state encodes to."""
        if len(data) != STATE_BYTES or data[80] > VmStatus.UNFINISHED:
            raise WrongWitness(f"{len(data)} bytes are no state of the symbolic VM, expected {STATE_BYTES}")
        tag = int.from_bytes(data[72:80], "big")
        return cls(int.from_bytes(data[:8], "big"), data[8:40], data[40:72], tag, VmStatus(data[80]))

    def state_hash(self, digest: Digest) -> StateHash:
        """What a claim below the split depth asserts."""
        return StateHash(bytes([self.status]) + digest(self.encode())[1:])


def prestate(digest: Digest = sha256) -> StateHash:
    """The absolute prestate: where every run starts."""
    return VmState().state_hash(digest)


def state_after(inference: Inference, starting: bytes, disputed: bytes, steps: int, fault: Fault | None) -> VmState:
    """The state of a run over these two roots after so many steps, without running it."""
    tag = fault.tag if fault is not None and steps >= fault.after_step else 0
    if steps < inference.steps_per_node:
        return VmState(steps, starting if steps > 0 else bytes(32), disputed if steps > 1 else bytes(32), tag)
    status = VmStatus.VALID if inference.after_node(starting, tag) == disputed else VmStatus.INVALID
    return VmState(inference.steps_per_node, starting, disputed, tag, status)


def execute_step(inference: Inference, state_data: bytes, read_local: Callable[[int], bytes]) -> StateHash:
    """One step as the chain executes it; `read_local` gives the local pre-image of an ident, 32 bytes."""
    state = VmState.decode(state_data)
    if state.status != VmStatus.UNFINISHED:
        return state.state_hash(inference.digest)
    step = state.step + 1
    if inference.reverts_after == step:
        raise WrongWitness(f"step {step} has no outcome on chain")
    if state.step == 0:
        after = VmState(step, read_local(2))
    elif state.step == 1:
        after = VmState(step, state.starting, read_local(3))
    elif step < inference.steps_per_node:
        after = VmState(step, state.starting, state.disputed, state.fault_tag)
    else:
        right = inference.after_node(state.starting, state.fault_tag) == state.disputed
        status = VmStatus.VALID if right else VmStatus.INVALID
        after = VmState(step, state.starting, state.disputed, state.fault_tag, status)
    return after.state_hash(inference.digest)


class Trace:
    """A `GameTrace` over a symbolic inference: the truth, or with `fault` a liar's version of it."""

    def __init__(self, inference: Inference, fault: Fault | None = None) -> None:
        self.inference, self.fault = inference, fault
        self._roots = [inference.first_root()]
        self._known: dict[tuple[str, int, int, bytes, int], Hash32] = {}

    def state_root(self, t: int) -> StateRoot:
        """S_t."""
        while len(self._roots) <= t:
            node = len(self._roots) - 1
            tag = self.fault.tag if self.fault is not None and self.fault.node_index == node else 0
            self._roots.append(self.inference.after_node(self._roots[-1], tag))
        return self._roots[t]

    def root_claim(self) -> Hash32:
        """S_n."""
        return Hash32(self.state_root(self.inference.node_count))

    def claim_at(self, game: Game, claim: Claim) -> Hash32:
        """The value where `claim` stands."""
        if claim.position.depth <= game.depths.split:
            return self._root_at(game, claim.position)
        key = _identity(game, claim, 2)
        if key not in self._known:
            self._known[key] = self._hash_at(game, subgame_roots_of(game, claim.index), claim.position)
        return self._known[key]

    def reply_at(self, game: Game, claim: Claim, *, is_attack: bool) -> Hash32:
        """The value where an answer to `claim` would stand."""
        position = claim.position.move(is_attack=is_attack)
        if position.depth <= game.depths.split:
            return self._root_at(game, position)
        key = _identity(game, claim, int(is_attack))
        if key not in self._known:
            is_leaf = claim.position.depth == game.depths.split
            outputs = (
                subgame_roots_below(game, claim.index, is_attack=is_attack)
                if is_leaf
                else subgame_roots_of(game, claim.index)
            )
            self._known[key] = self._hash_at(game, outputs, position)
        return self._known[key]

    def step_at(self, game: Game, claim: Claim, *, is_attack: bool) -> StepData:
        """What a step against the leaf `claim` needs."""
        outputs = subgame_roots_of(game, claim.index)
        leaf = claim.position.within_subtree(game.depths.execution_root)
        done = leaf.trace_index(game.depths.execution) + (0 if is_attack else 1)
        before, after = self._state(game, outputs, done), self._state(game, outputs, done + 1)
        read = None
        local_read = None
        if before.step < READ_STEPS:
            ident = 2 + before.step
            read = PreimageRead(unlocalized_key(ident), LENGTH_PREFIX_BYTES)
            local_read = LocalRead(ident, LENGTH_PREFIX_BYTES)
        return StepData(StepWitness(before.encode(), b"", read, after.state_hash(self.inference.digest)), local_read)

    def _root_at(self, game: Game, position: Position) -> Hash32:
        return Hash32(self.state_root(min(position.trace_index(game.depths.split) + 1, game.node_count)))

    def _hash_at(self, game: Game, outputs: SubgameRoots, position: Position) -> Hash32:
        local = position.within_subtree(game.depths.execution_root)
        steps = local.trace_index(game.depths.execution) + 1
        return Hash32(self._state(game, outputs, steps).state_hash(self.inference.digest))

    def _state(self, game: Game, outputs: SubgameRoots, steps: int) -> VmState:
        node_index = outputs.node_index(game)
        known = self.state_root(node_index)
        if outputs.starting.root != known:
            raise UnknownStart(node_index, outputs.starting.root, known)
        fault = self.fault if self.fault is not None and self.fault.node_index == node_index else None
        return state_after(self.inference, outputs.starting.root, outputs.disputed.root, steps, fault)


def _identity(game: Game, claim: Claim, question: int) -> tuple[str, int, int, bytes, int]:
    """
    What fixes a claim and all above it, in every history of the game's chain.

    INVARIANT: an undone claim comes back later than it was, and whatever it answers was there before it.
    """
    return game.address, claim.index, claim.clock.timestamp_s, bytes(claim.value), question
