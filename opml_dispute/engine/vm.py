"""
The fault proof VM: whole machines, and single steps from a witness.

`Machine` holds 2^64 bytes of Merkleized memory and any number of threads. `Machine.from_elf` makes the initial state of
a program, `run` runs it, `fork` takes a snapshot in constant time, `state_hash` costs what changed since the last one.
A program's outside data are given beforehand: pre-images (`add_preimage`, `set_local`), and with `add_subtree`
the bytes behind a root that the program may map. `step_witness` proves the next step; `step_from_witness` is its
other side, and does what the contract does. `flip_bit` injects faults.

The machine is specified in docs/vm.md. A machine and its forks share memory under one lock, so any thread may use any
of them, one at a time.
"""

from __future__ import annotations

import ctypes
from typing import Final, NoReturn, Self

from opml_dispute.engine.elf import parse_elf
from opml_dispute.engine.execution import Compiled, Execution
from opml_dispute.engine.lib import Buffer, NativePreimagePart, buffer, library
from opml_dispute.engine.machine_handle import (
    DEFAULT_MEMORY_LIMIT,
    U64,
    hash32_bytes,
)
from opml_dispute.engine.machine_memory import MachineMemory
from opml_dispute.engine.preimage_key import unlocalized_key
from opml_dispute.engine.values import (
    WORDS,
    Block,
    FaultKind,
    FaultTarget,
    PreimageRead,
    PreimageSource,
    Reason,
    Scalars,
    StepOutcome,
    StepWitness,
    Stop,
    StopKind,
    VmError,
    preimage_part,
)
from opml_dispute.primitives import STATE_BYTES, StateHash

__all__ = [
    "Block",
    "Compiled",
    "Execution",
    "FaultKind",
    "FaultTarget",
    "Machine",
    "PreimageRead",
    "PreimageSource",
    "Reason",
    "Scalars",
    "StepOutcome",
    "StepWitness",
    "Stop",
    "StopKind",
    "VmError",
    "initial_stack",
    "preimage_part",
    "step_from_witness",
]

STACK_TOP: Final = 0x00007FFFFFFFF000

_OUTPUT, _HINTS = 0, 1  # `CAPTURE_OUTPUT` and `CAPTURE_HINTS` of native/vm/machine.h
WRITTEN_ZEROS: Final = 64 << 20
"""A base program that has more zero bytes than this in its segments gets no pages for them."""
_STEPS_PER_CALL: Final = 1 << 27  # how long Ctrl-C may have to wait: well under a second
_PROOF_ROOM: Final = 8192


