"""
`--fault`: play as a liar, to test the honest players.

A fault is one flipped bit in the VM run of one node (`actors.liars`), written NODE:STEP:PLACE.BIT, or `seed=N`, which
searches for one. The same fault gives the same faulty trace in every command, so a liar proposes and responds by the
same commands as an honest player.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from opml_dispute.actors.faults import Fault, FaultSyntax
from opml_dispute.actors.liars import FaultyInference, Liar, changes_anything
from opml_dispute.cli.output import Output
from opml_dispute.engine.batch import BatchInference
from opml_dispute.engine.batch_tree import item_images
from opml_dispute.engine.inference import Inference
from opml_dispute.trace.guest import guest_machine
from opml_dispute.trace.split import NodeFault, SplitTrace
from opml_dispute.trace.vm import VmFault

if TYPE_CHECKING:
    from opml_dispute.operator.case import Case


def open_trace(case: Case, fault: str | None, output: Output) -> SplitTrace:
    """The trace to play by: the honest one, or with a fault the faulty one. Raises `FaultSyntax`, `UselessFault`."""
    if fault is None:
        return case.trace()
    if case.item_count > 1:
        return _batch_trace(case, fault, output)
    faulty = faulty_inference(case, fault)
    output.say(f"Lying: {faulty} (--fault {faulty.fault}).", style="yellow")
    output.fact(fault=str(faulty.fault), node=faulty.fault.node_index, after_step=faulty.fault.after_step)
    return faulty.trace(guest_machine())


def _batch_trace(case: Case, fault: str, output: Output) -> SplitTrace:
    """A liar about one item of a batch: the node of a fault is counted from the first item's first."""
    images, n = item_images(case.image, case.item_count), case.program.node_count
    node = 0 if fault.startswith("seed=") else Fault.parse(fault).node_index
    item = min(node // n, case.item_count - 1)
    own = fault if node < n else replace(Fault.parse(fault), node_index=node - item * n)
    liar = Liar(case.program, images[item], Inference(case.program, images[item]), guest_machine())
    faulty = _find(liar, str(own))
    output.say(f"Lying about item {item}: {faulty} (--fault {faulty.fault}).", style="yellow")
    output.fact(fault=str(faulty.fault), item=item, node=node, after_step=faulty.fault.after_step)
    return SplitTrace(
        BatchInference(case.program, images, runs={item: faulty.states}),
        guest_machine(),
        node_count=case.node_count,
        fault=NodeFault(item * n + faulty.fault.node_index, VmFault(faulty.fault.after_step, faulty.fault.target)),
    )


def faulty_inference(case: Case, fault: str) -> FaultyInference:
    """The faulty trace that a `--fault` names."""
    return _find(case.liar(), fault)


def _find(liar: Liar, fault: str) -> FaultyInference:
    if fault.startswith("seed="):
        digits = fault.removeprefix("seed=")
        if re.fullmatch("[0-9]{1,18}", digits) is None:
            raise FaultSyntax(f"cannot read the seed in {fault!r}")
        return liar.find(int(digits), goal=changes_anything)
    return liar.inject(Fault.parse(fault))
