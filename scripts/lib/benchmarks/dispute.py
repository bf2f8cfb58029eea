"""The demo, timed: moves, transactions and gas of two full disputes, beside the peers' published figures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

Row = dict[str, Any]

PEERS: list[Row] = [
    {"game": "OP Stack, depth 73", "transactions": 152, "gas": 28_700_000},
    {"game": "opML (original), least", "transactions": 73, "gas": 8_700_000},
    {"game": "opML (original), most", "transactions": 79, "gas": 12_300_000},
]
"""Measured once on the peers' own contracts; not repeated here."""


def run() -> list[Row]:
    """Plays the demo and reports its stories."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "opml_dispute", "demo", "--json"], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"error: the demo failed with exit code {done.returncode}\n{done.stderr}")
    objects = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    stories = [story for story in objects if "story" in story]
    rows: list[Row] = [{"demo": "wall time, both stories, chain included", "seconds": seconds}]
    for story in stories:
        gas = story["gas"]
        rows.append({"game": story["story"], "moves": story["moves"], "transactions": story["transactions"],
                     "gas": gas["total"], "seconds": story["seconds"]})  # fmt: skip
        rows += [
            {"party": f"{story['story']}: {party}", "gas": used} for party, used in gas.items() if party != "total"
        ]
    return rows + PEERS
