"""
Builds the test programs: for MIPS64, freestanding, and for this machine.

`build_elf` makes what runs in the VM and under qemu, `build_host` what says which digest is right. Both keep their
results in a folder of the caller's; the compiler is the pinned one that also builds the guest. `symbols` finds an
address in a program.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROGRAMS: Final = Path(__file__).resolve().parent
SHT_SYMTAB: Final = 2

MIPS64_FLAGS: Final = (
    # WHY +nomadd4: else this compiler fuses a * b + c whatever -ffp-contract says. (zig cc ignores -mno-madd4.)
    *("-target", "mips64-freestanding-none", "-mcpu=mips64+nomadd4", "-msingle-float", "-fno-pic", "-mno-abicalls"),
    # No data addressed by $gp, which is never set; no trap instruction at every division, which the VM does not have.
    *("-G0", "-mno-gpopt", "-mno-check-zero-division"),
    *("-ffreestanding", "-nostdlib", "-static", "-g0", "-T", "link.ld"),
)
COMMON_FLAGS: Final = (
    *("-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all"),
    *("-Wall", "-Wextra", "-Werror"),
)


@dataclass(frozen=True, slots=True)
class TestProgram:
    """One C source of this folder."""

    __test__ = False  # not a class of tests, whatever its name says to pytest

    name: str
    is_float: bool = False
    """Needs an ML state: the base machine has no floating point."""
    is_fused: bool = False
    """Uses fused multiply-add, which qemu's MIPS processors of before release 6 round twice."""


ALL: Final = (
    TestProgram("integer"),
    TestProgram("memory"),
    TestProgram("recursion"),
    TestProgram("unaligned"),
    TestProgram("syscalls"),
    TestProgram("float", is_float=True),
    TestProgram("fused", is_float=True, is_fused=True),
)


def build_elf(name: str, folder: Path, *, scale: int = 1) -> Path:
    """`name`.c for MIPS64, doing `scale` times the work; answers the ELF file in `folder`."""
    target = folder / f"{name}-{scale}.elf"
    return _compile([*MIPS64_FLAGS, f"-DSCALE={scale}", f"{name}.c", "frame_mips64.c"], target)


def build_loading(folder: Path, *, log2_size: int, way: str) -> Path:
    """loading.c for 2^log2_size bytes; `way` is "oracle" or "tensor_map". Answers the ELF file in `folder`."""
    target = folder / f"loading-{way}-{log2_size}.elf"
    defines = [f"-DLOG2_SIZE={log2_size}", f"-DBY_TENSOR_MAP={int(way == 'tensor_map')}"]
    return _compile([*MIPS64_FLAGS, *defines, "loading.c"], target)


def build_preimages(folder: Path) -> Path:
    """preimages.c; answers the ELF file in `folder`."""
    return _compile([*MIPS64_FLAGS, "preimages.c"], folder / "preimages.elf")


def build_host(name: str, folder: Path, *, scale: int = 1) -> Path:
    """`name`.c for this machine; answers the executable in `folder`."""
    target = folder / f"{name}-{scale}.host"
    return _compile([f"-DSCALE={scale}", f"{name}.c", "frame_host.c", "-lm"], target)


def symbols(elf: bytes) -> dict[str, int]:
    """The addresses of a 64-bit big-endian ELF file's symbols, by name."""
    (table,) = struct.unpack_from(">Q", elf, 40)
    (count,) = struct.unpack_from(">H", elf, 60)
    sections = [struct.unpack_from(">IIQQQQIIQQ", elf, table + 64 * index) for index in range(count)]
    found = {}
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind != SHT_SYMTAB:
            continue
        names = sections[link][4]
        for at in range(offset, offset + size, 24):
            name_at, _, _, _, value, _ = struct.unpack_from(">IBBHQQ", elf, at)
            name = elf[names + name_at : elf.index(b"\0", names + name_at)]
            found[name.decode()] = value
    return found


def _compile(arguments: list[str], target: Path) -> Path:
    command = [sys.executable, "-m", "ziglang", "cc", *COMMON_FLAGS, *arguments, "-o", str(target)]
    done = subprocess.run(command, cwd=PROGRAMS, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"could not build {target.name}:\n{done.stderr.strip()}")
    return target
