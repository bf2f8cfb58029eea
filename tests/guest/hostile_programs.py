"""
Untrusted programs, made to fail: records that a compiler would never write, over data that no tensor would hold.

`hostile_program(seed)` starts from good records (`tests.kernels.cases`) and bends them where it might matter: operands
moved onto each other and onto the ends of sections, strides of zero, backwards or far, sizes that multiply beyond 64
bits, windows that lie in the padding alone, indices and booleans that are any bytes, blocks freed under the feet of
those that use them. `disagreement` runs one on the host, in both storage orders, in one go and node by node, and in the
VM, and answers how they differ: None, or it is a bug that loses an honest player a dispute.

    python -m tests.guest.hostile_programs --seconds 60 --first 0
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import ARENA, HEADER, INPUT, OUTPUT, SEGMENT_LOG2, WEIGHTS, big_endian
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.engine.vm import Block, StopKind
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.program import TensorSpec
from opml_dispute.model.record import Free, Record
from opml_dispute.primitives import LEAST_LOG2_STEPS, item_data
from tests.guest.programs import EQUAL, BareProgram, image, prestate, program
from tests.guest.strange_chains import DTYPES, ChainMaker
from tests.kernels import cases
from tests.kernels.maker import Array, values

Rng = np.random.Generator

MOST_STEPS = 1_500_000
MOST_BYTES = 1 << 21
"""Of an output's extent: more would be right, but slow to hash again and again."""
LEAST, MOST = -(1 << 63), (1 << 63) - 1
EDGES = (0, 1, 2, 3, 7, 8, 63, 64, 255, 1 << 31, (1 << 31) + 1, 1 << 32, 1 << 38, 1 << 40, 1 << 62, MOST)
WINDOWED = (Opcode.CONV, Opcode.POOL, Opcode.POOL_INDEX)
DENSE = (Opcode.TREE, Opcode.BLOCK_QUANTISE, Opcode.BLOCK_CONTRACT, Opcode.BLOCK_GATHER)
FAR_INPUT = INPUT.offset + (1 << 30)


@dataclass(frozen=True)
class Hostile:
    """A program, what it is given, and how it came about."""

    seed: int
    records: tuple[Record, ...]
    made: BareProgram
    given: bytes
    """The INPUT section from its start."""

    @property
    def untyped(self) -> BareProgram:
        """The same program, with inputs described so that no element width holds everywhere: same root, other path."""
        clash = [TensorSpec("a", DType.U8, (8,), FAR_INPUT, 6), TensorSpec("b", DType.I64, (1,), FAR_INPUT, 6)]
        return replace(self.made, inputs=clash)


def hostile_program(seed: int) -> Hostile:
    """The program of a seed; the same on every machine."""
    rng = np.random.default_rng([seed, 0x40571E])
    records: list[Record] = []
    arrays: list[tuple[int, Array]] = []
    for _ in range(int(rng.integers(1, 5))):
        case = cases.case(rng, Opcode(int(rng.integers(1, len(Opcode) + 1))), awkward=True)
        arrays += case.arrays
        record = case.record
        for _ in range(int(rng.integers(0, 6))):
            bent = _bent(rng, record, records)
            if rng.random() < 0.5:
                bent = replace(bent, frees=_frees(rng, bent))
            # What is refused latches an error, and nothing runs after it: so most of what is refused is not kept.
            if rng.random() < 0.04 or validate_records(bent.pack()).status[0] == 0:
                record = bent
        records += _tiles(rng, record)
    given = _scribbled(rng, image(arrays))
    made = program([record.pack() for record in records], [])
    return Hostile(seed, tuple(records), replace(made, weights=_weights(rng, arrays)), given)


