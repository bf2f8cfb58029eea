"""
Differential fuzzing of runs: random programs, made to run on, and every step of them held against other steppers.

Four opinions meet at a step: the machine's that ran it alone, a machine's that ran it in one go with the steps around
it (its caches of pages and decoded code warm), and those of engine and contract, who step from the witness. States come
about as in real runs: delay slots, stores over code, reservations, threads made and switched.

Module `fuzz` makes single states up instead, which no run reaches. A difference found here is answered as one
found there: shrunk to a single made-up state, where that shows it too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import Machine, StepWitness, VmError
from opml_dispute.fpvm.state import State, Thread
from opml_dispute.primitives import BASE_VERSION, ML_VERSION, StateHash
from opml_dispute.testing.fuzz import (
    SYSCALLS,
    Mismatch,
    Progress,
    random_fcsr,
    random_float,
    random_instruction,
    random_word,
    shrink,
)
from opml_dispute.testing.made_up_state import COMPACT_MARKER, LEAF, SYSCALL, MadeUpState
from opml_dispute.testing.vectors import Load, Stepper, Vector

CODE: Final = 0x10000
DATA: Final = 0x20000
INSTRUCTIONS: Final = 200
PREIMAGE: Final = bytes(range(100, 145))
KEY: Final = b"\x02" + keccak256(PREIMAGE)[1:]


def random_program(rng: random.Random, *, ml: bool) -> Machine:
    """A machine about to run random instructions with random registers; it knows one pre-image."""
    machine = Machine(ml=ml)
    words: list[int] = []
    while len(words) < INSTRUCTIONS:
        word = random_instruction(rng, ml=ml)
        if rng.random() < 0.06:
            words += _system_call(rng)
        elif rng.random() < 0.05 or machine.operation_name(word) not in {"ILLEGAL", "SYSCALL"}:
            words.append(word)
    machine.write(CODE, b"".join(word.to_bytes(4, "big") for word in words))
    machine.write(DATA, KEY + rng.randbytes(96))
    machine.add_preimage(KEY, PREIMAGE)
    thread = bytes(26) + b"".join(random_word(rng).to_bytes(8, "big") for _ in range(34))
    if ml:
        thread += b"".join(random_float(rng).to_bytes(4, "big") for _ in range(32)) + random_fcsr(rng).to_bytes(
            4, "big"
        )
    machine.set_thread(thread)
    machine.set_register(0, 0)
    machine.jump(CODE)
    return machine


def _system_call(rng: random.Random) -> list[int]:
    """A call that means something, its number and arguments put into registers first."""
    calls = (
        (5001, 6, DATA, 32),  # a key, in four writes; reads of what lies behind it
        (5000, 5, DATA + 40 + rng.randrange(8), rng.randrange(10)),
        (5055, 0x50F00, DATA + 64, 0),
        (5055, 0x50F00, DATA + 64, 0),
        (5023, 0, 0, 0),
        (5194, DATA + 4, rng.choice((128, 129)), rng.choice((0, 1))),
        (5058, rng.randrange(3), 0, 0),
        (5222, 1, DATA + 48, 0),
        (7001, DATA + 4096, 12, DATA + 32),
        (7002, DATA + 4096, rng.choice((5, 12)), DATA + 64),
        (rng.choice(SYSCALLS), rng.choice((0, 1, 5, 6, DATA)), rng.choice((1, 5, 8, 128)), rng.choice((0, 7, DATA))),
    )
    words = []
    for register, value in zip((2, 4, 5, 6), rng.choice(calls), strict=True):
        words += [0x0F << 26 | register << 16 | value >> 16 & 0xFFFF]  # lui
        words += [0x0D << 26 | register << 21 | register << 16 | value & 0xFFFF]  # ori
    return [*words, SYSCALL]


def fuzz_programs(
    steppers: Mapping[bool, Mapping[str, Stepper]], *, seed: int, count: int, progress: Progress | None = None
) -> Mismatch | None:
    """
    `count` steps of random programs, each by the steppers for its version (`steppers[ml]`, by name) and by the machine
    itself ("run"); the first difference, if any. `progress` is told after every step how many are done.
    """
    made = number = 0
    while made < count:
        rng = random.Random(f"{seed}/program/{number}")
        ml, number = rng.random() < 0.6, number + 1
        walk = _Walk(random_program(rng, ml=ml), steppers[ml], f"fuzz/seed-{seed}/{number - 1}")
        for at in range(CODE, CODE + 4 * INSTRUCTIONS, 4):
            if walk.machine.exited or made == count:
                break
            try:
                found = walk.step(compact=rng.random() < 0.5)
                made += 1
            except VmError:  # no next state: on behind the instruction
                found = walk.turn(_jump_to(at + 4))
            if found is None and walk.machine.pc not in range(CODE, CODE + 4 * INSTRUCTIONS):
                found = walk.turn(_jump_to(at + 4))  # back to the program, from wherever a jump led
            if found is not None:
                return replace(found, number=made)
            if progress is not None:
                progress(made)
        if (found := walk.turn(lambda _: None)) is not None:
            return replace(found, number=made)
    return None


def _jump_to(address: int) -> Callable[[Machine], None]:
    return lambda machine: machine.jump(address)


@dataclass
class _Walk:
    """A machine taken from step to step, and what is needed to run the same steps in one go."""

    machine: Machine
    steppers: Mapping[str, Stepper]
    name: str
    start: Machine = field(init=False)
    """The machine as it was when last changed from outside."""
    vectors: list[Vector] = field(default_factory=list)
    """The steps since then, with their results."""

    def __post_init__(self) -> None:
        self.start = self.machine.fork()

    def step(self, *, compact: bool) -> Mismatch | None:
        """The next step, by everyone. Raises `VmError` if the machine has none."""
        before = self.machine.fork()
        witness = before.step_witness(compact=compact)
        self.machine.run(1)
        vector = replace(self._vector(witness), post=self.machine.state_hash())
        self.vectors.append(vector)
        results: dict[str, StateHash | None] = {"run": vector.post, "witness": witness.post_hash}
        results |= {name: stepper.step_vector(vector) for name, stepper in self.steppers.items()}
        return None if len(set(results.values())) == 1 else self._smallest(before, vector, results)

    def turn(self, change: Callable[[Machine], None]) -> Mismatch | None:
        """Compares the steps so far with a run of them in one go; then `change` does something to the machine."""
        whole = self.start.fork()
        whole.run(len(self.vectors))
        if self.vectors and whole.state_hash() != self.vectors[-1].post:
            for steps, vector in enumerate(self.vectors, 1):
                again = self.start.fork()
                again.run(steps)
                if again.state_hash() != vector.post:
                    results = {"run": vector.post, f"run of {steps} steps in one go": again.state_hash()}
                    return Mismatch(0, None, vector, results)
        change(self.machine)
        self.start, self.vectors = self.machine.fork(), []
        return None

    def _vector(self, witness: StepWitness) -> Vector:
        loads = () if witness.preimage is None else (Load("keccak", witness.preimage.offset, PREIMAGE),)
        version = ML_VERSION if self.machine.ml else BASE_VERSION
        return Vector(self.name, version, witness.state_data, witness.proof, loads=loads)

    def _smallest(self, before: Machine, vector: Vector, results: dict[str, StateHash | None]) -> Mismatch:
        """The difference as a made-up state, shrunk, if that shows it; else the step as it was."""

        def differs(case: MadeUpState) -> bool:
            tried = case.vector()
            return len({stepper.step_vector(tried) for stepper in self.steppers.values()}) > 1

        case = case_of(before, vector)
        if not differs(case):
            return Mismatch(0, None, vector, results)
        small = shrink(case, differs)
        found = small.vector(self.name)
        return Mismatch(0, small, found, {name: stepper.step_vector(found) for name, stepper in self.steppers.items()})


def case_of(machine: Machine, vector: Vector) -> MadeUpState:
    """A machine about to step, as a made-up state: the leaves that the step touches, and zeros for all other memory."""
    thread, state = Thread.decode(machine.thread_witness()), State.decode(vector.state)
    head = len(COMPACT_MARKER) if vector.proof.startswith(COMPACT_MARKER) else 0
    inner_at = head + len(machine.thread_witness())
    case = MadeUpState(
        ml=machine.ml,
        insn=int.from_bytes(machine.read(thread.pc & ~3, 4), "big"),
        pc=thread.pc,
        next_pc=thread.next_pc,
        registers=thread.registers,
        floats=thread.float_registers or (0,) * 32,
        fcsr=thread.fcsr,
        lo=thread.lo,
        hi=thread.hi,
        thread_id=thread.thread_id,
        thread_exited=thread.exited,
        thread_exit_code=thread.exit_code,
        inner_root=vector.proof[inner_at : inner_at + 32],
        inactive_root=state.left_stack if state.traverse_right else state.right_stack,
        right_is_active=state.traverse_right,
        step=state.step,
        slice=state.slice,
        heap=state.heap,
        next_thread_id=state.next_thread_id,
        reservation=state.ll_status,
        reserved_address=state.ll_address,
        reserving_thread=state.ll_owner,
        exit_code=state.exit_code,
        exited=state.exited,
        preimage_key=state.preimage_key,
        preimage_offset=state.preimage_offset,
        loads=vector.loads,
    )
    touched = {thread.pc >> LEAF << LEAF, *(at >> LEAF << LEAF for at, size in case.parts_touched() if size == LEAF)}
    return replace(case, leaves={at: machine.read(at, 1 << LEAF) for at in touched})
