"""
What the compiler may make of the guest: fused multiply-adds where a kernel wrote one, and only there.

A fused operation that the sources do not have rounds once where the host rounds twice: a node whose true result the
guest denies.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from opml_dispute.fpvm.disassemble import disassemble
from opml_dispute.toolchain import native
from opml_dispute.toolchain.guest_flags import GUEST_FLAGS

COP1X = 0x13
MADD, MSUB = 0x20, 0x28
BREAK = 0x0000000D
LINKER_FILLING = 0x04170001

TEMPTING = """
typedef float f32;
volatile f32 in[8], out[8];
f32 sum(const f32 *restrict a, const f32 *restrict b, unsigned n)
{
    f32 total = 0.0f;
    for (unsigned i = 0; i < n; i++)
        total += a[i] * b[i];
    return total;
}
int guest_main(void)
{
    f32 a = in[0], b = in[1], c = in[2];
    out[0] = a * b + c;
    out[1] = a * b - c;
    out[2] = c - a * b;
    out[3] = -(a * b) - c;
    out[4] = -(a * b + c);
    f32 product = a * b;
    out[5] = product + c;
    out[6] = sum((const f32 *)in, (const f32 *)out, 5);
    return 0;
}
"""
"""Every shape of a product that becomes a term, unprotected."""


def code(elf: bytes) -> Iterator[int]:
    """The instruction words of a program: its sections of instructions."""
    table, size, count = struct.unpack_from(">Q", elf, 40)[0], *struct.unpack_from(">HH", elf, 58)
    for i in range(count):
        _, _, flags, _, offset, length = struct.unpack_from(">IIQQQQ", elf, table + size * i)
        if flags & 4:
            yield from (word for (word,) in struct.iter_unpack(">I", elf[offset : offset + length]))


def fused(elf: bytes) -> Counter[int]:
    """How many of each fused instruction, by funct."""
    return Counter(word & 63 for word in code(elf) if word >> 26 == COP1X and word & 63 >= MADD)


def built(folder: Path, source: str, flags: tuple[str, ...] = GUEST_FLAGS) -> bytes:
    """`source`, which has a guest_main, compiled as the guest is."""
    (folder / "main.c").write_text(source)
    out = folder / "program.elf"
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-I.", "guest/start.S", str(folder / "main.c")]
    subprocess.run([*command, "-o", str(out)], cwd=native.NATIVE, check=True, capture_output=True)
    return out.read_bytes()


def test_compiler_fuses_nothing_by_itself(tmp_path: Path) -> None:
    assert not fused(built(tmp_path, TEMPTING))


def test_compiler_would_fuse_if_it_knew_the_instruction(tmp_path: Path) -> None:
    """So the test above can fail, and -ffp-contract=off alone is not enough."""
    flags = tuple(flag.replace("+nomadd4", "") for flag in GUEST_FLAGS)
    assert flags != GUEST_FLAGS
    found = fused(built(tmp_path, TEMPTING, flags))
    assert found[MADD] >= 2
    assert found[MSUB] >= 1


@pytest.mark.parametrize("count", [1, 3])
def test_written_fused_operation_is_one_instruction(tmp_path: Path, count: int) -> None:
    calls = "\n".join(f"out[{i}] = fma32(in[{i}], in[{i + 1}], in[{i + 2}]);" for i in range(count))
    source = (
        '#include "kernels/float32.h"\nvolatile f32 in[8], out[8];\n'
        f"int guest_main(void)\n{{\n{calls}\nout[7] = mul32(in[0], in[1]) + in[2];\nreturn 0;\n}}\n"
    )
    assert fused(built(tmp_path, source)) == {MADD: count}


def test_guest_has_only_the_fused_operation_that_kernels_write() -> None:
    found = fused(native.guest_path().read_bytes())
    assert set(found) == {MADD}


def test_guest_has_no_instruction_that_the_vm_lacks() -> None:
    """But a break behind exit_group, and what the linker fills gaps between functions with: nothing gets there."""
    words = [
        word for word in code(native.guest_path().read_bytes()) if disassemble(word, 0, ml=True).startswith(".word")
    ]
    assert Counter(word for word in words if word != LINKER_FILLING) == {BREAK: 1}
