"""
A conformance case's nodes in the VM.

`InVm` runs a program natively and then every node of it in the guest, from the native state before it: the guest must
reach the native state after it, within the bound of its record, which a game's depth relies on. It is a `Run` for
`backend.attempt`, and it keeps what it saw: how it went, and how many steps each node took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.engine.vm import StopKind
from opml_dispute.model.program import NodeInfo, Program
from opml_dispute.model.record import Record
from opml_dispute.primitives import item_data
from opml_dispute.trace.guest import guest_machine
from tests.onnx.backend import Array, native_run

STEPS_LIMIT = 50_000_000
"""A case that takes more VM steps than this in all is not run to its end."""


class NodeDiffers(AssertionError):
    """The VM and the native engine came to different states."""


class BoundExceeded(AssertionError):
    """A node took more VM steps than its bound: its game could be too shallow."""


@dataclass(frozen=True)
class NodeRun:
    """One node, run in the VM."""

    node: NodeInfo
    record: Record
    steps: int


@dataclass
class InVm:
    """Runs programs natively and node by node in the VM; one for each case."""

    steps_limit: int = STEPS_LIMIT
    runs: list[NodeRun] = field(default_factory=list)
    outcome: str = ""
    """equal, differs, or "too long"; nothing as long as no program came to its end natively."""

    @property
    def steps(self) -> int:
        """VM steps of all nodes that were run."""
        return sum(run.steps for run in self.runs)

    def __call__(self, program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """
        The native outputs.

        Raises `NodeDiffers` or `BoundExceeded` at the first node where the VM does not agree.
        """
        inference = native_run(program, inputs)
        if self.outcome != "too long":
            self.outcome = "differs"  # until the last node has shown otherwise
            whole = all(self.run_node(program, inference, t) for t in range(program.node_count))
            self.outcome = "equal" if whole else "too long"
        return inference.outputs()

    def run_node(self, program: Program, inference: Inference, t: int) -> bool:
        """Whether node t ended within what is left of the limit."""
        node, bound = program.nodes[t], program.node_steps[t]
        where = f"node {t} ({node.kernel} of {node.op_type} {node.name!r})"
        start, end = inference.state_root(t), inference.state_root(t + 1)
        machine = guest_machine()
        machine.set_local(2, start)
        machine.set_local(3, end)
        machine.set_local(6, item_data())
        machine.add_subtree(start, SEGMENT_LOG2, inference.blocks_at(t))
        stop = machine.run(self.steps_limit - self.steps)
        if stop.kind is StopKind.STEP_LIMIT:
            return False
        if stop.kind is not StopKind.EXITED:
            raise NodeDiffers(f"the VM stops at {where}: {stop}")
        if machine.exit_code != 0:
            raise NodeDiffers(f"the VM comes to another state than the native engine at {where}")
        if machine.step > bound:
            raise BoundExceeded(f"{where} takes {machine.step:,} VM steps; its bound is {bound:,}")
        self.runs.append(NodeRun(node, program.record(t), machine.step))
        return True
