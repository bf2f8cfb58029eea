"""
The records of a program under construction, and the tensors that they work on.

A `Recorder` makes constants and room for results, and appends an `Op` for each operation: a node record whose operands
are still views of buffers, not addresses. An operation whose operands are all known is computed at once instead, by its
own kernel (`made`, `fold`). Which operations there are is `emitter`; which address each buffer gets is `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from math import prod
from typing import Any, TypeVar

import numpy as np

from opml_dispute.model import fold
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.record import BODY_WORDS, IMMEDIATES, MAX_RANK, strided_body
from opml_dispute.model.refusals import NeedsConstant, NeedsRoom, Refuse
from opml_dispute.model.tensor import Array, Buffer, Shape, Tensor, merged, row_major

T = TypeVar("T")

FOLD_LIMIT_BYTES = 1 << 16
"""A folded constant may be this large, or have as many elements as all that it is made of. Larger ones are made when
running."""

MOST_KNOWN = 256
"""Numbers that an operator's shape, axes, or other operand of a number for each dimension may have."""

MOVES = frozenset({Opcode.COPY, Opcode.FILL, Opcode.SELECT, Opcode.GATHER, Opcode.SCATTER})


@dataclass(frozen=True, slots=True)
class Origin:
    """The ONNX node that a record comes from."""

    op_type: str
    name: str
    opset: int = 0
    """The version of the operator's set."""


@dataclass(eq=False, slots=True)
class Op:
    """A node record whose operands are views: `plan` puts in the addresses."""

    opcode: Opcode
    out: Tensor
    inputs: tuple[Tensor, ...]
    rank: int
    count: int
    """Output elements, the end of [lo, hi) of the whole operation."""
    grains: tuple[int, ...]
    """Tiles start at multiples of the first of these numbers of outputs that is not too many: what is made together
    first, then single rows, then anywhere."""
    imm: tuple[int, ...]
    body: tuple[int, ...]
    origin: Origin


class Repetition:
    """Constants of a program in which the same graph is lowered many times over."""

    def __init__(self) -> None:
        self._constants: dict[tuple[DType, int, bytes], Buffer] = {}
        self._folded: dict[tuple[Hashable, ...], tuple[Array, tuple[Array | None, ...]]] = {}
        self._results: set[int] = set()
        self._made: dict[Hashable, tuple[Any, tuple[Array | None, ...]]] = {}

    def one_of(self, buffer: Buffer) -> Buffer:
        """The constant that has the same elements already; `buffer` itself if there is none."""
        assert buffer.values is not None
        digest = blake2b(buffer.values.view(np.uint8).data, digest_size=32).digest()
        return self._constants.setdefault((buffer.dtype, buffer.size, digest), buffer)

    @staticmethod
    def _operation(work: tuple[Hashable, ...], out: Tensor, inputs: Sequence[Tensor]) -> tuple[Hashable, ...]:
        operands = tuple((id(t.buffer.values), t.offset, t.dtype) for t in inputs)
        return *work, out.dtype, out.offset, out.buffer.size, *operands

    def folded(self, work: tuple[Hashable, ...], out: Tensor, inputs: Sequence[Tensor]) -> Array | None:
        """What the same operation on the same constants gave, if it was folded before."""
        found = self._folded.get(self._operation(work, out, inputs))
        return None if found is None else found[0]

    def keep_folded(self, work: tuple[Hashable, ...], out: Tensor, inputs: Sequence[Tensor]) -> None:
        """Remembers a folded operation; its operands stay alive, so that their identities do."""
        assert out.buffer.values is not None
        operands = tuple(t.buffer.values for t in inputs)
        self._folded[self._operation(work, out, inputs)] = (out.buffer.values, operands)
        self._results.add(id(out.buffer.values))

    def once(self, what: Hashable, sources: Sequence[Tensor], make: Callable[[], T]) -> T:
        """What `make` gave for the same work on the same constants, which stay alive; or what it gives now."""
        key = (what, *((id(t.buffer.values), t.shape, t.strides, t.offset) for t in sources))
        if key not in self._made:
            self._made[key] = (make(), tuple(t.buffer.values for t in sources))
        made: T = self._made[key][0]
        return made

    def part(self, buffer: Buffer) -> None:
        """Gives a buffer an array of its own, before another operation writes to it."""
        if buffer.values is not None and id(buffer.values) in self._results:
            buffer.values = buffer.values.copy()


