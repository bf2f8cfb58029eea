"""
`--fault`: play as a liar, to test those who should notice.

A fault is one flipped bit in the VM run of one node (`actors.liars`), written NODE:STEP:PLACE.BIT, or `seed=N` to
have one found. The same fault gives the same lie in every command, so a liar proposes and responds like an honest
party.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opml_dispute.actors.faults import Fault, FaultSyntax
from opml_dispute.actors.liars import Story, changes_anything
from opml_dispute.cli.output import Output
from opml_dispute.trace.guest import guest_machine

if TYPE_CHECKING:
    from opml_dispute.operator.case import Case
    from opml_dispute.trace.split import SplitTrace


def open_trace(case: Case, fault: str | None, output: Output) -> SplitTrace:
    """What to believe: the truth, or with a fault the lie that rests on it. Raises `FaultSyntax`, `UselessFault`."""
    if fault is None:
        return case.trace()
    story = tell_story(case, fault)
    output.say(f"Lying: {story} (--fault {story.fault}).", style="yellow")
    output.fact(fault=str(story.fault), node=story.fault.node_index, after_step=story.fault.after_step)
    return story.trace(guest_machine())


def tell_story(case: Case, fault: str) -> Story:
    """The lie that a `--fault` names."""
    liar = case.liar()
    if fault.startswith("seed="):
        digits = fault.removeprefix("seed=")
        if re.fullmatch("[0-9]{1,18}", digits) is None:
            raise FaultSyntax(f"cannot read the seed in {fault!r}")
        return liar.find(int(digits), goal=changes_anything)
    return liar.tell(Fault.parse(fault))
