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

from tests.onnx.backend import Result, attempt, cases, in_vm, native

TABLE = Path(__file__).with_name("table.txt")
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


def totals(results: Sequence[Result]) -> dict[str, int]:
    """Counts by outcome; `fixed` are those among the passed that had an input fixed when compiling."""
    counts = Counter(result.outcome for result in results)
    fixed = sum(bool(result.fixed) for result in results if result.outcome == "passed")
    return {"cases": len(results), **{outcome: counts[outcome] for outcome in OUTCOMES}, "fixed": fixed}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance", description="Run ONNX's conformance cases: node cases and real architectures."
    )
    parser.add_argument("-k", metavar="PATTERN", default="", help="only cases whose name contains PATTERN")
    parser.add_argument("--vm", action="store_true", help="run every node in the VM too, and compare the states")
    parser.add_argument("--json", action="store_true", help="one JSON object per case, then one with the totals")
    parser.add_argument("--write", action="store_true", help="renew the committed table")
    options = parser.parse_args(arguments)
    if options.write and options.k:
        parser.error("--write renews the whole table; leave out -k")
    warnings.simplefilter("ignore")
    results = []
    for case in cases(options.k):
        # The architectures are too large to run whole in the VM in reasonable time.
        checked = options.vm and case.kind != "real"
        result = attempt(case, in_vm if checked else native)
        results.append(result)
        if options.json:
            print(json.dumps({**asdict(result), "vm": checked}), flush=True)
        elif result.outcome == "failed" or options.k:
            print(result.line(), flush=True)
    counts = totals(results)
    if options.json:
        print(json.dumps({"totals": counts}))
    else:
        print(", ".join(f"{count} {name}" for name, count in counts.items()))
    if options.write:
        TABLE.write_text(table(results))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
