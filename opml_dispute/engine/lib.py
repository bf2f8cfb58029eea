"""
The native library, found, loaded and typed once per process.

`library` answers it: of the builds in `_build/` (`libopml-<isa>.so`) the best one that this processor can run; the
environment variable OPML_ENGINE_ISA names another, and OPML_ENGINE_LIBRARY a file elsewhere (one with sanitizers, say).
Every build computes the same bits, only faster or slower.
`buffer` turns anything with bytes into a pointer that C may read.

Nothing outside `engine` calls C. A machine releases the interpreter lock while C runs; see `vm` for what that needs.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from opml_dispute.errors import OpmlError

if TYPE_CHECKING:
    import numpy.typing as npt

Buffer: TypeAlias = "bytes | bytearray | memoryview | npt.NDArray[Any]"
"""Anything whose bytes lie in one piece."""

BUILD: Final = Path(__file__).resolve().parent.parent / "_build"

_X86_NEEDS: Final = {
    "x86_64_v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86_64_v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"},
    "x86_64": set[str](),
}
"""Builds for x86-64, best first, and the processor flags each needs beyond the ones before it in the list's end."""


class EngineMissing(OpmlError):
    """There is no suitable native library: it was not built, or the named one does not exist."""

    hint = "build it: python -m opml_dispute.toolchain.native"


class WrongBuffer(OpmlError):
    """A value that should be bytes is not one contiguous buffer."""


def candidates() -> list[str]:
    """The builds that this processor can run, best first."""
    machine = platform.machine().lower()
    if machine not in {"x86_64", "amd64"}:
        return [{"arm64": "aarch64"}.get(machine, machine)]
    flags = _processor_flags()
    names: list[str] = []
    wanted: set[str] = set()
    for name in reversed(_X86_NEEDS):
        wanted |= _X86_NEEDS[name]
        if wanted <= flags:
            names.insert(0, name)
    return names


def _processor_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return set()  # another system: the plain build runs everywhere
    for line in text.splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def library_path() -> Path:
    """
    The library file that `library` loads.

    Raises `EngineMissing` if there is none, or not the one that OPML_ENGINE_LIBRARY or OPML_ENGINE_ISA names.
    """
    if elsewhere := os.environ.get("OPML_ENGINE_LIBRARY"):
        if not Path(elsewhere).is_file():
            raise EngineMissing(f"OPML_ENGINE_LIBRARY names {elsewhere}, and there is no such file")
        return Path(elsewhere)
    forced = os.environ.get("OPML_ENGINE_ISA")
    names = [forced] if forced else candidates()
    for name in names:
        path = BUILD / f"libopml-{name}.so"
        if path.is_file():
            return path
    present = ", ".join(sorted(path.name for path in BUILD.glob("libopml-*.so"))) or "nothing"
    raise EngineMissing(f"no native library for {' or '.join(names)} in {BUILD}; found {present}")


@cache
def library() -> ctypes.CDLL:
    """The native library, with the signatures of this package's VM and hashing set. Raises `EngineMissing`."""
    path = library_path()
    try:
        lib = ctypes.CDLL(str(path))
    except OSError as error:
        raise EngineMissing(f"cannot load {path}: {error}") from error
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            raise EngineMissing(f"{path} is older than this package: it has no {name}") from None
        function.restype = result
        function.argtypes = arguments
    return lib


def buffer(data: Buffer) -> tuple[int, int, object]:
    """
    (address, size in bytes, owner) of `data` without a copy; the address holds as long as the owner lives.

    Raises `WrongBuffer` if `data` is not contiguous.
    """
    import numpy as np  # imported late: a command that only reads a chain needs the engine's hash, and no arrays

    try:
        view = np.frombuffer(data, dtype=np.uint8)
    except (ValueError, BufferError) as error:
        if memoryview(cast(Any, data)).nbytes == 0:
            return 0, 0, data
        raise WrongBuffer(f"bytes expected in one contiguous buffer: {error}") from error
    return view.ctypes.data, view.nbytes, view


_pointer = ctypes.c_void_p
_u64 = ctypes.c_uint64
_u32 = ctypes.c_uint
_int = ctypes.c_int
_out = ctypes.c_char_p  # a ctypes string buffer that C fills

