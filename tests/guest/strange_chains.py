"""
Untrusted programs that look like a compiler's: chains of nodes over blocks that come and go, with something odd.

The host takes short cuts where it sees from the records that it may: tiles run together, chains of elementwise nodes
run stretch by stretch, blocks that are freed never lie where they should (opml_dispute/engine/schedule.py). So this
makes what those short cuts are for, and then breaks what they rest on: reads beside what was written, of what is not
written yet or freed already, backwards, broadcast or shifted; outputs over what is still needed; blocks freed early,
late, twice or in parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeVar

import numpy as np

from opml_dispute.engine.segment import ARENA, INPUT, OUTPUT, WEIGHTS, Section
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.record import Free, Record, strided_body
from tests.kernels.maker import words

Rng = np.random.Generator
T = TypeVar("T")

DTYPES = (DType.F32, DType.F32, DType.F32, DType.I32, DType.U8, DType.I64, DType.BOOL, DType.F16)
ELEMENTWISE = (Opcode.UNARY, Opcode.BINARY, Opcode.BINARY, Opcode.SELECT, Opcode.CAST, Opcode.COPY, Opcode.FILL)


@dataclass(frozen=True)
class Tensor:
    """Somewhere that an earlier node wrote, or that is given."""

    offset: int
    dtype: DType
    log2_size: int
    """Of its block."""


class ChainMaker:
    """Makes one program; `oddness` is the chance that a choice is not a compiler's."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.oddness = float(rng.choice([0.0, 0.03, 0.08, 0.2]))
        self.dims = [int(n) for n in rng.choice([1, 2, 3, 5, 16], int(rng.integers(0, 3)))]
        self.dims.append(int(rng.choice([1, 4, 16, 16, 33, 200, 4097])))
        while prod(self.dims) > 4500:
            self.dims.pop(0)
        self.count = prod(self.dims)
        self.tensors = [self._given(section, dtype) for section in (INPUT, WEIGHTS) for dtype in set(DTYPES)]
        self.next = ARENA.offset
        self.next_output = OUTPUT.offset

    def odd(self) -> bool:
        return bool(self.rng.random() < self.oddness)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def _given(self, section: Section, dtype: DType) -> Tensor:
        """An array in INPUT or WEIGHTS: 128 KiB each, so that anything near it is there too."""
        return Tensor(section.offset + (sorted(set(DTYPES)).index(dtype) << 17), dtype, 17)

    def records(self) -> Iterator[Record]:
        """All nodes."""
        nodes: list[tuple[Record, Tensor]] = []
        for _ in range(int(self.rng.integers(2, 12))):
            nodes.append(self._node())
            self.tensors.append(nodes[-1][1])
        nodes += [self._shown(out) for _, out in nodes[-3:]]
        frees: list[list[Free]] = [[] for _ in nodes]
        for offset, log2_size in {(out.offset, out.log2_size) for _, out in nodes if out.offset >= ARENA.offset}:
            users = [i for i, (record, _) in enumerate(nodes) if self._touches(record, offset, log2_size)]
            if self.rng.random() < 0.1:
                continue  # it stays
            at, size = users[-1], log2_size
            if self.odd():
                at = int(self.rng.integers(0, len(nodes)))
            if self.odd():
                size = max(6, size + int(self.rng.integers(-1, 2)))
            for _ in range(int(self.rng.integers(0, 3)) if self.odd() else 1):
                frees[at].append(Free(size, offset >> size << size))
        for (record, _), freed in zip(nodes, frees, strict=True):
            yield from self._tiles(replace(record, frees=tuple(freed[:7])))

    def _shown(self, tensor: Tensor) -> tuple[Record, Tensor]:
        """A copy in OUTPUT, so that S_n has what was made of it."""
        at = -(-self.next_output // 65536) * 65536
        self.next_output = at + 65536
        row = self.packed()
        record = Record(
            Opcode.COPY,
            tensor.dtype,
            at,
            (tensor.offset,),
            (tensor.dtype,),
            len(self.dims),
            0,
            self.count,
            body=strided_body(self.dims, [row, row]),
        )
        return record, Tensor(at, tensor.dtype, 16)

    def _touches(self, record: Record, offset: int, log2_size: int) -> bool:
        return any(offset <= place < offset + (1 << log2_size) for place in (record.out, *record.inputs))

    def _tiles(self, record: Record) -> Iterator[Record]:
        if self.rng.random() < 0.75 or record.hi < 2:
            yield record
            return
        cut = int(self.rng.integers(1, record.hi))
        yield replace(record, hi=cut, frees=record.frees if self.odd() else ())
        yield replace(record, lo=cut + (1 if self.odd() else 0))

    def _node(self) -> tuple[Record, Tensor]:
        opcode = (
            self.pick(ELEMENTWISE) if self.rng.random() < 0.8 else self.pick([Opcode.REDUCE, Opcode.SCAN, Opcode.POOL])
        )
        if opcode is Opcode.REDUCE:
            return self._along(opcode)
        if opcode is Opcode.SCAN:
            return self._along(opcode)
        if opcode is Opcode.POOL:
            return self._pool()
        recent = self.pick(self.tensors[-2:]) if self.rng.random() < 0.85 else self.pick(self.tensors)
        dtype: DType = recent.dtype
        imm, out, dtypes = (0,), dtype, [dtype]
        if opcode is Opcode.UNARY:
            functions = [Unary.NOT] if dtype is DType.BOOL else [Unary.NEG, Unary.ABS, Unary.RELU, Unary.SIGN]
            imm = (self.pick(functions),)
        elif opcode is Opcode.BINARY:
            function = self.pick([Binary.ADD, Binary.SUB, Binary.MUL, Binary.MAX, Binary.EQ, Binary.LT])
            if dtype is DType.BOOL:
                function = Binary.XOR
            imm, dtypes = (function,), [dtype, dtype]
            out = DType.BOOL if function in (Binary.EQ, Binary.LT) else dtype
        elif opcode is Opcode.SELECT:
            dtypes = [DType.BOOL, dtype, dtype]
        elif opcode is Opcode.CAST:
            out = self.pick(DTYPES)
        elif opcode is Opcode.FILL:
            dtypes, imm = [], (int(self.rng.integers(0, 1 << 62)),)
        sources = [self._source(want, recent) for want in dtypes]
        target, row = self._target(out)
        record = Record(
            opcode,
            out,
            target.offset,
            tuple(offset for offset, _ in sources),
            tuple(dtypes),
            len(self.dims),
            0,
            self.count,
            words(*imm),
            strided_body(self.dims, [row, *(strides for _, strides in sources)]),
        )
        return record, target

    def packed(self) -> list[int]:
        return [prod(self.dims[d + 1 :]) for d in range(len(self.dims))]

    def _source(self, dtype: DType, recent: Tensor) -> tuple[int, list[int]]:
        """Where an input's element 0 lies, and its strides."""
        fitting = [tensor for tensor in self.tensors if tensor.dtype is dtype]
        tensor = recent if recent.dtype is dtype and self.rng.random() < 0.6 else self.pick(fitting[-4:])
        strides, offset = self.packed(), tensor.offset
        if self.rng.random() < 0.05:  # broadcast along some dimension
            strides[int(self.rng.integers(len(strides)))] = 0
        if self.odd() or self.odd():
            width = dtype.width
            match int(self.rng.integers(0, 4)):
                case 0:  # backwards
                    offset += (self.count - 1) * width
                    strides = [-stride for stride in strides]
                case 1:  # shifted
                    offset += width * int(self.rng.choice([-1, 1, self.count, self.count // 2, -self.count]))
                case 2:  # behind what was written, in the same block
                    offset += -(-self.count * width // 64) * 64
                case _:
                    strides = [stride * 2 for stride in strides]
        return offset, strides

    def _target(self, dtype: DType) -> tuple[Tensor, list[int]]:
        """A block for an output, and its strides; or, oddly, one that is there already."""
        log2_size = max(6, (self.count * dtype.width - 1).bit_length())
        row = self.packed()
        if self.odd():
            row = [stride * 2 for stride in row]
            log2_size += 1
        mine = [t for t in self.tensors if t.dtype.width == dtype.width and t.offset >= OUTPUT.offset]
        if mine and self.odd():
            old = self.pick(mine)
            shift = int(self.rng.choice([0, 0, dtype.width, 1 << old.log2_size - 1]))
            return Tensor(old.offset + shift, dtype, old.log2_size), row
        if self.rng.random() < 0.5:  # room behind it in its block
            log2_size += 1
        if self.rng.random() < 0.15:
            at = -(-self.next_output // (1 << log2_size)) << log2_size
            self.next_output = at + (1 << log2_size)
            return Tensor(at, dtype, log2_size), row
        at = -(-self.next // (1 << log2_size)) << log2_size
        self.next = at + (1 << log2_size)
        return Tensor(at, dtype, log2_size), row

    def _along(self, opcode: Opcode) -> tuple[Record, Tensor]:
        """A reduction or a scan over two elements each of an array of twice the size."""
        tensor = self.pick([t for t in self.tensors if t.dtype is not DType.BOOL])
        dims = [*self.dims, 2]
        target, row = self._target(tensor.dtype)
        if opcode is Opcode.SCAN:
            dims, count = self.dims, prod(self.dims[:-1])
            strides, out = self.packed(), row
        else:
            count, out = self.count, [*row, 0]
            strides = [*self.packed(), 1]
        record = Record(
            opcode,
            tensor.dtype,
            target.offset,
            (tensor.offset,),
            (tensor.dtype,),
            len(dims),
            0,
            count,
            words(Reduction.SUM, 1, 0),
            strided_body(dims, [out, strides]),
        )
        return record, target

    def _pool(self) -> tuple[Record, Tensor]:
        """A sum over windows of one or two: a head that is not elementwise."""
        tensor = self.pick([t for t in self.tensors if t.dtype in (DType.F32, DType.F16)])
        target, _ = self._target(tensor.dtype)
        width = int(self.rng.integers(1, 3))
        fields = [1, 1, 1, 0, 0, self.count, 1, 1, width, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, self.count, 1, 1, 0, 0, 0]
        body = tuple(fields) + (0,) * (40 - len(fields))
        dtype = tensor.dtype
        record = Record(Opcode.POOL, dtype, target.offset, (tensor.offset,), (dtype,), 1, 0, self.count, words(3), body)
        return record, target
