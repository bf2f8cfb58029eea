"""
The engine built for AArch64, run under an emulator.

Python is not there on the other side, so `replay.c` is: linked with the engine's sources, it is given a program's
bytes, runs node after node, and answers the Merkle root of every block that a node may have changed. `replay` makes the
job from a native run, and puts the answers together to state roots. What blocks there are comes from here, what they
hold from over there.

The program has a second job, whole machines of the VM: tests/hostile/elsewhere.py.

It is a static program, so that no AArch64 system is needed, and `bare.c` is its C library: it is compiled with musl's
headers, whose library would take longer to build than the engine. Flags and sources are the engine's own.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Final, TypeAlias

import numpy as np

from opml_dispute.engine.addresses import IN_PROCESS
from opml_dispute.engine.analysis import ProgramAnalysis, size_of
from opml_dispute.engine.hashing import HASH_BYTES, hash_pair, keccak256, merkle_root
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.segment import HEADER, MODEL_LOG2, SEGMENT_LOG2, header_leaf
from opml_dispute.engine.vm import Block
from opml_dispute.primitives import RECORD_BYTES
from opml_dispute.toolchain.native import BUILD, ENGINE_FLAGS, NATIVE, BuildFailed, engine_sources, fingerprint
from tests.determinism.states import walk
from tests.determinism.subjects import Run

WHY_SKIPPED: Final = "qemu-aarch64 is not installed (Debian: apt-get install qemu-user)"

PAGE: Final = 1 << 16
"""The largest page of any AArch64 system."""

HEADER_BLOCK_LOG2: Final = 6

_TARGET: Final = ("-target", "aarch64-linux-musl")
_RENAMED: Final = tuple(f"-D{name}=replay_{name}" for name in ("mmap", "munmap", "madvise"))
_NOT_FOR_PROGRAMS: Final = frozenset({"-shared", "-fPIC", "-fvisibility=hidden"})
_HERE: Final = Path(__file__).parent
_OWN: Final = (
    *(_HERE / name for name in ("replay.c", "bare.c", "bare_bytes.c")),
    _HERE.parent / "hostile" / "elsewhere.c",
)


def find() -> str | None:
    """The emulator's path, if it is installed."""
    return shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


@cache
def build() -> Path:
    """The program for the other machine, made again when something it is made of changed. Raises `BuildFailed`."""
    target = BUILD / "replay-aarch64"
    flags = [*_TARGET, *(flag for flag in ENGINE_FLAGS if flag not in _NOT_FOR_PROGRAMS), f"-I{_HERE}", "-I."]
    stamp = target.with_suffix(".stamp")
    own_hash = keccak256(b"".join(file.read_bytes() for file in (*_OWN, _HERE / "bare.h"))).hex()
    made_of = f"{fingerprint(flags, engine_sources())} {own_hash}"
    target.parent.mkdir(parents=True, exist_ok=True)
    # Tests that run at the same time in several processes wait for one build.
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target.is_file() and stamp.is_file() and stamp.read_text() == made_of):
            _build(target, flags)
            stamp.write_text(made_of)
    return target


def _build(target: Path, flags: Sequence[str]) -> None:
    # What stands in memcpy's place must not become a call of memcpy.
    sources = [(file, _RENAMED) for file in engine_sources()] + [(file, ("-fno-builtin",)) for file in _OWN]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
        fresh = Path(folder) / target.name
        objects = [str(Path(folder) / f"{number}.o") for number in range(len(sources))]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            made = [
                pool.submit(_zig, "cc", *flags, *more, "-c", str(source), "-o", compiled)
                for (source, more), compiled in zip(sources, objects, strict=True)
            ]
            for each in made:
                each.result()
        _zig("ld.lld", "-static", *objects, "-o", str(fresh))
        fresh.replace(target)


