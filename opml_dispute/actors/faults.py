"""One flipped bit of a VM run: its place, and its text form (`Fault`). `liars` makes faulty inferences from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from opml_dispute.engine.vm import FaultKind, FaultTarget
from opml_dispute.errors import OpmlError


class FaultSyntax(OpmlError):
    """A fault that cannot be read."""

    hint = "write NODE:STEP:PLACE.BIT, for example 3:1200:f4.30; PLACE is r0…r31, f0…f31, hi, lo or an address"


@dataclass(frozen=True, slots=True)
class Fault:
    """One flipped bit: after `after_step` instructions of node `node_index`'s VM run."""

    node_index: int
    after_step: int
    target: FaultTarget

    @classmethod
    def parse(cls, text: str) -> Fault:
        """
        Parse the form that `str` gives: "3:1200:f4.30". Raises `FaultSyntax`.
        """
        match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18}):(.+)\.([0-9]{1,3})", text)
        if match is None:
            raise FaultSyntax(f"cannot read the fault {text!r}")
        node, step, place, bit = match.groups()
        return cls(int(node), int(step), _parse_target(place, int(bit), text))

    def __str__(self) -> str:
        return f"{self.node_index}:{self.after_step}:{place_name(self.target)}.{self.target.bit}"


_PLAIN_PLACES: Final = {"hi": FaultKind.HI, "lo": FaultKind.LO, "pc": FaultKind.PC}
_REGISTERS: Final = {"r": FaultKind.REGISTER, "f": FaultKind.FLOAT_REGISTER}


def place_name(target: FaultTarget) -> str:
    """
    The name of the register or address that holds a target's bit.

    >>> place_name(FaultTarget(FaultKind.FLOAT_REGISTER, 4, 30))
    'f4'
    """
    for prefix, kind in _REGISTERS.items():
        if target.kind == kind:
            return f"{prefix}{target.index}"
    for name, kind in _PLAIN_PLACES.items():
        if target.kind == kind:
            return name
    return f"0x{target.index & ~7:x}"


def _parse_target(place: str, bit: int, text: str) -> FaultTarget:
    """The counterpart of `place_name`."""
    target = None
    if place in _PLAIN_PLACES:
        target = FaultTarget(_PLAIN_PLACES[place], bit=bit)
    elif re.fullmatch(r"[rf][0-9]{1,2}", place):
        target = FaultTarget(_REGISTERS[place[0]], int(place[1:]), bit)
    elif re.fullmatch(r"0x[0-9a-f]{1,16}", place):
        target = FaultTarget(FaultKind.MEMORY, int(place, 16) & ~7, bit)
    width = 32 if place[0] == "f" else 64
    if target is None or bit >= width or (target.kind in _REGISTERS.values() and target.index > 31):
        raise FaultSyntax(f"no bit of the machine is called {place}.{bit}, in the fault {text!r}")
    return target
