"""
The initial state of a program, at which every trace of it starts.

`prestate_of` is the state hash of a program's initial state: one constant per program and state version. The
reading of ELF files is the engine's (`engine.elf`), as is the machine (`engine.vm.Machine.from_elf`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from opml_dispute.engine.elf import ElfError, Image, Segment, parse_elf
from opml_dispute.engine.vm import Machine
from opml_dispute.primitives import StateHash
from opml_dispute.reading import Unreadable, read_bytes

__all__ = ["MAX_ELF_BYTES", "ElfError", "Image", "Segment", "load_elf", "parse_elf", "prestate_of"]

MAX_ELF_BYTES: Final = 1 << 30
"""Of a program's file; op-program's client has some 50 MB."""


def load_elf(path: Path, *, ml: bool) -> Machine:
    """The machine at a program file's initial state. Raises `ElfError`, also if the file cannot be read."""
    try:
        elf = read_bytes(path, max_bytes=MAX_ELF_BYTES)
    except Unreadable as error:
        raise ElfError(f"cannot read {path}: {error.reason}", hint="give the path of a program") from None
    return Machine.from_elf(elf, ml=ml)


def prestate_of(elf: bytes, *, ml: bool) -> StateHash:
    """The hash of a program's initial state. Raises `ElfError`."""
    return Machine.from_elf(elf, ml=ml).state_hash()
