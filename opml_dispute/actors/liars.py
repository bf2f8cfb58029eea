"""
Liars, made by fault injection: one flipped bit, and all the rest honest.

A `Fault` flips one bit between two instructions of one node's VM run. `Liar.inject` runs that node with the fault,
reads its tensors, and lets the native engine continue from there: a `FaultyInference`. Its state roots and its VM
states are consistent everywhere, and the program exits with 0 over its own roots, so only that one instruction shows
the fault. With `FaultyInference.trace` the honest actor's function plays a liar's game.

Not every flip makes a faulty inference. Many change nothing, some break the program, some change other memory than the
tensors: `UselessFault` says which. `Liar.find` searches, by seed, for one that meets a goal; with `changes_prediction`
as the goal, for one that changes the answer. `Liar.find_weighty` tries given bits of the numbers that one node stores.
No attempt runs the nodes before it again.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from opml_dispute.actors.faults import Fault, place_name
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import SEGMENT_BASE, SEGMENT_LOG2
from opml_dispute.engine.vm import FaultKind, FaultTarget, Machine, VmError
from opml_dispute.errors import OpmlError
from opml_dispute.game.depths import Depths
from opml_dispute.model.program import Program
from opml_dispute.primitives import LocalIdent, StateRoot, item_data
from opml_dispute.trace.provider import TraceError
from opml_dispute.trace.split import NodeFault, SplitTrace
from opml_dispute.trace.vm import VmFault, VmTrace

TENSORS: Final = range(SEGMENT_BASE + 0xB0_0000_0000, SEGMENT_BASE + 0x100_0000_0000)
"""VM addresses of OUTPUT and ARENA, the sections that a node may write."""

RUNS_KEPT: Final = 16
OVERRIDE_ALIGNMENT: Final = 8
"""No element is wider, so a range of whole 8-byte words never cuts one."""

Outputs = Mapping[str, npt.NDArray[np.generic]]
Goal = Callable[[Outputs, Outputs], bool]
"""Decides from the right outputs (first) and the wrong ones (second) whether a fault meets the goal."""


class UselessFault(OpmlError):
    """An injected fault that does not yield a consistent wrong trace."""

    hint = "try another bit, step or node, or let a seed find one"


class NoFaultFound(OpmlError):
    """The search gave up."""

    hint = "allow more attempts, or start from another seed"


def changes_prediction(right: Outputs, wrong: Outputs) -> bool:
    """
    Whether the largest element of an output (a classifier's answer) is clearly another one.

    Clearly: every number is finite, and the wrong class stands above the right one at least half as far as the right
    one stood above it.
    """
    for name, array in right.items():
        if array.size < 2 or not np.issubdtype(array.dtype, np.floating):
            continue
        before = array.reshape(-1, array.shape[-1]).astype(np.float64)
        after = wrong[name].reshape(before.shape).astype(np.float64)
        if not np.isfinite(after).all():
            continue
        rows = np.arange(len(before))
        was, now = before.argmax(-1), after.argmax(-1)
        lead, lead_now = before[rows, was] - before[rows, now], after[rows, now] - after[rows, was]
        if ((was != now) & (lead_now > 0) & (lead_now >= lead / 2)).any():
            return True
    return False


def changes_anything(right: Outputs, wrong: Outputs) -> bool:
    """The goal that any wrong state meets, even if the outputs are right."""
    return True


@dataclass(frozen=True)
class FaultyInference:
    """A wrong inference that is consistent except for one instruction."""

    program: Program
    fault: Fault
    states: Inference
    """The native run that continues from the wrong state."""

    exit_step: int
    """Instructions of the faulty VM run."""

    changes: tuple[tuple[int, bytes], ...]
    """The changes to the node's tensors: (segment offset, big-endian bytes), in whole words."""

    @property
    def root_claim(self) -> StateRoot:
        """The wrong S_n."""
        return self.states.state_root(self.program.node_count)

    def outputs(self) -> Outputs:
        """The wrong outputs."""
        return self.states.outputs()

    def trace(self, guest: Machine) -> SplitTrace:
        """The trace that the liar plays by. `guest` is the machine at the absolute prestate."""
        vm_fault = VmFault(self.fault.after_step, self.fault.target)
        return SplitTrace(
            self.states,
            guest,
            node_count=self.program.node_count,
            fault=NodeFault(self.fault.node_index, vm_fault),
        )

    def __str__(self) -> str:
        node = self.program.nodes[self.fault.node_index]
        fault = self.fault
        return (
            f"bit {fault.target.bit} of {place_name(fault.target)} flips after step {fault.after_step:,} "
            f"of node {fault.node_index} ({node.op_type} {node.name})"
        )


class Liar:
    """Makes faulty inferences from one inference. The honest runs of the nodes used last are kept."""

    def __init__(self, program: Program, image: bytes, honest: Inference, guest: Machine) -> None:
        self.program, self.image, self.honest, self.guest = program, image, honest, guest
        self._runs: OrderedDict[int, _NodeRun] = OrderedDict()

    def inject(self, fault: Fault) -> FaultyInference:
        """The faulty inference that `fault` causes. Raises `UselessFault`, with the reason, if there is none."""
        run = self._run(fault.node_index)
        if not 1 <= fault.after_step < run.trace.exit_step:
            raise UselessFault(
                f"step {fault.after_step} found, expected 1 to {run.trace.exit_step - 1}: "
                f"node {fault.node_index} takes {run.trace.exit_step} steps"
            )
        changes = run.changes_by(fault)
        if not changes:
            raise UselessFault(f"{fault} changes no tensor")
        after = fault.node_index + 1
        states = Inference(self.program, self.image, overrides={after: changes}, kept=run.kept)
        wrong = states.state_root(after)
        told = run.trace_with(fault, disputed=wrong)
        try:
            exit_code = told.exit_code
        except TraceError as error:
            raise UselessFault(f"{fault} breaks the program: {error}") from error
        if exit_code != 0:
            raise UselessFault(f"{fault} changes more than the tensors: the program exits with {exit_code}")
        if states.state_root(self.program.node_count) == self.honest.state_root(self.program.node_count):
            raise UselessFault(f"{fault} is forgotten before the end: S_{self.program.node_count} is right")
        return FaultyInference(self.program, fault, states, told.exit_step, tuple(changes))

    def steps_of(self, node_index: int) -> int:
        """How many VM instructions a node's honest run takes. Raises `UselessFault` if there is no such node."""
        return self._run(node_index).trace.exit_step

    def find(
        self,
        seed: int,
        *,
        goal: Goal = changes_anything,
        node_index: int | None = None,
        attempts: int = 400,
        tell: Callable[[int], None] = lambda attempt: None,
    ) -> FaultyInference:
        """
        A faulty inference that meets `goal`, the same for the same seed. `tell` is called for each attempt.

        Raises `NoFaultFound`.
        """
        return self._first(self._candidates(seed, node_index), seed, goal, attempts, tell)

    def find_weighty(
        self,
        seed: int,
        node_index: int,
        bits: Sequence[int],
        *,
        goal: Goal,
        attempts: int = 400,
        tell: Callable[[int], None] = lambda attempt: None,
    ) -> FaultyInference:
        """
        As `find`, among faults that flip one of `bits` of a binary32 number which the node is about to store.

        No fault is tried twice. If few faults serve, or an attempt is expensive, the most significant bits succeed
        sooner. Every instruction of the node's run is examined first, which takes some seconds for a million.

        Raises `NoFaultFound`.
        """
        return self._first(self._stored(seed, node_index, bits), seed, goal, attempts, tell)

    def _first(
        self, candidates: Iterator[Fault], seed: int, goal: Goal, attempts: int, tell: Callable[[int], None]
    ) -> FaultyInference:
        right = self.honest.outputs()
        tried = 0
        for attempt, fault in zip(range(attempts), candidates, strict=False):
            tell(attempt)
            tried += 1
            try:
                faulty = self.inject(fault)
            except UselessFault:
                continue
            if goal(right, faulty.outputs()):
                return faulty
        raise NoFaultFound(f"none of {tried} faults from seed {seed} meets the goal")

    def _candidates(self, seed: int, node_index: int | None) -> Iterator[Fault]:
        """An endless sequence of faults, most of them in values about to be stored in a tensor: others rarely change
        one."""
        chance = random.Random(seed)
        while True:
            node = chance.randrange(self.program.node_count) if node_index is None else node_index
            run = self._run(node)
            step = chance.randrange(1, run.trace.exit_step)
            if chance.random() < 0.75:
                fault = run.next_store(step, chance)
                if fault is not None:
                    yield fault
            elif chance.random() < 0.5:
                yield Fault(
                    node, step, FaultTarget(FaultKind.FLOAT_REGISTER, chance.randrange(32), chance.randrange(32))
                )
            else:
                yield Fault(node, step, FaultTarget(FaultKind.REGISTER, chance.randrange(1, 32), chance.randrange(32)))

    def _stored(self, seed: int, node_index: int, bits: Sequence[int]) -> Iterator[Fault]:
        """Faults in these bits of the numbers that a node is about to store, until each number was tried with each
        bit."""
        stores = self._run(node_index).float_stores
        random.Random(seed).shuffle(stores)
        for turn, _ in enumerate(bits):
            for number, fault in enumerate(stores):
                bit = bits[(number + turn) % len(bits)]
                yield replace(fault, target=replace(fault.target, bit=bit))

    def _run(self, node_index: int) -> _NodeRun:
        if not 0 <= node_index < self.program.node_count:
            raise UselessFault(f"node {node_index} found, expected 0 to {self.program.node_count - 1}")
        if node_index not in self._runs:
            self._runs[node_index] = _NodeRun(self, node_index)
            if len(self._runs) > RUNS_KEPT:
                self._runs.popitem(last=False)
        self._runs.move_to_end(node_index)
        return self._runs[node_index]


class _NodeRun:
    """The VM run of one node from the honest S_i, into which faults are injected."""

    def __init__(self, liar: Liar, node_index: int) -> None:
        self.node_index = node_index
        self.program = liar.program
        self.depth = Depths.for_model(liar.program.node_count, liar.program.log2_steps).execution
        self.start = liar.guest.fork()
        root = liar.honest.state_root(node_index)
        self.start.set_local(LocalIdent.STARTING_ROOT, root)
        self.start.set_local(LocalIdent.DISPUTED_ROOT, liar.honest.state_root(node_index + 1))
        self.start.set_local(LocalIdent.ITEM, item_data())
        self.start.add_subtree(root, SEGMENT_LOG2, liar.honest.blocks_at(node_index))
        self.kept = liar.honest.kept_at(node_index)
        """S_i for the native engine, so that no faulty inference is run from the start."""
        self.trace = VmTrace(self.start, depth=self.depth)

    def trace_with(self, fault: Fault, *, disputed: StateRoot) -> VmTrace[Machine]:
        """The run with the fault in it, over another disputed root."""
        machine = self.start.fork()
        machine.set_local(LocalIdent.DISPUTED_ROOT, disputed)
        return VmTrace(machine, depth=self.depth, fault=VmFault(fault.after_step, fault.target))

    @cached_property
    def live(self) -> Sequence[tuple[int, int]]:
        """(offset, size in bytes) of each tensor block that is live after the node."""
        return [
            (block.offset, block.size_bytes)
            for block in self.program.blocks
            if block.born_node <= self.node_index
            and (block.freed_node is None or block.freed_node > self.node_index)
            and SEGMENT_BASE + block.offset in TENSORS
        ]

    @cached_property
    def right_tensors(self) -> Sequence[bytes]:
        """Those blocks after the honest run."""
        return self._tensors(self.trace.machine_at(self.trace.exit_step))

    def _tensors(self, machine: Machine) -> Sequence[bytes]:
        return [machine.read(SEGMENT_BASE + offset, size) for offset, size in self.live]

    def changes_by(self, fault: Fault) -> list[tuple[int, bytes]]:
        """
        The changes that the fault makes to the node's tensors: (segment offset, big-endian bytes).

        Raises `UselessFault` if the program does not come to its end.
        """
        # The honest snapshot before the fault can be used: the runs are equal up to there.
        machine = self.trace.machine_at(fault.after_step)
        try:
            machine.flip_bit(fault.target)
            stop = machine.run((1 << self.depth) - fault.after_step)
            if not machine.exited or machine.exit_code not in (0, 1):
                raise UselessFault(f"{fault} breaks the program: {stop}")
            wrong = self._tensors(machine)
        except VmError as error:  # memory whose content is not known: the fault changed an address, or a root
            raise UselessFault(f"{fault} breaks the program: {error}") from error
        changes = []
        for (offset, _), right_bytes, wrong_bytes in zip(self.live, self.right_tensors, wrong, strict=True):
            changes += [(offset + start, data) for start, data in changed_ranges(right_bytes, wrong_bytes)]
        return changes

    @property
    def float_stores(self) -> list[Fault]:
        """One for each binary32 number that the node stores in a tensor, just before it does."""
        chance = random.Random(0)  # for the bit, which is chosen later
        stores = []
        machine = self.start.fork()
        while not machine.exited:
            target = about_to_store(machine, chance) if machine.step else None
            if target is not None and target.kind == FaultKind.FLOAT_REGISTER:
                stores.append(Fault(self.node_index, machine.step, target))
            machine.run(1)
        return stores

    def next_store(self, step: int, chance: random.Random) -> Fault | None:
        """A fault in what one of the next instructions is about to store in a tensor, if one stores there soon."""
        machine = self.trace.machine_at(step)
        for _ in range(2048):
            if machine.exited:
                return None
            target = about_to_store(machine, chance)
            if target is not None:
                return Fault(self.node_index, machine.step, target)
            machine.run(1)
        return None


def changed_ranges(right: bytes, wrong: bytes) -> list[tuple[int, bytes]]:
    """
    The differences of `wrong` from `right`, in whole 8-byte words: (offset, the bytes of `wrong`).

    >>> changed_ranges(bytes(24), bytes(9) + b"x" + bytes(14))
    [(8, b'\\x00x\\x00\\x00\\x00\\x00\\x00\\x00')]
    """
    differs = np.flatnonzero(np.frombuffer(right, np.uint8) != np.frombuffer(wrong, np.uint8)) // OVERRIDE_ALIGNMENT
    words = np.unique(differs)
    if not words.size:
        return []
    ranges = np.split(words, np.flatnonzero(np.diff(words) > 1) + 1)
    return [
        (
            int(run[0]) * OVERRIDE_ALIGNMENT,
            wrong[int(run[0]) * OVERRIDE_ALIGNMENT : (int(run[-1]) + 1) * OVERRIDE_ALIGNMENT],
        )
        for run in ranges
    ]


_STORES: Final = {0x28: 8, 0x29: 16, 0x2B: 32, 0x3F: 64}
"""Opcode of sb, sh, sw, sd: bits stored."""

_SWC1, _COP1X, _SWXC1 = 0x39, 0x13, 0x08


def about_to_store(machine: Machine, chance: random.Random) -> FaultTarget | None:
    """A bit of the register that the next instruction stores in a tensor; None if it does no such thing."""
    word = int.from_bytes(machine.read(machine.pc, 4), "big")
    opcode, rs, rt, rd = word >> 26, word >> 21 & 31, word >> 16 & 31, word >> 11 & 31
    if opcode not in _STORES and opcode not in (_SWC1, _COP1X):
        return None  # nearly all instructions: decided without reading the registers
    registers = machine.registers()
    address = registers[rs] + ((word & 0xFFFF) ^ 0x8000) - 0x8000
    if opcode == _COP1X and word & 0x3F == _SWXC1:
        address = registers[rs] + registers[rt]
        return FaultTarget(FaultKind.FLOAT_REGISTER, rd, float_bit(chance)) if address in TENSORS else None
    if address not in TENSORS:
        return None
    if opcode == _SWC1:
        return FaultTarget(FaultKind.FLOAT_REGISTER, rt, float_bit(chance))
    if opcode in _STORES and rt != 0:
        return FaultTarget(FaultKind.REGISTER, rt, chance.randrange(_STORES[opcode]))
    return None


def float_bit(chance: random.Random) -> int:
    """A bit of a binary32 number, mostly a significant one: sign, exponent, the first of the mantissa."""
    return chance.randrange(20, 32) if chance.random() < 0.7 else chance.randrange(20)
