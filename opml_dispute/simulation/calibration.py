"""
How fast this machine computes a real model, as settings of a scenario.

What the honest operator of a scenario spends on a game are two things: an inference with the root of its last state, to
know whether a proposal is right, and the VM run of one node. `calibrate` does both as a player does and takes the time;
the node is the one that may take most steps. The game's depths are then those of the model.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from opml_dispute.engine.inference import Inference
from opml_dispute.errors import OpmlError
from opml_dispute.game.depths import Depths
from opml_dispute.model.program import Program
from opml_dispute.trace.longest import measure_longest

_RUNS: Final = 5
_LONG_S: Final = 2.0
"""An inference that takes longer is timed once."""


class NotCalibrated(OpmlError):
    """A model's times cannot be taken."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured, on one core."""

    cores: int
    """Processors that this process may use."""
    inference_s: float
    """An inference from its input to the root of its last state."""
    middle_root_s: float
    """A state in the middle of it, with its root: what a move of the first phase takes, if nothing is kept."""
    vm_run_s: float
    """The VM run of the node that may take most steps."""
    vm_steps: int
    node_count: int
    log2_steps: int

    @property
    def steps_per_s(self) -> float:
        """Of the VM."""
        return self.vm_steps / self.vm_run_s

    @property
    def settings(self) -> dict[str, int | float]:
        """The settings of a scenario that say so, by their names."""
        return {
            "game.nodes": self.node_count,
            "game.log2_steps": self.log2_steps,
            "honest.cores": self.cores,
            "honest.inference_s": self.inference_s,
            "honest.vm_run_s": self.vm_run_s,
        }


def calibrate(program: Program, inputs: Mapping[str, npt.NDArray[Any]]) -> Calibration:
    """
    Computes a model on these inputs and takes the times.

    Raises `NotCalibrated` if its longest node does not end in the VM as the native run says: no game about it can be
    played from this machine.
    """
    n = program.node_count
    _timed(program, inputs, n)  # what is made once a process: the analysis of the program, the libraries
    inference_s, middle_s = _timed(program, inputs, n), _timed(program, inputs, n // 2)
    if inference_s < _LONG_S:
        inference_s = statistics.median(_timed(program, inputs, n) for _ in range(_RUNS))
        middle_s = statistics.median(_timed(program, inputs, n // 2) for _ in range(_RUNS))
    depth = Depths.for_model(n, program.log2_steps).execution
    (node,) = measure_longest(program, Inference(program, inputs), count=1, depth=depth)
    if not (node.is_finished and node.agrees):
        raise NotCalibrated(
            f"node {node.node_index} does not end in the VM as the native run says", hint="opml-dispute doctor"
        )
    return Calibration(
        cores=len(os.sched_getaffinity(0)),
        inference_s=inference_s,
        middle_root_s=middle_s,
        vm_run_s=node.seconds,
        vm_steps=node.steps,
        node_count=n,
        log2_steps=program.log2_steps,
    )


def _timed(program: Program, inputs: Mapping[str, npt.NDArray[Any]], t: int) -> float:
    """Seconds from the inputs to S_t."""
    started = time.perf_counter()
    Inference(program, inputs).state_root(t)
    return time.perf_counter() - started
