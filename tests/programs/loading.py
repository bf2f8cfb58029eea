"""
What it costs to bring data into the VM's memory: through the pre-image oracle, and by tensor_map.

`measure` runs loading.c for one size and way, checks that the data are there, and counts. In a dispute, steps are what
the players bisect over, so their logarithm is the number of moves; `bytes_for_one_step` is what must be sent to prove
the costliest single step of the loading on chain, `gas_for_one_step` what that costs there. `measure_all` takes the
sizes of docs/comparison.md, and `table` is its table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from opml_dispute.engine.hashing import keccak256, merkle_root
from opml_dispute.engine.vm import Block, Machine, StopKind
from opml_dispute.testing.evm_verifier import Verifier
from tests.programs.build import build_loading

ORACLE, TENSOR_MAP = "oracle", "tensor_map"
SIZES: Final = (10, 13, 16, 20, 25)
"""log2 of the sizes loaded in both ways."""
MAPPED_SIZES: Final = (30, 40)
"""log2 of the sizes that are only mapped, known by their roots alone, since their content would not fit into memory."""
BASE: Final = 1 << 44
COMMITMENT: Final = 2
"""Local pre-image: the data's key, or its root."""
MAX_PREIMAGE_LOG2: Final = 16
"""Nodes take transactions of 128 KiB, overhead included: the next power of two does not go on chain at once."""
_STEP_LIMIT: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way of loading 2^log2_size bytes took."""

    log2_size: int
    way: str
    steps: int
    """VM steps from the program's start to its end."""
    seconds: float
    """Of the run here, the data being at hand."""
    bytes_for_one_step: int | None
    """Calldata that proves the costliest step; None where it does not fit one transaction."""
    gas_for_one_step: int | None
    """Of the transactions that carry these bytes; None likewise."""

    @property
    def moves(self) -> int:
        """Levels of bisection down to one step."""
        return max(1, (self.steps - 1).bit_length())


def measure(folder: Path, *, log2_size: int, way: str, known: bool = True) -> Cost:
    """
    Loads 2^log2_size bytes of noise in one `way`.

    With `known` false (tensor_map only) the data exist by a root alone: their size then costs nothing here either.
    """
    data = np.random.default_rng(log2_size).bytes(1 << log2_size) if known else b""
    machine = Machine.from_elf(build_loading(folder, log2_size=log2_size, way=way).read_bytes(), ml=True)
    if way == ORACLE:
        commitment = b"\x02" + keccak256(data)[1:]
        machine.add_preimage(commitment, data)
    else:
        commitment = merkle_root(data, log2_size) if known else keccak256(b"a root of unknown content")
        if known:
            machine.add_subtree(commitment, log2_size, [Block(0, log2_size, data)])
    machine.set_local(COMMITMENT, commitment)
    finished = machine.fork()
    started = time.perf_counter()
    stop = finished.run(_STEP_LIMIT)
    seconds = time.perf_counter() - started
    assert stop.kind == StopKind.EXITED, str(stop)
    assert finished.exit_code == 0, "the program found what it expected"
    assert finished.subtree_root(BASE, log2_size) == (merkle_root(data, log2_size) if known else commitment)
    proven = _prove(machine, finished.step, data, way) if way == TENSOR_MAP or log2_size <= MAX_PREIMAGE_LOG2 else None
    return Cost(log2_size, way, finished.step, seconds, *(proven or (None, None)))


def measure_all(folder: Path, tell: Callable[[Cost], None] = lambda cost: None) -> list[Cost]:
    """Every size and way of the documentation."""
    costs = []
    cases = [(size, way, True) for size in SIZES for way in (ORACLE, TENSOR_MAP)]
    for log2_size, way, known in [*cases, *((size, TENSOR_MAP, False) for size in MAPPED_SIZES)]:
        costs.append(measure(folder, log2_size=log2_size, way=way, known=known))
        tell(costs[-1])
    return costs


HEAD: Final = (
    "| n | oracle: steps | moves | bytes for one step | gas | `tensor_map`: steps | moves | bytes for one step | gas |",
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
)


def table(costs: Iterable[Cost]) -> str:
    """The costs as Markdown, a line a size."""
    found = {(cost.log2_size, cost.way): cost for cost in costs}
    lines = list(HEAD)
    for log2_size in sorted({size for size, _ in found}):
        cells = [_size(log2_size)]
        for way in (ORACLE, TENSOR_MAP):
            cost = found.get((log2_size, way))
            numbers = (None,) * 4
            if cost is not None:
                numbers = (cost.steps, cost.moves, cost.bytes_for_one_step, cost.gas_for_one_step)  # type: ignore[assignment]
            cells += ["–" if number is None else f"{number:,}" for number in numbers]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_table(page: Path, costs: Iterable[Cost]) -> None:
    """Puts the table in the place of the one in `page`."""
    text = page.read_text()
    start = text.index(HEAD[0])
    end = text.index("\n\n", start)
    page.write_text(text[:start] + table(costs) + text[end:])


def _size(log2_size: int) -> str:
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    return f"{1 << log2_size % 10} {units[log2_size // 10]}"


def _prove(machine: Machine, steps: int, data: bytes, way: str) -> tuple[int, int]:
    """(bytes, gas) of the loading's costliest step on chain: the tensor call, or the last read with its part."""
    at = machine.fork()
    # The last data read comes two instructions before the loop's last; the tensor call a few before the end.
    at.run(steps - 40)
    best = (0, 0)
    verifier = Verifier(ml=True)
    while not at.exited:
        number, registers = int.from_bytes(at.read(at.pc & ~3, 4), "big"), at.registers()
        is_ours = registers[2] == (5000 if way == ORACLE else 7001)
        if number == 0x0C and is_ours:
            best = max(best, _prove_step(verifier, at, data), key=lambda cost: cost[1])
        at.run(1)
    assert best != (0, 0), "the costliest step was met"
    return best


def _prove_step(verifier: Verifier, machine: Machine, data: bytes) -> tuple[int, int]:
    witness = machine.step_witness(compact=True)
    size = gas = 0
    if witness.preimage is not None:
        if witness.preimage.key[0] != 2:
            return 0, 0
        verifier.load_keccak256(data, witness.preimage.offset)
        size, gas = len(data), verifier.last_gas_used
    verdict = verifier.step(witness.state_data, witness.proof)
    assert verdict.post == witness.post_hash, str(verdict.refusal)
    return size + len(witness.state_data) + len(witness.proof), gas + verdict.gas_used
