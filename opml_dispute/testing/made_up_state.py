"""
A VM state made up part by part, with everything a step from it needs.

`MadeUpState` holds every field of state and thread, and a memory of few known leaves; `MadeUpState.vector` makes the
witness: it works out what the instruction touches (`parts_touched`) and proves that, in either encoding. The result is
left open: that is for the implementations to say. Fuzzing and tests start here; a real run's witnesses come from
`engine.vm`.

The tree is the slow obvious one on purpose (a node is hashed from its children, one by one), so that it is one
more opinion on what a proof is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from opml_dispute.engine.hashing import keccak256, zero_root
from opml_dispute.primitives import BASE_VERSION, ML_VERSION
from opml_dispute.testing.vectors import Load, Vector

EMPTY_STACK: Final = bytes.fromhex("ad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5")
"""Root of a thread stack without threads: the hash of 64 zero bytes."""

LEAF: Final = 5
"""Level of a leaf: log2 of its 32 bytes."""

COMPACT_MARKER: Final = b"OPMLCMP1"
MEMORY_PROOF_BYTES: Final = 60 * 32
U64: Final = 2**64 - 1

SYSCALL: Final = 0x0000000C
STORE_OPCODES: Final = frozenset({0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x3F})
LOAD_OPCODES: Final = frozenset({0x1A, 0x1B, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x37})
RESERVING_OPCODES: Final = frozenset({0x30, 0x34, 0x38, 0x3C})
FLOAT_MEMORY_OPCODES: Final = frozenset({0x31, 0x39})


class Tree:
    """Memory with few known leaves; what no leaf is below is zero or, with a `filling`, anything at all."""

    def __init__(self, leaves: dict[int, bytes], filling: bytes | None, opened: list[tuple[int, int]]) -> None:
        """
        `leaves`: address of a leaf -> its 32 bytes. `opened`: (address, log2_size) of subtrees that are to be proven;
        of them too, no more than the root is made up.
        """
        self._leaves = {address >> LEAF: content for address, content in leaves.items()}
        self._filling = filling
        self._known: dict[tuple[int, int], bytes] = {}
        subtrees = [*opened, *((address, LEAF) for address in leaves)]
        self._parents = {(level, address >> level) for address, size in subtrees for level in range(size + 1, 65)}

    def root(self, address: int, log2_size: int) -> bytes:
        """Root of the 2**log2_size bytes around `address`; of a leaf, its own 32 bytes."""
        return self._node(log2_size, address >> log2_size)

    def proof(self, address: int, log2_size: int) -> list[bytes]:
        """The siblings on the way up from there, lowest first."""
        return [self._node(level, (address >> level) ^ 1) for level in range(log2_size, 64)]

    def _node(self, level: int, index: int) -> bytes:
        key = (level, index)
        if key not in self._known:
            self._known[key] = self._hashed(level, index) if key in self._parents else self._made_up(level, index)
        return self._known[key]

    def _hashed(self, level: int, index: int) -> bytes:
        return keccak256(self._node(level - 1, 2 * index) + self._node(level - 1, 2 * index + 1))

    def _made_up(self, level: int, index: int) -> bytes:
        if level == LEAF and index in self._leaves:
            return self._leaves[index]
        if self._filling is None:
            return zero_root(level)
        return keccak256(self._filling + level.to_bytes(1, "big") + index.to_bytes(8, "big"))


@dataclass(frozen=True)
class MadeUpState:
    """A state about to step. The defaults are those of a program's start, all memory zero."""

    ml: bool = False
    insn: int = 0
    pc: int = 0x10000
    next_pc: int | None = None
    """None: pc + 4, that is, no delay slot."""
    registers: tuple[int, ...] = (0,) * 32
    floats: tuple[int, ...] = (0,) * 32
    fcsr: int = 0
    lo: int = 0
    hi: int = 0
    thread_id: int = 0
    thread_exited: int = 0
    thread_exit_code: int = 0
    inner_root: bytes = EMPTY_STACK
    """Root of the active stack below the active thread."""
    inactive_root: bytes = EMPTY_STACK
    right_is_active: int = 0
    step: int = 0
    slice: int = 0
    heap: int = 0x0000100000000000
    next_thread_id: int = 1
    reservation: int = 0
    reserved_address: int = 0
    reserving_thread: int = 0
    exit_code: int = 0
    exited: int = 0
    preimage_key: bytes = bytes(32)
    preimage_offset: int = 0
    loads: tuple[Load, ...] = ()
    context: bytes = bytes(32)
    leaves: dict[int, bytes] = field(default_factory=dict)
    """Known leaves by address; the instruction is put over them."""
    filling: bytes | None = None
    """Seed of all other memory; None: zeros."""
    compact: bool = False
    """Which encoding the proof has."""
    flips: tuple[tuple[str, int], ...] = ()
    """Bits flipped in the finished witness: ("state" or "proof", bit number modulo its length)."""
    cut: int | None = None
    """The finished proof is cut to this many bytes."""

    def vector(self, name: str = "fuzz/case/000") -> Vector:
        """The witness of one step; `post` is left None."""
        tree = self.tree()
        state, proof = bytearray(self._state(tree)), bytearray(self._proof(tree))
        for part, bit in self.flips:
            data = state if part == "state" else proof
            if data:
                bit %= 8 * len(data)
                data[bit // 8] ^= 1 << (bit % 8)
        return Vector(
            name=name,
            version=ML_VERSION if self.ml else BASE_VERSION,
            state=bytes(state),
            proof=bytes(proof[: self.cut]),
            context=self.context,
            loads=self.loads,
            insn=self.insn,
        )

    def tree(self) -> Tree:
        """Memory, the instruction in it."""
        return self._tree(dict(self.leaves), [(self.pc & 28, self.insn.to_bytes(4, "big"), self.pc)])

    def _tree(self, leaves: dict[int, bytes], written: list[tuple[int, bytes, int]]) -> Tree:
        """Memory of `leaves` with each of `written` in it: (place in the leaf, bytes, address of the leaf)."""
        opened = [(self.pc, LEAF), *self.parts_touched()]
        for place, data, address in written:
            at = address & ~31 & U64
            leaf = bytearray(leaves.get(at) or Tree({}, self.filling, []).root(at, LEAF))
            leaf[place : place + len(data)] = data
            leaves[at] = bytes(leaf)
        return Tree(leaves, self.filling, opened)

    @property
    def is_syscall(self) -> bool:
        """Whether the instruction is a system call, whatever its code field holds."""
        return self.insn >> 26 == 0 and self.insn & 63 == SYSCALL

    def parts_touched(self) -> list[tuple[int, int]]:
        """What the instruction reads or writes, as (address, log2_size), in the order of the proof."""
        r, opcode, funct = self.registers, self.insn >> 26, self.insn & 63
        base, index = r[(self.insn >> 21) & 31], r[(self.insn >> 16) & 31]
        if opcode in LOAD_OPCODES | STORE_OPCODES | RESERVING_OPCODES | FLOAT_MEMORY_OPCODES:
            offset = (self.insn & 0xFFFF) - ((self.insn & 0x8000) << 1)
            return [((base + offset) & U64, LEAF)]
        if opcode == 0x13 and funct in (0x00, 0x08):
            return [((base + index) & U64, LEAF)]
        if not self.is_syscall:
            return []
        if r[2] in (5000, 5001):
            return [(r[5], LEAF)]
        if r[2] == 5222:
            return [(r[5], LEAF), ((r[5] + 8) & U64, LEAF)]
        if r[2] in (5194, 5313):
            return [(r[4], LEAF)]
        if r[2] in (7001, 7002) and LEAF <= r[5] < 64:
            return [(r[6], LEAF), (r[4] >> r[5] << r[5], r[5])]
        return []

    def simpler(self) -> list[MadeUpState]:
        """The same case with one thing less in it, each way: what a shrinking search tries."""
        blank = MadeUpState()
        fewer: list[MadeUpState] = []
        for name in (
            *("filling", "leaves", "loads", "flips", "cut", "compact", "context", "preimage_key", "preimage_offset"),
            *("inner_root", "inactive_root", "right_is_active", "thread_id", "thread_exited", "thread_exit_code"),
            *("step", "slice", "heap", "next_thread_id", "reservation", "reserved_address", "reserving_thread"),
            *("exit_code", "exited", "fcsr", "lo", "hi", "next_pc", "pc", "registers", "floats", "ml"),
        ):
            if getattr(self, name) != getattr(blank, name):
                fewer.append(replace(self, **{name: getattr(blank, name)}))
        for i in range(32):
            if self.registers[i]:
                fewer.append(replace(self, registers=(*self.registers[:i], 0, *self.registers[i + 1 :])))
            if self.floats[i]:
                fewer.append(replace(self, floats=(*self.floats[:i], 0, *self.floats[i + 1 :])))
        return fewer

    def thread(self) -> bytes:
        """The thread witness: 298 bytes, 430 with the ML extension."""
        next_pc = (self.pc + 4) & U64 if self.next_pc is None else self.next_pc
        encoded = self.thread_id.to_bytes(8, "big") + bytes((self.thread_exit_code, self.thread_exited))
        for value in (self.pc, next_pc, self.lo, self.hi, *self.registers):
            encoded += value.to_bytes(8, "big")
        if self.ml:
            for value in (*self.floats, self.fcsr):
                encoded += value.to_bytes(4, "big")
        return encoded

    def _state(self, tree: Tree) -> bytes:
        active = keccak256(self.inner_root + keccak256(self.thread()))
        stacks = (self.inactive_root, active) if self.right_is_active else (active, self.inactive_root)
        return b"".join(
            (
                tree.root(0, 64),
                self.preimage_key,
                *(x.to_bytes(8, "big") for x in (self.preimage_offset, self.heap)),
                bytes((self.reservation,)),
                *(x.to_bytes(8, "big") for x in (self.reserved_address, self.reserving_thread)),
                bytes((self.exit_code, self.exited)),
                *(x.to_bytes(8, "big") for x in (self.step, self.slice)),
                bytes((self.right_is_active,)),
                *stacks,
                self.next_thread_id.to_bytes(8, "big"),
            )
        )

    def _proof(self, tree: Tree) -> bytes:
        encode = _compact_part if self.compact else _full_part
        parts = [encode(tree, address, log2_size) for address, log2_size in [(self.pc, LEAF), *self.parts_touched()]]
        if self.is_syscall and self.registers[2] == 5222:
            # The second word of clock_gettime is proven against the memory after the first was written.
            parts[2] = encode(self._after_first_word(), (self.registers[5] + 8) & U64, LEAF)
        head = self.thread() + self.inner_root
        return (COMPACT_MARKER + head if self.compact else head) + b"".join(parts)

    def _after_first_word(self) -> Tree:
        seconds = (self.step + 1) // 10_000_000 if self.registers[4] == 1 else 0
        at = self.registers[5]
        instruction = (self.pc & 28, self.insn.to_bytes(4, "big"), self.pc)
        return self._tree(dict(self.leaves), [instruction, (at & 24, seconds.to_bytes(8, "big"), at)])


def _full_part(tree: Tree, address: int, log2_size: int) -> bytes:
    words = b"".join((tree.root(address, log2_size), *tree.proof(address, log2_size)))
    return words + b"\xa5" * (MEMORY_PROOF_BYTES - len(words))  # behind a subtree's proof there may be anything


def _compact_part(tree: Tree, address: int, log2_size: int) -> bytes:
    siblings = tree.proof(address, log2_size)
    sent = [(i, s) for i, s in enumerate(siblings) if s != zero_root(log2_size + i)]
    bitmap = sum(1 << i for i, _ in sent)
    return tree.root(address, log2_size) + bitmap.to_bytes(8, "big") + b"".join(s for _, s in sent)
