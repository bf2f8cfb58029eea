"""
A VM state and a thread, as bytes and as fields.

1. `Thread.encode` makes the thread witness (298 bytes, with the ML extension 430); `Thread.hash` its hash.
2. `push_thread` commits to a thread stack: the onion H(H(EMPTY ++ bottom) ++ ... ++ top).
3. `State.encode` makes the 188-byte state witness; `State.hash` the state hash, its first byte the VM status.

Source: docs/vm.md, "State", "Threads", ML.2. The engine does the same for running machines.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from opml_dispute.engine.hashing import hash_pair, keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import BASE_THREAD_BYTES, ML_THREAD_BYTES, STATE_BYTES, Hash32, StateHash, VmStatus

EMPTY_STACK: Final = keccak256(bytes(64))
"""Root of a thread stack without threads."""

_STATE: Final = struct.Struct(">32s32sQQBQQBBQQB32s32sQ")
_THREAD: Final = struct.Struct(">QBBQQQQ32Q")
_FLOATS: Final = struct.Struct(">32II")


class BadEncoding(OpmlError):
    """Bytes that are no state, no thread, or no proof."""


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread."""

    thread_id: int
    exit_code: int
    exited: int
    """Any value but 0 counts as exited."""
    pc: int
    next_pc: int
    lo: int
    hi: int
    registers: tuple[int, ...]
    """R[0] .. R[31]."""
    float_registers: tuple[int, ...] = ()
    """F[0] .. F[31] as bits; empty in a base state."""
    fcsr: int = 0

    @property
    def ml(self) -> bool:
        """Whether this is a thread of an ML state."""
        return bool(self.float_registers)

    def encode(self) -> bytes:
        """The thread witness."""
        base = _THREAD.pack(
            self.thread_id, self.exit_code, self.exited, self.pc, self.next_pc, self.lo, self.hi, *self.registers
        )
        return base + _FLOATS.pack(*self.float_registers, self.fcsr) if self.ml else base

    @classmethod
    def decode(cls, witness: bytes) -> Thread:
        """Raises `BadEncoding` unless there are 298 or 430 bytes."""
        if len(witness) not in {BASE_THREAD_BYTES, ML_THREAD_BYTES}:
            raise BadEncoding(f"a thread has {BASE_THREAD_BYTES} or {ML_THREAD_BYTES} bytes, found {len(witness)}")
        thread_id, exit_code, exited, pc, next_pc, lo, hi, *registers = _THREAD.unpack_from(witness)
        floats: tuple[int, ...] = ()
        fcsr = 0
        if len(witness) == ML_THREAD_BYTES:
            *values, fcsr = _FLOATS.unpack_from(witness, BASE_THREAD_BYTES)
            floats = tuple(values)
        return cls(thread_id, exit_code, exited, pc, next_pc, lo, hi, tuple(registers), floats, fcsr)

    def hash(self) -> Hash32:
        """H(thread witness)."""
        return keccak256(self.encode())


def push_thread(stack_root: bytes, thread: Thread) -> Hash32:
    """The root of a thread stack with one more thread on top."""
    return hash_pair(stack_root, thread.hash())


@dataclass(frozen=True, slots=True)
class State:
    """The VM's state; memory and thread stacks by their roots."""

    memory_root: bytes
    preimage_key: bytes
    preimage_offset: int
    """Read position, counted from the start of the 8-byte length prefix."""
    heap: int
    """The address that `mmap` returns next."""
    ll_status: int
    """0 no reservation, 1 by ll, 2 by lld."""
    ll_address: int
    ll_owner: int
    exit_code: int
    exited: int
    step: int
    slice: int
    """Steps of the active thread since the last context switch."""
    traverse_right: int
    """0: the left stack is active; else the right one."""
    left_stack: bytes
    right_stack: bytes
    next_thread_id: int

    def encode(self) -> bytes:
        """The 188-byte state witness."""
        return _STATE.pack(
            self.memory_root,
            self.preimage_key,
            self.preimage_offset,
            self.heap,
            self.ll_status,
            self.ll_address,
            self.ll_owner,
            self.exit_code,
            self.exited,
            self.step,
            self.slice,
            self.traverse_right,
            self.left_stack,
            self.right_stack,
            self.next_thread_id,
        )

    @classmethod
    def decode(cls, witness: bytes) -> State:
        """Raises `BadEncoding` unless there are 188 bytes."""
        if len(witness) != STATE_BYTES:
            raise BadEncoding(f"a state has {STATE_BYTES} bytes, found {len(witness)}")
        return cls(*_STATE.unpack(witness))

    @property
    def status(self) -> VmStatus:
        """The VM status."""
        if not self.exited:
            return VmStatus.UNFINISHED
        return VmStatus(min(self.exit_code, VmStatus.PANIC))

    def hash(self) -> StateHash:
        """H(state witness), its first byte replaced by the VM status."""
        return StateHash(bytes([self.status]) + keccak256(self.encode())[1:])

    @property
    def active_stack(self) -> bytes:
        """The root of the stack whose top thread runs next."""
        return self.right_stack if self.traverse_right else self.left_stack
