"""
One inference, run natively: the states S_0 ... S_n and their content.

An `Inference` holds a segment in memory (native/inference/ml.c) and moves it from state to state. `run_to` goes to any
t, going back by restarting from the nearest kept state, and from the first state to the last by a schedule
(`schedule`) that skips those between; `state_root` and `blocks_at` answer about any state, in any order. Hashing costs
the live blocks only: `Live` knows which they are, and keeps the root of each until a node writes to it. `overrides` put
wrong bytes into a state, and the run continues from there: this makes a faulty trace.

**Typed programs.** The segment holds elements in the host's byte order, which needs every byte to belong to elements
of one width. `Typing` finds out from the records. The compiler's programs meet this condition; any other is run by the
same kernels on the VM's own byte order (native/kernels/big_endian.c), which is slower and gives the same results.

The parts of a state are in `segment`, the nodes' operations in docs/kernels.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.analysis import ProgramAnalysis, ProgramLike, frees_of, size_of
from opml_dispute.engine.block_copies import BlockCopies
from opml_dispute.engine.both_ends import BothEnds
from opml_dispute.engine.hashing import hash_pair
from opml_dispute.engine.kept_states import KeptState, KeptStates
from opml_dispute.engine.live import Live, LiveBlock, pieces
from opml_dispute.engine.live_root import upper_root
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.model_memory import ModelMemory
from opml_dispute.engine.overrides import Override, Overrides, StateOutOfRange
from opml_dispute.engine.segment import (
    ARENA,
    HEADER,
    INPUT,
    MODEL_LOG2,
    OUTPUT,
    SEGMENT_LOG2,
    OutputProof,
    input_image,
    tensors,
)
from opml_dispute.engine.segment_memory import Bytes, ReadySchedule, SegmentMemory, SegmentUnavailable, validate_records
from opml_dispute.engine.state_header import StateHeader
from opml_dispute.engine.vm import Block
from opml_dispute.primitives import RECORD_BYTES, Hash32, StateRoot


class Inference:
    """A native run of one program on one input."""

    def __init__(
        self,
        program: ProgramLike,
        inputs: Mapping[str, npt.NDArray[Any]] | bytes,
        *,
        overrides: Mapping[int, Sequence[Override]] | None = None,
        kept: Mapping[int, KeptState] | None = None,
        threads: int = 1,
        memory_limit: int | None = None,
        model_memory: int | None = None,
    ) -> None:
        """
        `inputs` are arrays by name, or the INPUT section's bytes. `overrides[t]` is written over S_t as soon as node
        t - 1 has run. `kept` are states, none after the first override, of another run that is the same up to there
        (`kept_at`): a run with overrides starts from the last of them. `memory_limit` bounds the bytes of live tensors,
        and a model is loaded whole if it takes at most half of `model_memory` (`ModelMemory`); by default both are the
        machine's memory.

        Raises `BadInput` for inputs that the model does not take, `SegmentUnavailable` if there is no room.
        """
        self.program = program
        self._node_count = program.node_count
        self.input_image = inputs if isinstance(inputs, bytes) else input_image(program.inputs, inputs)
        if len(self.input_image) > 1 << INPUT.log2_size:
            raise SegmentUnavailable(f"an input of {len(self.input_image):,} bytes; INPUT holds 2^{INPUT.log2_size}")
        self.overrides = Overrides(overrides or {}, program.node_count)
        machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._limit = memory_limit or machine_bytes
        self._analysis = ProgramAnalysis.of(program)
        self._typing = self._analysis.typing
        self._segment = SegmentMemory(vm_bytes=not self._typing.is_typed, threads=threads)
        self._header = StateHeader(self._segment.memory, self._node_count)
        self._live = Live()
        self._kept = KeptStates(kept or {}, self._node_count)
        self._goes_through = self._keeps_this = False
        self._copies = BlockCopies()
        self._roots: dict[int, StateRoot] = {}
        self._threads = threads
        self._overridden_model = self.overrides.meet(0, 1 << MODEL_LOG2)
        room = model_memory or machine_bytes
        self._model = ModelMemory(program.model_blocks, self._analysis, self._segment, room)
        self._schedule: ReadySchedule | None = None
        self._ends = BothEnds(self._segment)
        self._t = 0
        self._start()

    # States

    @property
    def is_typed(self) -> bool:
        """Whether the program runs on elements in host order, with every fast path."""
        return self._typing.is_typed

    def run_to(self, t: int) -> None:
        """
        Makes S_t the current state. Raises `StateOutOfRange` unless 0 <= t <= node count, `SegmentUnavailable` if live
        tensors outgrow the memory limit.
        """
        if not 0 <= t <= self._node_count:
            raise StateOutOfRange(f"S_{t} found, expected S_0 to S_{self._node_count}")
        if self._keeps_this and t != self._t:
            self._keep()  # not when its root is asked for: what was proposed waits for that
        if self._repeats(t):
            return
        is_between = bool(self.overrides) or t < self._node_count
        if t < self._t or (is_between and self._kept.is_nearer(t, self._t)):
            self._restore(self._kept.latest(t))
        if self._t == 0 and 0 < t == self._node_count and self._run_whole():
            return
        if self._t < t:
            self._ends.clear()
            self._model.load_program()
        while self._t < t:
            self._transition(min(t, self._kept.next_rest(self._t)))
            if self._kept.rests_at(self._t, self._live.size_bytes):
                self._keep()

    def expect_questions(self) -> None:
        """For speed alone: states between the first and the last will be asked for, so a run goes through them."""
        self._goes_through = True  # for a long program that takes less time than to plan a run without them

    def glance(self, offset: int, size_bytes: int) -> Bytes:
        """
        A copy of bytes of the segment in the order of the host, as they are while another thread runs.

        This shows the progress of a run: the bytes may be half written, or cleared again by a node that fails.
        """
        return self._segment.memory[offset : offset + size_bytes].copy()

    def state_root(self, t: int) -> StateRoot:
        """S_t. Raises `FileChanged` if the file that weights are read from was written to."""
        if t not in self._roots:
            self.run_to(t)
            root = self._hash()
            self._model.expect_unchanged()
            self._roots[t] = root
            self._keeps_this = True
        return self._roots[t]

    def kept_at(self, t: int) -> dict[int, KeptState]:
        """S_t, for a run that is equal to this one up to S_t; empty if it cannot be kept, or is S_0."""
        self.run_to(t)
        self._keep()
        return {t: self._kept[t]} if t in self._kept else {}

    def blocks_at(self, t: int) -> list[Block]:
        """
        The content of the whole segment at S_t, for `Machine.add_subtree(S_t, 40, ...)`.

        A block that may change is copied, once for each content: as long as a caller holds a block, every state with
        the same block shares its copy.
        """
        self.run_to(t)
        self._roots[t] = self._hash()  # so that every block has its root
        self._model.expect_unchanged()
        shared = [replace(block, data=self._copies.of(block)) for block in self._tree_blocks()]
        return self._model_blocks() + shared

    def subtrees_at(self, t: int) -> list[tuple[bytes, int, list[Block]]]:
        """What the guest may map to run the node after S_t: the segment's root, the log2 of its bytes, its content."""
        blocks = self.blocks_at(t)
        return [(self.state_root(t), SEGMENT_LOG2, blocks)]

    @property
    def status(self) -> int:
        """Of S_n: 0, or why the inference failed (native/program/opcodes.h, `enum inference_status`)."""
        return self._final_header[2]

    @property
    def fault_node(self) -> int:
        """Of S_n: the node that failed, if one did."""
        return self._final_header[3]

    def output_image(self) -> bytes:
        """The OUTPUT section of S_n from offset 0 to the end of the last output."""
        self.run_to(self.program.node_count)
        return self.read(OUTPUT.offset, self.program.output_bytes)

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """The outputs in S_n, by name; whatever `status` says."""
        return tensors(self.program.outputs, self.output_image(), OUTPUT)

    def output_proof(self) -> OutputProof:
        """What shows the output under S_n on chain."""
        self.run_to(self.program.node_count)
        self._hash()
        tree = SparseTree(SEGMENT_LOG2, self._tree_blocks())
        return OutputProof(
            self._model_root(),
            tree.subtree(INPUT.offset, INPUT.log2_size),
            tree.subtree(ARENA.offset, ARENA.log2_size),
            self.program.node_count,
        )

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes of the current state, as VM memory would hold them."""
        self._ends.clear()
        if offset < 1 << MODEL_LOG2:
            self._model.load_range(offset, offset + size_bytes)
        return self._typing.read(self._segment.memory, offset, size_bytes)

    @property
    def memory(self) -> Bytes:
        """
        The current state itself, elements as `Typing` says; not to be changed, and gone with this object.

        Raises `SegmentUnavailable` if the model is larger than memory.
        """
        self._ends.clear()
        self._model.load_all()
        return self._segment.memory

    # From the first state to the last

    def _repeats(self, t: int) -> bool:
        """Goes from S_0 to S_n or back, if an earlier run left both; false where there is more to do."""
        first, last, ready = self._ends.first, self._ends.last, self._schedule
        if first is None or last is None or ready is None or t == self._t:
            return False
        if t == 0 and self._live is last:
            self._live, self._ends.left = first, ready.written
            self._header.write_first()
        elif t == self._node_count and self._live is first and self._ends.left and self._run_ready(ready):
            self._live, self._ends.left = last, ()
        else:
            self._ends.first = None
            return False
        self._t = t
        return True

    def _run_ready(self, schedule: ReadySchedule) -> bool:
        """Makes S_n of S_0, or leaves S_0 as it is where a node fails."""
        self._model.expect_unchanged()  # before: what was cut off a mapped file cannot be read, and ends the process
        if not schedule.run():
            return False
        self._header.write_last()
        self._t = self._node_count
        return True

    def _run_whole(self) -> bool:
        """Makes S_n of S_0 without the states between, or leaves S_0 as it is where that does not go."""
        goes = self._model.fits and not self.overrides and (self._analysis.plans_quickly or not self._goes_through)
        schedule = self._analysis.schedule if goes else None
        if schedule is None:
            return False
        if self._schedule is None:
            if schedule.workspace_bytes + len(self.input_image) + self.program.output_bytes > self._limit:
                return False  # node by node it may fit, or the failing node is known
            for block in schedule.loads:
                self._model.load(block)
            self._schedule = ReadySchedule(schedule, self._segment)
        if not self._run_ready(self._schedule):
            return False
        if self._ends.left and self._ends.last is not None:
            self._live = self._ends.last
        else:
            self._ends.first = None
        self._live.changed(HEADER.offset)
        for lo, hi in schedule.written:
            self._live.touch(lo, hi)
        self._ends.last, self._ends.left = self._live, ()
        return True

    # One transition, and the way back

    def _transition(self, goal: int) -> None:
        """The next state, or several at once if their nodes are tiles of one operation; none beyond S_goal."""
        _, node, status, _ = self._header.read()
        count, joined_hi = 1, 0
        frees: list[tuple[int, int]] = []
        if status == 0 and node < self.program.node_count:
            status, lo, hi, frees = self._effect(node)
            fresh = self._live.touch(lo, hi) if status == 0 else None
            if self._live.size_bytes > self._limit:
                size = f"live tensors of {self._live.size_bytes:,} bytes at node {node}"
                raise SegmentUnavailable(f"{size}; {self._limit:,} bytes of memory are there")
            if status == 0 and not self.overrides:
                last = min(self._analysis.tiles_end(node), goal) - 1
                if last > node:
                    count, joined_hi = last - node + 1, self._analysis.range_of(last)[1]
                    frees = frees_of(self.program.records, last)
                if fresh is not None and self.is_typed and self._analysis.fills(node, last):
                    self._segment.announce(fresh.offset, fresh.log2_size, lo, hi)
        if status == 0:
            self._model.load_for(node, node + count)
        self._segment.run(count, joined_hi)
        _, reached, status, _ = self._header.read()
        if status == 0 and reached > node:  # a header with a smaller node count stops before the last node
            for offset, log2_size in frees:
                self._live.free(offset, log2_size)
        self._live.changed(HEADER.offset)
        self._t += count
        if self.overrides:
            self._override(self._t)

    def _effect(self, node: int) -> tuple[int, int, int, list[tuple[int, int]]]:
        """Status of record `node`, the extent of its output, and the blocks it frees."""
        if self._overridden_model:
            # An override may have changed the program itself: the records in memory are run.
            place = RECORD_BYTES * (1 + node)
            raw = self._segment.memory[place : place + RECORD_BYTES].tobytes()
            judged, node = validate_records(raw), 0
        else:
            raw, judged = self.program.records, self._analysis.judged
        lo, hi, _ = judged.output(node)
        status = judged.status.item(node)
        return status, lo, hi, [] if status else frees_of(raw, node)

    def _start(self) -> None:
        """S_0 in a segment whose upper half is zero."""
        self._live = Live()
        self._live.touch(HEADER.offset, HEADER.offset + 32)
        if self.input_image:
            self._live.touch(INPUT.offset, INPUT.offset + len(self.input_image))
            self._typing.write(self._segment.memory, INPUT.offset, self.input_image)
        self._header.write_first()
        self._t = 0
        self._override(0)

    def _start_again(self) -> None:
        """As `_start`, with the input where it already is, and its root known."""
        self._live = self._live.at_first()
        self._header.write_first()
        self._t = 0

    def _restore(self, t: int | None) -> None:
        """Goes back to the kept state t, or to S_0."""
        keeps_input = t is None and not self.overrides
        schedule = self._analysis.schedule if self._ends.last is self._live else None
        if keeps_input and schedule is not None and schedule.repeats:
            # The next run most likely writes over it all: fresh pages would cost more than the run of a small operator.
            self._ends.left = schedule.written
            self._start_again()
            self._ends.first = self._live
            return
        self._ends.clear()
        for entry in self._live.entries():
            if not (keeps_input and entry.holds_input):
                self._segment.zero(entry.offset, 1 << entry.log2_size)
        if self._overridden_model:
            for offset, data in self.overrides.until(None):
                self._segment.zero(offset, max(0, min(len(data), (1 << MODEL_LOG2) - offset)))
            self._model.load_all(again=True)
            for at in sorted(at for at in self.overrides if t is not None and at <= t):
                self._write_overrides(at, below=1 << MODEL_LOG2)
        if keeps_input:
            self._start_again()
            return
        if t is None:
            self._start()
            return
        kept = self._kept[t]
        self._live = kept.live.copy()
        if any(content is None for content in kept.data):
            self._typing.write(self._segment.memory, INPUT.offset, self.input_image)
        for entry, content in zip(kept.live.entries(), kept.data, strict=True):
            if content is not None:
                self._segment.memory[entry.offset : entry.offset + entry.used] = content
        self._t = t

    def _keep(self) -> None:
        """Keeps the current state, if there is room."""
        self._keeps_this = False
        if self._t in self._kept or self._t == 0 or not self._kept.make_room(self._live.size_bytes):
            return
        given = not self.overrides  # no node writes to INPUT, so it is what it was given as
        data = [None if given and entry.holds_input else self._content(entry) for entry in self._live.entries()]
        self._kept[self._t] = KeptState(self._live.copy(), data)

    def _content(self, entry: LiveBlock) -> Bytes:
        """A live block's bytes as the segment holds them, to be written back later."""
        memory = self._segment.memory
        if self._typing.width_of(memory, entry.offset, entry.used) is None:
            return memory[entry.offset : entry.offset + entry.used].copy()
        return self._copies.of(self._block(entry))

    # Overrides

    def _override(self, t: int) -> None:
        for offset, data in self.overrides.get(t, ()):
            for lo, hi in pieces(max(offset, 1 << MODEL_LOG2), offset + len(data)):
                self._live.touch(lo, hi)
        self._write_overrides(t, below=1 << SEGMENT_LOG2)

    def _write_overrides(self, t: int, *, below: int) -> None:
        if self._overridden_model:
            self._model.load_all()
        for offset, data in self.overrides.get(t, ()):
            self._typing.write(self._segment.memory, offset, data[: max(0, below - offset)])

    @property
    def _final_header(self) -> tuple[int, int, int, int]:
        self.run_to(self.program.node_count)
        return self._header.read()

    # Hashing

    def _model_root(self) -> Hash32:
        if not self._overridden_model:
            return self.program.model_root
        return SparseTree(MODEL_LOG2, self._model_blocks()).root

    def _model_blocks(self) -> list[Block]:
        """The lower half of the current state."""
        if not self._overridden_model:
            return list(self.program.rooted_blocks)
        lower = Live()
        for block in self.program.model_blocks:
            lower.touch(block.offset, block.offset + size_of(block))
        for offset, data in self.overrides.until(self._t):
            for lo, hi in pieces(offset, min(offset + len(data), 1 << MODEL_LOG2)):
                lower.touch(lo, hi)
        return [self._block(entry) for entry in lower.entries()]

    def _block(self, entry: LiveBlock) -> Block:
        """A live block as the current state has it; its data is the segment's own memory where that can be."""
        width = self._typing.width_of(self._segment.memory, entry.offset, entry.used)
        if width is None:
            raw = np.frombuffer(self.read(entry.offset, entry.used), np.uint8)
            return Block(entry.offset, entry.log2_size, raw, 1, entry.root)
        data = self._segment.memory[entry.offset : entry.offset + entry.used]
        return Block(entry.offset, entry.log2_size, data, width, entry.root)

    def _tree_blocks(self) -> list[Block]:
        self._ends.clear()
        return [self._block(entry) for entry in self._live.entries()]

    def _hash(self) -> StateRoot:
        self._ends.clear()
        upper = upper_root(self._live.entries(), self._typing, self._segment, threads=self._threads)
        return StateRoot(hash_pair(self._model_root(), upper))
