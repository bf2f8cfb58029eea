"""
The conformance run as a command: every ONNX case, how it went, and the totals.

`main` is what scripts/conformance calls. The committed table (`TABLE`) has a line for each case; `--write` renews
it, and tests/onnx/test_conformance.py holds the package to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track

from opml_dispute.model import lower
from tests.onnx.backend import Result, attempt, cases, native
from tests.onnx.in_vm import STEPS_LIMIT, InVm

TABLE = Path(__file__).with_name("table.txt")
OPERATORS = Path(__file__).parents[2] / "docs" / "operators.md"
BEGIN, END = "<!-- table -->\n\n", "\n\n<!-- end -->"
OUTCOMES = ("passed", "refused", "failed")


def committed() -> dict[str, str]:
    """The table's lines, by case."""
    lines = TABLE.read_text().splitlines()
    return {line.split(":")[0]: line for line in lines if line and not line.startswith("#")}


def table(results: Sequence[Result]) -> str:
    """The text of the committed table."""
    counts = Counter(result.outcome for result in results)
    totals = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)
    head = f"# {len(results)} cases: {totals}. Renewed by scripts/conformance --write.\n"
    return head + "".join(result.line() + "\n" for result in results)


def operators(results: Sequence[Result]) -> str:
    """The table of docs/operators.md: a line for each operator, grouped by the module that lowers it."""
    seen: dict[str, set[str]] = {}
    for result in results:
        for op_type in result.op_types if result.outcome == "passed" else ():
            seen.setdefault(op_type, set())
        for op_type, kernel in result.kernels:
            seen.setdefault(op_type, set()).add(kernel)
    families: dict[str, list[str]] = {}
    for domain, op_type in lower.operators():
        since = lower.versions(domain, op_type)
        entry = lower.find(domain, op_type, since[-1])
        assert entry is not None
        kernels = ", ".join(sorted(seen[op_type])) or "view" if op_type in seen else "(no case)"
        name = f"{op_type} ({domain})" if domain else op_type
        line = f"| {name} | {', '.join(map(str, since))} | {kernels} |"
        families.setdefault(entry.function.__module__.split(".lower.")[1].replace(".", "/"), []).append(line)
    tables = [
        f"**lower/{family}.py**\n\n| operator | since | kernels |\n|---|---|---|\n" + "\n".join(lines)
        for family, lines in sorted(families.items())
    ]
    return "\n\n".join(tables)


def documented() -> str:
    """The table that docs/operators.md shows."""
    return OPERATORS.read_text().split(BEGIN)[1].split(END)[0]


def _document(results: Sequence[Result]) -> None:
    before, _, rest = OPERATORS.read_text().partition(BEGIN)
    OPERATORS.write_text(before + BEGIN + operators(results) + END + rest.partition(END)[2])


def totals(results: Sequence[Result]) -> dict[str, int]:
    """Counts by outcome; `fixed` are those among the passed that had an input fixed when compiling."""
    counts = Counter(result.outcome for result in results)
    fixed = sum(bool(result.fixed) for result in results if result.outcome == "passed")
    return {"cases": len(results), **{outcome: counts[outcome] for outcome in OUTCOMES}, "fixed": fixed}


def vm_totals(runs: Sequence[InVm]) -> dict[str, int]:
    """
    Cases that ran whole in the VM, and those among them whose every state there was the native engine's.

    A case where the VM does not agree has failed. What is longer than the steps limit is not counted here.
    """
    counts = Counter(run.outcome for run in runs)
    return {"vm_run": counts["equal"] + counts["differs"], "vm_equal": counts["equal"], "vm_long": counts["too long"]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance", description="Run ONNX's conformance cases: node cases and real architectures."
    )
    parser.add_argument("-k", metavar="PATTERN", default="", help="only cases whose name contains PATTERN")
    parser.add_argument(
        "--vm",
        action="store_true",
        help=f"run every node of every node case below {STEPS_LIMIT:,} VM steps in the VM too, and compare the states",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per case, then one with the totals")
    parser.add_argument("--write", action="store_true", help="renew the committed tables")
    options = parser.parse_args(arguments)
    if options.write and (options.k or options.vm):
        parser.error("--write renews the whole table from a native run; leave out -k and --vm")
    warnings.simplefilter("ignore")
    results, runs = [], []
    shown = Console(stderr=True)
    for case in track([*cases(options.k)], "Running cases", console=shown, disable=not shown.is_terminal):
        # The architectures are far above the steps limit.
        in_vm = InVm() if options.vm and case.kind != "real" else None
        result = attempt(case, in_vm or native)
        results.append(result)
        facts = asdict(result)
        if in_vm is not None:
            runs.append(in_vm)
            facts |= {"vm": in_vm.outcome, "vm_steps": in_vm.steps}
        if options.json:
            print(json.dumps(facts), flush=True)
        elif result.outcome == "failed" or options.k:
            steps = f", VM {in_vm.outcome} after {in_vm.steps:,} steps" if in_vm and in_vm.outcome else ""
            print(result.line() + steps, flush=True)
    counts = totals(results) | (vm_totals(runs) if options.vm else {})
    if options.json:
        print(json.dumps({"totals": counts}))
    else:
        print(", ".join(f"{count} {name}" for name, count in counts.items()))
    if options.write:
        TABLE.write_text(table(results))
        _document([result for result in results if not result.name.startswith("test_light_")])
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
