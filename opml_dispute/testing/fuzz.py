"""
Differential fuzzing of single steps: made-up states, two implementations, one answer.

1. `random_case` makes a state up: a legal instruction (or any word), awkward register values, thread stacks,
   reservations, pre-images, now and then a damaged witness.
2. `fuzz` steps each by all given steppers and stops at the first case on which they differ.
3. `shrink` leaves away of that case whatever the difference does not need.

`ml_sample` picks made-up states that between them run every instruction of the ML extension: a vector file.

Everything follows from one seed: case number i of seed s is the same on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from opml_dispute.engine.hashing import keccak256
from opml_dispute.primitives import QUANTUM, StateHash
from opml_dispute.testing.made_up_state import EMPTY_STACK, LEAF, SYSCALL, U64, MadeUpState
from opml_dispute.testing.vectors import GAME, Load, Stepper, Vector

SPECIAL_FUNCTS: Final = (
    *(0x00, 0x02, 0x03, 0x04, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17),
    *(0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2A, 0x2B),
    *(0x2C, 0x2D, 0x2E, 0x2F, 0x38, 0x3A, 0x3B, 0x3C, 0x3E, 0x3F),
)
SPECIAL2_FUNCTS: Final = (0x02, 0x20, 0x21, 0x24, 0x25)
REGIMM_CODES: Final = (0x00, 0x01, 0x10, 0x11)
IMMEDIATE_OPCODES: Final = (
    *(0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x18, 0x19),
)
MEMORY_OPCODES: Final = (
    *(0x1A, 0x1B, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x37),
    *(0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x3F),
)
RESERVING_OPCODES: Final = (0x30, 0x34, 0x38, 0x3C)
SINGLE_FUNCTS: Final = (
    *(0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0C, 0x0D, 0x0E, 0x0F, 0x11, 0x12, 0x13, 0x24),
    *range(0x30, 0x40),
)
FUSED_FUNCTS: Final = (0x00, 0x08, 0x20, 0x28, 0x30, 0x38)
SYSCALLS: Final = (
    *(5000, 5000, 5000, 5000, 5001, 5001, 5001, 5002, 5009, 5012, 5023, 5034, 5038, 5055, 5058, 5070, 5178, 5194),
    *(5205, 5222, 5222, 5284, 5313, 5313, 5003, 5004, 5008, 5010, 5011, 5013, 5027, 5129, 5247, 5297, 5006, 5286),
    *(7000, 7001, 7001, 7001, 7001, 7002, 7002, 7002, 7002, 7003, 4003, 2**32 + 5000),
)
EDGES: Final = (0, 1, 2, 3, 4, 5, 7, 8, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF)
POWERS: Final = (31, 32, 62, 63)
FLOATS: Final = (
    *(0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000, 0x7F7FFFFF, 0xFF7FFFFF),
    *(0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FBFFFFF, 0x3F800000, 0xBF800000, 0x40000000),
    *(0x3F000000, 0x3F800001, 0x3F7FFFFF, 0x4B000000, 0x4B800000, 0x4EFFFFFF, 0x4F000000, 0xCF000000, 0xCF000001),
    *(0x3FC00000, 0xBFC00000, 0x33800000, 0x34000000, 0x5F000000, 0x1F800000, 0x20000000, 0x0D000000),
)
"""Zeros, subnormals, extremes, infinities, NaNs, ones, ties, the edge of 32-bit integers, squares at both ends."""
CLONE_FLAGS: Final = 0x00050F00

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Mismatch:
    """A case on which implementations differ."""

    number: int
    """Which case of the seed it is."""
    case: MadeUpState | None
    """As small as shrinking made it; None: no made-up state shows the difference, only `vector` does."""
    vector: Vector
    """Its witness."""
    results: dict[str, StateHash | None]
    """What each implementation answered to it."""


def cases(seed: int, count: int, *, ml: bool | None = None) -> Iterator[MadeUpState]:
    """The first `count` cases of `seed`; base and ML states mixed unless `ml` says which."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        yield random_case(rng, ml=rng.random() < 0.6 if ml is None else ml)


