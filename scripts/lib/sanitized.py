"""
The engine built to notice its own mistakes, and the environment in which Python loads it.

`sanitized_engine` takes the first compiler that can do it:

1. the system's clang or gcc with AddressSanitizer and UndefinedBehaviorSanitizer: a wrong access, a leak of bounds, a
   signed overflow or a misaligned pointer ends the process with a report of where;
2. the pinned compiler, whose package has no AddressSanitizer: undefined behaviour traps (the process ends by a signal,
   without a report), and a wrong access is noticed only where the system notices it.

The library goes into `scripts/.cache/`, never into the package: no wheel carries it. It is built again when a source,
a header or a flag changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from opml_dispute.engine.lib import candidates
from opml_dispute.toolchain.native import ENGINE_FLAGS, NATIVE, BuildFailed, engine_sources, fingerprint

CACHE = Path(__file__).resolve().parents[1] / ".cache"

_CHECKED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g1", "-O1")
_TRAPPED = ("-fsanitize=undefined", "-fno-sanitize=pointer-overflow", "-fsanitize-trap=undefined", "-O1")
"""Buffers beside the segment are addressed by offsets from it, modulo 2^64, which clang takes for an overflow."""
_DROPPED = {"-O3", "-s", "-fno-sanitize=all", "-std=c11", "-Werror"}
"""Of the engine's own flags."""


def _by_element(name: str, parameters: str, kept: str, statement: str) -> str:
    """A definition of a vector builtin: `statement` for each place i_, and `kept` is what comes out."""
    copies = "".join(f"__typeof__({one}) {name}_{one}=({one});" for one in parameters.split(","))
    places = f"for(unsigned i_=0;i_<sizeof {name}_a/sizeof {name}_a[0];i_++)"
    return f"-D__builtin_{name}({parameters})=({{{copies}{places}{{{statement}}}{kept};}})"


# The vector builtins of the fast paths that gcc and older clangs lack.
_FMA = _by_element(
    "elementwise_fma", "a,b,c", "elementwise_fma_c",
    "elementwise_fma_c[i_]=__builtin_fmaf(elementwise_fma_a[i_],elementwise_fma_b[i_],elementwise_fma_c[i_]);",
)  # fmt: skip
_BUILTINS = (
    _FMA,
    *(
        _by_element(
            name, "a,b", f"{name}_a", f"if({name}_b[i_]{sign}{name}_a[i_]){name}_a[i_]={name}_b[i_];"
        )
        for name, sign in (("elementwise_min", "<"), ("elementwise_max", ">"))
    ),
    _by_element(
        "elementwise_roundeven", "a", "elementwise_roundeven_a",
        "elementwise_roundeven_a[i_]=__builtin_roundevenf(elementwise_roundeven_a[i_]);",
    ),
    *(
        _by_element(name, "a", f"{name}_a[0]", f"{name}_a[0]{sign}={name}_a[i_];")
        for name, sign in (("reduce_and", "&"), ("reduce_or", "|"))
    ),
)  # fmt: skip
_GCC = ("-Wno-unknown-pragmas", "-Wno-misleading-indentation", *_BUILTINS)


@dataclass(frozen=True)
class Sanitized:
    """A built library and what it is."""

    library: Path
    description: str
    preload: tuple[str, ...]
    """What must be in the process before it: the sanitizer's runtime."""
    problems: tuple[str, ...] = ()
    """Why the compilers that see more could not."""

    def environment(self) -> dict[str, str]:
        """Of a Python process that loads this library in place of the package's."""
        return dict(
            os.environ,
            OPML_ENGINE_LIBRARY=str(self.library),
            LD_PRELOAD=" ".join(self.preload),
            # So that every bytes object is an allocation of its own, with forbidden ground behind it.
            PYTHONMALLOC="malloc",
            # Python frees little at its end; what the engine holds is held to account by the campaigns themselves.
            ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:handle_segv=1",
            UBSAN_OPTIONS="print_stacktrace=1",
        )


def sanitized_engine() -> Sanitized:
    """Built if it is not there yet (about a minute). Raises `BuildFailed` if no compiler can."""
    problems: list[str] = []
    for attempt in _ways():
        try:
            attempt.make()
            return Sanitized(attempt.library, attempt.description, attempt.preload(), tuple(problems))
        except BuildFailed as error:
            problems.append(str(error))
    raise BuildFailed("no compiler builds the engine with sanitizers:\n" + "\n".join(problems))


@dataclass(frozen=True)
class _Way:
    name: str
    compiler: tuple[str, ...]
    flags: tuple[str, ...]
    description: str
    runtimes: tuple[str, ...]

    @property
    def library(self) -> Path:
        return CACHE / f"libopml-{self.name}.so"

    def make(self) -> None:
        sources = engine_sources()
        stamp, inputs = self.library.with_suffix(".stamp"), fingerprint((*self.compiler, *self.flags), sources)
        if self.library.is_file() and stamp.is_file() and stamp.read_text() == inputs:
            return
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n")
        fresh = self.library.with_suffix(".fresh")
        names = [str(source.relative_to(NATIVE)) for source in sources]
        command = [*self.compiler, *self.flags, "-I.", *names, "-lm", "-o", str(fresh)]
        done = subprocess.run(command, cwd=NATIVE, capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildFailed(f"{self.name}: {done.stderr.strip()[-800:]}")
        fresh.replace(self.library)
        stamp.write_text(inputs)

    def preload(self) -> tuple[str, ...]:
        found = []
        for runtime in self.runtimes:
            asked = subprocess.run([*self.compiler, f"-print-file-name={runtime}"], capture_output=True, text=True)
            path = Path(asked.stdout.strip())
            if not path.is_absolute():
                raise BuildFailed(f"{self.name} has no {runtime}")
            found.append(str(path.resolve()))
        return tuple(found)


def _ways() -> Iterator[_Way]:
    own = tuple(flag for flag in ENGINE_FLAGS if flag not in _DROPPED)
    isa = candidates()[0]
    target = (f"-march={isa.replace('_v', '-v').replace('x86_64', 'x86-64')}",) if isa.startswith("x86_64") else ()
    words = "AddressSanitizer and UndefinedBehaviorSanitizer"
    if (clang := shutil.which("clang")) is not None:
        runtime = (f"libclang_rt.asan-{os.uname().machine}.so",)
        flags = ("-std=gnu11", *own, *target, *_CHECKED, "-fno-sanitize=pointer-overflow", _FMA, "-shared-libasan")
        yield _Way("clang", (clang,), flags, f"{words} (clang, {isa})", runtime)
    if (gcc := shutil.which("gcc")) is not None:
        flags = ("-std=gnu11", *own, *target, *_CHECKED, *_GCC)
        yield _Way("gcc", (gcc,), flags, f"{words} (gcc, {isa})", ("libasan.so", "libubsan.so"))
    zig = (sys.executable, "-m", "ziglang", "cc")
    cpu = (f"-mcpu={isa}",) if isa.startswith("x86_64") else ()
    yield _Way(
        "zig",
        zig,
        ("-std=gnu11", *own, *cpu, *_TRAPPED),
        f"UndefinedBehaviorSanitizer, trapping; NO AddressSanitizer: no clang or gcc with one here ({isa})",
        (),
    )