def hostile_chain(seed: int) -> Hostile:
    """A program that looks like a compiler's; the same on every machine."""
    rng = np.random.default_rng([seed, 0xC4A1])
    records = tuple(ChainMaker(rng).records())
    content = np.zeros(len(set(DTYPES)) << 17, np.uint8)
    weights = []
    for i, dtype in enumerate(sorted(set(DTYPES))):
        for section in (INPUT, WEIGHTS):
            array = values(rng, dtype, 10_500, awkward=True)
            if section is INPUT:
                content[i << 17 : (i << 17) + array.nbytes] = np.frombuffer(big_endian(array), np.uint8)
            else:
                weights.append(Block(WEIGHTS.offset + (i << 17), 17, array.view(np.uint8), dtype.width))
    specs = [
        TensorSpec(dtype.name, dtype, (10_500,), INPUT.offset + (i << 17), 17)
        for i, dtype in enumerate(sorted(set(DTYPES)))
    ]
    made = replace(program([record.pack() for record in records]), weights=weights, inputs=specs)
    return Hostile(seed, records, made, content.tobytes())


def _weights(rng: Rng, arrays: list[tuple[int, Array]]) -> list[Block]:
    """The WEIGHTS section from its start, in blocks whose element widths need not be what records take them for."""
    content = bytearray(
        image([(offset - WEIGHTS.offset + INPUT.offset, a) for offset, a in arrays if offset < INPUT.offset])
    )
    raw = np.frombuffer(_scribbled(rng, bytes(content)).ljust(64, b"\0"), np.uint8)
    raw = np.concatenate([raw, np.zeros(-raw.size % 64, np.uint8)])
    blocks = []
    for at in range(0, raw.size, 64):
        width = int(rng.choice([1, 2, 4, 8])) if rng.random() < 0.2 else 4
        words = raw[at : at + 64].view(f">u{width}").astype(f"=u{width}")
        blocks.append(Block(WEIGHTS.offset + at, 6, words, width))
    return blocks


def _scribbled(rng: Rng, data: bytes) -> bytes:
    """`data` with some bytes replaced by any bytes."""
    raw = np.frombuffer(data, np.uint8).copy()
    if raw.size and rng.random() < 0.5:
        places = rng.integers(0, raw.size, int(rng.integers(1, 9)))
        raw[places] = rng.integers(0, 256, places.size)
    return raw.tobytes()


def _bent(rng: Rng, record: Record, before: list[Record]) -> Record:
    """`record` with one thing about it changed."""
    bends = [_move_operand, _alias, _change_word, _change_word, _change_immediate, _change_range, _change_dtype]
    if record.opcode in WINDOWED:
        bends += [_change_window] * 3
    elif record.opcode not in DENSE and record.rank:
        bends += [_change_stride] * 3 + [_change_dim]
    if before:
        bends.append(lambda rng, record: _reads_earlier(rng, record, before))
    return bends[int(rng.integers(len(bends)))](rng, record)


def _any_offset(rng: Rng) -> int:
    section = (WEIGHTS, HEADER, INPUT, OUTPUT, ARENA)[int(rng.integers(5))]
    near = section.offset if rng.random() < 0.7 else section.end
    return max(0, near + int(rng.choice([-64, -8, -4, -1, 0, 0, 0, 1, 2, 4, 8, 12, 64, 100, 128, 1024])))


def _put(record: Record, operand: int, offset: int) -> Record:
    if operand == 0:
        return replace(record, out=offset)
    inputs = list(record.inputs)
    inputs[operand - 1] = offset
    return replace(record, inputs=tuple(inputs))


def _move_operand(rng: Rng, record: Record) -> Record:
    operand = int(rng.integers(0, 1 + len(record.inputs)))
    if rng.random() < 0.3:
        return _put(record, operand, _any_offset(rng))
    old = record.out if operand == 0 else record.inputs[operand - 1]
    return _put(record, operand, max(0, old + int(rng.choice([-8, -4, -1, 1, 2, 4, 8, 16, 64, 4096]))))


def _alias(rng: Rng, record: Record) -> Record:
    """Two operands in one place."""
    places = (record.out, *record.inputs)
    source, target = (int(i) for i in rng.integers(0, len(places), 2))
    return _put(record, target, places[source] + int(rng.choice([0, 0, 0, 4, 8, 64, -8])))


