"""Every kernel gives the same bits on every build of the engine, on AArch64, with two threads, and in the VM."""

from __future__ import annotations

from functools import cache

import pytest

from opml_dispute.engine.lib import candidates
from opml_dispute.model.opcodes import Opcode
from opml_dispute.model.program import Program
from opml_dispute.model.record import Record
from opml_dispute.toolchain.native import ISAS
from tests.determinism import replay
from tests.determinism.check import Differs, compare, in_vm
from tests.determinism.states import in_build, states
from tests.determinism.subjects import kernel_model, runs

KERNELS = [f"kernel:{opcode.name}" for opcode in Opcode]
SUBJECTS = ["digits", *KERNELS]


@cache
def expected(subject: str) -> list[list[str]]:
    """The states as this process makes them, with one thread."""
    return states(subject)


@cache
def found(isa: str, threads: int) -> dict[str, list[list[str]]]:
    """All subjects' states as another build makes them."""
    return in_build(isa, SUBJECTS, threads)


@cache
def emulated(subject: str) -> list[list[str]]:
    emulator = replay.find()
    assert emulator is not None
    return replay.replay(emulator, runs(subject), threads=2)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", list(ISAS["x86_64"]))
@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_build_comes_to_the_same_states(subject: str, isa: str, threads: int) -> None:
    if isa not in candidates():
        pytest.skip(f"this processor cannot run the build for {isa}")
    compare(expected(subject), found(isa, threads)[subject])


@pytest.mark.skipif(replay.find() is None, reason=replay.WHY_SKIPPED)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_aarch64_comes_to_the_same_states(subject: str) -> None:
    compare(expected(subject), emulated(subject))


@pytest.mark.parametrize("opcode", Opcode)
def test_the_vm_comes_to_the_same_states(opcode: Opcode) -> None:
    in_vm(kernel_model(opcode))


@pytest.mark.parametrize("opcode", Opcode)
def test_a_kernels_model_runs_that_kernel_and_two_threads_share_it(opcode: Opcode) -> None:
    """Otherwise the comparisons above would show nothing about it."""
    made = kernel_model(opcode).program
    assert isinstance(made, Program)
    records = [made.record(t) for t in range(made.node_count)]
    assert opcode in {record.opcode for record in records}
    # native/inference/ml.c shares what has 2 * 65,536 inner steps or more; scattering is never shared.
    work = sum((record.hi - record.lo) * _inner(record) for record in records if record.opcode is opcode)
    assert work >= 2 << 16 or opcode is Opcode.SCATTER


def _inner(record: Record) -> int:
    """Inner steps of one output element, as native/inference/ml.c counts them."""
    match record.opcode:
        case Opcode.CONTRACT:
            return record.imm[0]
        case Opcode.CONV | Opcode.POOL | Opcode.POOL_INDEX:
            taps = record.body[8] * record.body[9]
            return taps * (record.body[2] if record.opcode is Opcode.CONV else 1)
        case Opcode.REDUCE | Opcode.ARGREDUCE | Opcode.TOPK | Opcode.SCAN:
            return record.dims[-1]
        case Opcode.BLOCK_CONTRACT:
            return record.body[2]
        case Opcode.BLOCK_QUANTISE:
            return record.imm[0]
        case Opcode.BLOCK_GATHER:
            return 32
        case Opcode.TREE:
            return record.body[3] * (1 + record.body[6] + record.body[7])
        case _:
            return 1


def test_one_other_bit_is_noticed() -> None:
    """The comparison can fail."""
    right = expected("digits")
    wrong = [[*right[0][:-1], right[0][-1][:-1] + "x"]]
    with pytest.raises(Differs):
        compare(right, wrong)
    with pytest.raises(Differs):
        compare(right, [right[0][:-1]])
