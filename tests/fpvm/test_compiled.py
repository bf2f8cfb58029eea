"""
Compiled code: the same states as the interpreter's at any step, and nothing of it where it is off or not allowed.

`tests/hostile/compiled.py` is the fuzzer that holds both together on made-up programs; here are whole programs, and
what a made-up one would seldom meet.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from opml_dispute.engine.execution import BadExecution, Compiled, Execution, default_execution
from opml_dispute.engine.vm import Machine, StopKind
from opml_dispute.fpvm.statefile import load_state, save_state
from tests.fpvm.program import A0, A1, A2, DATA, NOP, START, SYSCALL, V0, beq, daddiu, immediate, machine, sd, special
from tests.programs.build import build_elf

GO = Path(__file__).resolve().parents[1] / "programs" / "go" / "threads.elf.gz"
STEP_LIMIT = 50_000_000
COLD_STEPS = 1 << 22
"""`COLD_STEPS` of native/jit/jit.c."""

END = 1 << 64
"""Of the address space."""
SB, SH, SW, SDL, SDR, SD = 0x28, 0x29, 0x2B, 0x2C, 0x2D, 0x3F


def countdown(rounds: int) -> Machine:
    """A machine before a loop of four instructions that is run `rounds` times, in which a word of memory counts too."""
    loop = [daddiu(4, 4, -1), daddiu(5, 5, 3), immediate(0x05, 0, 4, -3), sd(5, 6, 0), *[NOP] * 20]
    return machine(loop, {4: rounds, 6: 0x20000})


def programs(folder: Path) -> list[tuple[str, bytes, bool]]:
    """(name, ELF file, ML extension)."""
    names = ("integer", "memory", "recursion", "unaligned", "syscalls", "float", "fused")
    built = [(name, build_elf(name, folder).read_bytes(), name in {"float", "fused"}) for name in names]
    return [*built, ("Go threads", gzip.decompress(GO.read_bytes()), False)]


def test_whole_programs_pass_through_the_same_states(tmp_path: Path) -> None:
    """At the end, and at random steps on the way, whatever the run was cut into."""
    random = Random(5)
    for name, elf, ml in programs(tmp_path):
        interpreted = Machine.from_elf(elf, ml=ml, execution=Execution.INTERPRETED)
        compiled = Machine.from_elf(elf, ml=ml, execution=Execution.COMPILED_AT_ONCE)
        cut = Machine.from_elf(elf, ml=ml, execution=Execution.COMPILED_AT_ONCE)
        end = interpreted.fork()
        assert end.run(STEP_LIMIT).kind is StopKind.EXITED, name
        at = 0
        for step in sorted(random.randrange(end.step) for _ in range(3)):
            interpreted.run(step - at)
            compiled.run(step - at)
            at = step
            assert compiled.step == interpreted.step == step, name
            assert compiled.state_hash() == interpreted.state_hash(), (name, step)
        compiled.run(STEP_LIMIT)
        assert compiled.state_hash() == end.state_hash(), name
        while not cut.exited:  # every piece from another fork or file, never at a block's end
            cut.run(end.step // 3 + 1)
            cut = cut.fork() if random.random() < 0.5 else load_state(save_state(cut))
        assert (cut.step, cut.state_hash()) == (end.step, end.state_hash()), name


def test_only_what_runs_long_is_compiled() -> None:
    short = countdown(1000)
    short.run(10_000)
    assert short.compiled() == Compiled(possible=True, entries=0, code_bytes=0, drops=0)
    long = countdown(COLD_STEPS)
    long.run(2 * COLD_STEPS)
    assert long.compiled().entries > 0
    assert long.compiled().drops == 0


def test_a_limit_of_steps_is_met_exactly_inside_of_compiled_code() -> None:
    compiled, interpreted = countdown(1 << 30), countdown(1 << 30)
    compiled.execute(Execution.COMPILED_AT_ONCE)
    interpreted.execute(Execution.INTERPRETED)
    for steps in (1, 2, 3, 4, 5, 6, 7, 99_990, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 100_003, 300_001):
        assert compiled.run(steps).steps == interpreted.run(steps).steps == steps
        assert compiled.state_hash() == interpreted.state_hash()
    assert compiled.compiled().entries > 0


def jr(register: int) -> int:
    return special(0x08, rs=register)


def both_ways(made: Callable[[], Machine]) -> list[Machine]:
    """The same machine interpreted, compiled at once, and compiled as in real runs."""
    machines = [made() for _ in range(3)]
    for at, execution in zip(
        machines, (Execution.INTERPRETED, Execution.COMPILED_AT_ONCE, Execution.COMPILED_EARLY), strict=True
    ):
        at.execute(execution)
    return machines


def run_alike(machines: Sequence[Machine], *pieces: int) -> None:
    """Runs them piece by piece; they stop alike, in the same states."""
    for steps in pieces:
        stops = [at.run(steps) for at in machines]
        hashes = [at.state_hash() for at in machines]
        assert stops == stops[:1] * len(stops)
        assert hashes == hashes[:1] * len(hashes), steps


def test_a_program_that_changes_its_own_loop_runs_the_changed_one() -> None:
    """The loop's first word, daddiu r5, r5, 1, is stored over by itself with another constant each time round."""
    word = daddiu(5, 5, 1)
    loop = [word, immediate(SW, 7, 6, 0), daddiu(7, 7, 1), beq(0, 0, -4), NOP, *[NOP] * 10]
    machines = both_ways(lambda: machine(loop, {5: 0, 6: START, 7: word}))
    run_alike(machines, 2_000)
    for compiled in machines[1:]:
        assert compiled.compiled().drops > 10
        assert not compiled.compiled().possible  # so often that it is better interpreted


