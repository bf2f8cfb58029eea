"""Every floating-point operation of the VM: what engine and contract call it, and what it must give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from opml_dispute.engine.lib import library
from tests.floats import exact, vector
from tests.floats.vector import Words

FUSED, FROM_INTEGER = 0x40, 0x80
"""Added to a funct to tell COP1X and fmt .w from fmt .s: the numbers of native/vm/fpu.c, `opml_fpu`."""
F1_F2_F3: Final = 3 << 16 | 2 << 11 | 1 << 6
"""fd = F[1], fs = F[2], ft = F[3]."""
SINGLE: Final = 0x11 << 26 | 0x10 << 21 | F1_F2_F3
WORD: Final = 0x11 << 26 | 0x14 << 21 | F1_F2_F3
COP1X: Final = 0x13 << 26 | 4 << 21 | F1_F2_F3
"""fr = F[4]."""


@dataclass(frozen=True)
class Operation:
    """One operation on F[2], F[3], F[4], as far as it takes them."""

    name: str
    number: int
    """The engine's."""
    arity: int
    exact: Callable[..., int]
    """One result, by fractions."""
    vector: Callable[..., Words]
    """Many, by integers."""

    @property
    def compares(self) -> bool:
        """Whether it sets condition code 0, not F[1]."""
        return self.name.startswith("c.")

    @property
    def instruction(self) -> int:
        """The instruction word."""
        if self.number >= FROM_INTEGER:
            return WORD | 0x20
        if self.number >= FUSED:
            return COP1X | self.number - FUSED
        return (SINGLE & ~(31 << 6) if self.compares else SINGLE) | self.number

    def by_engine(self, *operands: Words) -> Words:
        """What the engine answers: one result for each row of operands."""
        columns = [np.ascontiguousarray(column, np.uint32) for column in operands]
        columns += [np.zeros_like(columns[0])] * (4 - len(columns))
        out = np.zeros_like(columns[0])
        pointers = [column.ctypes.data for column in (*columns[:3], out)]
        assert library().opml_fpu(self.number, *pointers, out.size)
        return out


_CONVERSIONS = {
    0x0C: ("round.w.s", "nearest"),
    0x0D: ("trunc.w.s", "zero"),
    0x0E: ("ceil.w.s", "up"),
    0x0F: ("floor.w.s", "down"),
    0x24: ("cvt.w.s", "nearest"),
}
_CONDITIONS = ("f", "un", "eq", "ueq", "olt", "ult", "ole", "ule", "sf", "ngle", "seq", "ngl", "lt", "nge", "le", "ngt")

ARITHMETIC: Final = (
    Operation("add.s", 0x00, 2, exact.add, vector.add),
    Operation("sub.s", 0x01, 2, exact.sub, vector.sub),
    Operation("mul.s", 0x02, 2, exact.mul, vector.mul),
    Operation("div.s", 0x03, 2, exact.div, vector.div),
    Operation("sqrt.s", 0x04, 1, exact.sqrt, vector.sqrt),
    Operation("madd.s", FUSED + 0x20, 3, exact.madd, vector.madd),
    Operation("msub.s", FUSED + 0x28, 3, exact.msub, vector.msub),
    Operation("nmadd.s", FUSED + 0x30, 3, exact.nmadd, vector.nmadd),
    Operation("nmsub.s", FUSED + 0x38, 3, exact.nmsub, vector.nmsub),
)
CONVERSIONS: Final = (
    *(
        Operation(
            name,
            number,
            1,
            partial(exact.to_integer, rounding=rounding),
            partial(vector.to_integer, rounding=rounding),
        )
        for number, (name, rounding) in _CONVERSIONS.items()
    ),
    Operation("cvt.s.w", FROM_INTEGER, 1, exact.from_integer, vector.from_integer),
)
COMPARISONS: Final = tuple(
    Operation(
        f"c.{name}.s",
        0x30 + condition,
        2,
        lambda a, b, condition=condition: int(exact.compare(a, b, condition)),
        partial(vector.compare, condition=condition),
    )
    for condition, name in enumerate(_CONDITIONS)
)
OPERATIONS: Final = (*ARITHMETIC, *CONVERSIONS, *COMPARISONS)
