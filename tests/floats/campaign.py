"""
Millions of hard operands through every floating-point operation: engine and contract against integer arithmetic.

Which oracle stands behind a result: `vector` (integers, exact, rounded once) for every operand of every operation, in
the engine and on the contract; `exact` (fractions, another algorithm altogether) for one operand in every `SAMPLED`,
so that a mistake of the first would show too.

The same seed gives the same operands, batch by batch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from opml_dispute.errors import OpmlError
from tests.agreement.harness import FloatProbe
from tests.floats.operands import operands
from tests.floats.operations import OPERATIONS, Operation
from tests.floats.vector import Words

BATCH = 1 << 18
SAMPLED = 1000
SHOWN = 3
CONDITION_CODE_0 = 1 << 23


@dataclass
class Tally:
    """How one operation did."""

    name: str
    engine: int = 0
    """Results of the engine that were compared."""
    engine_wrong: int = 0
    sampled: int = 0
    """Results of the integer oracle that fractions confirmed, or not."""
    oracle_wrong: int = 0
    contract: int = 0
    contract_wrong: int = 0
    seconds: float = 0
    first_wrong: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Results that are not what exact arithmetic gives."""
        return self.engine_wrong + self.oracle_wrong + self.contract_wrong

    def note(self, who: str, row: Sequence[int], found: int | None, expected: int) -> None:
        """Keeps the first few mistakes."""
        if len(self.first_wrong) < SHOWN:
            said = "something else" if found is None else f"0x{found:08x}"
            arguments = " ".join(f"0x{x:08x}" for x in row)
            self.first_wrong.append(f"{self.name} {arguments}: {who} says {said}, expected 0x{expected:08x}")


def check(operation: Operation, *, seed: int, count: int, contract: int = 0) -> Tally:
    """`count` rows of operands through the engine, the first `contract` of them through the contract too."""
    started, tally = time.monotonic(), Tally(operation.name)
    for columns in _batches(operation, seed, count):
        expected = operation.vector(*columns)
        found = operation.by_engine(*columns)
        tally.engine += found.size
        wrong = np.flatnonzero(found != expected)
        tally.engine_wrong += wrong.size
        for i in wrong[:SHOWN]:
            tally.note("the engine", _row(columns, int(i)), int(found[i]), int(expected[i]))
        for i in range(0, found.size, SAMPLED):
            row = _row(columns, i)
            tally.sampled += 1
            if (by_fractions := operation.exact(*row)) != int(expected[i]):
                tally.oracle_wrong += 1
                tally.note("the integer oracle", row, int(expected[i]), by_fractions)
        _on_chain(operation, columns, expected, min(contract - tally.contract, found.size), tally)
    tally.seconds = round(time.monotonic() - started, 1)
    return tally


def on_chain(probe: FloatProbe, operation: Operation, row: tuple[int, ...], expected: int) -> bool:
    """Whether the contract gives `expected` for these operands, and changes nothing else."""
    if operation.compares:
        return probe.gives(row, fcsr=CONDITION_CODE_0 if expected else 0)
    return probe.gives(row, result=expected)


def _on_chain(operation: Operation, columns: Sequence[Words], expected: Words, count: int, tally: Tally) -> None:
    if count <= 0:
        return
    probe = FloatProbe(operation.instruction)
    for i in range(count):
        row, right = _row(columns, i), int(expected[i])
        tally.contract += 1
        if not on_chain(probe, operation, row, right):
            tally.contract_wrong += 1
            tally.note("the contract", row, None, right)


def _batches(operation: Operation, seed: int, count: int) -> Iterator[tuple[Words, ...]]:
    for number, start in enumerate(range(0, count, BATCH)):
        rng = np.random.default_rng([seed, operation.number, number])
        columns = operands(rng, operation, BATCH)
        yield tuple(column[: count - start] for column in columns)


def _row(columns: Sequence[Words], i: int) -> tuple[int, ...]:
    return tuple(int(column[i]) for column in columns)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of `scripts/fuzz-floats`; 1 if any result is wrong."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz-floats", description="Hard operands through the VM's FPU.")
    parser.add_argument("--count", type=int, default=1_000_000, help="operands an operation, engine (default 1000000)")
    parser.add_argument("--contract", type=int, default=1_000, help="of these on the contract too (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="which operands (default 0)")
    parser.add_argument("--only", metavar="NAME", action="append", help="this operation, like madd.s; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON object an operation")
    options = parser.parse_args(arguments)
    known = {operation.name: operation for operation in OPERATIONS}
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"no operation named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    tallies = []
    for name in options.only or known:
        try:
            tally = check(known[name], seed=options.seed, count=options.count, contract=options.contract)
        except OpmlError as error:
            print(f"error: {error}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
            return error.exit_code
        tallies.append(tally)
        if options.json:
            print(json.dumps(asdict(tally)), flush=True)
        else:
            print(
                f"{tally.name:<10}  engine {tally.engine:>12,}  contract {tally.contract:>8,}"
                f"  fractions {tally.sampled:>7,}  wrong {tally.wrong:>3}  {tally.seconds:7.1f} s",
                *(f"  {line}" for line in tally.first_wrong),
                sep="\n",
                flush=True,
            )
    if not options.json:
        total = sum(tally.engine for tally in tallies), sum(tally.contract for tally in tallies)
        print(
            f"seed {options.seed}: {total[0]:,} results of the engine and {total[1]:,} of the contract, "
            f"{sum(tally.wrong for tally in tallies)} wrong"
        )
    return 1 if any(tally.wrong for tally in tallies) else 0