class Machine(MachineMemory):
    """A running program in the VM."""

    @classmethod
    def from_elf(
        cls,
        elf: bytes,
        *,
        ml: bool,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT,
        execution: Execution | None = None,
    ) -> Self:
        """
        The initial state of a program: its segments, its stack, entry point.

        Raises `elf.ElfError` if `elf` is not a program this VM loads. Source: docs/vm.md, "Initial state".
        """
        image = parse_elf(elf)
        machine = cls(ml=ml, memory_limit_bytes=memory_limit_bytes, execution=execution)
        zeros = sum(segment.memory_bytes - len(segment.data) for segment in image.segments)
        # Cannon's state files hold every page that was ever written, and it writes the zeros too.
        fill = (lambda at, size: machine.write(at, bytes(size))) if not ml and zeros <= WRITTEN_ZEROS else machine.zero
        for segment in image.segments:
            machine.write(segment.address, segment.data)
            fill(segment.address + len(segment.data), segment.memory_bytes - len(segment.data))
        for address, data in initial_stack():
            machine.write(address, data)
        machine.jump(image.entry)
        return machine

    # ---- running ----

    def run(self, max_steps: int) -> Stop:
        """Runs until the program exits, `max_steps` steps were made, or there is no next state to be had."""
        if max_steps < 0:
            raise ValueError(f"max_steps is {max_steps}; a run makes no step or some")
        first = self.step
        left = max_steps
        while True:
            chunk = min(left, _STEPS_PER_CALL)
            with self._lock:
                reason = Reason(self._lib.opml_machine_run(self._handle, chunk))
                now = self._scalars()
            left = max_steps - ((now.step - first) & U64)
            if reason != Reason.NONE:
                return self._stop(reason, max_steps - left)
            if now.exited:
                message = f"exited with code {now.exit_code} at step {now.step}"
                return Stop(StopKind.EXITED, max_steps - left, message=message)
            if left == 0:
                return Stop(StopKind.STEP_LIMIT, max_steps, message=f"step limit: still running at step {now.step}")

    def _stop(self, reason: Reason, steps: int) -> Stop:
        kinds = {
            Reason.UNKNOWN_PREIMAGE: StopKind.UNKNOWN_PREIMAGE,
            Reason.UNKNOWN_MEMORY: StopKind.UNKNOWN_MEMORY,
            Reason.WRONG_CONTENT: StopKind.UNKNOWN_MEMORY,
            Reason.OUT_OF_MEMORY: StopKind.OUT_OF_MEMORY,
        }
        kind = kinds.get(reason, StopKind.NO_SUCCESSOR)
        if reason in {Reason.NO_THREAD, Reason.BAD_STATE}:
            return Stop(kind, steps, reason, message=f"{kind.value}: {WORDS[reason]}")
        address = self._scalars().unknown_address
        instruction = self._instruction()
        name = "an instruction that cannot be read"
        if instruction is not None:
            name = f"{self.operation_name(instruction)} (0x{instruction:08x})"
        message = f"{kind.value}: {WORDS[reason]}; {name} at pc 0x{self.pc:x}, step {self.step}"
        if reason in {Reason.UNKNOWN_MEMORY, Reason.OUT_OF_MEMORY, Reason.WRONG_CONTENT}:
            message += f", address 0x{address:x}"
        if reason == Reason.UNKNOWN_PREIMAGE:
            now = self._scalars()
            message += f", key 0x{bytes(now.preimage_key).hex()}, offset {now.preimage_offset}"
        if reason == Reason.UNSUPPORTED_SYSCALL:
            message += f", number {self.registers()[2]}"
        return Stop(kind, steps, reason, self.pc, instruction, message)

    def _instruction(self) -> int | None:
        try:
            return int.from_bytes(self.read(self.pc & ~3, 4), "big")
        except VmError:
            return None

    def operation_name(self, instruction: int) -> str:
        """The engine's name for what an instruction word does, "ILLEGAL" if that is nothing."""
        name: bytes = self._lib.opml_operation_name(instruction & 0xFFFFFFFF, int(self.ml))
        return name.decode()

    def listen(self, limit_bytes: int = 1 << 20) -> None:
        """Keeps what the program prints from now on, up to `limit_bytes`. A fork does not listen until told to."""
        with self._lock:
            self._lib.opml_machine_capture(self._handle, _OUTPUT, limit_bytes)

    def printed(self) -> tuple[bytes, int]:
        """What the program wrote to descriptors 1 and 2 since `listen`, and how many more bytes were not kept."""
        return self._captured(_OUTPUT)

    def collect_hints(self, unfinished: bytes = b"", *, limit_bytes: int = 64 << 20) -> None:
        """
        Keeps the hints that the program writes to descriptor 4 from now on. A fork does not until told to.

        `unfinished` is the beginning of a hint that was written before. Raises `VmError` if it is above the limit.
        """
        with self._lock:
            self._lib.opml_machine_capture(self._handle, _HINTS, limit_bytes)
            if not self._lib.opml_machine_put_captured(self._handle, _HINTS, unfinished, len(unfinished)):
                raise VmError(f"an unfinished hint has {len(unfinished)} bytes, {limit_bytes} are allowed")

    def take_hints(self) -> list[bytes]:
        """
        The complete hints since the last call, in order; each was a u32 length and its bytes.

        Raises `VmError` if the program wrote more than `collect_hints` allowed.
        """
        kept, lost = self._captured(_HINTS)
        if lost:
            raise VmError(f"the program wrote {lost} bytes of hints more than are kept")
        hints, at = [], 0
        while at + 4 <= len(kept) and at + 4 + (size := int.from_bytes(kept[at : at + 4], "big")) <= len(kept):
            hints.append(kept[at + 4 : at + 4 + size])
            at += 4 + size
        with self._lock:
            self._lib.opml_machine_drop_captured(self._handle, _HINTS, at)
        return hints

    @property
    def unfinished_hint(self) -> bytes:
        """Hint bytes that were written and not taken: after `take_hints`, the beginning of a hint."""
        return self._captured(_HINTS)[0]

    def _captured(self, which: int) -> tuple[bytes, int]:
        start, lost = ctypes.c_void_p(), ctypes.c_uint64()
        with self._lock:
            size = self._lib.opml_machine_captured(self._handle, which, ctypes.byref(start), ctypes.byref(lost))
            return ctypes.string_at(start.value, size) if start.value is not None else b"", lost.value

    # ---- what is read from outside ----

    def add_preimage(self, key: bytes, data: Buffer) -> None:
        """The pre-image behind a 32-byte key, for this machine and forks made later."""
        pointer, size, owner = buffer(data)
        with self._lock:
            if not self._lib.opml_machine_add_preimage(self._handle, hash32_bytes(key), pointer, size):
                raise VmError(f"no memory for a pre-image of {size} bytes", Reason.OUT_OF_MEMORY)
        del owner

    def forget_preimages(self) -> None:
        """From now on this machine knows no pre-images; its forks keep theirs."""
        with self._lock:
            if not self._lib.opml_machine_forget_preimages(self._handle):
                raise VmError("no memory for a pre-image oracle", Reason.OUT_OF_MEMORY)

    def set_local(self, ident: int, data: Buffer) -> None:
        """Local pre-image `ident`, for this machine and forks made later."""
        self.add_preimage(unlocalized_key(ident), data)

    # ---- steps and faults ----

    def step_witness(self, *, compact: bool = False) -> StepWitness:
        """
        The witness of the next step, in the full or the compact encoding. The machine stays where it is.

        Raises `VmError` if there is no next step, or something it touches is not known.
        """
        state, proof = ctypes.create_string_buffer(STATE_BYTES), ctypes.create_string_buffer(_PROOF_ROOM)
        post, size, part = ctypes.create_string_buffer(32), ctypes.c_uint64(), NativePreimagePart()
        with self._lock:
            found = self._lib.opml_machine_step_witness(
                self._handle, int(compact), state, proof, ctypes.byref(size), ctypes.byref(part), post
            )
            if found != Reason.NONE:
                self._no_step(Reason(found))
        return StepWitness(state.raw, proof.raw[: size.value], _asked(part), StateHash(post.raw))

    def _no_step(self, reason: Reason) -> NoReturn:
        stop = self._stop(reason, 0)
        raise VmError(f"the next step cannot be proven: {stop.message}", reason)

    def flip_bit(self, target: FaultTarget) -> None:
        """Flips one bit of the present state. Raises `VmError` if there is no such bit."""
        with self._lock:
            found = self._lib.opml_machine_flip(self._handle, int(target.kind), target.index & U64, target.bit & 0xFF)
            self._check(found, f"cannot flip {target}")