_SIGNATURES: Final[dict[str, tuple[object, list[object]]]] = {
    "opml_keccak256": (None, [_pointer, _u64, _out]),
    "opml_zero_root": (None, [_u32, _out]),
    "opml_merkle_root": (_int, [_pointer, _u64, _u32, _u32, _u32, _out]),
    "opml_keccak_pairs": (None, [_pointer, _pointer, _u64]),
    "opml_root_above": (None, [ctypes.c_char_p, _u64, _u32, _u32, ctypes.c_char_p, _out]),
    "opml_blocks_root": (_int, [_pointer, _u64, _u64, _u32, _u32, _out]),
    "opml_guard": (_int, [_pointer, _u64]),
    "opml_is_lost": (_int, [_int]),
    "opml_unguard": (None, [_int]),
    "opml_fpu": (_int, [_u32, _pointer, _pointer, _pointer, _pointer, _u64]),
    "opml_operation_name": (ctypes.c_char_p, [ctypes.c_uint32, _int]),
    "opml_machine_new": (_pointer, [_int, _u64]),
    "opml_machine_free": (None, [_pointer]),
    "opml_machine_fork": (_pointer, [_pointer]),
    "opml_machine_run": (_int, [_pointer, _u64]),
    "opml_machine_compile": (_int, [_pointer, _int]),
    "opml_machine_compiled": (None, [_pointer, _pointer]),
    "opml_machine_count": (_int, [_pointer]),
    "opml_machine_counts": (None, [_pointer, _pointer]),
    "opml_machine_capture": (None, [_pointer, _u32, _u64]),
    "opml_machine_captured": (_u64, [_pointer, _u32, _pointer, _pointer]),
    "opml_machine_drop_captured": (None, [_pointer, _u32, _u64]),
    "opml_machine_put_captured": (_int, [_pointer, _u32, ctypes.c_char_p, _u64]),
    "opml_machine_scalars": (None, [_pointer, _pointer]),
    "opml_machine_set_scalars": (None, [_pointer, _pointer]),
    "opml_machine_thread": (_int, [_pointer, _u32, _u64, _out]),
    "opml_machine_set_thread": (_int, [_pointer, _u32, _u64, ctypes.c_char_p]),
    "opml_machine_resize_stack": (_int, [_pointer, _u32, _u64]),
    "opml_machine_state": (_int, [_pointer, _out, _out]),
    "opml_machine_read": (_int, [_pointer, _u64, _pointer, _u64]),
    "opml_machine_write": (_int, [_pointer, _u64, _pointer, _u64]),
    "opml_machine_zero": (_int, [_pointer, _u64, _u64]),
    "opml_machine_subtree_root": (_int, [_pointer, _u64, _u32, _out]),
    "opml_machine_put_subtree": (_int, [_pointer, _u64, _u32, ctypes.c_char_p]),
    "opml_machine_siblings": (_int, [_pointer, _u64, _u32, _out]),
    "opml_machine_add_preimage": (_int, [_pointer, ctypes.c_char_p, _pointer, _u64]),
    "opml_machine_forget_preimages": (_int, [_pointer]),
    "opml_machine_add_subtree": (_int, [_pointer, ctypes.c_char_p, _u32, _pointer, _u64, _u32, _pointer, _pointer]),
    "opml_machine_flip": (_int, [_pointer, _u32, _u64, _u32]),
    "opml_machine_step_witness": (_int, [_pointer, _int, _out, _out, _pointer, _pointer, _out]),
    "opml_machine_visit": (_int, [_pointer, _pointer, _pointer]),
    "opml_step": (_int, [_int, ctypes.c_char_p, _u64, ctypes.c_char_p, _u64, _pointer, _out, _out, _pointer]),
}

VISIT_SUBTREE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_uint, ctypes.c_void_p)
VISIT_PAGE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p)


class NativeScalars(ctypes.Structure):
    """`struct scalars` of native/vm/machine.c."""

    _fields_ = (
        ("step", ctypes.c_uint64),
        ("slice", ctypes.c_uint64),
        ("heap", ctypes.c_uint64),
        ("next_thread_id", ctypes.c_uint64),
        ("preimage_offset", ctypes.c_uint64),
        ("ll_address", ctypes.c_uint64),
        ("ll_owner", ctypes.c_uint64),
        ("left_threads", ctypes.c_uint64),
        ("right_threads", ctypes.c_uint64),
        ("unknown_address", ctypes.c_uint64),
        ("memory_used_bytes", ctypes.c_uint64),
        ("preimage_key", ctypes.c_uint8 * 32),
        ("exited", ctypes.c_uint8),
        ("exit_code", ctypes.c_uint8),
        ("ll_status", ctypes.c_uint8),
        ("traverse_right", ctypes.c_uint8),
        ("ml", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
    )


class NativeBlock(ctypes.Structure):
    """`struct block` of native/memory/content.h."""

    _fields_ = (
        ("offset", ctypes.c_uint64),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("log2_size", ctypes.c_uint8),
        ("word_bytes", ctypes.c_uint8),
        ("root_known", ctypes.c_uint8),
        ("root", ctypes.c_uint8 * 32),
    )


class NativePreimagePart(ctypes.Structure):
    """`struct preimage_part` of native/vm/witness.c."""

    _fields_ = (
        ("key", ctypes.c_uint8 * 32),
        ("offset", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("data", ctypes.c_uint8 * 32),
        ("asked", ctypes.c_uint8),
        ("answered", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 6),
    )

    def answer(self, data: bytes) -> None:
        """Up to 32 bytes."""
        self.data[: len(data)] = data
        self.count, self.answered = len(data), 1