@pytest.mark.parametrize(
    ("store", "offset"),
    [
        (SB, -1),
        (SB, -3),
        (SH, -2),
        (SW, -4),
        (SD, -8),
        (SDL, -8),
        (SDL, -4),
        (SDR, -1),
        (SDR, -5),
        (0x2A, -4),
        (0x2E, -1),
    ],
)
def test_code_in_the_last_word_of_the_address_space_is_met_as_it_is_stored(store: int, offset: int) -> None:
    """The last word is daddiu r5, r5, 1 in the delay slot of a jump back; a loop elsewhere stores over it."""
    last = [jr(9), daddiu(5, 5, 1)]
    loop = [immediate(store, 7, 0, offset), daddiu(7, 7, 3), jr(8), NOP]

    def made() -> Machine:
        at = machine(loop, {7: jr(9) << 32 | daddiu(5, 5, 7), 8: END - 8, 9: START})
        at.write(END - 8, b"".join(word.to_bytes(4, "big") for word in last))
        return at

    run_alike(both_ways(made), 61, 500)


def test_a_chain_of_regions_breaks_where_one_changes_another() -> None:
    """A hot loop through two pages; after 1000 rounds the first one's store reaches the second one, then itself."""
    far = START + 0x3000
    second = [daddiu(5, 5, 1), jr(9), daddiu(6, 6, 2)]
    # r10 walks down, page by page, to the word at `far`, where r7, daddiu r5, r5, 100, replaces the first instruction.
    first = [immediate(SW, 7, 10, 0), daddiu(10, 10, -4096), jr(8), daddiu(4, 4, 1)]

    def made() -> Machine:
        at = machine(first, {7: daddiu(5, 5, 100), 8: far, 9: START, 10: far + 4096 * 1000})
        at.write(far, b"".join(word.to_bytes(4, "big") for word in second))
        return at

    machines = both_ways(made)
    run_alike(machines, 6_990, 3, 4, 5, 30_000)
    for compiled in machines[1:]:
        assert compiled.compiled().drops >= 1
    assert machines[0].registers()[5] > 100 * 1000


def changes_of_code() -> dict[str, list[int]]:
    """
    Ways to change the first words at r8, which hold daddiu r19, r19, 1 and jr r9, as instructions.

    r7 holds those two words with another constant, r16 and r17 the addresses of 32 bytes each that begin with them.
    """
    lwc1, swc1, ori = (immediate(0x31, 1, 16, 0), immediate(0x39, 1, 8, 0), 0x0D)
    low_byte, one = (daddiu(A0, 8, 3), daddiu(A1, 0, 1))
    child = [daddiu(V0, 0, 5055), immediate(0x0F, A0, 0, 5), immediate(ori, A0, A0, 0x0F00), daddiu(A1, 29, 0), SYSCALL]
    return {
        "sc": [immediate(0x30, 12, 8, 0), daddiu(12, 12, 1), immediate(0x38, 12, 8, 0)],
        "scd": [immediate(0x34, 12, 8, 0), daddiu(12, 7, 0), immediate(0x3C, 12, 8, 0)],
        "swc1": [lwc1, swc1],
        "swxc1": [lwc1, 0x13 << 26 | 8 << 21 | 1 << 11 | 0x08],
        "read": [daddiu(V0, 0, 5000), daddiu(A0, 0, 5), daddiu(A1, 8, 3), daddiu(A2, 0, 1), SYSCALL],
        "getrandom": [daddiu(V0, 0, 5313), low_byte, one, SYSCALL],
        "clock_gettime": [daddiu(V0, 0, 5222), daddiu(A0, 0, 1), daddiu(A1, 8, -8), SYSCALL],
        "tensor_map": [daddiu(V0, 0, 7001), daddiu(A0, 8, 0), one, daddiu(A1, 0, 5), daddiu(A2, 16, 0), SYSCALL],
        "tensor_root": [daddiu(V0, 0, 7002), daddiu(A0, 17, 0), daddiu(A1, 0, 5), daddiu(A2, 8, 0), SYSCALL],
        "another thread": [*child, immediate(0x05, 0, V0, 3), NOP, sd(7, 8), beq(0, 0, -1), NOP],
    }


