"""A fault reads as it is written, and what is no bit of the machine is refused."""

from __future__ import annotations

import pytest

from opml_dispute.actors.faults import Fault, FaultSyntax, place_name
from opml_dispute.engine.vm import FaultKind, FaultTarget


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("3:1200:f4.30", Fault(3, 1200, FaultTarget(FaultKind.FLOAT_REGISTER, 4, 30))),
        ("0:1:hi.63", Fault(0, 1, FaultTarget(FaultKind.HI, bit=63))),
        ("14:9:0x70b000000000.7", Fault(14, 9, FaultTarget(FaultKind.MEMORY, 0x70B000000000, 7))),
        ("14:9:0x8.63", Fault(14, 9, FaultTarget(FaultKind.MEMORY, 8, 63))),
        ("2:77:r31.0", Fault(2, 77, FaultTarget(FaultKind.REGISTER, 31, 0))),
        ("2:77:f31.31", Fault(2, 77, FaultTarget(FaultKind.FLOAT_REGISTER, 31, 31))),
        ("1:2:lo.0", Fault(1, 2, FaultTarget(FaultKind.LO, bit=0))),
        ("1:2:pc.2", Fault(1, 2, FaultTarget(FaultKind.PC, bit=2))),
    ],
)
def test_faults_read_as_they_are_written(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert str(fault) == text


@pytest.mark.parametrize("address", range(0x7008, 0x7010))
def test_an_address_within_a_word_means_the_word(address: int) -> None:
    assert Fault.parse(f"1:2:{address:#x}.5").target == FaultTarget(FaultKind.MEMORY, 0x7008, 5)
    assert place_name(FaultTarget(FaultKind.MEMORY, address, 5)) == "0x7008"


@pytest.mark.parametrize("text", ["", "3:4", "3:4:f4", "3:4:f32.1", "3:4:f4.32", "3:4:r1.64", "3:4:x1.2", "-1:4:r1.2"])
def test_nonsense_is_not_a_fault(text: str) -> None:
    with pytest.raises(FaultSyntax):
        Fault.parse(text)


@pytest.mark.parametrize("place", ["r32.0", "0x10.64", "hi.64", "f0.32"])
def test_a_bit_beyond_the_machine_is_named(place: str) -> None:
    with pytest.raises(FaultSyntax, match=f"no bit of the machine is called {place}, in the fault '1:2:{place}'"):
        Fault.parse(f"1:2:{place}")