def _zig(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ziglang", *arguments], cwd=NATIVE, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildFailed(f"could not build the replay program:\n{done.stderr.strip()}")


def replay(emulator: str, runs: Sequence[Run], threads: int = 1) -> list[list[str]]:
    """For each run what `states` answers, as the other machine makes it. Raises `CalledProcessError`."""
    inferences = [run.inference() for run in runs]
    with tempfile.TemporaryFile() as job:
        written = [_write(job, inference, threads) for inference in inferences]
        job.seek(0)
        done = subprocess.run([emulator, str(build())], stdin=job, stdout=subprocess.PIPE, check=True)
    answer = io.BytesIO(done.stdout)
    found = [_states(inference, jobs, answer) for inference, jobs in zip(inferences, written, strict=True)]
    if answer.read(1):
        raise AssertionError("the other machine says more than it was asked")
    return found


Shape: TypeAlias = tuple[int, int, int, int]
"""A block: offset, log2_size, bytes in use, bytes of a word; 0 where words of several widths lie together."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something to run, and what is asked for then."""

    run: bytes
    """As replay.c reads it."""
    live: Sequence[Shape]
    """Every block that may hold something."""
    asked: Sequence[Shape]
    """Those whose roots the other machine is asked for: what may have changed."""


def _nodes(count: int, joined_hi: int = 0) -> bytes:
    return struct.pack("<3Q", 0, count, joined_hi)


def _write(job: IO[bytes], inference: Inference, threads: int) -> list[list[Step]]:
    """Appends what replay.c reads, a job for each way to run: node by node, by the schedule, tiles in one go."""
    inference.run_to(0)
    first = next(walk(inference))
    loads = [(block.offset, size_of(block)) for block in (*inference.program.model_blocks, *first.blocks)]
    contents = [inference.memory[offset : offset + size].tobytes() for offset, size in loads]
    single = list(_node_by_node(inference))
    jobs = [single, _scheduled(inference, single[-1].live), list(_joined(inference, single[-1].live))]
    places = [(offset, size) for offset, size in loads]
    places += [(offset, 1 << log2_size) for step in single for offset, log2_size, _, _ in step.live]
    regions = _pages(places)
    for steps in jobs:
        untyped = int(not inference.is_typed)
        job.write(struct.pack("<5Q", threads, untyped, len(regions), len(loads), len(steps)))
        for region in regions:
            job.write(struct.pack("<2Q", *region))
        for load, content in zip(loads, contents, strict=True):
            job.write(struct.pack("<2Q", *load) + content)
        for step in steps:
            job.write(step.run + struct.pack("<Q", len(step.asked)))
            for shape in step.asked:
                job.write(struct.pack("<4Q", *shape))
    return jobs


def _node_by_node(inference: Inference) -> Iterator[Step]:
    """At S_0 all blocks are asked for; later HEADER's, and those that the node may have written to."""
    extents = ProgramAnalysis.of(inference.program).judged.extents
    for t, state in enumerate(walk(inference)):
        live = [(b.offset, b.log2_size, size_of(b), _word_bytes(inference, b)) for b in state.blocks]
        if t == 0:
            yield Step(_nodes(0), live, live)
        else:
            lo, hi = int(extents[t - 1, 0, 0]), int(extents[t - 1, 0, 1])
            changed = ((HEADER.offset, HEADER.offset + 32), (lo, hi))
            asked = [b for b in live if any(b[0] < end and b[0] + (1 << b[1]) > begin for begin, end in changed)]
            yield Step(_nodes(1), live, asked)


def _joined(inference: Inference, last: Sequence[Shape]) -> Iterator[Step]:
    """The tiles of an operation in one go."""
    known, count, t = ProgramAnalysis.of(inference.program), inference.program.node_count, 0
    while t < count:
        end = known.tiles_end(t)
        run = _nodes(end - t, known.range_of(end - 1)[1] if end - t > 1 else 0)
        yield Step(run, last, last if end == count else ())
        t = end


def _scheduled(inference: Inference, last: Sequence[Shape]) -> list[Step]:
    """From S_0 to S_n by the schedule, which leaves the header to us; nothing where the program has none."""
    schedule = ProgramAnalysis.of(inference.program).schedule
    if schedule is None:
        return []
    steps = schedule.steps.copy()
    for block in inference.program.model_blocks:
        # Weights that the schedule reads in this process lie in the segment over there.
        data = np.frombuffer(block.data, np.uint8)
        begin = np.uint64(IN_PROCESS | data.ctypes.data)
        inside = (steps[:, 3:] >= begin) & (steps[:, 3:] < begin + np.uint64(data.size))
        steps[:, 3:] = np.where(inside, steps[:, 3:] - begin + np.uint64(block.offset), steps[:, 3:])
    counts = (len(records) // RECORD_BYTES for records in (schedule.records, schedule.copies))
    head = (*counts, len(steps), len(schedule.clearings), schedule.workspace_bytes, schedule.buffers)
    run = struct.pack("<7Q", 1, *head) + schedule.records + schedule.copies + steps.astype("<u8").tobytes()
    run += schedule.chained + schedule.clearings.astype("<u8").tobytes()
    return [Step(run, last, [shape for shape in last if shape[0] != HEADER.offset])]


def _states(inference: Inference, jobs: Sequence[Sequence[Step]], answer: IO[bytes]) -> list[str]:
    """What `states.states` says of a run, from the roots that the other machine said of blocks."""
    single, scheduled, joined = (_roots(inference, steps, answer) for steps in jobs)
    # A program without a schedule runs whole as it runs to any state: its tiles in one go.
    return [root.hex() for root in (*single, (scheduled or joined)[-1], joined[-1])]


def _roots(inference: Inference, steps: Sequence[Step], answer: IO[bytes]) -> list[bytes]:
    """The state root after each step at which anything was asked for."""
    # Of a schedule's last state the header is not asked for: who runs one writes it.
    roots: dict[int, bytes] = {HEADER.offset: merkle_root(header_leaf(inference.program.node_count), HEADER_BLOCK_LOG2)}
    found: list[bytes] = []
    for step in steps:
        for offset, log2_size, size, word_bytes in step.asked:
            if word_bytes:
                roots[offset] = answer.read(HASH_BYTES)
            else:
                roots[offset] = merkle_root(_vm_bytes(inference, offset, answer.read(size)), log2_size)
        if step.asked:
            tree = SparseTree(SEGMENT_LOG2)
            for offset, log2_size, _, _ in step.live:
                tree.put_root(offset, log2_size, roots[offset])
            found.append(hash_pair(inference.program.model_root, tree.subtree(1 << MODEL_LOG2, MODEL_LOG2)))
    return found


def _word_bytes(inference: Inference, block: Block) -> int:
    """How the other machine is to read the block."""
    width = inference._typing.width_of(inference.memory, block.offset, size_of(block))
    return 0 if width is None else width


def _vm_bytes(inference: Inference, offset: int, data: bytes) -> bytes:
    """Bytes of the segment in host order, as VM memory holds them."""
    out = np.frombuffer(data, np.uint8).copy()
    for lo, hi, width in inference._typing._around(offset, offset + out.size):
        begin, end = max(lo - offset, 0), min(hi - offset, out.size)
        out[begin:end] = out[begin:end].view(f"=u{width}").astype(f">u{width}").view(np.uint8)
    return out.tobytes()


def _pages(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(offset, size) of whole pages that cover all places, and one behind (inference/ml.c says why); none overlap."""
    covered: list[tuple[int, int]] = []
    for offset, size in sorted(places):
        begin, end = offset // PAGE * PAGE, -(-(offset + size) // PAGE) * PAGE + PAGE
        if covered and begin <= covered[-1][1]:
            begin, end = covered[-1][0], max(end, covered.pop()[1])
        covered.append((begin, end))
    return [(begin, end - begin) for begin, end in covered]