def fuzz(
    steppers: Mapping[bool, Mapping[str, Stepper]], *, seed: int, count: int, progress: Progress | None = None
) -> Mismatch | None:
    """
    Steps `count` cases by the steppers for their version (`steppers[ml]`, by name); the first difference, if any.

    `progress` is told after every case how many are done.
    """
    for number, case in enumerate(cases(seed, count)):
        if _differs(steppers[case.ml], case):
            small = shrink(case, lambda candidate: _differs(steppers[candidate.ml], candidate))
            vector = small.vector(f"fuzz/seed-{seed}/{number}")
            results = {name: stepper.step_vector(vector) for name, stepper in steppers[small.ml].items()}
            return Mismatch(number, small, vector, results)
        if progress is not None:
            progress(number + 1)
    return None


def shrink(case: MadeUpState, is_interesting: Callable[[MadeUpState], bool]) -> MadeUpState:
    """The smallest case reachable from an interesting one by leaving things away one at a time."""
    while smaller := next(filter(is_interesting, case.simpler()), None):
        case = smaller
    return case


def ml_sample(stepper: Stepper, *, seed: int = 1, per_kind: int = 2) -> list[Vector]:
    """
    Vectors of the ML extension, results by `stepper`: up to `per_kind` of each instruction and system call, and one
    refusal of each, taken from the first cases of `seed`. Memory is sparse and half the proofs are compact.
    """
    found: dict[tuple[str, bool], int] = {}
    vectors = []
    for case in cases(seed, 12_000, ml=True):
        if (kind := _ml_kind(case)) is None or case.cut is not None:
            continue
        vector = replace(case, filling=None, compact=case.filling is None).vector()
        post = stepper.step_vector(vector)
        number = found.get((kind, post is None), 0)
        if number < (1 if post is None else per_kind):
            found[kind, post is None] = number + 1
            outcome = "refused" if post is None else "stepped"
            vectors.append(replace(vector, name=f"ml/{kind}/{outcome}-{number}", post=post))
    return sorted(vectors, key=lambda vector: vector.name)


def _ml_kind(case: MadeUpState) -> str | None:
    """Which part of the extension a case is about; None: the base machine."""
    opcode, fmt, funct = case.insn >> 26, (case.insn >> 21) & 31, case.insn & 63
    if case.is_syscall:
        return f"syscall-{case.registers[2]}" if 7000 <= case.registers[2] <= 7003 else None
    if opcode == 0x11:
        return f"cop1-{fmt:02x}-{funct:02x}" if fmt in (0x10, 0x14) else f"cop1-{fmt:02x}"
    if opcode == 0x13:
        return f"cop1x-{funct:02x}"
    if opcode in (0x31, 0x39):
        return f"opcode-{opcode:02x}"
    return "special-01" if opcode == 0 and funct == 0x01 else None


def _differs(steppers: Mapping[str, Stepper], case: MadeUpState) -> bool:
    vector = case.vector()
    return len({stepper.step_vector(vector) for stepper in steppers.values()}) > 1


def random_case(rng: random.Random, *, ml: bool) -> MadeUpState:
    """A state about to run an instruction, mostly a legal one."""
    registers = [random_word(rng) for _ in range(32)]
    if rng.random() < 0.9:
        registers[0] = 0
    floats = tuple(random_float(rng) for _ in range(32))
    pc = rng.choice((0x10000, 0x10004, 0x1001C, 0x7FFC, 0, U64 - 3, 4 * rng.randrange(2**62), rng.randrange(2**64)))
    if rng.random() < 0.98:
        pc &= ~3
    insn = random_instruction(rng, ml=ml)
    if rng.random() < 0.1:
        # So that loads, stores and system calls meet the instruction's own leaf.
        registers[1:] = [(pc + rng.randrange(-40, 40)) & U64 for _ in range(31)]
    case = MadeUpState(
        ml=ml,
        insn=insn,
        pc=pc,
        next_pc=random_word(rng) if rng.random() < 0.08 else None,
        registers=tuple(registers),
        floats=floats if ml else (0,) * 32,
        fcsr=random_fcsr(rng) if ml else 0,
        lo=random_word(rng),
        hi=random_word(rng),
        thread_id=rng.choice((0, 1, 2, random_word(rng))),
        thread_exited=rng.choice((1, 255)) if rng.random() < 0.02 else 0,
        thread_exit_code=rng.choice((0, 0, 1, 200)),
        inner_root=EMPTY_STACK if rng.random() < 0.5 else rng.randbytes(32),
        inactive_root=EMPTY_STACK if rng.random() < 0.5 else rng.randbytes(32),
        right_is_active=rng.choice((0, 0, 1, 1, 7, 255)),
        step=rng.choice((0, 9_999_999, rng.randrange(2**40), random_word(rng))),
        slice=rng.choice((0, QUANTUM - 1, rng.randrange(QUANTUM)))
        if rng.random() < 0.96
        else rng.choice((QUANTUM, random_word(rng))),
        heap=rng.choice((0x0000100000000000, 0x0000600000000000, 0x00005FFFFFFFF000, random_word(rng))),
        next_thread_id=rng.choice((1, 2, random_word(rng))),
        exit_code=rng.choice((0, 0, 0, 1, 2, 200)),
        exited=rng.choice((1, 2, 255)) if rng.random() < 0.02 else 0,
        preimage_key=rng.randbytes(32),
        preimage_offset=rng.choice((0, 8, rng.randrange(64), random_word(rng))),
        context=rng.randbytes(32) if rng.random() < 0.5 else bytes(32),
        filling=rng.randbytes(32) if rng.random() < 0.5 else None,
        compact=rng.random() < 0.5,
    )
    if case.is_syscall:
        case = _with_arguments(rng, case)
    case = _with_memory(rng, _with_reservation(rng, case))
    return _damaged(rng, case) if rng.random() < 0.1 else case


