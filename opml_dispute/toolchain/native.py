"""
The build of the native library and the guest with the pinned compiler from PyPI (ziglang: clang and lld).

`build_engine` compiles every C file of `ENGINE_FOLDERS` into one shared library for each instruction set of this
machine's architecture (`ISAS`); `engine/lib.py` loads the best one that the processor has. `build_guest` compiles the
guest; its bytes depend on the sources and the compiler alone, never on the machine. Both write a stamp, the hash of all
their inputs, and do nothing if it is unchanged; a build is kept in the user's cache under that hash, so that another
checkout with the same sources need not compile it again.

    python -m opml_dispute.toolchain.native          # what a checkout needs
    python -m opml_dispute.toolchain.native --force  # from scratch

Standard library only: this runs inside the package's own build, before its dependencies are installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from opml_dispute.errors import OpmlError
from opml_dispute.toolchain.guest_flags import GUEST_FLAGS, GUEST_SOURCES
from opml_dispute.toolchain.programs import cache_dir

NATIVE = Path(__file__).resolve().parents[1] / "native"
BUILD = NATIVE.parent / "_build"
COMPILER = "0.17.1"

ENGINE_FLAGS = (
    *("-std=c11", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-s"),
    # The bits of the result: the compiler must not fuse, reassociate or flush to zero.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing", "-fno-sanitize=all"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-psabi"),
)

ISAS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "x86_64": ("-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64"),
        "x86_64_v3": ("-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64_v3"),
        "x86_64_v4": ("-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64_v4", "-mprefer-vector-width=512"),
    },
    "aarch64": {"aarch64": ("-target", "aarch64-linux-gnu.2.17")},
}
"""For each architecture the libraries to build: name -> target flags."""


class BuildFailed(OpmlError):
    """The compiler refused the sources, or is missing."""

    hint = "pip install ziglang==" + COMPILER + ", then run: python -m opml_dispute.toolchain.native"


def engine_path(isa: str) -> Path:
    """The path of the engine for `isa` once it is built."""
    return BUILD / f"libopml-{isa}.so"


def guest_path() -> Path:
    """The path of the guest's ELF file once it is built."""
    return BUILD / "guest.elf"


ENGINE_FOLDERS = ("", "memory", "vm", "program", "kernels", "fast", "inference", "jit")
"""The folders of `native/` whose C files make the engine; `guest/` belongs to the guest."""


def engine_sources() -> list[Path]:
    """Every C file of the engine, in a fixed order."""
    return [file for folder in ENGINE_FOLDERS for file in sorted((NATIVE / folder).glob("*.c"))]


def build_engine(isas: Sequence[str] | None = None, *, force: bool = False) -> list[Path]:
    """
    Build the engine for each of `isas` (default: all of this machine's architecture) and answer the paths.

    Raises `BuildFailed` with the compiler's message, or if the architecture is unknown.
    """
    known = {isa: flags for family in ISAS.values() for isa, flags in family.items()}
    machine = platform.machine()
    if isas is None:
        if machine not in ISAS:
            raise BuildFailed(f"no engine for machine {machine!r}; known: {', '.join(ISAS)}")
        isas = list(ISAS[machine])
    sources = engine_sources()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        jobs = [
            pool.submit(_make, engine_path(isa), [*known[isa], *ENGINE_FLAGS], sources, ["-lm"], force) for isa in isas
        ]
        return [job.result() for job in jobs]


def build_guest(*, force: bool = False) -> Path:
    """Build the guest, with the same bytes on every machine. Raises `BuildFailed`."""
    sources = [NATIVE / name for name in GUEST_SOURCES]
    return _make(guest_path(), list(GUEST_FLAGS), sources, [], force)


def _make(target: Path, flags: list[str], sources: list[Path], libraries: list[str], force: bool) -> Path:
    stamp = target.with_suffix(target.suffix + ".stamp")
    inputs = fingerprint(flags, sources)
    if not force and target.is_file() and stamp.is_file() and stamp.read_text() == inputs:
        return target
    # A build of another checkout with the same sources is reused.
    kept = cache_dir() / "built" / f"{inputs}-{target.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
        fresh = Path(folder) / target.name
        if not force and kept.is_file():
            shutil.copyfile(kept, fresh)
        else:
            _compile(fresh, flags, sources, libraries)
            _keep(fresh, kept)
        fresh.chmod(0o755)
        fresh.replace(target)
    stamp.write_text(inputs)
    return target


def _compile(output: Path, flags: list[str], sources: list[Path], libraries: list[str]) -> None:
    # Source names are relative to a fixed folder, so that no path of this machine gets into the output.
    names = [str(source.relative_to(NATIVE)) for source in sources]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-I.", *names, *libraries, "-o", str(output)]
    done = subprocess.run(command, cwd=NATIVE, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildFailed(f"could not build {output.name}:\n{done.stderr.strip()}")


def _keep(built: Path, kept: Path) -> None:
    """Copy a build into the user's cache, completely or not at all; an unwritable cache is ignored."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            copy = Path(folder) / kept.name
            shutil.copyfile(built, copy)
            copy.replace(kept)
    except OSError:
        return


def fingerprint(flags: Sequence[str], sources: Sequence[Path]) -> str:
    """The hash of a build's inputs: compiler, flags, sources, and every header."""
    digest = hashlib.sha256("\0".join([COMPILER, *flags]).encode())
    headers = sorted(file for file in NATIVE.rglob("*") if file.suffix in {".h", ".ld", ".inc"})
    for file in [*sources, *headers]:
        digest.update(str(file.relative_to(NATIVE)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Build what a checkout needs."""
    parser = argparse.ArgumentParser(description="Build the native library and the guest.")
    parser.add_argument("--force", action="store_true", help="build even if up to date")
    parser.add_argument("--isa", action="append", help="build only this engine (default: all of this machine's)")
    arguments = parser.parse_args()
    try:
        for path in [*build_engine(arguments.isa, force=arguments.force), build_guest(force=arguments.force)]:
            print(path)
    except OpmlError as error:
        sys.exit(f"error: {error}\nhint: {error.hint}")


if __name__ == "__main__":
    main()