def initial_stack() -> list[tuple[int, bytes]]:
    """What a program finds on its stack: (address, bytes) pieces. Source: docs/vm.md, "Initial state"."""
    sp = STACK_TOP
    words = [1, sp + 128, 0, sp + 96, 0, 6, 4096, 25, sp + 80, 0]
    return [
        (sp - 16384, bytes(5 * 4096)),
        (sp, b"".join(word.to_bytes(8, "big") for word in words)),
        (sp + 80, b"4;byfairdiceroll"),
        (sp + 96, b"GODEBUG=memprofilerate=0".ljust(32, b"\0")),
        (sp + 128, b"op-program".ljust(16, b"\0")),
    ]


def step_from_witness(
    state_data: bytes, proof: bytes, preimages: PreimageSource | None = None, *, ml: bool = False
) -> StepOutcome:
    """
    Execute the step of a witness exactly as the contract does; `proof` in either encoding.

    `preimages` answers for the oracle. An invalid witness gives a reason in the outcome; nothing is raised.
    """
    post_state, post_hash = ctypes.create_string_buffer(STATE_BYTES), ctypes.create_string_buffer(32)
    part, address = NativePreimagePart(), ctypes.c_uint64()

    def attempt() -> Reason:
        return Reason(
            library().opml_step(
                int(ml),
                state_data,
                len(state_data),
                proof,
                len(proof),
                ctypes.byref(part),
                post_state,
                post_hash,
                ctypes.byref(address),
            )
        )

    reason = attempt()
    read = _asked(part)
    if reason == Reason.UNKNOWN_PREIMAGE and read is not None and preimages is not None:
        answer = preimages(read.key, read.offset)
        if answer is not None:
            part.answer(answer)
            reason = attempt()
    if reason != Reason.NONE:
        return StepOutcome(None, None, reason, read)
    return StepOutcome(StateHash(post_hash.raw), post_state.raw, reason, read)


def _asked(part: NativePreimagePart) -> PreimageRead | None:
    return PreimageRead(bytes(part.key), int(part.offset)) if part.asked else None
