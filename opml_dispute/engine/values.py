"""
The parameters and results of the VM's functions.

`Machine.run` answers a `Stop`, `Machine.step_witness` a `StepWitness`, `step_from_witness` a `StepOutcome`; where there
is no next state a `Reason` says why. A machine is told of `Block`s and tampered with at a `FaultTarget`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from typing import Final

from opml_dispute.engine.lib import Buffer
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import StateHash


class Reason(IntEnum):
    """Why there is no next state, or none that can be computed here. The numbers: `enum reason`, native/vm/fpvm.h."""

    NONE = 0
    MISALIGNED_PC = 1
    UNSUPPORTED_INSTRUCTION = 2
    BRANCH_IN_DELAY_SLOT = 3
    DIVISION_BY_ZERO = 4
    UNSUPPORTED_SYSCALL = 5
    FCSR = 6
    NO_THREAD = 7
    BAD_STATE = 8
    PROOF_TOO_SHORT = 16
    THREAD_PROOF = 17
    MEMORY_PROOF = 18
    PROOF_BITMAP = 19
    UNKNOWN_PREIMAGE = 32
    UNKNOWN_MEMORY = 33
    OUT_OF_MEMORY = 34
    WRONG_CONTENT = 35


WORDS: Final = {
    Reason.NONE: "nothing",
    Reason.MISALIGNED_PC: "the program counter is not a multiple of 4",
    Reason.UNSUPPORTED_INSTRUCTION: "there is no such instruction",
    Reason.BRANCH_IN_DELAY_SLOT: "a branch stands in a delay slot",
    Reason.DIVISION_BY_ZERO: "division by zero",
    Reason.UNSUPPORTED_SYSCALL: "there is no such system call",
    Reason.FCSR: "ctc1 sets a bit of FCSR that is not a condition code",
    Reason.NO_THREAD: "no thread is left to run",
    Reason.BAD_STATE: "this is no state of the VM",
    Reason.PROOF_TOO_SHORT: "the proof ends before a part that is needed",
    Reason.THREAD_PROOF: "the thread proof does not lead to the thread stack's root",
    Reason.MEMORY_PROOF: "a memory proof does not lead to the memory root",
    Reason.PROOF_BITMAP: "a compact proof names siblings above the root",
    Reason.UNKNOWN_PREIMAGE: "a pre-image that was not given is read",
    Reason.UNKNOWN_MEMORY: "memory is touched that is known by its root only",
    Reason.OUT_OF_MEMORY: "the machine's memory limit is reached",
    Reason.WRONG_CONTENT: "the content given for a subtree does not have that subtree's root",
}


class StopKind(Enum):
    """How a run ended."""

    EXITED = "exited"
    STEP_LIMIT = "step limit"
    NO_SUCCESSOR = "no successor"
    UNKNOWN_PREIMAGE = "unknown pre-image"
    UNKNOWN_MEMORY = "unknown memory content"
    OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, slots=True)
class Stop:
    """Why and where a run ended. Unless it exited or met its limit, the step at `pc` has had no effect."""

    kind: StopKind
    steps: int
    """How many steps this run made."""
    reason: Reason = Reason.NONE
    pc: int = 0
    instruction: int | None = None
    """The instruction word at `pc`, if that can be read."""
    message: str = ""

    def __str__(self) -> str:
        return self.message or self.kind.value


class VmError(OpmlError):
    """The machine's state or known content does not allow the operation."""

    def __init__(self, message: str, reason: Reason = Reason.NONE, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class FaultKind(IntEnum):
    """The kind of place that a fault injection changes. `enum` of native/vm/machine.c, "fault injection"."""

    REGISTER = 0
    FLOAT_REGISTER = 1
    HI = 2
    LO = 3
    PC = 4
    MEMORY = 5


@dataclass(frozen=True, slots=True)
class FaultTarget:
    """One bit of the active thread, or of a 64-bit word of memory."""

    kind: FaultKind
    index: int = 0
    """Register number, or the address of a memory word (its low three bits are ignored)."""
    bit: int = 0
    """0 is the least significant."""

    def __str__(self) -> str:
        where = {FaultKind.REGISTER: f"r{self.index}", FaultKind.FLOAT_REGISTER: f"f{self.index}"}
        where[FaultKind.MEMORY] = f"memory word 0x{self.index & ~7:x}"
        return f"bit {self.bit} of {where.get(self.kind, self.kind.name)}"


@dataclass(frozen=True, slots=True)
class Block:
    """Known content of 2^log2_size bytes inside a subtree: `data`, then zeros."""

    offset: int
    """From the subtree's start; a multiple of the block's size."""
    log2_size: int
    data: Buffer
    """Must stay as it is while a machine knows it."""
    word_bytes: int = 1
    """Above 1: `data` is host-order words of this width; VM memory is big-endian."""
    root: bytes | None = None
    """If given, the block is not hashed, unless a part of it changes."""


@dataclass(frozen=True, slots=True)
class PreimageRead:
    """The pre-image part that a step reads."""

    key: bytes
    """32 bytes, as the program wrote it: a local key (first byte 1) is not localized."""
    offset: int
    """From the start of (8 bytes of length, then the data)."""


@dataclass(frozen=True, slots=True)
class StepWitness:
    """The inputs of one step, and its result."""

    state_data: bytes
    """The 188-byte state before the step."""
    proof: bytes
    """docs/vm.md, "Proof"."""
    preimage: PreimageRead | None
    post_hash: StateHash
    """The state hash after the step."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The result of a step from a witness."""

    post_hash: StateHash | None
    """None: there is no next state, for `reason`."""
    post_state: bytes | None
    reason: Reason
    preimage: PreimageRead | None
    """The pre-image part that the step asked for."""

    def __str__(self) -> str:
        return f"0x{self.post_hash.hex()}" if self.post_hash is not None else WORDS[self.reason]


@dataclass(frozen=True, slots=True)
class Scalars:
    """The numbers of a state: docs/vm.md, "State"."""

    step: int
    slice: int
    """Steps of the active thread since the last context switch."""
    heap: int
    next_thread_id: int
    preimage_key: bytes
    preimage_offset: int
    ll_status: int
    ll_address: int
    ll_owner: int
    exited: int
    exit_code: int
    traverse_right: int


SCALAR_NUMBERS: Final = tuple(field.name for field in fields(Scalars) if field.name != "preimage_key")

PreimageSource = Callable[[bytes, int], bytes | None]
"""(key, offset) -> the up to 32 bytes there, counted from the 8-byte length prefix; None: not known."""


def preimage_part(data: bytes, offset: int) -> bytes | None:
    """The part of a whole pre-image that an oracle gives at `offset`; None behind its end."""
    whole = len(data).to_bytes(8, "big") + data
    return whole[offset : offset + 32] if offset < len(whole) else None
