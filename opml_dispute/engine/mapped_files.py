"""
Mapped files whose content is a model's: read when it is looked at, given back afterwards, and held to stay as it was.

A model larger than memory passes through memory without filling it (`give_back`). What was hashed is read again later,
so a file that is written to meanwhile would give a run of another model under the first one's root: `expect_unchanged`
notices. What is read once and copied is read within `unchanged`, which notices too.

What is cut off a mapped file cannot be read, which by itself ends the process (SIGBUS). Here it reads as zeros
(native/memory/guarded.c), and counts as written to.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from weakref import WeakKeyDictionary, finalize

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.lib import Buffer, library
from opml_dispute.errors import OpmlError


class FileChanged(OpmlError):
    """A mapped file is not what it was when it was mapped."""

    hint = "start again; replace a model's file by a new one, and do not write to it, while a command runs"


@dataclass
class _Opened:
    """A mapped file and how it was."""

    file: IO[bytes]
    path: Path
    size_bytes: int
    modified_ns: int
    guard: int
    """The number under which native/memory/guarded.c knows it."""
    was_changed: bool = False

    def is_changed(self) -> bool:
        if not self.file.closed:
            found = os.fstat(self.file.fileno())
            is_other = (found.st_size, found.st_mtime_ns) != (self.size_bytes, self.modified_ns)
            self.was_changed |= is_other or bool(library().opml_is_lost(self.guard))
        return self.was_changed

    def close(self) -> None:
        """Before the file is unmapped."""
        self.is_changed()
        library().opml_unguard(self.guard)
        self.file.close()


_OPENED: WeakKeyDictionary[mmap.mmap, _Opened] = WeakKeyDictionary()

_READING: ContextVar[list[_Opened] | None] = ContextVar("_READING", default=None)
"""What was mapped within `unchanged`."""


def map_file(path: Path) -> npt.NDArray[np.uint8]:
    """A file's bytes, read when they are looked at. Raises `OSError`, and `ValueError` for an empty file."""
    return map_opened(path.open("rb"), path)


def map_opened(file: IO[bytes], path: Path) -> npt.NDArray[np.uint8]:
    """The same of a file that is open, and was found at `path`; it is closed together with the mapping."""
    try:
        found = os.fstat(file.fileno())
        data = np.memmap(file, np.uint8, "r")
    except BaseException:
        file.close()
        raise
    mapping = _mapping_of(data)
    assert mapping is not None, "it was just made"
    guard = library().opml_guard(data.ctypes.data, data.size)
    if guard < 0:
        file.close()
        raise OSError(errno.EMFILE, "more files are mapped than can be watched")
    opened = _OPENED[mapping] = _Opened(file, path, found.st_size, found.st_mtime_ns, guard)
    finalize(mapping, opened.close)
    reading = _READING.get()
    if reading is not None:
        reading.append(opened)
    return data


@contextmanager
def unchanged(mappings: Iterable[mmap.mmap] = ()) -> Iterator[None]:
    """
    What is read within this, of `mappings` and of files that are mapped within it, is what the files held at first.

    Raises `FileChanged` at the end if it is not, also in the place of another error: that came of what was read.
    """
    opened = [known for mapping in mappings if (known := _OPENED.get(mapping)) is not None]
    token = _READING.set(opened)
    try:
        yield
    except Exception:
        _expect_unchanged(opened)
        raise
    finally:
        _READING.reset(token)
    _expect_unchanged(opened)
    around = _READING.get()
    if around is not None:
        around += opened


def mappings_of(blocks: Iterable[Buffer]) -> list[mmap.mmap]:
    """The mappings that data is a part of, each once."""
    found = {id(mapping): mapping for data in blocks if (mapping := _mapping_behind(data)) is not None}
    return list(found.values())


def expect_unchanged(mappings: Iterable[mmap.mmap]) -> None:
    """Raises `FileChanged` if a file that `map_file` mapped was written to since."""
    _expect_unchanged(opened for mapping in mappings if (opened := _OPENED.get(mapping)) is not None)


def _expect_unchanged(files: Iterable[_Opened]) -> None:
    for opened in files:
        if opened.is_changed():
            raise FileChanged(f"{opened.path} was written to while it was in use")


def give_back(data: Buffer) -> None:
    """
    Lets this process's pages of `data` go if a file is mapped there; they are read again when they are looked at.

    Does nothing to data of any other kind. The mapping must not have been written to.
    """
    place = place_in_file(data)
    if place is None:
        return
    mapping, start = place
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    size = np.frombuffer(data, np.uint8).nbytes
    mapping.madvise(mmap.MADV_DONTNEED, first, min(start + size, len(mapping)) - first)


def place_in_file(data: Buffer) -> tuple[mmap.mmap, int] | None:
    """The mapping that data is a part of, and where in it that begins; None if it is no part of one."""
    mapping = _mapping_behind(data)
    if mapping is None:
        return None
    view = np.frombuffer(data, np.uint8)
    first = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    return mapping, view.__array_interface__["data"][0] - first


def _mapping_behind(data: Buffer) -> mmap.mmap | None:
    if isinstance(data, bytes | bytearray) or not len(data):
        return None
    return _mapping_of(np.frombuffer(data, np.uint8) if isinstance(data, memoryview) else data)


def _mapping_of(view: np.ndarray[Any, Any]) -> mmap.mmap | None:
    """The read-only mapping that an array is a view of, if it is one."""
    base: object = view
    while isinstance(base, np.ndarray | memoryview):
        if isinstance(base, np.ndarray) and base.flags.writeable:
            return None
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None