def _reads_earlier(rng: Rng, record: Record, before: list[Record]) -> Record:
    """Takes for input what an earlier node put out, whatever it was."""
    if not record.inputs:
        return record
    source = before[int(rng.integers(len(before)))].out
    operand = 1 + int(rng.integers(len(record.inputs)))
    return replace(_put(record, operand, source), out=record.out + 4096 * int(rng.integers(1, 4)))


def _with_word(record: Record, at: int, value: int) -> Record:
    body = list(record.body)
    body[at] = min(max(value, LEAST), MOST)
    return replace(record, body=tuple(body))


def _change_word(rng: Rng, record: Record) -> Record:
    at = int(rng.integers(0, 40)) if rng.random() < 0.4 else int(rng.integers(0, 8))
    value = int(rng.choice(EDGES)) if rng.random() < 0.5 else record.body[at] + int(rng.integers(-2, 3))
    return _with_word(record, at, -value if rng.random() < 0.2 else value)


def _change_stride(rng: Rng, record: Record) -> Record:
    at = 8 + 8 * int(rng.integers(0, 4)) + int(rng.integers(0, record.rank))
    value = (0, 1, -1, 2, -record.body[at], record.body[at] * 2, 1000, -3, 1 << 18, MOST, LEAST)[int(rng.integers(11))]
    return _with_word(record, at, value)


def _change_dim(rng: Rng, record: Record) -> Record:
    return _with_word(
        record, int(rng.integers(0, record.rank)), int(rng.choice([0, 1, 2, 5, 64, 1 << 20, 1 << 38, MOST]))
    )


def _change_window(rng: Rng, record: Record) -> Record:
    """One of: input, kernel, stride, dilation, padding before, output, padding after; of any dimension."""
    field, d = int(rng.integers(0, 7)), int(rng.integers(0, 3))
    value = int(rng.choice([0, 1, 2, 3, 5, 17, 1000, 1 << 20, 1 << 31]))
    return _with_word(record, 5 + 3 * field + d, -value if field in (4, 6) and rng.random() < 0.5 else value)


def _change_immediate(rng: Rng, record: Record) -> Record:
    imm = list(record.imm)
    at = int(rng.integers(0, 4))
    imm[at] = (int(rng.integers(0, 40)) if rng.random() < 0.6 else -int(rng.choice(EDGES))) & (1 << 64) - 1
    return replace(record, imm=tuple(imm))


def _change_range(rng: Rng, record: Record) -> Record:
    lo, hi = record.lo + int(rng.integers(-1, 3)), record.hi + int(rng.integers(-3, 3))
    return replace(record, lo=max(0, lo), hi=max(0, hi))


def _change_dtype(rng: Rng, record: Record) -> Record:
    known = list(DType)
    dtype = known[int(rng.integers(len(known)))]
    pick = rng.random()
    if pick < 0.4:
        return replace(record, dtype_out=dtype, dtypes_in=(dtype,) * len(record.dtypes_in))
    if pick < 0.6 or not record.dtypes_in:
        return replace(record, dtype_out=dtype)
    dtypes = list(record.dtypes_in)
    dtypes[int(rng.integers(len(dtypes)))] = dtype
    return replace(record, dtypes_in=tuple(dtypes))


def _frees(rng: Rng, record: Record) -> tuple[Free, ...]:
    """Blocks under the output, the inputs, the whole of ARENA, or somewhere."""
    frees = []
    for _ in range(int(rng.integers(1, 8))):
        places = (record.out, *record.inputs, ARENA.offset, ARENA.offset + 4096, HEADER.offset, _any_offset(rng))
        place = places[int(rng.integers(len(places)))]
        log2_size = (
            int(rng.choice([6, 6, 6, 7, 8, 12, 16, 21, 38])) if rng.random() < 0.97 else int(rng.integers(0, 64))
        )
        aligned = place >> log2_size << log2_size if rng.random() < 0.97 else place
        frees.append(Free(log2_size, aligned))
    return tuple(frees)