class Recorder:
    """Collects the operations of one program, in the order they will run."""

    def __init__(self, meter: Meter | None = None) -> None:
        self.meter = meter or Meter(Limits())
        self.ops: list[Op] = []
        self.origin = Origin("", "")
        self.notes: list[str] = []
        """Choices that change results, for the reader."""
        self.rooms: Sequence[int | None] = ()
        """Of the operator that is being lowered: how many elements each output has room for, if the user said so."""
        self.seed: Tensor | None = None
        """The input, i64[1], that random numbers are drawn from."""
        self._draws: dict[Hashable, int] = {}
        self._texts: dict[str, int] = {}
        self._scalars: dict[tuple[DType, bytes], Buffer] = {}
        self._repetition: Repetition | None = None

    def expect_repetition(self) -> None:
        """From now on, equal constants are one, and what is folded twice of the same constants is computed once."""
        self._repetition = self._repetition or Repetition()

    def once(self, what: Hashable, sources: Sequence[Tensor], make: Callable[[], T]) -> T:
        """What `make` computes of constants; where a graph is lowered repeatedly, once for the same ones."""
        return make() if self._repetition is None else self._repetition.once(what, sources, make)

    # Tensors out of nothing

    def constant(self, values: Array) -> Tensor:
        """A tensor whose elements are known now. Raises `Refuse` for a type that no kernel takes."""
        try:
            dtype = DType.of(values.dtype)
        except KeyError:
            raise Refuse(f"a constant of type {values.dtype}, which no kernel takes") from None
        if not values.flags.c_contiguous:
            self.meter.afford(values.nbytes)  # before it is copied: a view of few elements may be of any size
        flat = np.ascontiguousarray(values).reshape(-1)
        if flat.size == 1:
            # Equal scalars share one block: epsilons and zeros are everywhere.
            key = (dtype, flat.tobytes())
            buffer = self._scalars.setdefault(key, Buffer(dtype, 1, flat))
        else:
            buffer = Buffer(dtype, flat.size, flat)
            same = buffer if self._repetition is None else self._repetition.one_of(buffer)
            if same is buffer:
                self.meter.constant(flat.nbytes)
            buffer = same
        return Tensor(buffer, tuple(values.shape), row_major(values.shape))

    def scalar(self, value: float | int | bool, dtype: DType) -> Tensor:
        """A tensor of rank 0. ASSUMES that `value` fits `dtype`."""
        return self.constant(np.array(value).astype(dtype.numpy))

    def filled(self, shape: Shape, value: float | int | bool, dtype: DType) -> Tensor:
        """`value` everywhere: one element in memory, broadcast."""
        return self.scalar(value, dtype).broadcast(shape)

    def new(self, dtype: DType, shape: Shape, *sources: Tensor) -> Tensor:
        """Room for what will be known when the model runs, and depends on what `sources` depend on."""
        if any(size < 0 for size in shape):
            raise Refuse(f"a result of shape {list(shape)}")
        depends = frozenset[str]().union(*(source.buffer.depends for source in sources))
        return Tensor(Buffer(dtype, prod(shape), depends=depends), tuple(shape), row_major(shape))

    def made(self, dtype: DType, shape: Shape, *sources: Tensor) -> Tensor:
        """
        Room for a result that operations make of `sources`.

        Where all of these are known, and the result is worth its bytes, it is known as well: operations that write to
        it are computed at once (`_append`). ASSUMES that `sources` are all that it is made of.
        """
        result = self.new(dtype, shape, *sources)
        if sources and all(source.is_constant for source in sources) and self._folds(shape, dtype, *sources):
            self.meter.constant(result.buffer.size * dtype.width)
            result.buffer.values = np.zeros(result.buffer.size, dtype.numpy)
        return result

    def _into(self, out: Tensor | None, dtype: DType, shape: Shape, *sources: Tensor) -> Tensor:
        """`out` if the caller has a place for the result, else new room (`made`)."""
        if out is None:
            return self.made(dtype, shape, *sources)
        if out.dtype is not dtype or out.shape != tuple(shape):
            wanted, found = f"{dtype.name}{list(shape)}", f"{out.dtype.name}{list(out.shape)}"
            raise Refuse(f"a result {wanted} into a view {found}")
        return out

    def known(self, x: Tensor, what: str, most: int = MOST_KNOWN) -> Array:
        """The values of a tensor that must be constant, `most` at most; `what` names it in the error."""
        if not x.is_constant:
            raise NeedsConstant(what, x.buffer.depends)
        if x.size > most:
            raise Refuse(f"{x.size:,} numbers where {what} must be known; expected {most:,} at most")
        return x.values()

    def known_number(self, x: Tensor, what: str) -> int:
        """The integer in a tensor of one element, which must be constant: as `known`."""
        values = self.known(x, what)
        if values.size != 1 or not np.isfinite(np.float64(values.reshape(()))):
            raise Refuse(f"{what} is {values.reshape(-1)[:4].tolist()} of shape {list(x.shape)}; expected one number")
        return int(values.reshape(()))

    def known_numbers(self, x: Tensor, what: str, most: int = MOST_KNOWN) -> list[int]:
        """The integers in a vector, which must be constant: as `known`."""
        values = self.known(x, what, most)
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise Refuse(f"{what}: {x.dtype.name} of shape {list(x.shape)}; expected a list of integers")
        return [int(number) for number in values.tolist()]

    def room(self, what: str, *sources: Tensor, output: int = 0) -> int:
        """
        How many elements output number `output` has room for, where data decides how many there are.

        Raises `NeedsRoom` if the model's user gave it no room; `what` and `sources` say what it depends on.
        """
        room = self.rooms[output] if output < len(self.rooms) else None
        if room is None:
            depends = frozenset[str]().union(*(source.buffer.depends for source in sources))
            raise NeedsRoom(what, depends, output)
        return room

    def text_numbers(self, texts: Sequence[str]) -> Array:
        """The numbers, i64, that stand for texts: their places in the program's table, where they are kept."""
        return np.array([self._texts.setdefault(text, len(self._texts)) for text in texts], np.int64)

    def texts(self) -> list[str]:
        """The program's table of texts."""
        return list(self._texts)

    def next_draw(self, seed: Hashable) -> int:
        """The number of the next draw of random numbers from a seed, counted from 0; None is the program's own seed."""
        number = self._draws.get(seed, 0)
        self._draws[seed] = number + 1
        return number

    def drawn(self) -> int:
        """How many draws the program's own seed has given."""
        return self._draws.get(None, 0)

    def copy(self, out: Tensor, x: Tensor) -> None:
        """Copies `x`, broadcast, into the view `out`."""
        if x.dtype.width != out.dtype.width:
            raise Refuse(f"cannot copy {x.dtype.name} into {out.dtype.name}")
        values = x.buffer.values
        if values is not None and values.size == 1:
            bits = int(values.view(f"u{out.dtype.width}")[0])
            self._strided(Opcode.FILL, out, [], imm=(bits,))
        else:
            self._strided(Opcode.COPY, out, [x.broadcast(out.shape)])

    # Records

    def _strided(
        self, opcode: Opcode, out: Tensor, inputs: list[Tensor], *, imm: tuple[int, ...] = (), keep: int = 0
    ) -> None:
        """A kernel over `out`'s dimensions; the last `keep` of them stay as they are."""
        split = out.rank - keep
        views = [out, *inputs]
        outer, rows = merged(out.shape[:split], *(view.strides[:split] for view in views))
        dims = (*outer, *out.shape[split:])
        strides = [(*row, *view.strides[split:]) for row, view in zip(rows, views, strict=True)]
        excess = max(0, len(dims) - MAX_RANK)
        if out.size == 0:
            return
        grains = dims[-1:]
        if opcode is Opcode.CONTRACT:
            grains = (4 * dims[-1], dims[-1], 4)  # kernels/contraction.c makes four rows at once, and four columns
        # A record holds eight dimensions; what is left over becomes one operation a slice.
        for moved in _corners(dims[:excess], views, [row[:excess] for row in strides]):
            body = strided_body(dims[excess:], [row[excess:] for row in strides])
            rank, count = len(dims) - excess, prod(dims[excess:])
            self._append(opcode, moved[0], moved[1:], rank, body, imm=imm, grains=grains, count=count)

    def _append(
        self,
        opcode: Opcode,
        out: Tensor,
        inputs: Sequence[Tensor],
        rank: int,
        body: tuple[int, ...],
        *,
        imm: tuple[int, ...] = (),
        grains: tuple[int, ...] = (),
        count: int | None = None,
    ) -> None:
        if opcode not in MOVES and any(t.dtype is DType.F64 for t in (out, *inputs)):
            raise Refuse("it computes in binary64, which no kernel does; expected binary32")
        count = out.size if count is None else count
        if count == 0:
            return  # Nothing to make: an empty tensor has no elements to be wrong.
        self.meter.operation()
        words = tuple(word & (1 << 64) - 1 for word in (*imm, *(0,) * (IMMEDIATES - len(imm))))
        body = (*body, *(0,) * (BODY_WORDS - len(body)))
        if out.buffer.values is not None:
            if self._computed(opcode, out, inputs, rank, count, words, body):
                return
            self._leave_unknown(out.buffer, inputs)
        self.ops.append(Op(opcode, out, tuple(inputs), rank, count, (*grains, 1), words, body, self.origin))

    def _computed(
        self,
        opcode: Opcode,
        out: Tensor,
        inputs: Sequence[Tensor],
        rank: int,
        count: int,
        imm: tuple[int, ...],
        body: tuple[int, ...],
    ) -> bool:
        """Computes the operation now; False where that does not go. Raises `Refuse` if it would fail at every run."""
        if not all(tensor.is_constant for tensor in inputs):
            return False
        if count < fold.WORK_LIMIT < fold.work_of(opcode, inputs, count, imm, body):
            return False
        same = None
        if self._repetition is not None and count == out.buffer.size:
            same = self._repetition.folded((opcode, rank, imm, body), out, inputs)
        if same is not None:
            out.buffer.values, out.buffer.is_written = same, True
            return True
        if self._repetition is not None:
            self._repetition.part(out.buffer)
        status = fold.run(opcode, out, inputs, rank, count, imm, body)
        if status == fold.INDEX_OUT_OF_RANGE:
            raise Refuse("an index that is known, and names an element that is not there")
        out.buffer.is_written = out.buffer.is_written or status == 0
        if self._repetition is not None and status == 0 and count == out.buffer.size:
            self._repetition.keep_folded((opcode, rank, imm, body), out, inputs)
        return status == 0

    def _leave_unknown(self, buffer: Buffer, inputs: Sequence[Tensor]) -> None:
        """What is in `buffer` will be known when the model runs; what was computed already is copied there."""
        before, buffer.values = buffer.values, None
        buffer.depends = buffer.depends.union(*(tensor.buffer.depends for tensor in inputs))
        if buffer.is_written and before is not None:
            self.copy(Tensor(buffer, (buffer.size,), (1,)), self.constant(before))

    def _folds(self, shape: Shape, dtype: DType, *sources: Tensor) -> bool:
        """Whether a constant of this size is worth its bytes: small, or no larger than all that it is made of."""
        count = prod(shape)
        buffers = {id(source.buffer): source.buffer for source in sources}.values()  # each once: x beside x is twice x
        bytes_limit = max(FOLD_LIMIT_BYTES, sum(buffer.size * buffer.dtype.width for buffer in buffers))
        return count * dtype.width <= bytes_limit or count <= sum(buffer.size for buffer in buffers)


def _corners(dims: Shape, views: Sequence[Tensor], strides: Sequence[Shape]) -> Iterator[list[Tensor]]:
    """The views moved to each index of `dims`, in order."""
    for index in product(*map(range, dims)):
        yield [
            Tensor(v.buffer, v.shape, v.strides, v.offset + sum(i * s for i, s in zip(index, row, strict=True)))
            for v, row in zip(views, strides, strict=True)
        ]
