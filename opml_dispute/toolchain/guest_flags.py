"""
The compiler flags of the guest: with the sources and the compiler, they alone decide the guest's bytes.

Names are relative to `opml_dispute/native`. The guest shares its kernels, the validator of records and the
transition with the host; its own files are in `guest/`.
"""

from __future__ import annotations

KERNELS = (
    "chunk", "move", "unary", "binary", "cast", "contraction", "window", "convolution", "pooling", "reduce", "order",
    "scan", "index", "tree", "blocks", "walk", "run",
)  # fmt: skip

GUEST_SOURCES: tuple[str, ...] = (
    "guest/start.S",
    "guest/main.c",
    "guest/oracle.c",
    "guest/memory.c",
    "program/record.c",
    "program/settle.c",
    "program/steps.c",
    "program/transition.c",
    *(f"kernels/{name}.c" for name in KERNELS),
)
"""Every file of the guest, in the order in which it is linked."""

GUEST_FLAGS: tuple[str, ...] = (
    # WHY +nomadd4: else this compiler fuses a * b + c whatever -ffp-contract says. (zig cc ignores -mno-madd4.)
    *("-target", "mips64-freestanding-none", "-mcpu=mips64+nomadd4", "-msingle-float", "-mno-abicalls", "-fno-pic"),
    # WHY NOT +sym32 (addresses in two instructions, not six): this compiler then fails on some of the files.
    # WHY -fno-jump-tables: tests/guest/loops.py reads from the code how long its loops are, and follows no such jump.
    *("-mno-gpopt", "-mno-check-zero-division", "-fno-jump-tables"),
    *("-std=c11", "-O2", "-ffreestanding", "-fno-builtin", "-fomit-frame-pointer", "-fno-strict-aliasing"),
    # The bits of the result: the compiler must not fuse, reassociate or flush to zero.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-ident"),
    *("-Wall", "-Wextra", "-Werror"),
    # Independence of the building machine: no debug information, no paths, no build identifiers.
    *("-g0", "-s", "-nostdlib", "-static", "-T", "guest/link.ld", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096"),
)
"""
The reasons: docs/vm.md has 32-bit floating-point registers, and a fused multiply-add is written as such or not at all:
as a word (kernels/float32.h, `fma32`), since the compiler must not know the instruction. This compiler's behaviour for
this target: with the instruction it fuses a * b + c whatever -ffp-contract says, it writes NaN constants in the legacy
MIPS encoding, and calls library functions for memcpy, 64-bit conversions and doubles.
"""
