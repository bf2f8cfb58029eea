"""
A machine of the engine as an object: its life, its scalars and its threads.

`MachineHandle` owns the native machine and the lock that it shares with its forks. What is in memory is
`machine_memory`; running, proving and tampering is `vm`.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Final, Self

from opml_dispute.engine.execution import Compiled, Counts, Execution, default_execution
from opml_dispute.engine.lib import NativeScalars, library
from opml_dispute.engine.values import SCALAR_NUMBERS, WORDS, Reason, Scalars, VmError
from opml_dispute.primitives import BASE_THREAD_BYTES, ML_THREAD_BYTES, STATE_BYTES, StateHash

DEFAULT_MEMORY_LIMIT: Final = 8 << 30
"""The limit, in bytes, on pages and trees of a machine and all its forks."""

U64: Final = (1 << 64) - 1
"""The largest address, and the mask of a register."""


class MachineHandle:
    """A native machine and its state but for memory."""

    def __init__(
        self, *, ml: bool, memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT, execution: Execution | None = None
    ) -> None:
        """
        All memory zero, one thread at address 0; `ml` says whether the ML extension is on.

        `execution` says how it runs and its forks do; None: as OPML_JIT says.
        """
        self._lib = library()
        self._lock = threading.RLock()
        self._known: list[object] = []  # buffers that C points into
        self._handle = self._made(self._lib.opml_machine_new(int(ml), min(memory_limit_bytes, U64)))
        self.ml = ml
        self.execute(default_execution() if execution is None else execution)

    @staticmethod
    def _made(handle: int | None) -> int:
        if handle is None:
            raise VmError("no memory for a machine", Reason.OUT_OF_MEMORY)
        return handle

    def fork(self) -> Self:
        """An independent snapshot: later changes of either machine do not affect the other."""
        with self._lock:
            fork = object.__new__(type(self))
            fork._lib, fork._lock, fork.ml = self._lib, self._lock, self.ml
            fork._known = list(self._known)
            fork._handle = self._made(self._lib.opml_machine_fork(self._handle))
            fork.execute(self.execution)
            return fork

    def execute(self, execution: Execution) -> None:
        """From now on the machine, and forks made later, run like this. What was compiled for it is dropped."""
        with self._lock:
            if not self._lib.opml_machine_compile(self._handle, int(execution)):
                raise VmError("no memory for compiling", Reason.OUT_OF_MEMORY)
            self.execution = execution

    def compiled(self) -> Compiled:
        """What was compiled for this machine."""
        numbers = (ctypes.c_int64 * 3)()
        with self._lock:
            self._lib.opml_machine_compiled(self._handle, numbers)
        return Compiled(possible=numbers[0] >= 0, entries=max(numbers[0], 0), code_bytes=numbers[1], drops=numbers[2])

    def count(self) -> None:
        """From now on `counts` has numbers, of this machine and not of its forks; load linked is never compiled."""
        with self._lock:
            if not self._lib.opml_machine_count(self._handle):
                raise VmError("no memory for counting", Reason.OUT_OF_MEMORY)
            self.execute(self.execution)  # what was compiled counts nothing

    def counts(self) -> Counts:
        """What happened since `count` was called; zeros if it was not."""
        numbers = (ctypes.c_uint64 * 6)()
        with self._lock:
            self._lib.opml_machine_counts(self._handle, numbers)
        return Counts(*numbers)

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None:
            self._handle = 0
            with self._lock:
                self._lib.opml_machine_free(handle)

    def _check(self, found: int, what: str) -> None:
        if found != Reason.NONE:
            reason = Reason(found)
            raise VmError(f"{what}: {WORDS[reason]}", reason)

    # ---- the state but for memory and threads ----

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
        native.preimage_key[:] = hash32_bytes(scalars.preimage_key)
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
        state, state_hash = ctypes.create_string_buffer(STATE_BYTES), ctypes.create_string_buffer(32)
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
        self.set_thread(witness[:at] + (value & U64).to_bytes(8, "big") + witness[at + 8 :])

    def jump(self, address: int) -> None:
        """The active thread goes on at `address`."""
        witness = self.thread_witness()
        places = address.to_bytes(8, "big") + ((address + 4) & U64).to_bytes(8, "big")
        self.set_thread(witness[:10] + places + witness[26:])

    def _scalars(self) -> NativeScalars:
        now = NativeScalars()
        self._lib.opml_machine_scalars(self._handle, ctypes.byref(now))
        return now


def hash32_bytes(data: bytes) -> bytes:
    """The 32 bytes that C reads. Raises `VmError` for another number of them."""
    if len(data) != 32:
        raise VmError(f"32 bytes expected, found {len(data)}", Reason.BAD_STATE)
    return bytes(data)
