"""
Machines under every operation there is, in any order: programs of random words that jump, store and map anywhere, over
their own code too; ranges at and around every edge; subtrees of odd geometry, with content or without; tight memory
accounts; forks that outlive their parents.

Promises held on the way: a fork starts equal; a step proven is the step made, in both encodings; a step refused changes
nothing; and in the end the account has back what was taken from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from opml_dispute.engine.hashing import keccak256, merkle_root
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.vm import (
    Block,
    FaultKind,
    FaultTarget,
    Machine,
    StopKind,
    VmError,
    preimage_part,
    step_from_witness,
)
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.statefile import load_state, save_state
from opml_dispute.primitives import BASE_THREAD_BYTES, ML_THREAD_BYTES
from opml_dispute.testing.fuzz import random_instruction
from tests.hostile.campaign import Move, random_number

MOST_MACHINES: Final = 6
MOST_STEPS: Final = 5_000
U64: Final = (1 << 64) - 1
CODE, DATA, SEGMENT, STACK = 0x10000, 0x20000, 0x7000_0000_0000, 0x7FFF_FFFF_F000
ACCOUNTS: Final = (0, 1 << 12, 40_000, 1 << 17, 1 << 20, 1 << 24, 1 << 24, 1 << 26, 1 << 26, U64)
PREIMAGE: Final = b"behind a key" * 5
KEY: Final = b"\x02" + keccak256(PREIMAGE)[1:]
_NUMBERS: Final = (1, 2, 5, 6, 12, 40, 63, 128, 5000, 5001, 5009, 5055, 5194, 5222, 5313, 7001, 7002, 0x50F00)
"""What a register may want to hold: system calls and their arguments."""


@dataclass
class Family:
    """Machines that share one account."""

    machines: list[Machine]
    contents: bool = False
    """Whether content was added, which the account keeps as long as a machine knows it."""


@dataclass
class Play:
    """The machines of one case."""

    families: list[Family] = field(default_factory=list)
    roots: list[tuple[bytes, int]] = field(default_factory=list)
    """Of the contents that were added, with their sizes."""

    def machine(self, who: int) -> tuple[Family, Machine] | None:
        """Machine `who` of all, counted round and round."""
        everyone = [(family, machine) for family in self.families for machine in family.machines]
        return everyone[who % len(everyone)] if everyone else None


class Machines:
    """See the module."""

    name: Final = "machines"

    def moves(self, rng: random.Random) -> list[Move]:
        """A few machines, then anything."""
        moves: list[Move] = [("new", rng.random() < 0.7, rng.choice(ACCOUNTS)) for _ in range(rng.choice((1, 1, 2)))]
        moves += [("code", 0, CODE, random_code(rng)), ("jump", 0, CODE), ("preimage", 0, KEY, PREIMAGE)]
        for _ in range(rng.randrange(1, 40)):
            kind = rng.choices(list(_MAKERS), [weight for weight, _ in _MAKERS.values()])[0]
            moves.append((kind, rng.randrange(MOST_MACHINES), *_MAKERS[kind][1](rng)))
        return moves

    def play(self, moves: Sequence[Move]) -> None:
        """See the module."""
        play = Play()
        for move in moves:
            _make(play, *move)
        for family in play.families:
            _settle(family)


def random_code(rng: random.Random) -> bytes:
    """Instructions, most of them legal, with jumps and constants among them that reach somewhere."""
    words = []
    for _ in range(rng.choice((1, 8, 64, 300, 1100))):
        match rng.randrange(8):
            case 0:  # a constant in a register: the upper half of an address worth having
                words.append(0x0F << 26 | rng.randrange(32) << 16 | rng.choice((0, 1, 2, 0x7000, 0x7FFF, 0xFFFF)))
            case 1:
                words.append(0x0D << 26 | rng.getrandbits(26))  # ori
            case 2:
                words.append(rng.choice((2, 3)) << 26 | rng.choice((CODE, CODE + 64, DATA, rng.getrandbits(27))) >> 2)
            case 3:  # a store or load near the code, by register 0
                words.append(rng.choice((0x3F, 0x2B, 0x37)) << 26 | rng.getrandbits(5) << 16 | rng.getrandbits(16))
            case 4:
                words.append(0x19 << 26 | rng.choice((2, 4, 5, 6)) << 16 | rng.getrandbits(16))  # call arguments
            case _:
                words.append(random_instruction(rng, ml=True))
    return b"".join(word.to_bytes(4, "big") for word in words)


def random_place(rng: random.Random) -> int:
    """An address: somewhere used, or anywhere."""
    if rng.random() < 0.3:
        return random_number(rng)
    base = rng.choice((0, CODE, DATA, SEGMENT, STACK, 1 << 40, 1 << 63, 1 << 64))
    return (base + rng.choice((0, 0, 8, 32, 4096, rng.randrange(-5000, 5000)))) & U64


def _random_subtree(rng: random.Random) -> tuple[int, int]:
    log2_size = rng.choice((5, 5, 6, 8, 11, 12, 13, 14, 15, 16, 17, 20, 24, 40, 59, 60, 61, 62, 63))
    return random_place(rng) >> log2_size << log2_size, log2_size


def _random_content(rng: random.Random) -> tuple[Any, ...]:
    """(log2 size, blocks as [offset, log2 size, data, word bytes, root or None], threads)."""
    log2_size = rng.choice((5, 6, 9, 11, 12, 13, 14, 16, 18, 22, 40, 63))
    blocks: list[list[Any]] = []
    for _ in range(rng.choice((0, 1, 1, 2, 4, 9))):
        size = min(rng.choice((5, 6, 8, 11, 12, 13, 14, log2_size)), log2_size)
        offset = rng.randrange(min(1 << log2_size - size, 40)) << size
        width = rng.choice((1, 1, 2, 4, 8))
        data = rng.randbytes(min(1 << size, rng.choice((0, 8, 40, 4096, 5000, 20_000))) // 8 * 8)
        blocks.append([offset, size, data, width, rng.randbytes(32) if rng.random() < 0.1 else None])
    if rng.random() < 0.1 and blocks:
        blocks[-1][rng.randrange(2)] = rng.choice((0, 4, 5, 6, 13, 63, 64, 1 << 20, U64))
    return log2_size, blocks, rng.choice((1, 1, 3))


def _random_leaves(rng: random.Random) -> tuple[Any, ...]:
    """(bytes, log2 size, word bytes, threads) to be hashed."""
    size = rng.choice((0, 1, 31, 32, 4096, 5000, 70_000, 300_000))
    return (
        rng.randbytes(64) * (size // 64) + rng.randbytes(size % 64),
        rng.randrange(4, 66),
        rng.choice((1, 2, 4, 8, 3)),
        3,
    )


_MAKERS: Final[dict[str, tuple[float, Callable[[random.Random], tuple[Any, ...]]]]] = {
    "run": (9, lambda rng: (rng.choice((1, 2, 30, MOST_STEPS)),)),
    "witness": (6, lambda _: ()),
    "code": (3, lambda rng: (rng.choice((CODE, CODE, DATA, random_place(rng) & ~3)), random_code(rng))),
    "jump": (4, lambda rng: (rng.choice((CODE, CODE + 4 * rng.randrange(64), random_place(rng))),)),
    "register": (6, lambda rng: (rng.randrange(32), rng.choice((random_place(rng), rng.choice(_NUMBERS))))),
    "write": (4, lambda rng: (random_place(rng), rng.randbytes(rng.choice((1, 7, 32, 100, 4096, 9000))))),
    "read": (3, lambda rng: (random_place(rng), rng.choice((1, 8, 33, 4097, 20_000)))),
    "zero": (3, lambda rng: (random_place(rng), rng.choice((random_number(rng), rng.getrandbits(14))))),
    "put": (7, lambda rng: (*_random_subtree(rng), rng.choice((None, None, rng.randbytes(32), bytes(32))))),
    "content": (4, _random_content),
    "leaves": (1, _random_leaves),
    "root": (4, _random_subtree),
    "proof": (3, _random_subtree),
    "hash": (3, lambda _: ()),
    "fork": (5, lambda _: ()),
    "drop": (3, lambda _: ()),
    "flip": (3, lambda rng: (rng.randrange(6), rng.choice((rng.randrange(34), random_place(rng))), rng.randrange(66))),
    "scalar": (3, lambda rng: (rng.randrange(11), random_number(rng))),
    "stack": (2, lambda rng: (rng.random() < 0.5, rng.choice((0, 1, 2, 3, 5, 20)))),
    "thread": (2, lambda rng: (rng.random() < 0.5, rng.randrange(-2, 4), rng.randbytes(ML_THREAD_BYTES))),
    "preimage": (1, lambda rng: (rng.choice((KEY, rng.randbytes(32))), rng.randbytes(rng.choice((0, 1, 32, 99))))),
    "listen": (1, lambda rng: (rng.choice((0, 1, 100, 1 << 20)),)),
    "save": (2, lambda _: ()),
}
_SCALARS: Final = (
    *("step", "slice", "heap", "next_thread_id", "preimage_offset", "ll_status", "ll_address", "ll_owner"),
    *("exited", "exit_code", "traverse_right"),
)


def _make(play: Play, kind: str, *arguments: Any) -> None:
    """One move. A function, so that nothing but the play holds a machine when it ends."""
    if kind == "new":
        _new(play, *arguments)
    elif (found := play.machine(arguments[0])) is not None:
        with suppress(OpmlError):
            _PLAYERS[kind](play, *found, *arguments[1:])


def _new(play: Play, ml: bool, limit: int) -> None:
    with suppress(VmError):  # not even room for the first branch of the tree
        play.families.append(Family([Machine(ml=ml, memory_limit_bytes=limit)]))


def _run(_: Play, __: Family, machine: Machine, steps: int) -> None:
    before = machine.step
    stop = machine.run(steps)
    assert stop.steps == (machine.step - before) & U64, stop
    assert stop.kind is not StopKind.STEP_LIMIT or stop.steps == steps, stop
    machine.printed()


def _witness(_: Play, __: Family, machine: Machine) -> None:
    """A proven step is the step that the machine makes."""
    fork = machine.fork()
    proven = []
    for compact in (False, True):
        try:
            witness = machine.step_witness(compact=compact)
        except VmError:
            continue
        outcome = step_from_witness(witness.state_data, witness.proof, _oracle, ml=machine.ml)
        if outcome.post_hash is None and outcome.preimage is not None:
            continue  # a pre-image that only the machine has
        assert outcome.post_hash == witness.post_hash, outcome
        proven.append(witness.post_hash)
    assert len(set(proven)) <= 1, proven
    was_exited = fork.exited
    if (was_exited or fork.run(1).steps == 1) and proven:
        assert fork.state_hash() == proven[0]


def _oracle(key: bytes, offset: int) -> bytes | None:
    return preimage_part(PREIMAGE, offset) if key == KEY else None


def _put(play: Play, _: Family, machine: Machine, address: int, log2_size: int, root: bytes | None) -> None:
    if root is None:
        known = [(known, size) for known, size in play.roots if size < 64]
        if not known:
            return
        root, log2_size = known[address % len(known)]
        address = address >> log2_size << log2_size
    machine.put_subtree(address, log2_size, root)


def _content(
    play: Play, family: Family, machine: Machine, log2_size: int, blocks: list[list[Any]], threads: int
) -> None:
    made = [Block(*block) for block in blocks]
    try:
        root: bytes = SparseTree(log2_size, made).root
    except (OpmlError, ValueError):
        root = bytes(32)  # no such blocks: the engine must say so too
    play.roots.append((root, log2_size))
    family.contents = True
    machine.add_subtree(root, log2_size, made, threads=threads)


def _leaves(_: Play, __: Family, ___: Machine, data: bytes, log2_size: int, word_bytes: int, threads: int) -> None:
    root = merkle_root(data, log2_size, word_bytes)
    assert root == merkle_root(data, log2_size, word_bytes, threads=threads)
    if word_bytes == 1 and log2_size < 64:
        assert root == SparseTree(log2_size, [Block(0, log2_size, data)]).root


def _hash(_: Play, __: Family, machine: Machine) -> None:
    assert machine.fork().state_hash() == machine.state_hash()


def _fork(play: Play, family: Family, machine: Machine) -> None:
    if sum(len(each.machines) for each in play.families) < MOST_MACHINES:
        family.machines.append(machine.fork())


def _drop(_: Play, family: Family, machine: Machine) -> None:
    if len(family.machines) > 1:
        family.machines.remove(machine)


def _scalar(_: Play, __: Family, machine: Machine, which: int, value: int) -> None:
    name = _SCALARS[which]
    byte = name in {"ll_status", "exited", "exit_code", "traverse_right"}
    change: dict[str, Any] = {name: value & 0xFF if byte else value}
    machine.set_scalars(replace(machine.scalars, **change))


def _thread(_: Play, __: Family, machine: Machine, right: bool, index: int, data: bytes) -> None:
    machine.set_thread(data if machine.ml else data[:BASE_THREAD_BYTES], right=right, index=index)


def _save(_: Play, __: Family, machine: Machine) -> None:
    saved = save_state(machine)
    try:
        again = load_state(saved)
    except OpmlError:
        return  # it needs content that is not part of a file
    assert save_state(again) == saved
    assert again.state_hash() == machine.state_hash()


_PLAYERS: Final[dict[str, Callable[..., None]]] = {
    "run": _run,
    "witness": _witness,
    "put": _put,
    "content": _content,
    "leaves": _leaves,
    "hash": _hash,
    "fork": _fork,
    "drop": _drop,
    "scalar": _scalar,
    "thread": _thread,
    "save": _save,
    "code": lambda _, __, machine, address, data: machine.write(address, data),
    "write": lambda _, __, machine, address, data: machine.write(address, data),
    "jump": lambda _, __, machine, address: machine.jump(address),
    "register": lambda _, __, machine, index, value: machine.set_register(index, value),
    "read": lambda _, __, machine, address, size: machine.read(address, size),
    "zero": lambda _, __, machine, address, size: machine.zero(address, size),
    "root": lambda _, __, machine, address, size: machine.subtree_root(address, size),
    "proof": lambda _, __, machine, address, size: machine.subtree_proof(address, size),
    "flip": lambda _, __, machine, kind, at, bit: machine.flip_bit(FaultTarget(FaultKind(kind), at, bit)),
    "stack": lambda _, __, machine, right, count: machine.resize_stack(right=right, count=count),
    "preimage": lambda _, __, machine, key, data: machine.add_preimage(key, data),
    "listen": lambda _, __, machine, limit: machine.listen(limit),
}


def _settle(family: Family) -> None:
    """All memory zero and all forks gone: what is left on the account is one empty tree and the thread stacks."""
    last = family.machines[-1]
    family.machines[:] = [last]
    if family.contents:
        return
    try:
        last.zero(0, 1 << 64)
        used = last.memory_used_bytes
        fork = last.fork()  # takes as much for thread stacks as `last` holds, and nothing else
    except VmError:
        return  # no room to find out
    left = used - (fork.memory_used_bytes - used)
    assert left == _empty_tree_bytes(), (
        f"{left} bytes are held by a machine without memory, {_empty_tree_bytes()} expected"
    )


def _empty_tree_bytes() -> int:
    fresh = Machine(ml=True)
    used = fresh.memory_used_bytes
    fork = fresh.fork()
    return used - (fork.memory_used_bytes - used)