def random_instruction(rng: random.Random, *, ml: bool) -> int:
    """An instruction word: legal but for one in twenty; unused fields may hold anything."""
    word, is_near = rng.getrandbits(32), rng.random() < 0.3

    def encode(opcode: int, funct: int | None = None, rs: int | None = None, rt: int | None = None) -> int:
        """`word` with these fields in it."""
        insn = (word & 0x03FFFFFF) | (opcode << 26)
        if opcode >= 0x1A and is_near:
            insn = (insn & ~0xFFFF) | (rng.randrange(-16, 16) & 0xFFFF)
        for value, shift, width in ((funct, 0, 6), (rs, 21, 5), (rt, 16, 5)):
            if value is not None:
                insn = (insn & ~(((1 << width) - 1) << shift)) | (value << shift)
        return insn

    kinds: list[tuple[float, Callable[[], int]]] = [
        (0.05, lambda: word),
        (0.20, lambda: encode(0x00, rng.choice(SPECIAL_FUNCTS))),
        (0.03, lambda: encode(0x1C, rng.choice(SPECIAL2_FUNCTS))),
        (0.02, lambda: encode(0x01, rt=rng.choice(REGIMM_CODES))),
        (0.12, lambda: encode(rng.choice(IMMEDIATE_OPCODES))),
        (0.16, lambda: encode(rng.choice(MEMORY_OPCODES))),
        (0.06, lambda: encode(rng.choice(RESERVING_OPCODES))),
        (0.16, lambda: encode(0x00, SYSCALL)),
    ]
    if ml or rng.random() < 0.05:
        kinds += [
            (0.20, lambda: encode(0x11, rng.choice(SINGLE_FUNCTS), rs=0x10)),
            (0.10, lambda: encode(0x13, rng.choice(FUSED_FUNCTS))),
            (0.06, lambda: encode(0x11, rs=rng.choice((0x00, 0x02, 0x04, 0x06, 0x08)))),
            (0.03, lambda: encode(0x11, 0x20, rs=0x14)),
            (0.03, lambda: encode(rng.choice((0x31, 0x39)))),
            (0.02, lambda: encode(0x00, 0x01)),
            (0.03, lambda: encode(0x11, rs=rng.choice((0x02, 0x06))) | 31 << 11),
            (0.03, lambda: encode(rng.choice((0x11, 0x13)))),
        ]
    (make,) = rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])
    return make()


def random_word(rng: random.Random) -> int:
    """64 bits, often at an edge."""
    match rng.randrange(6):
        case 0:
            return rng.choice(EDGES)
        case 1:
            return U64 - rng.choice(EDGES)
        case 2:
            return ((1 << rng.choice(POWERS)) + rng.choice((-1, 0, 1))) & U64
        case 3:
            low = rng.getrandbits(32)
            return low | (0xFFFFFFFF00000000 if low >> 31 else 0)
        case 4:
            return rng.getrandbits(rng.randrange(1, 65))
        case _:
            return rng.getrandbits(64)


def random_float(rng: random.Random) -> int:
    """The bits of a binary32: an awkward one, one of few bits, or any."""
    match rng.randrange(4):
        case 0:
            return rng.choice(FLOATS)
        case 1:
            return rng.choice(FLOATS) ^ (1 << rng.randrange(32))
        case 2:
            # Near 1, so that sums and products neither overflow nor vanish.
            return rng.getrandbits(1) << 31 | rng.randrange(100, 155) << 23 | rng.getrandbits(23)
        case _:
            return rng.getrandbits(32)