@pytest.mark.parametrize("way", changes_of_code())
def test_code_that_is_changed_while_it_is_hot_is_met_whatever_changes_it(way: str) -> None:
    """A loop through two pages, hot for 300 rounds; then the first one changes the second one, once."""
    change, far = changes_of_code()[way], START + 0x3000
    first = [daddiu(11, 11, -1), immediate(0x05, 0, 11, len(change) + 1), NOP, *change, jr(8), daddiu(18, 18, 1)]
    second = [daddiu(19, 19, 1), jr(9), daddiu(20, 20, 2)]
    changed = [daddiu(19, 19, 100), *second[1:]]

    def made() -> Machine:
        both = changed[0] << 32 | changed[1]
        at = machine(first, {7: both, 8: far, 9: START, 11: 300, 16: DATA, 17: DATA + 32})
        for address, words in ((far, second), (DATA, changed), (DATA + 32, changed)):
            at.write(address, b"".join(word.to_bytes(4, "big") for word in words))
        at.add_preimage(bytes(32), bytes([7]))
        return at

    machines = both_ways(made)
    run_alike(machines, 299 * 8)
    hot = machines[0].fork()
    run_alike(machines, 1, 20, 1_000, 500_000)
    assert machines[0].read(far, 4) != hot.read(far, 4)
    for compiled in machines[1:]:
        assert compiled.compiled().drops >= 1


def test_a_jump_into_a_delay_slot_runs_it_alone_and_goes_on_behind_it() -> None:
    """By a register and by a branch: the slot's instruction is a block of its own, inside of another."""
    # START: a loop whose branch's slot (word 3) is also the target of jr r8 (word 6) and of a branch (word 9).
    code = [
        daddiu(4, 4, 1),
        daddiu(5, 5, 3),
        immediate(0x05, 0, 11, 3),  # bne r11, r0, to word 6
        daddiu(11, 11, -1),
        immediate(0x04, 0, 0, 3),  # beq r0, r0, to word 8
        daddiu(12, 12, 1),
        jr(8),
        daddiu(6, 6, 1),
        immediate(0x07, 0, 12, -6),  # bgtz r12, to word 3
        daddiu(11, 11, 4),
    ]
    run_alike(both_ways(lambda: machine(code, {8: START + 12, 11: 5})), *range(1, 60), 10_000)


@pytest.mark.parametrize("wide", [False, True])
def test_a_store_of_another_thread_takes_a_reservation_away_in_compiled_code(*, wide: bool) -> None:
    """Two threads count in one word by ll and sc, a third stores to it; quanta end at every place of the loop."""
    ll, sc = (0x34, 0x3C) if wide else (0x30, 0x38)
    clone = [daddiu(V0, 0, 5055), immediate(0x0F, A0, 0, 5), immediate(0x0D, A0, A0, 0x0F00), SYSCALL]
    # A thread that was cloned first (r2 is 0) stores, the others count.
    store = [immediate(SD, 13, 6, 0), beq(0, 0, -2), daddiu(13, 13, 1)]
    count = [
        immediate(ll, 9, 6, 0),
        daddiu(9, 9, 1),
        immediate(sc, 9, 6, 0),
        daddiu(10, 10, 1),
        special(0x2D, rd=14, rs=14, rt=9),
        beq(0, 0, -6),
        NOP,
    ]
    code = [*clone, immediate(0x05, 0, V0, len(store) + 1), NOP, *store, *clone, *count]

    machines = both_ways(lambda: machine(code, {A1: 0x5000_0000, 6: 0x20000}))
    run_alike(machines, 99_999, 3, 99_998, 1, 1, 1, 400_000, 100_003, 1_000_001)
    assert machines[0].thread_counts() != (1, 0)


