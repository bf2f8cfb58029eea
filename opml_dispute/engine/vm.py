"""
The fault proof VM: whole machines, and single steps from a witness.

`Machine` holds 2^64 bytes of Merkleized memory and any number of threads. `Machine.from_elf` makes the initial state of
a program, `run` runs it, `fork` takes a snapshot in constant time, `state_hash` costs what changed since the last one.
What a program reads from outside is given beforehand: pre-images (`add_preimage`, `set_local`), and with `add_subtree`
the bytes behind a root that the program may map. `step_witness` proves the next step; `step_from_witness` is its
other side, and does what the contract does. `flip_bit` makes liars.

What the machine is: docs/vm.md. A machine and its forks share memory under one lock, so any thread may use any of
them, one at a time.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Final, NoReturn

from opml_dispute.engine.elf import parse_elf
from opml_dispute.engine.hashing import zero_root
from opml_dispute.engine.lib import (
    VISIT_PAGE,
    VISIT_SUBTREE,
    Buffer,
    NativeBlock,
    NativePreimagePart,
    NativeScalars,
    buffer,
    library,
)
from opml_dispute.engine.preimage_key import unlocalized_key
from opml_dispute.engine.values import (
    SCALAR_NUMBERS,
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
from opml_dispute.primitives import Hash32, StateHash

__all__ = [
    "BASE_THREAD_BYTES",
    "ML_THREAD_BYTES",
    "STATE_WITNESS_BYTES",
    "Block",
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

STATE_WITNESS_BYTES: Final = 188
BASE_THREAD_BYTES: Final = 298
ML_THREAD_BYTES: Final = 430
STACK_TOP: Final = 0x00007FFFFFFFF000
DEFAULT_MEMORY_LIMIT: Final = 8 << 30
"""Bytes that a machine and all its forks may use for pages and trees."""

_U64 = (1 << 64) - 1
_OUTPUT, _HINTS = 0, 1  # `CAPTURE_OUTPUT` and `CAPTURE_HINTS` of native/vm/machine.h
_STEPS_PER_CALL: Final = 1 << 27  # how long Ctrl-C may have to wait: well under a second
_PROOF_ROOM: Final = 8192


class Machine:
    """A running program in the VM."""

    def __init__(self, *, ml: bool, memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT) -> None:
        """All memory zero, one thread at address 0; `ml` says whether the ML extension is on."""
        self._lib = library()
        self._lock = threading.RLock()
        self._known: list[object] = []  # buffers that C points into
        self._handle = self._made(self._lib.opml_machine_new(int(ml), min(memory_limit_bytes, _U64)))
        self.ml = ml

    @staticmethod
    def _made(handle: int | None) -> int:
        if handle is None:
            raise VmError("no memory for a machine", Reason.OUT_OF_MEMORY)
        return handle

    @classmethod
    def from_elf(cls, elf: bytes, *, ml: bool, memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT) -> Machine:
        """
        The initial state of a program: its segments, its stack, entry point.

        Raises `elf.ElfError` if `elf` is not a program this VM loads. Source: docs/vm.md, "Initial state".
        """
        image = parse_elf(elf)
        machine = cls(ml=ml, memory_limit_bytes=memory_limit_bytes)
        for segment in image.segments:
            machine.write(segment.address, segment.data)
            machine.zero(segment.address + len(segment.data), segment.memory_bytes - len(segment.data))
        for address, data in initial_stack():
            machine.write(address, data)
        machine.jump(image.entry)
        return machine

    def fork(self) -> Machine:
        """A snapshot that goes its own way: what either does from now on, the other does not see."""
        with self._lock:
            fork = object.__new__(Machine)
            fork._lib, fork._lock, fork.ml = self._lib, self._lock, self.ml
            fork._known = list(self._known)
            fork._handle = self._made(self._lib.opml_machine_fork(self._handle))
            return fork

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None:
            self._handle = 0
            with self._lock:
                self._lib.opml_machine_free(handle)

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
            left = max_steps - ((now.step - first) & _U64)
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
        address = self._scalars().fault_address
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

    # ---- state ----

    @property
    def step(self) -> int:
        """Steps made since the initial state."""
        return int(self._scalars().step)

    @property
    def exited(self) -> bool:
        """Whether the program has ended."""
        return bool(self._scalars().exited)

    @property
    def exit_code(self) -> int:
        """What it ended with; 0 while it runs."""
        return int(self._scalars().exit_code)

    @property
    def scalars(self) -> Scalars:
        """The state but for memory and threads."""
        now = self._scalars()
        return Scalars(
            preimage_key=bytes(now.preimage_key), **{name: int(getattr(now, name)) for name in SCALAR_NUMBERS}
        )

    def set_scalars(self, scalars: Scalars) -> None:
        """Puts the state there, but for memory and threads."""
        native = NativeScalars()
        native.preimage_key[:] = _hash32(scalars.preimage_key)
        for name in SCALAR_NUMBERS:
            setattr(native, name, getattr(scalars, name))
        with self._lock:
            self._lib.opml_machine_set_scalars(self._handle, ctypes.byref(native))

    def resize_stack(self, *, right: bool, count: int) -> None:
        """Makes a thread stack have `count` threads; new ones are all zero."""
        with self._lock:
            self._check(self._lib.opml_machine_resize_stack(self._handle, int(right), count), "cannot add threads")

    @property
    def memory_used_bytes(self) -> int:
        """What this machine and all its forks hold against their limit."""
        return int(self._scalars().memory_used_bytes)

    def state_hash(self) -> StateHash:
        """The state hash, its first byte the VM status."""
        return StateHash(self._state()[1])

    def witness(self) -> bytes:
        """The 188-byte state."""
        return self._state()[0]

    def _state(self) -> tuple[bytes, bytes]:
        state, state_hash = ctypes.create_string_buffer(STATE_WITNESS_BYTES), ctypes.create_string_buffer(32)
        with self._lock:
            self._check(self._lib.opml_machine_state(self._handle, state, state_hash), "cannot hash the state")
        return state.raw, state_hash.raw

    def thread_witness(self, *, right: bool | None = None, index: int = -1) -> bytes:
        """
        The 298 (ML: 430) bytes of a thread; by default the active one.

        `right` chooses the stack (None: the active one), `index` counts from its bottom, or from its top if negative.
        """
        with self._lock:
            now = self._scalars()
            side = bool(now.traverse_right) if right is None else right
            count = now.right_threads if side else now.left_threads
            place = index + count if index < 0 else index
            out = ctypes.create_string_buffer(ML_THREAD_BYTES if self.ml else BASE_THREAD_BYTES)
            if count == 0 and right is None:
                raise VmError("no thread is left: the active stack is empty", Reason.NO_THREAD)
            if not 0 <= place < count or not self._lib.opml_machine_thread(self._handle, int(side), place, out):
                raise VmError(f"there is no thread {index}: the stack has {count}", Reason.NO_THREAD)
            return out.raw

    def set_thread(self, witness: bytes, *, right: bool | None = None, index: int = -1) -> None:
        """Puts a thread in the place of one; the counterpart of `thread_witness`."""
        size = ML_THREAD_BYTES if self.ml else BASE_THREAD_BYTES
        if len(witness) != size:
            raise VmError(f"a thread has {size} bytes, found {len(witness)}", Reason.BAD_STATE)
        with self._lock:
            now = self._scalars()
            side = bool(now.traverse_right) if right is None else right
            count = now.right_threads if side else now.left_threads
            place = index + count if index < 0 else index
            if not 0 <= place < count or not self._lib.opml_machine_set_thread(self._handle, int(side), place, witness):
                raise VmError(f"there is no thread {index}: the stack has {count}", Reason.NO_THREAD)

    def thread_counts(self) -> tuple[int, int]:
        """How many threads the left and the right stack have."""
        now = self._scalars()
        return int(now.left_threads), int(now.right_threads)

    @property
    def pc(self) -> int:
        """The active thread's program counter."""
        return int.from_bytes(self.thread_witness()[10:18], "big")

    def registers(self) -> tuple[int, ...]:
        """R[0] .. R[31] of the active thread."""
        witness = self.thread_witness()
        return tuple(int.from_bytes(witness[42 + 8 * i : 50 + 8 * i], "big") for i in range(32))

    def float_registers(self) -> tuple[int, ...]:
        """F[0] .. F[31] of the active thread, as bits; empty without the ML extension."""
        witness = self.thread_witness()[BASE_THREAD_BYTES : BASE_THREAD_BYTES + 128]
        return tuple(int.from_bytes(witness[i : i + 4], "big") for i in range(0, len(witness), 4))

    def set_register(self, index: int, value: int) -> None:
        """R[index] of the active thread := `value` mod 2^64."""
        at = 42 + 8 * index
        witness = self.thread_witness()
        self.set_thread(witness[:at] + (value & _U64).to_bytes(8, "big") + witness[at + 8 :])

    def jump(self, address: int) -> None:
        """The active thread goes on at `address`."""
        witness = self.thread_witness()
        places = address.to_bytes(8, "big") + ((address + 4) & _U64).to_bytes(8, "big")
        self.set_thread(witness[:10] + places + witness[26:])

    def _scalars(self) -> NativeScalars:
        now = NativeScalars()
        self._lib.opml_machine_scalars(self._handle, ctypes.byref(now))
        return now

    # ---- memory ----

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`. Raises `VmError` if they are not all known."""
        if size == 0:
            return b""
        out = ctypes.create_string_buffer(size)
        with self._lock:
            found = self._lib.opml_machine_read(self._handle, address & _U64, ctypes.addressof(out), size)
            self._check(found, f"cannot read {size} bytes at 0x{address:x}")
        return out.raw

    def write(self, address: int, data: Buffer) -> None:
        """Writes `data` at `address`. Raises `VmError`, with nothing written, if what is there is not known."""
        pointer, size, owner = buffer(data)
        with self._lock:
            found = self._lib.opml_machine_write(self._handle, address & _U64, pointer, size)
            self._check(found, f"cannot write {size} bytes at 0x{address:x}")
        del owner

    def zero(self, address: int, size: int) -> None:
        """Makes `size` bytes zero, however many, at once. Raises `VmError` if they reach beyond the memory's end."""
        if size < 0 or not 0 <= address <= _U64 or address + size > 1 << 64:
            raise VmError(f"there are no {size} bytes at 0x{address:x}: memory has 2^64")
        with self._lock:
            for at in range(address, address + size, 1 << 63):  # 2^64 is no 64-bit number
                found = self._lib.opml_machine_zero(self._handle, at, min(address + size - at, 1 << 63))
                self._check(found, f"cannot zero {size} bytes at 0x{address:x}")

    def subtree_root(self, address: int, log2_size: int) -> Hash32:
        """The root of the 2^log2_size bytes at `address`, 5 <= log2_size <= 63."""
        _check_place(address, log2_size)
        out = ctypes.create_string_buffer(32)
        with self._lock:
            found = self._lib.opml_machine_subtree_root(self._handle, address, log2_size, out)
            self._check(found, f"no root of 2^{log2_size} bytes at 0x{address:x}")
        return Hash32(out.raw)

    def put_subtree(self, address: int, log2_size: int, root: bytes) -> None:
        """What `tensor_map` does: those bytes become the subtree whose root is `root`."""
        _check_place(address, log2_size)
        with self._lock:
            found = self._lib.opml_machine_put_subtree(self._handle, address, log2_size, _hash32(root))
            self._check(found, f"cannot put a subtree of 2^{log2_size} bytes at 0x{address:x}")

    def subtree_proof(self, address: int, log2_size: int) -> list[Hash32]:
        """The 64 - log2_size siblings of that subtree, lowest first."""
        _check_place(address, log2_size)
        out = ctypes.create_string_buffer(32 * 59)
        with self._lock:
            found = self._lib.opml_machine_siblings(self._handle, address, log2_size, out)
            self._check(found, f"no proof of 2^{log2_size} bytes at 0x{address:x}")
        return [Hash32(out.raw[32 * i : 32 * i + 32]) for i in range(64 - log2_size)]

    def _check(self, found: int, what: str) -> None:
        if found != Reason.NONE:
            reason = Reason(found)
            raise VmError(f"{what}: {WORDS[reason]}", reason)

    def memory_parts(self) -> tuple[list[tuple[int, int, bytes]], list[tuple[int, bytes]]]:
        """
        All there is in memory: (address, log2_size, root) of subtrees, and (address, 4096 bytes) of pages.

        The subtrees are those that were put by their root and not filled in everywhere, and what is zero inside them.
        Laid down largest first, with the pages behind those of a page or more, they make the same memory again.
        """
        found: dict[tuple[int, int], bytes] = {}
        pages: list[tuple[int, bytes]] = []

        def subtree(address: int, log2_size: int, root: int) -> int:
            found[address, log2_size] = ctypes.string_at(root, 32)
            return 1

        def page(address: int, data: int) -> int:
            pages.append((address, ctypes.string_at(data, 4096)))
            return 1

        with self._lock:
            self._lib.opml_machine_visit(self._handle, VISIT_SUBTREE(subtree), VISIT_PAGE(page))
        put = [(a, k) for (a, k), root in found.items() if root != zero_root(k)]
        kept = set(put)
        for address, log2_size in found.keys() - kept:
            if any(address >> k == a >> k and log2_size < k for a, k in put):
                kept.add((address, log2_size))
        return sorted((a, k, found[a, k]) for a, k in kept), pages

    # ---- what is known from outside ----

    def add_preimage(self, key: bytes, data: Buffer) -> None:
        """The pre-image behind a 32-byte key, for this machine and forks made later."""
        pointer, size, owner = buffer(data)
        with self._lock:
            if not self._lib.opml_machine_add_preimage(self._handle, _hash32(key), pointer, size):
                raise VmError(f"no memory for a pre-image of {size} bytes", Reason.OUT_OF_MEMORY)
        del owner

    def set_local(self, ident: int, data: Buffer) -> None:
        """Local pre-image `ident`, for this machine and forks made later."""
        self.add_preimage(unlocalized_key(ident), data)

    def add_subtree(self, root: bytes, log2_size: int, blocks: Sequence[Block], *, threads: int = 1) -> None:
        """
        What lies below `root` when the program maps it, for this machine and forks made later: blocks, zeros between.

        Blocks without a root are hashed now; a given root is believed until a part of its block changes. Raises
        `VmError` if the blocks overlap, are misplaced, or do not make `root`.
        """
        natives = (NativeBlock * max(len(blocks), 1))()
        owners: list[object] = []
        for native, block in zip(natives, blocks, strict=False):
            pointer, size, owner = buffer(block.data)
            owners.append(owner)
            known = block.root is not None
            if not (0 <= block.offset <= _U64 and 0 <= block.log2_size <= 63 and block.word_bytes in {1, 2, 4, 8}):
                raise VmError(f"no block: {block.offset=}, {block.log2_size=}, {block.word_bytes=}", Reason.BAD_STATE)
            native.offset, native.data, native.size = block.offset, pointer, size
            native.log2_size, native.word_bytes, native.root_known = block.log2_size, block.word_bytes, int(known)
            if block.root is not None:
                native.root[:] = _hash32(block.root)
        problem, place = ctypes.c_char_p(), ctypes.c_uint64()
        with self._lock:
            found = self._lib.opml_machine_add_subtree(
                self._handle,
                _hash32(root),
                log2_size,
                natives,
                len(blocks),
                threads,
                ctypes.byref(problem),
                ctypes.byref(place),
            )
            self._known.extend(owners)
        if problem.value is not None:
            block = blocks[place.value]
            where = f"block {place.value} (offset 0x{block.offset:x}, 2^{block.log2_size} bytes)"
            raise VmError(f"{where} of a subtree of 2^{log2_size} bytes: {problem.value.decode()}", Reason(found))
        self._check(found, f"cannot use the content of 0x{bytes(root).hex()}")

    # ---- steps and faults ----

    def step_witness(self, *, compact: bool = False) -> StepWitness:
        """
        The witness of the next step, in the full or the compact encoding. The machine stays where it is.

        Raises `VmError` if there is no next step, or something it touches is not known.
        """
        state, proof = ctypes.create_string_buffer(STATE_WITNESS_BYTES), ctypes.create_string_buffer(_PROOF_ROOM)
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
            found = self._lib.opml_machine_flip(self._handle, int(target.kind), target.index & _U64, target.bit & 0xFF)
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
    The step that a witness shows, exactly as the contract makes it; `proof` in either encoding.

    `preimages` answers for the oracle. What is wrong with a witness is in the outcome's reason; nothing is raised.
    """
    post_state, post_hash = ctypes.create_string_buffer(STATE_WITNESS_BYTES), ctypes.create_string_buffer(32)
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


def _check_place(address: int, log2_size: int) -> None:
    if not 5 <= log2_size <= 63 or address % (1 << log2_size) or not 0 <= address <= _U64:
        raise VmError(
            f"no subtree has 2^{log2_size} bytes at 0x{address:x}; a size is 2^5 to 2^63, a place its multiple"
        )


def _hash32(data: bytes) -> bytes:
    if len(data) != 32:
        raise VmError(f"32 bytes expected, found {len(data)}", Reason.BAD_STATE)
    return bytes(data)


def _asked(part: NativePreimagePart) -> PreimageRead | None:
    return PreimageRead(bytes(part.key), int(part.offset)) if part.asked else None
