"""
The facts about a model that an operator needs before staking on its answers.

`inspect_program` answers an `Inspection`: what the model takes and gives, its nodes by operator and by kernel with
their VM steps at most, its weights and root, the memory and time of a native run, and the moves, gas and bonds of a
dispute about it. All but the time follows from the program alone. `obstacles_by_operator` lists why a model cannot be
compiled.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.inference import Inference
from opml_dispute.game.depths import Depths
from opml_dispute.game.gas import dispute_bonds_wei, dispute_gas, dispute_moves
from opml_dispute.model.derived import PlannedBlock, TensorSpec
from opml_dispute.model.program import NodeInfo, Program
from opml_dispute.model.survey import Obstacle
from opml_dispute.primitives import Hash32

LEAST_TIMED_S: Final = 0.2
"""Warm runs are repeated until this long has passed."""
LEAST_WARM_RUNS: Final = 3
"""The least number of warm runs, unless they take longer than `MOST_TIMED_S`."""
MOST_TIMED_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a program that belongs to one operator, or to one kernel."""

    name: str
    nodes: int
    steps: int
    """VM steps of all its nodes together, at most."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """The cost of a dispute about the model that goes to the last step."""

    depths: Depths
    moves: int
    gas: int
    """From the creation of the game to the payout, both sides together."""
    bonds_wei: tuple[int, int]
    """The bonds of the proposer's side and of the challenger's side at the end, in wei."""


@dataclass(frozen=True, slots=True)
class NativeRun:
    """Runs on this machine, by one thread, on made-up input."""

    seconds: float
    """The median of the warm runs."""
    warm_runs: int
    """Runs after the first."""
    cold_seconds: float
    """The first run: loading the weights, preparing them, and touching memory for the first time."""
    status: int
    """0, or why it failed: made-up input need not be sensible (docs/segment.md, "Status")."""


@dataclass(frozen=True)
class Inspection:
    """The facts about one program."""

    program: Program
    operators: Sequence[Share]
    """By ONNX operator, costliest first."""
    kernels: Sequence[Share]
    largest: Sequence[tuple[int, NodeInfo]]
    """All nodes with their index, costliest first."""
    peak_live_bytes: int
    """Tensors that are live at once, at most; weights not counted."""
    dispute: Dispute
    run: NativeRun | None
    """None if it was not asked for."""

    @property
    def total_steps(self) -> int:
        """VM steps of all nodes together, at most."""
        return sum(share.steps for share in self.operators)

    @property
    def model_root(self) -> Hash32:
        return self.program.model_root


def inspect_program(program: Program, *, timed: bool = True) -> Inspection:
    """
    The facts about a program. Raises `SegmentUnavailable` if `timed` and this machine cannot run it.
    """
    depths = Depths.for_model(program.node_count, program.log2_steps)
    dispute = Dispute(depths, dispute_moves(depths), dispute_gas(depths), dispute_bonds_wei(depths))
    return Inspection(
        program,
        operators=_shares((node.op_type, node.steps) for node in program.nodes),
        kernels=_shares((node.kernel, node.steps) for node in program.nodes),
        largest=sorted(enumerate(program.nodes), key=lambda item: -item[1].steps),
        peak_live_bytes=peak_live_bytes(program.blocks, program.node_count),
        dispute=dispute,
        run=_timed(program) if timed else None,
    )


def peak_live_bytes(blocks: Sequence[PlannedBlock], node_count: int) -> int:
    """Bytes of tensors (inputs, outputs, activations) that exist at once, at most."""
    change = np.zeros(node_count + 2, np.int64)
    for block in blocks:
        change[block.born_node + 1] += block.size_bytes
        if block.freed_node is not None:
            change[block.freed_node + 2] -= block.size_bytes  # the block is in use while that node runs
    return max(accumulate(int(bytes_) for bytes_ in change))


def obstacles_by_operator(obstacles: Iterable[Obstacle]) -> Mapping[str, Sequence[Obstacle]]:
    """Obstacles by operator (tensors: ""), in the order in which the model has them."""
    found: dict[str, list[Obstacle]] = {}
    for obstacle in obstacles:
        found.setdefault(obstacle.op_type, []).append(obstacle)
    return found


def _shares(named: Iterable[tuple[str, int]]) -> list[Share]:
    """The shares, from the name and the steps of every node."""
    nodes: dict[str, list[int]] = {}
    for name, steps in named:
        nodes.setdefault(name, []).append(steps)
    shares = [Share(name, len(of), sum(of)) for name, of in nodes.items()]
    return sorted(shares, key=lambda share: -share.steps)


def _timed(program: Program) -> NativeRun:
    inputs = made_up_inputs(program)
    began = time.perf_counter()
    inference = Inference(program, inputs)
    inference.run_to(program.node_count)
    cold = time.perf_counter() - began
    status = inference.status
    began, warm = time.perf_counter(), list[float]()
    while True:
        inference.run_to(0)
        start = time.perf_counter()
        inference.run_to(program.node_count)
        warm.append(time.perf_counter() - start)
        passed = time.perf_counter() - began
        if passed > MOST_TIMED_S or (passed > LEAST_TIMED_S and len(warm) >= LEAST_WARM_RUNS):
            return NativeRun(statistics.median(warm), len(warm), cold, status)


def operation_seconds(program: Program, ends: Sequence[int]) -> list[float]:
    """
    Seconds that each stretch of nodes takes natively, by one thread, on made-up input: the median of several runs.

    `ends` are the nodes behind each stretch, ascending; the last is the program's node count. A stretch is run by
    itself, so all together take somewhat longer than a run of the whole.
    """
    inference = Inference(program, made_up_inputs(program))
    inference.run_to(program.node_count)  # loads the weights
    runs: list[list[float]] = []
    began = time.perf_counter()
    while len(runs) < LEAST_WARM_RUNS and (not runs or time.perf_counter() - began < MOST_TIMED_S):
        inference.run_to(0)
        run, before = [], time.perf_counter()
        for end in ends:
            inference.run_to(end)
            after = time.perf_counter()
            run.append(after - before)
            before = after
        runs.append(run)
    return [statistics.median(times) for times in zip(*runs, strict=True)]


def made_up_inputs(program: Program) -> dict[str, npt.NDArray[Any]]:
    """Inputs to run a program on where only its time or its size matters."""
    return {spec.name: _made_up(spec) for spec in program.inputs}


def _made_up(spec: TensorSpec) -> npt.NDArray[Any]:
    """Numbers from 0 to 1; zeros for integer types, which are most often indices."""
    if spec.dtype.is_float:
        return np.asarray(np.random.default_rng(0).random(spec.shape, np.float32)).astype(spec.dtype.numpy)
    return np.zeros(spec.shape, spec.dtype.numpy)
