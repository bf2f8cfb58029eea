"""
The disputed node of a game with its tensors, and the disputed instruction with its registers.

Both are from this computer's own run: `node_view` from the native run, `instruction_view` from the VM's run of the node
in the context of the claims. `asked_view` shows a request's input, and this computer's answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from opml_dispute.actors.disputed_range import DisputedRange, disputed_range, frontier
from opml_dispute.engine.batch_tree import item_images
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import INPUT, SECTIONS, tensors
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.engine.vm import Machine, VmError
from opml_dispute.fpvm.disassemble import REGISTERS, disassemble
from opml_dispute.fpvm.explain import Difference, explain_step
from opml_dispute.fpvm.state import Thread
from opml_dispute.game.claim import Game
from opml_dispute.game.rules import subgame_roots_of
from opml_dispute.model.derived import TensorSpec
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.program import Program
from opml_dispute.model.record import Record
from opml_dispute.operator.case import Case
from opml_dispute.trace.split import SplitTrace
from opml_dispute.web.tensor_view import MAX_READ_BYTES, Array, TensorView, view_tensor

AROUND: Final = 5
"""Instructions shown before and behind the disputed one."""


@dataclass(frozen=True)
class NodeView:
    """One node."""

    index: int
    op_type: str
    name: str
    kernel: str
    tile: int
    tiles: int
    steps: int
    """VM steps, at most."""
    operands: tuple[TensorView, ...]
    """The output first."""


@dataclass(frozen=True)
class ListedInstruction:
    """One line of a listing."""

    address: int
    word: int
    text: str
    is_disputed: bool


@dataclass(frozen=True)
class InstructionView:
    """One instruction of a node's run in the VM."""

    step: int
    """Instructions executed before it."""
    text: str
    pc: int
    listing: tuple[ListedInstruction, ...]
    changes: tuple[Difference, ...]
    registers: tuple[tuple[str, str, str], ...]
    """Name, before, after: every general register, and the floating-point registers that hold something."""
    is_last: bool
    """Whether the game cannot narrow it down further."""


@dataclass(frozen=True)
class AskedView:
    """A request's input, and the answer of this computer."""

    inputs: tuple[TensorView, ...]
    outputs: tuple[TensorView, ...]
    status: int
    """0, or why the inference fails."""
    item: int | None
    """Which item of a batch; None for a single inference."""


def asked_view(case: Case, item: int = 0) -> AskedView:
    """The inputs of a case, or of an item of a batch, and the outputs computed here."""
    program, inference = case.program, case.item(item)
    image = item_images(case.image, case.item_count)[item].ljust(program.input_bytes, b"\0")
    given = tensors(program.inputs, image, INPUT)
    status = inference.status
    answered = inference.outputs()
    return AskedView(
        tuple(_spec_view(spec, given[spec.name], "INPUT") for spec in program.inputs),
        tuple(_spec_view(spec, answered[spec.name], "OUTPUT") for spec in program.outputs),
        status,
        item if case.item_count > 1 else None,
    )


def _spec_view(spec: TensorSpec, values: Array, section: str) -> TensorView:
    small = values if spec.size_bytes <= MAX_READ_BYTES else None
    return view_tensor(spec.name, spec.dtype.name, spec.shape, section, spec.size_bytes, small)