def test_the_longest_code_there_is_fits_a_region() -> None:
    """As many stores of parts of a word as a region has instructions: nothing is translated to more bytes."""
    block = [*[immediate(SDL, 7, 6, 1)] * 61, immediate(0x05, 0, 11, 1), immediate(SDR, 7, 6, 9)]
    at = machine([*block * 64, NOP, NOP], {6: 0x20000})
    at.execute(Execution.COMPILED_AT_ONCE)
    at.run(4000)
    assert at.compiled().entries > 0


def test_code_that_is_written_from_outside_is_met() -> None:
    at = countdown(1 << 40)
    at.execute(Execution.COMPILED_AT_ONCE)
    at.run(1000)
    fork = at.fork()
    at.write(START + 4, daddiu(5, 5, 100).to_bytes(4, "big"))
    before = at.registers()[5]
    at.run(400)
    fork.run(400)
    assert at.registers()[5] - before == 100 * 100
    assert fork.registers()[5] - before == 100 * 3
    assert at.compiled().drops == 1


def test_a_register_0_that_is_not_zero_reads_as_it_stands() -> None:
    at = machine([special(0x2D, rd=5, rs=5, rt=0), beq(2, 2, -2), NOP], {0: 7})
    at.execute(Execution.COMPILED_AT_ONCE)
    at.run(3000)
    assert at.registers()[5] == 7 * 1000


def test_threads_change_places_at_the_same_step() -> None:
    clone = [daddiu(V0, 0, 5055), immediate(0x0F, A0, 0, 5), immediate(0x0D, A0, A0, 0x0F00), 0x0C]
    loop = [daddiu(8, 8, 1), beq(0, 0, -2), daddiu(9, 9, 1)]
    machines = [machine([*clone, *loop], {A1: 0x5000_0000}, ml=False) for _ in range(2)]
    machines[0].execute(Execution.INTERPRETED)
    machines[1].execute(Execution.COMPILED_AT_ONCE)
    for steps in (99_999, 1, 1, 1, 99_999, 2, 450_000):
        for at in machines:
            at.run(steps)
        assert machines[0].witness() == machines[1].witness()
    assert machines[0].scalars.slice == machines[1].scalars.slice


def test_the_environment_says_how_machines_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, execution in (("0", Execution.INTERPRETED), ("1", Execution.COMPILED), ("", Execution.COMPILED)):
        monkeypatch.setenv("OPML_JIT", word)
        assert Machine(ml=True).execution is default_execution() is execution
    monkeypatch.setenv("OPML_JIT", "yes")
    with pytest.raises(BadExecution, match="OPML_JIT is 'yes'") as caught:
        Machine(ml=True)
    assert "unset OPML_JIT" in (caught.value.hint or "")
    assert Machine(ml=True, execution=Execution.INTERPRETED).fork().execution is Execution.INTERPRETED


def test_no_memory_is_writable_and_executable() -> None:
    def mappings() -> set[tuple[str, str]]:
        """(addresses, protection) of what can be executed."""
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        return {(words[0], words[1]) for words in lines if "x" in words[1]}

    before = mappings()  # Python's own may be both
    at = countdown(1 << 40)
    at.execute(Execution.COMPILED_AT_ONCE)
    at.run(100_000)
    assert at.compiled().entries > 0
    new = mappings() - before
    assert new
    assert not [protection for _, protection in new if "w" in protection]


_WITHOUT_EXECUTABLE = """
import ctypes, sys
from opml_dispute.engine.vm import Execution, Machine
at = Machine(ml=True, execution=Execution.COMPILED_AT_ONCE)
at.write(0, bytes.fromhex("6484000164a50003" "1000fffd" "00000000"))
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(77)
at.run(4000)
assert at.registers()[4:6] == (1000, 3000), at.registers()
assert not at.compiled().possible
"""


def test_where_the_system_forbids_it_the_interpreter_goes_on_alone() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT_EXECUTABLE], capture_output=True, text=True, env=os.environ)
    if done.returncode == 77:
        pytest.skip("this kernel cannot refuse executable memory to a process: Linux can since 6.3")
    assert done.returncode == 0, done.stderr
