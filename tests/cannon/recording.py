"""
What the OP Stack's own cannon made of our test programs, as a committed file of facts: `recorded.json`.

`record` lets a cannon do everything that is compared: the published one in `scripts/record-cannon`, ours in the tests.
A state file is compared by the SHA-256 of its content, a proof by the SHA-256 of its fields. What a step does not use
of its proof is anything in Cannon (left over from a step before) and zeros here.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tests.cannon import preimage_server
from tests.cannon.served import EVERY_TYPE, KECCAK_DATA, KECCAK_KEY, write_folder
from tests.programs.build import build_preimages

RECORDED: Final = Path(__file__).with_name("recorded.json")
GO_PROGRAM: Final = Path(__file__).parents[1] / "programs" / "go" / "threads.elf.gz"

SNAPSHOTS: Final = {"preimages": 150_001, "threads": 3_999_971}
"""A state every so many steps."""

PROOFS: Final = {"preimages": 97_003, "threads": 2_500_009}
"""A proof every so many steps; `READS` are proven besides."""

READS: Final = ("local", "keccak", "sha256", "blob", "precompile")
"""Types of pre-images; the step of the first read of each is proven."""

STOPS: Final = {
    "any": ["--stop-at-preimage-type", "any"],
    "an offset": ["--stop-at-preimage", f"0x{KECCAK_KEY.hex()}@16"],
    "a prefix": ["--stop-at-preimage", KECCAK_KEY.hex()[:6]],
    "a prefix and an offset": ["--stop-at-preimage", "02@128"],
    "the same again": ["--stop-at-preimage", f"0x{KECCAK_KEY.hex()}@0@600"],
    "the same again, further": ["--stop-at-preimage", f"0x{KECCAK_KEY.hex()}@13@600"],
    "nowhere": ["--stop-at-preimage", f"0x{KECCAK_KEY.hex()}@0@99999999"],
    "as large": ["--stop-at-preimage-larger-than", str(8 + len(KECCAK_DATA))],
    "larger": ["--stop-at-preimage-larger-than", str(8 + len(KECCAK_DATA) - 1)],
    "a large one of a type": ["--stop-at-preimage-type", "keccak", "--stop-at-preimage-larger-than", "1000"],
    "a large one with a key": ["--stop-at-preimage", "02@77", "--stop-at-preimage-larger-than", "1000"],
    "a key whatever the type": ["--stop-at-preimage", "04", "--stop-at-preimage-type", "blob"],
}
"""Where else the first program is stopped."""

OWN_FIGURES: Final = {
    *("memory_used", "instruction_cache_miss_count", "highest_icache_miss_pc"),
    *("num_preimage_requests", "total_preimage_size"),
}
"""Of --debug-info: what each implementation keeps in memory, and how often it asks for the same."""

_PROOF_PARTS: Final = (330, 330 + 1920, 330 + 2 * 1920)
"""Where a proof's parts end: thread, instruction, first and second memory access."""


def program(name: str, folder: Path) -> Path:
    """The program's ELF file, made in `folder`."""
    if name == "preimages":
        return build_preimages(folder)
    path = folder / "threads.elf"
    path.write_bytes(gzip.decompress(GO_PROGRAM.read_bytes()))
    return path


def server(folder: Path) -> list[str]:
    """The command of a pre-image server with pre-images of every type."""
    preimages = write_folder(EVERY_TYPE, folder / "preimages of every type")
    return [sys.executable, preimage_server.__file__, "honest", str(folder / "hints.log"), str(preimages)]


def described_state(path: Path) -> str:
    """What is compared of a state file."""
    return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()


def described_proof(path: Path) -> dict[str, Any]:
    """What is compared of a proof file: numbers and hashes as they are, of long fields the SHA-256, part by part."""
    content = json.loads(gzip.decompress(path.read_bytes()))
    proof = bytes.fromhex(content.pop("proof-data")[2:])
    parts = [proof[start:end] for start, end in pairwise((0, *_PROOF_PARTS, len(proof)))]
    described = {
        name: hashlib.sha256(value.encode()).hexdigest() if isinstance(value, str) and len(value) > 66 else value
        for name, value in sorted(content.items())
    }
    return described | {"proof-data": [hashlib.sha256(part).hexdigest() if any(part) else None for part in parts]}


def record(cannon: Callable[[list[str]], str], name: str, folder: Path) -> dict[str, Any]:
    """
    What a cannon makes of one program, in an empty folder.

    `cannon` runs one command in that folder, which must succeed, and answers its standard output.
    """
    elf = program(name, folder)
    tail = ["--", *server(folder)] if name == "preimages" else []

    def call(*arguments: str) -> str:
        return cannon(list(arguments))

    def witness(path: Path) -> dict[str, Any]:
        return dict(json.loads(call("witness", "--input", str(path))))

    call("load-elf", "--type", "multithreaded64-5", "--path", str(elf), "--out", "start.bin.gz", "--meta", "meta.json")
    options = ["--meta", "", "--info-at", "never"]
    patterns = ["--snapshot-at", f"%{SNAPSHOTS[name]}", "--snapshot-fmt", "s%d.bin.gz"]
    patterns += ["--proof-at", f"%{PROOFS[name]}", "--proof-fmt", "p%d.json.gz"]
    patterns += ["--debug-info", "figures.json"]
    call("run", "--input", "start.bin.gz", "--output", "final.bin.gz", *options, *patterns, *tail)
    stops: dict[str, int] = {}
    for what, stop in STOPS.items() if name == "preimages" else ():
        call("run", "--input", "start.bin.gz", "--output", "stop.bin.gz", *stop, *options, *tail)
        stops[what] = int(witness(folder / "stop.bin.gz")["step"])
    for kind in READS if name == "preimages" else ():
        # Behind the first read of this type: the step before is proven.
        stop = ["--input", "start.bin.gz", "--output", "stop.bin.gz", "--stop-at-preimage-type", kind]
        call("run", *stop, *options, *tail)
        stops[kind] = int(witness(folder / "stop.bin.gz")["step"])
        proof = ["--proof-at", f"={stops[kind] - 1}", "--proof-fmt", "p%d.json.gz", "--stop-at", f"={stops[kind]}"]
        call("run", "--input", "start.bin.gz", "--output", "stop.bin.gz", *options, *proof, *tail)

    def numbered(prefix: str) -> list[tuple[int, Path]]:
        found = folder.glob(f"{prefix}[0-9]*.*.gz")
        return sorted((int(path.name[len(prefix) :].split(".")[0]), path) for path in found)

    hints = folder / "hints.log"
    meta = json.loads((folder / "meta.json").read_text())
    figures = json.loads((folder / "figures.json").read_text())
    symbols = sorted([symbol["name"], symbol["start"], symbol["size"]] for symbol in meta["symbols"])
    return {
        "elf": hashlib.sha256(elf.read_bytes()).hexdigest(),
        "symbols": hashlib.sha256(json.dumps(symbols).encode()).hexdigest(),
        "first state": described_state(folder / "start.bin.gz"),
        "states": {str(step): [witness(path)["witnessHash"], described_state(path)] for step, path in numbered("s")},
        "proofs": {str(step): described_proof(path) for step, path in numbered("p")},
        "stops": stops,
        "final": witness(folder / "final.bin.gz"),
        "final state": described_state(folder / "final.bin.gz"),
        "figures": {name: value for name, value in figures.items() if name not in OWN_FIGURES},
        "hints": hints.read_text().split()[: len(EVERY_TYPE)] if hints.exists() else [],
    }
