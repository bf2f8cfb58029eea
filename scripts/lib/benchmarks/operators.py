"""
Single operators beside ONNX Runtime, worst ratio first.

The two take turns of a few milliseconds each, and the ratio of a pair of turns is what is compared: its median is
steady even on a machine that others use too. With one thread a turn is measured in processor time of that thread, so
that waiting for a core does not count. With several it has to be time that passes, so there the shortest turns of more
pairs are compared. ONNX Runtime's idle threads are told not to spin: they would do so on the cores that are ours next.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from math import exp, log
from statistics import median
from typing import Any

import onnxruntime
from lib.benchmarks.operator_cases import cases
from lib.benchmarks.operator_models import OperatorCase

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model

Row = dict[str, Any]
TURN_S = 0.004
PAIRS = 15
PAIRS_OF_THREADS = 60


def run(only: Sequence[str] = (), threads: int = 1) -> list[Row]:
    """A row for each case whose name contains one of `only` (default: all), and the geometric mean of the ratios."""
    rows: list[Row] = []
    for one in cases():
        if not only or any(part in one.name for part in only):
            rows.append(_measure(one, threads))
            print(f"{one.name:40} {rows[-1]['ratio']:8.2f}", file=sys.stderr, flush=True)
    if not rows:
        sys.exit(f"error: no operator's name contains {' or '.join(only)}")
    rows.sort(key=lambda row: -row["ratio"])
    mean = exp(sum(log(row["ratio"]) for row in rows) / len(rows))
    rows.append({"operator": f"geometric mean of {len(rows)}", "ours_us": None, "onnxruntime_us": None, "ratio": mean})
    return rows


def _measure(one: OperatorCase, threads: int) -> Row:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        (one.peer or one.model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inference = Inference(compile_model(one.model), one.inputs, threads=threads)

    def ours() -> None:
        inference.run_to(0)
        inference.run_to(inference.program.node_count)

    def theirs() -> None:
        session.run(None, one.inputs)

    if threads == 1:
        return {"operator": one.name, **compare(ours, theirs, time.thread_time)}
    row = compare(ours, theirs, time.perf_counter, PAIRS_OF_THREADS)
    return {"operator": one.name, **row, "ratio": row["ours_us"] / row["onnxruntime_us"]}


def compare(
    ours: Callable[[], None], theirs: Callable[[], None], clock: Callable[[], float], count: int = PAIRS
) -> dict[str, float]:
    """Microseconds of a run of each, the shortest turn's, and the median ratio of the pairs of turns."""
    turns = [_turn(work, clock) for work in (ours, theirs)]
    pairs = [(_seconds(ours, turns[0], clock), _seconds(theirs, turns[1], clock)) for _ in range(count)]
    return {
        "ours_us": 1e6 * min(mine for mine, _ in pairs),
        "onnxruntime_us": 1e6 * min(other for _, other in pairs),
        "ratio": median(mine / other for mine, other in pairs),
    }


def _turn(work: Callable[[], None], clock: Callable[[], float]) -> int:
    """How many runs fill a turn."""
    work()
    return max(1, int(TURN_S / min(_seconds(work, 1, clock) for _ in range(3))))


def _seconds(work: Callable[[], None], runs: int, clock: Callable[[], float]) -> float:
    """Seconds a run."""
    started = clock()
    for _ in range(runs):
        work()
    return (clock() - started) / runs
