"""
`--fault`: play as a liar, to test the honest players.

A fault is one flipped bit in the VM run of one node (`actors.liars`), written NODE:STEP:PLACE.BIT, or `seed=N`, which
searches for one. The same fault gives the same faulty trace in every command, so a liar proposes and responds by the
same commands as an honest player.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opml_dispute.actors.faults import Fault, FaultSyntax
from opml_dispute.actors.liars import FaultyInference, changes_anything
from opml_dispute.cli.output import Output
from opml_dispute.trace.guest import guest_machine

if TYPE_CHECKING:
    from opml_dispute.operator.case import Case
    from opml_dispute.trace.split import SplitTrace


def open_trace(case: Case, fault: str | None, output: Output) -> SplitTrace:
    """The trace to play by: the honest one, or with a fault the faulty one. Raises `FaultSyntax`, `UselessFault`."""
    if fault is None:
        return case.trace()
    faulty = faulty_inference(case, fault)
    output.say(f"Lying: {faulty} (--fault {faulty.fault}).", style="yellow")
    output.fact(fault=str(faulty.fault), node=faulty.fault.node_index, after_step=faulty.fault.after_step)
    return faulty.trace(guest_machine())


def faulty_inference(case: Case, fault: str) -> FaultyInference:
    """The faulty trace that a `--fault` names."""
    liar = case.liar()
    if fault.startswith("seed="):
        digits = fault.removeprefix("seed=")
        if re.fullmatch("[0-9]{1,18}", digits) is None:
            raise FaultSyntax(f"cannot read the seed in {fault!r}")
        return liar.find(int(digits), goal=changes_anything)
    return liar.inject(Fault.parse(fault))