def random_fcsr(rng: random.Random) -> int:
    """Condition codes; now and then bits that a run never sets."""
    return rng.getrandbits(32) & (0xFE800000 if rng.random() < 0.9 else 0xFFFFFFFF)


def _with_arguments(rng: random.Random, case: MadeUpState) -> MadeUpState:
    """A system call's number and arguments that mean something to it; for a pre-image read, the pre-image too."""
    r = list(case.registers)
    r[2] = rng.choice(SYSCALLS)
    if rng.random() < 0.9:
        match r[2]:
            case 5000 | 5001:
                r[4] = rng.choice((0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 100, 7))
                r[6] = rng.choice((0, 1, 3, 7, 8, 9, 32, r[6]))
            case 5009:
                r[4] = rng.choice((0, 0, 0, r[4]))
            case 5055:
                r[4] = rng.choice((CLONE_FLAGS, CLONE_FLAGS, CLONE_FLAGS ^ 1, r[4]))
            case 5070:
                r[4], r[5] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 100)), rng.choice((1, 3, 2))
            case 5194:
                r[5] = rng.choice((128, 128, 129, 130))
            case 5222:
                r[4] = rng.choice((0, 1, 1, 2))
            case 5313:
                r[5] = rng.choice((0, 1, 5, 8, 100, r[5]))
            case 7001 | 7002:
                k = rng.choice((5, 6, 12, 40, 62, 63, rng.randrange(5, 64), rng.randrange(70)))
                r[4], r[5], r[6] = r[4] >> k << k & U64, k, r[6] & ~31
                if rng.random() < 0.1:
                    r[rng.choice((4, 5, 6))] ^= 1 << rng.randrange(64)
    case = replace(case, registers=tuple(r))
    if r[2] == 5000 and r[4] == 5:
        case = _with_preimage(rng, case)
    return case


def _with_preimage(rng: random.Random, case: MadeUpState) -> MadeUpState:
    """What the read asks for, loaded into the oracle, but for one case in ten."""
    if rng.random() < 0.1:
        return case
    if rng.random() < 0.5:
        data = rng.randbytes(rng.choice((0, 1, 7, 8, 31, 32, 33, 100)))
        offset = rng.randrange(len(data) + 8)
        key = b"\x02" + keccak256(data)[1:]
        return replace(case, preimage_key=key, preimage_offset=offset, loads=(Load("keccak", offset, data),))
    size = rng.choice((0, 1, 8, 8, 20, 32, 32))
    offset = rng.randrange(size + 8)
    ident = rng.choice((1, 2, 3, 4, 5, rng.getrandbits(256)))
    load = Load("local", offset, rng.randbytes(32), size, ident, case.context, GAME)
    return replace(case, preimage_key=b"\x01" + ident.to_bytes(32, "big")[1:], preimage_offset=offset, loads=(load,))


def _with_reservation(rng: random.Random, case: MadeUpState) -> MadeUpState:
    """A load-linked reservation, mostly at, or near, what the instruction touches."""
    if rng.random() < 0.4:
        return case
    touched = case.parts_touched()
    address = touched[0][0] if touched and rng.random() < 0.8 else random_word(rng)
    if case.is_syscall and case.registers[2] == 7001 and len(touched) == 2:
        address = rng.choice((touched[1][0], address)) + rng.getrandbits(8) & U64
    if rng.random() < 0.3:
        address ^= 1 << rng.randrange(64)
    return replace(
        case,
        reservation=rng.choice((0, 1, 1, 2, 2, 3)),
        reserved_address=address,
        reserving_thread=case.thread_id if rng.random() < 0.8 else random_word(rng),
    )


def _with_memory(rng: random.Random, case: MadeUpState) -> MadeUpState:
    """Known leaves where the instruction looks; a root that means something, for tensor_map."""
    leaves = {address >> LEAF << LEAF: rng.randbytes(32) for address, size in case.parts_touched() if size == LEAF}
    return replace(case, leaves=leaves)


def _damaged(rng: random.Random, case: MadeUpState) -> MadeUpState:
    """A flipped bit somewhere in the witness, or a proof that ends early."""
    if rng.random() < 0.3:
        return replace(case, cut=rng.randrange(6400))
    return replace(case, flips=((rng.choice(("state", "proof", "proof")), rng.getrandbits(20)),))
