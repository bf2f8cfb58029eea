"""The frame of `scripts/bench`: picks the sections, runs each, prints its rows or its JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
"""One measurement: what was measured, and its figures with their units in their names."""


def main() -> None:
    """Runs the sections asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the project beside its peers.")
    parser.add_argument("section", nargs="?", choices=[*SECTIONS], help="only this one (default: all)")
    parser.add_argument(
        "models",
        nargs="*",
        type=Path,
        help="files for inference, language and memory; parts of names for operators",
    )
    parser.add_argument(
        "--threads", type=int, choices=range(1, 17), default=1, metavar="N", help="of both sides, for operators (1)"
    )
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object a section, a line each")
    arguments = parser.parse_args()
    if arguments.models and arguments.section not in TAKES_MODELS:
        parser.error(f"arguments go with the sections {' and '.join(TAKES_MODELS)}")
    if arguments.threads != 1 and arguments.section != "operators":
        parser.error("--threads goes with the section operators")
    console = Console()
    for name in [arguments.section] if arguments.section else SECTIONS:
        rows = SECTIONS[name](arguments)
        if arguments.as_json:
            print(json.dumps({"section": name, "machine": machine(), "rows": rows}), flush=True)
        else:
            console.print(f"\n[bold]{name}[/bold]  ({machine()})")
            for table in _tables(rows):
                console.print(table)


def machine() -> str:
    """What the figures were measured on."""
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux on x86: the kind of machine must do
    return f"{model}, {os.cpu_count()} cores"


def _tables(rows: list[Row]) -> list[Table]:
    """A table for each run of rows with the same figures."""
    tables: list[tuple[tuple[str, ...], Table]] = []
    for row in rows:
        columns = tuple(row)
        if not tables or tables[-1][0] != columns:
            table = Table(box=None, pad_edge=False)
            for column in columns:
                table.add_column(column.replace("_", " "), justify="left" if column == columns[0] else "right")
            tables.append((columns, table))
        tables[-1][1].add_row(*(_text(value) for value in row.values()))
    return [table for _, table in tables]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _vm(_: argparse.Namespace) -> list[Row]:
    from lib.benchmarks import vm

    return vm.run()


def _inference(arguments: argparse.Namespace) -> list[Row]:
    from lib.benchmarks import inference

    return inference.run(arguments.models)


def _blocks(_: argparse.Namespace) -> list[Row]:
    from lib.benchmarks import blocks

    return blocks.run()


def _operators(arguments: argparse.Namespace) -> list[Row]:
    from lib.benchmarks import operators

    return operators.run([str(name) for name in arguments.models], arguments.threads)


def _language(arguments: argparse.Namespace) -> list[Row]:
    from lib.benchmarks import language

    return language.run(arguments.models)


def _memory(arguments: argparse.Namespace) -> list[Row]:
    from lib.benchmarks import memory

    return memory.run(arguments.models)


def _commitment(_: argparse.Namespace) -> list[Row]:
    from lib.benchmarks import inference

    return inference.commitment()


def _dispute(_: argparse.Namespace) -> list[Row]:
    from lib.benchmarks import dispute

    return dispute.run()


SECTIONS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "vm": _vm,
    "inference": _inference,
    "operators": _operators,
    "blocks": _blocks,
    "language": _language,
    "memory": _memory,
    "commitment": _commitment,
    "dispute": _dispute,
}
"""Each section imports what it measures when it runs, so that one broken part leaves the others measurable."""

TAKES_MODELS = ("inference", "operators", "language", "memory")