def _tiles(rng: Rng, record: Record) -> Iterator[Record]:
    """The record itself, or in parts that follow each other, with what is freed anywhere."""
    if rng.random() < 0.7 or record.hi <= record.lo + 1 or record.hi > 1 << 20:
        yield record
        return
    cut = int(rng.integers(record.lo, record.hi + 1))
    first = replace(record, hi=cut) if rng.random() < 0.5 else replace(record, hi=cut, frees=())
    yield from (first, replace(record, lo=cut + int(rng.random() < 0.1)))


def too_much(hostile: Hostile) -> bool:
    """Whether running it would take longer than a test may."""
    judged = validate_records(hostile.made.records)
    for status, extents, steps in zip(judged.status, judged.extents, judged.steps, strict=True):
        if status == 0 and (_span(extents[0]) > MOST_BYTES or steps > MOST_STEPS):
            return True
    return False


def _span(extent: Any) -> int:
    """The size of the block around an output: what the host hashes."""
    lo, hi = int(extent[0]), int(extent[1])
    return 1 << (lo ^ (hi - 1)).bit_length()


def disagreement(hostile: Hostile, *, in_vm: bool = True) -> str | None:
    """How host and VM, or the host's own ways to run it, differ about a program; None if they do not."""
    count = hostile.made.node_count
    at_once = [Inference(hostile.made, hostile.given, threads=threads).state_root(count) for threads in (1, 2)]
    states, other = Inference(hostile.made, hostile.given), Inference(hostile.untyped, hostile.given)
    assert not other.is_typed
    roots = [states.state_root(t) for t in range(count + 1)]
    for t, root in enumerate(roots):
        if other.state_root(t) != root:
            return f"S_{t} differs between the kernels on elements and those on the VM's bytes"
    for threads, root in enumerate(at_once, 1):
        if root != roots[count]:
            return f"S_{count} differs when the nodes are run in one go, by {threads} threads"
    judged = validate_records(hostile.made.records)
    for t in range(count + 1 if in_vm else 0):
        machine = prestate().fork()
        machine.set_local(2, roots[t])
        machine.set_local(3, roots[min(t + 1, count)])
        machine.set_local(6, item_data())
        machine.add_subtree(roots[t], SEGMENT_LOG2, states.blocks_at(t))
        stop = machine.run(40 * MOST_STEPS)
        if stop.kind is not StopKind.EXITED:
            return f"the guest does not come to its end at node {t}: {stop.message}"
        if machine.exit_code != EQUAL:
            return f"the guest ends node {t} in another state"
        if t < count and machine.step > (bound := int(judged.steps[t]) or 1 << LEAST_LOG2_STEPS):
            return f"node {t} takes {machine.step:,} steps; its bound is {bound:,}"
    return None


def main() -> None:
    """Hunts for a while; ends with an error at the first disagreement."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--chains", action="store_true", help="programs that look like a compiler's")
    parser.add_argument("--native", action="store_true", help="leave the VM out: more programs")
    arguments = parser.parse_args()
    end, seed, ran, refused = time.monotonic() + arguments.seconds, arguments.first, 0, 0
    while time.monotonic() < end:
        hostile = hostile_chain(seed) if arguments.chains else hostile_program(seed)
        if not too_much(hostile):
            ran += 1
            refused += int((validate_records(hostile.made.records).status != 0).any())
            if (found := disagreement(hostile, in_vm=not arguments.native)) is not None:
                print(f"seed {seed}: {found}\n" + "\n".join(str(record) for record in hostile.records))
                raise SystemExit(1)
        seed += 1
    print(f"seeds {arguments.first} to {seed - 1}: {ran} run, {refused} of them with a record that is refused")


if __name__ == "__main__":
    main()