def node_view(program: Program, inference: Inference, node_index: int) -> NodeView:
    """A node with the tensors that it reads and makes."""
    info, record = program.nodes[node_index], program.record(node_index)
    raw = program.records[512 * node_index : 512 * (node_index + 1)]
    extents = validate_records(raw).extents[0].tolist()
    named = {spec.offset: spec for spec in (*program.inputs, *program.outputs)}
    offsets = (record.out, *record.inputs)
    dtypes = (record.dtype_out, *record.dtypes_in)
    operands = []
    for place, (offset, dtype, (lo, hi, _)) in enumerate(zip(offsets, dtypes, extents, strict=False)):
        if hi <= lo:
            continue
        spec = named.get(lo)
        shape = spec.shape if spec is not None else operand_shape(record, place, (hi - lo) // dtype.width)
        name = spec.name if spec is not None else "output" if place == 0 else f"input {place - 1}"
        at = node_index + 1 if place == 0 else node_index
        values = _values(inference, at, lo, hi - lo, dtype, shape)
        operands.append(view_tensor(name, dtype.name, shape, _section_name(offset), hi - lo, values))
    return NodeView(
        node_index,
        info.op_type,
        info.name,
        info.kernel,
        info.tile,
        info.tiles,
        info.steps,
        tuple(operands),
    )


def _values(inference: Inference, t: int, lo: int, size: int, dtype: DType, shape: Sequence[int]) -> Array | None:
    """The elements of [lo, lo + size) in S_t, shaped if they fill the shape."""
    if size > MAX_READ_BYTES:
        return None
    inference.run_to(t)
    raw = np.frombuffer(inference.read(lo, size), f">u{dtype.width}")
    values = raw.astype(f"=u{dtype.width}").view(dtype.numpy)
    return values.reshape(tuple(shape)) if values.size == int(np.prod(shape, dtype=object)) else values


def _section_name(offset: int) -> str:
    return next((name for name, part in SECTIONS.items() if part.offset <= offset < part.end), "reserved")


def operand_shape(record: Record, operand: int, elements: int) -> tuple[int, ...]:
    """
    The shape of operand 0 (the output), 1, 2, ... as the record walks it; (elements,) where that tells nothing.
    """
    shape: tuple[int, ...] = ()
    if record.opcode in (Opcode.CONV, Opcode.POOL, Opcode.POOL_INDEX):
        shape = _window_shape(record, operand)
    elif record.opcode in (Opcode.BLOCK_CONTRACT, Opcode.BLOCK_GATHER):  # what is not of bytes; these have no shape
        rows, columns, k = record.body[:3]
        shape = (rows, columns if record.opcode == Opcode.BLOCK_CONTRACT else k) if operand == 0 else ()
    elif record.opcode not in (Opcode.TREE, Opcode.BLOCK_QUANTISE) and operand <= 3:
        strides = record.strides(operand)
        shape = tuple(size for size, stride in zip(record.dims, strides, strict=True) if stride)
        if record.opcode == Opcode.CONTRACT and operand in (1, 2):
            shape = (*shape, record.imm[0])
    count = 1
    for size in shape:
        count *= size
    return shape if shape and count == elements else (elements,)


def _window_shape(record: Record, operand: int) -> tuple[int, ...]:
    body = record.body
    spatial = range(min(max(body[0], 1), 3))
    images, channels = body[1], body[2]
    is_convolution = record.opcode == Opcode.CONV
    if operand == 0:
        return (images, body[3] if is_convolution else channels, *(body[20 + d] for d in spatial))
    if operand == 1:
        return (images, channels, *(body[5 + d] for d in spatial))
    if operand == 2 and is_convolution:
        return (body[3], channels // max(1, body[4]), *(body[8 + d] for d in spatial))
    return ()


def question_of(game: Game) -> DisputedRange:
    """The node, or the node and instruction, that the game has reached."""
    return disputed_range(game, frontier(game))


def disputed_step(game: Game, trace: SplitTrace) -> tuple[int, bool] | None:
    """
    The instruction to show, counted from the start of the node's run, and whether it is the last that can be: None
    while more than two are in question.
    """
    claim, disputed = frontier(game), question_of(game)
    if disputed.step_low is None or disputed.step_high is None or disputed.step_high - disputed.step_low > 2:
        return None
    if claim.position.depth < game.depths.max:
        return disputed.step_low, False
    leaf = claim.position.within_subtree(game.depths.execution_root)
    # A wrong leaf is attacked, which runs the instruction before it; a right one is defended, which runs the next.
    return leaf.index_at_depth + int(trace.claim_at(game, claim) == claim.value), True


def instruction_view(game: Game, trace: SplitTrace) -> InstructionView | None:
    """The disputed instruction as our own run makes it; None while more than two are in question."""
    found = disputed_step(game, trace)
    if found is None:
        return None
    step, is_last = found
    outputs = subgame_roots_of(game, frontier(game).index)
    machine = trace.vm_trace(game, outputs).machine_at(step)
    assert isinstance(machine, Machine)  # the guest's, `trace.guest`
    before = Thread.decode(machine.thread_witness())
    listing = _listing(machine, before.pc)
    explained = explain_step(machine)
    after = Thread.decode(machine.thread_witness())
    return InstructionView(
        step, explained.text, explained.pc, listing, explained.changes, _registers(before, after), is_last
    )


def _listing(machine: Machine, pc: int) -> tuple[ListedInstruction, ...]:
    lines = []
    for address in range(pc - 4 * AROUND, pc + 4 * AROUND + 1, 4):
        try:
            word = int.from_bytes(machine.read(address, 4), "big")
        except (VmError, ValueError, OverflowError):
            continue
        lines.append(ListedInstruction(address, word, disassemble(word, address, ml=machine.ml), address == pc))
    return tuple(lines)


def _registers(before: Thread, after: Thread) -> tuple[tuple[str, str, str], ...]:
    named: list[tuple[str, int, int, int]] = [
        ("pc", before.pc, after.pc, 16),
        ("hi", before.hi, after.hi, 16),
        ("lo", before.lo, after.lo, 16),
    ]
    named += [(name, a, b, 16) for name, a, b in zip(REGISTERS, before.registers, after.registers, strict=True)]
    floats = enumerate(zip(before.float_registers, after.float_registers, strict=True))
    rows: list[tuple[str, str, str]] = [(name, f"{a:0{width}x}", f"{b:0{width}x}") for name, a, b, width in named]
    for index, (a, b) in floats:
        if a or b:
            rows.append((f"f{index}", _float_words(a), _float_words(b)))
    return tuple(rows)


def _float_words(bits: int) -> str:
    value: Any = np.array([bits], np.uint32).view(np.float32)[0]
    return f"{bits:08x} ({float(value):.6g})"
