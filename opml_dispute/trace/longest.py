"""The nodes of a program that may take most steps, run in the VM: what a dispute about them would take here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from opml_dispute.engine.inference import Inference
from opml_dispute.model.program import Program
from opml_dispute.trace.guest import node_start
from opml_dispute.trace.vm import VmTrace, VmUnfinished


@dataclass(frozen=True, slots=True)
class NodeMeasure:
    """One node's run in the VM."""

    node_index: int
    steps: int
    """0 if it does not end within the game's depth."""
    agrees: bool
    """Whether the VM came to the native run's state."""
    seconds: float
    memory_bytes: int

    @property
    def is_finished(self) -> bool:
        """Whether it ended within the game's depth."""
        return self.steps > 0

    def as_list(self) -> list[int | bool | float]:
        """Its fields in order, for a message."""
        return list(astuple(self))


def measure_longest(program: Program, inference: Inference, *, count: int, depth: int) -> Sequence[NodeMeasure]:
    """
    Runs up to `count` nodes through traces of a game's execution depth, as a dispute would; the one that may take most
    comes first. Stops after one that does not end, or does not agree.
    """
    nodes = program.nodes
    measured: list[NodeMeasure] = []
    for index in sorted(range(len(nodes)), key=lambda index: -nodes[index].steps)[:count]:
        started = time.perf_counter()
        trace = VmTrace(node_start(inference, index), depth=depth)
        try:
            steps, agrees = trace.exit_step, trace.exit_code == 0
        except VmUnfinished:
            steps, agrees = 0, False
        seconds = time.perf_counter() - started
        measured.append(NodeMeasure(index, steps, agrees, seconds, trace.machine_at(0).memory_used_bytes))
        if not agrees:
            break
    return measured
