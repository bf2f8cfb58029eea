"""
A toy inference and a toy VM, small enough to play thousands of games with, and whole: nothing in them is pretended.

A state root is a counter (8 bytes) and a scrambled tail; a node scrambles it `SCRAMBLES` times and counts one up. The
toy VM runs one node the way the guest does: it reads the starting root and the disputed root as local pre-images,
scrambles one step at a time, compares, and exits with 0 or 1. So a flipped bit in it makes a liar's faulty trace that
is consistent down to one step, as in the real one, and `step_toy_vm` is the chain that finds it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import PreimageRead, StepWitness
from opml_dispute.primitives import StateHash, StateRoot

SCRAMBLES = 8
EXIT_STEP = SCRAMBLES + 4
"""Steps of one node's run: two reads, the scrambles, the count, the comparison."""


def scramble(tail: bytes) -> bytes:
    """One round of the toy's only arithmetic."""
    return keccak256(tail)[:24]


def first_root(seed: int) -> StateRoot:
    """S_0 of a toy inference."""
    return StateRoot(bytes(8) + scramble(b"input %d" % seed))


@lru_cache(maxsize=1 << 16)
def run_node(root: StateRoot, node_count: int) -> StateRoot:
    """S_{t+1} from S_t, natively; past the end nothing changes."""
    counter = int.from_bytes(root[:8], "big")
    if counter >= node_count:
        return root
    tail = root[8:]
    for _ in range(SCRAMBLES):
        tail = scramble(tail)
    return StateRoot((counter + 1).to_bytes(8, "big") + tail)


class ToyInference:
    """States S_0 … S_n; `overrides` replaces some, and what follows is computed from them."""

    def __init__(self, seed: int, node_count: int, overrides: dict[int, StateRoot] | None = None) -> None:
        self.node_count = node_count
        self.roots = [first_root(seed)]
        for t in range(1, node_count + 1):
            computed = run_node(self.roots[-1], node_count)
            self.roots.append((overrides or {}).get(t, computed))

    def state_root(self, t: int) -> StateRoot:
        return self.roots[t]

    def subtrees_at(self, t: int) -> Sequence[tuple[bytes, int, Sequence[bytes]]]:
        return [(self.roots[t], 40, [self.roots[t]])]


@dataclass(frozen=True)
class ToyState:
    """A state of the toy VM: 82 bytes."""

    step: int = 0
    root: bytes = bytes(32)
    disputed: bytes = bytes(32)
    exited: bool = False
    exit_code: int = 0

    def encode(self) -> bytes:
        return (
            self.step.to_bytes(8, "big") + self.root + self.disputed + bytes([self.exited, self.exit_code]) + bytes(8)
        )

    @classmethod
    def decode(cls, data: bytes) -> ToyState:
        if len(data) != 82 or data[72] > 1 or data[74:] != bytes(8):
            raise ValueError("not a toy state")
        return cls(int.from_bytes(data[:8], "big"), data[8:40], data[40:72], data[72] == 1, data[73])

    def state_hash(self) -> StateHash:
        status = min(self.exit_code, 2) if self.exited else 3
        return StateHash(bytes([status]) + keccak256(self.encode())[1:])


def preimage_read(state: ToyState) -> PreimageRead | None:
    """The local pre-image that the next step reads: 2 first, then 3."""
    if state.exited or state.step > 1:
        return None
    return PreimageRead(b"\x01" + (2 + state.step).to_bytes(31, "big"), 8)


def step_toy_vm(state: ToyState, node_count: int, read_local: Callable[[PreimageRead], bytes]) -> ToyState:
    """One step. `read_local` gives 32 bytes of a local pre-image, or raises."""
    if state.exited:
        return state
    after = partial(ToyState, state.step + 1)  # `replace` takes four times as long, and there are many steps
    read = preimage_read(state)
    counter = int.from_bytes(state.root[:8], "big")
    if read is not None:
        word = read_local(read)
        return after(word, state.disputed) if state.step == 0 else after(state.root, word)
    if state.step < 2 + SCRAMBLES:
        if counter >= node_count:
            return after(state.root, state.disputed)
        return after(state.root[:8] + scramble(state.root[8:]), state.disputed)
    if state.step == 2 + SCRAMBLES:
        return after(min(counter + 1, node_count).to_bytes(8, "big") + state.root[8:], state.disputed)
    return after(state.root, state.disputed, exited=True, exit_code=int(state.root != state.disputed))


class ToyMachine:
    """The toy VM with the interface of the real one."""

    def __init__(self, node_count: int) -> None:
        self.node_count = node_count
        self.state = ToyState()
        self.local: dict[int, bytes] = {}
        self.known: set[bytes] = set()

    def fork(self) -> ToyMachine:
        copy = ToyMachine(self.node_count)
        copy.state, copy.local, copy.known = self.state, dict(self.local), set(self.known)
        return copy

    @property
    def memory_used_bytes(self) -> int:
        return 1 << 20

    @property
    def step(self) -> int:
        return self.state.step

    @property
    def exited(self) -> bool:
        return self.state.exited

    @property
    def exit_code(self) -> int:
        return self.state.exit_code

    def set_local(self, ident: int, data: bytes) -> None:
        self.local[ident] = data

    def add_subtree(self, root: bytes, log2_size: int, blocks: Sequence[bytes]) -> None:
        assert log2_size == 40
        assert blocks == [root], "content that does not belong to its root"
        self.known.add(root)

    def run(self, max_steps: int) -> str:
        for _ in range(max_steps):
            if self.state.exited:
                return "exited"
            self.state = step_toy_vm(self.state, self.node_count, self._read)
        return "step limit"

    def _read(self, read: PreimageRead) -> bytes:
        word = self.local[int.from_bytes(read.key[1:], "big")]
        assert read.key[-1] != 2 or word in self.known, "the starting root's content is not known"
        return word

    def state_hash(self) -> StateHash:
        return self.state.state_hash()

    def step_witness(self, *, compact: bool = False) -> StepWitness:
        after = self.fork()
        after.run(1)
        return StepWitness(self.state.encode(), b"", preimage_read(self.state), after.state_hash())

    def flip_bit(self, target: Any) -> None:
        """Flips bit `target` (0 to 191) of the root's tail."""
        flipped = int.from_bytes(self.state.root, "big") ^ (1 << target)
        self.state = replace(self.state, root=flipped.to_bytes(32, "big"))


TOY_PRESTATE = ToyState().state_hash()
"""Where every toy run starts."""
