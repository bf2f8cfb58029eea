"""Instructions that are one expression: docs/vm.md, "Instructions"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.reference_vm.state import U32, U64, signed, sx, with_half


def _shifted(bits: int, kind: str) -> Callable[[int, int], int]:
    def shift(b: int, count: int) -> int:
        b &= (1 << bits) - 1
        value = {"left": b << count, "right": b >> count, "signed": signed(b, bits) >> count}[kind]
        return sx(bits, value)

    return shift


SHIFTS: Final[dict[int, tuple[Callable[[int, int], int], int, int | None]]] = {
    **{0x00 + i: (_shifted(32, kind), 32, 0) for i, kind in ((0, "left"), (2, "right"), (3, "signed"))},
    **{0x38 + i: (_shifted(64, kind), 64, 0) for i, kind in ((0, "left"), (2, "right"), (3, "signed"))},
    **{0x3C + i: (_shifted(64, kind), 64, 32) for i, kind in ((0, "left"), (2, "right"), (3, "signed"))},
    **{0x04 + i: (_shifted(32, kind), 32, None) for i, kind in ((0, "left"), (2, "right"), (3, "signed"))},
    **{0x14 + i: (_shifted(64, kind), 64, None) for i, kind in ((0, "left"), (2, "right"), (3, "signed"))},
}
"""funct -> operation, its width, and what is added to shamt; None: the count is R[rs]."""

THREE: Final[dict[int, Callable[[int, int], int]]] = {
    **dict.fromkeys((0x20, 0x21), lambda a, b: sx(32, a + b)),
    **dict.fromkeys((0x22, 0x23), lambda a, b: sx(32, a - b)),
    0x24: lambda a, b: a & b,
    0x25: lambda a, b: a | b,
    0x26: lambda a, b: a ^ b,
    0x27: lambda a, b: ~(a | b),
    0x2A: lambda a, b: int(signed(a) < signed(b)),
    0x2B: lambda a, b: int(a < b),
    **dict.fromkeys((0x2C, 0x2D), lambda a, b: a + b),
    **dict.fromkeys((0x2E, 0x2F), lambda a, b: a - b),
}
IMMEDIATE: Final[dict[int, Callable[[int, int, int], int]]] = {
    **dict.fromkeys((0x08, 0x09), lambda a, s, _: sx(32, a + s)),
    0x0A: lambda a, s, _: int(signed(a) < s),
    0x0B: lambda a, s, _: int(a < s & U64),
    0x0C: lambda a, _, z: a & z,
    0x0D: lambda a, _, z: a | z,
    0x0E: lambda a, _, z: a ^ z,
    0x0F: lambda _, __, z: sx(32, z << 16),
    **dict.fromkeys((0x18, 0x19), lambda a, s, _: a + s),
}


def _unit(word: int, k8: int, size: int) -> int:
    """The aligned unit of `size` bytes that holds byte k8."""
    return word >> 8 * (8 - size - k8 // size * size) & (1 << 8 * size) - 1


def _with_unit(word: int, k8: int, size: int, value: int) -> int:
    shift, mask = 8 * (8 - size - k8 // size * size), (1 << 8 * size) - 1
    return word & ~(mask << shift) | (value & mask) << shift


def _low(x: int, bits: int) -> int:
    return x & (1 << bits) - 1


def _lwl(_: int, half: int, v: int, k8: int) -> int:
    k4 = k8 % 4
    return sx(32, half << 8 * k4 | _low(v, 8 * k4))


def _lwr(_: int, half: int, v: int, k8: int) -> int:
    k4 = k8 % 4
    t = 24 - 8 * k4
    low = half >> t | (v & U32) >> (32 - t) << (32 - t)
    return sx(32, low) if k4 == 3 else v >> 32 << 32 | low & U32


def _ldl(word: int, _: int, v: int, k8: int) -> int:
    return (word << 8 * k8 | _low(v, 8 * k8)) & U64


def _ldr(word: int, _: int, v: int, k8: int) -> int:
    t = 56 - 8 * k8
    return word >> t | v >> (64 - t) << (64 - t)


LOADS: Final[dict[int, Callable[[int, int, int, int], int]]] = {
    0x20: lambda m, _, __, k: sx(8, _unit(m, k, 1)),
    0x24: lambda m, _, __, k: _unit(m, k, 1),
    0x21: lambda m, _, __, k: sx(16, _unit(m, k, 2)),
    0x25: lambda m, _, __, k: _unit(m, k, 2),
    0x23: lambda _, w, __, ___: sx(32, w),
    0x27: lambda _, w, __, ___: w,
    0x37: lambda m, _, __, ___: m,
    0x22: _lwl,
    0x26: _lwr,
    0x1A: _ldl,
    0x1B: _ldr,
}


def _swl(word: int, half: int, v: int, va: int) -> int:
    k4 = va % 4
    kept = half >> (32 - 8 * k4) << (32 - 8 * k4)
    return with_half(word, va, kept | (v & U32) >> 8 * k4)


def _swr(word: int, half: int, v: int, va: int) -> int:
    t = 24 - 8 * (va % 4)
    return with_half(word, va, v << t & U32 | _low(half, t))


def _sdl(word: int, _: int, v: int, va: int) -> int:
    k8 = va % 8
    return word >> (64 - 8 * k8) << (64 - 8 * k8) | v >> 8 * k8


def _sdr(word: int, _: int, v: int, va: int) -> int:
    t = 56 - 8 * (va % 8)
    return v << t & U64 | _low(word, t)


STORES: Final[dict[int, Callable[[int, int, int, int], int]]] = {
    0x28: lambda m, _, v, va: _with_unit(m, va % 8, 1, v),
    0x29: lambda m, _, v, va: _with_unit(m, va % 8, 2, v),
    0x2B: lambda m, _, v, va: _with_unit(m, va % 8, 4, v),
    0x3F: lambda _, __, v, ___: v,
    0x2A: _swl,
    0x2E: _swr,
    0x2C: _sdl,
    0x2D: _sdr,
}
