"""
A copy of the project in which files may be spoilt, and what its tests say about each spoilt one.

`Bench.judge` asks the quickest tests first. A Python mutant is judged by a process that is forked after the libraries
of others were imported (`_forked`), so that a verdict takes as long as the tests and not two seconds more. A Solidity
mutant is judged by Forge: first without the invariants, which take most of the time and notice few mutants more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lib.environment import ROOT
from lib.mutants import Mutant

from opml_dispute.toolchain import programs

NOTICED: Final = "noticed"
SURVIVED: Final = "survived"
NO_MUTANT: Final = ("does not compile", "same bytecode")
"""Verdicts on a change that makes no other program."""

TIMEOUT_S: Final = 600
"""A mutant may loop for ever; then it is noticed."""

FORGE_ENVIRONMENT: Final = {
    "FOUNDRY_OPTIMIZER": "false",  # compiles in a fifth of the time; sizes and gas are not what is asked
    "FOUNDRY_DYNAMIC_TEST_LINKING": "true",  # a changed contract does not recompile the tests
    "FOUNDRY_FUZZ_RUNS": "32",
    "FOUNDRY_INVARIANT_RUNS": "4",
    "FORGE_SNAPSHOT_CHECK": "false",
    "FOUNDRY_DISABLE_NIGHTLY_WARNING": "1",
}
FORGE_TESTS: Final = {"dispute": "test/{dispute,oracle}/**", "oracle": "test/oracle/**", "vm": "test/vm/**"}
PYTHON_TESTS: Final = (
    "tests/game",
    "tests/actors",
    "tests/rules/test_every_game.py",
    "tests/rules/test_adversaries.py",
)
"""What can notice a mutant of the rules or of an actor, the quickest first. Other tests of the rules are about layers,
names, and the game in memory."""

PRELOADED: Final = ("hypothesis.strategies", "hypothesis.stateful", "numpy", "pytest", "eth_abi.abi", "eth_account")
"""Libraries of others that the tests import; nothing of the project, which a mutant changes."""


class BenchFailed(Exception):
    """The tests fail without any mutant."""


class Bench:
    """A copy of the project in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("contracts/src", "contracts/test", "opml_dispute", "tests"):
            shutil.copytree(ROOT / part, folder / part, symlinks=True)
        for part in ("contracts/foundry.toml", "pyproject.toml"):
            shutil.copy(ROOT / part, folder / part)
        (folder / "contracts" / "snapshots").mkdir()
        (folder / "contracts" / "node_modules").symlink_to(ROOT / "contracts" / "node_modules")

    def prepare(self, mutants: list[Mutant]) -> None:
        """Runs without a mutant what these mutants will be judged by. Raises `BenchFailed` if a test fails."""
        for kind in sorted({kind_of(mutant.path) for mutant in mutants}):
            path = next(mutant.path for mutant in mutants if kind_of(mutant.path) == kind)
            verdict = self._pytest(path) if kind == "python" else self._forge_test(path)
            if verdict != SURVIVED:
                raise BenchFailed(f"the tests that judge {kind} fail without any mutant")
        self._bytecode()

    def judge(self, mutant: Mutant) -> str:
        """`NOTICED`, `SURVIVED`, or one of `NO_MUTANT`."""
        with self._spoilt(mutant):
            if mutant.path.suffix == ".py":
                return self._pytest(mutant.path)
            verdict = self._forge_test(mutant.path)
            if verdict != SURVIVED:
                return verdict
            spoilt = self._bytecode()
        return SURVIVED if spoilt != self._bytecode() else "same bytecode"

    @contextlib.contextmanager
    def _spoilt(self, mutant: Mutant) -> Iterator[None]:
        file = self.folder / mutant.path
        original, times = file.read_text(), file.stat()
        file.write_text(mutant.text)
        try:
            yield
        finally:
            file.write_text(original)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    # ---------------------------------------------------------------- Solidity

    def _forge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(programs.forge()), *arguments, "--root", "contracts", "--use", str(programs.solc()), "--offline"]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | FORGE_ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def _forge_test(self, path: Path) -> str:
        """The unit tests, and if they are content the invariants."""
        tests = FORGE_TESTS.get(path.parts[2], "test/**") if len(path.parts) > 2 else "test/**"
        common = ("test", "--fail-fast", "--match-path", tests, "--no-match-test", "sizes|selectors|_gas_")
        skipped = "GasTest|SizesTest|SelectorsTest"
        selections = [("--no-match-contract", f"{skipped}|Invariants")]
        if path.parts[2] != "vm":  # which has none
            selections.append(("--match-contract", "Invariants"))
        for selection in selections:
            try:
                run = self._forge(*common, *selection)
            except subprocess.TimeoutExpired:
                return NOTICED
            if "Compilation failed" in run.stderr + run.stdout or "Compiler run failed" in run.stderr + run.stdout:
                return NO_MUTANT[0]
            if run.returncode:
                return NOTICED
        return SURVIVED

    def _bytecode(self) -> list[str]:
        """What all contracts of `src` compile to: a library's code is in those that use it."""
        if not any((self.folder / "contracts" / "out").glob("*.sol")):
            return []
        if self._forge("build", "--skip", "test").returncode:
            return []
        artifacts = sorted((self.folder / "contracts" / "out").glob("*.sol/*.json"))
        own = [path for path in artifacts if "t.sol" not in str(path)]
        return [path.read_text().partition('"deployedBytecode"')[2].partition('"sourceMap"')[0] for path in own]

    # ---------------------------------------------------------------- Python

    def _pytest(self, path: Path) -> str:
        """A file's own test first: it notices most mutants, and a run stops at the first failure."""
        own = Path("tests") / path.parent.name / f"test_{path.name}"
        tests = [str(own)] if (self.folder / own).exists() else []
        options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--no-header"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # libraries that are preloaded
        return _forked(self.folder, [*options, *tests, *PYTHON_TESTS])


def kind_of(path: Path) -> str:
    """By what a file is judged: "python", or the folder of contracts."""
    return "python" if path.suffix == ".py" else path.parts[2]


def _forked(folder: Path, arguments: list[str]) -> str:
    """A run of pytest in a child that has the libraries of others already."""
    for name in PRELOADED:
        __import__(name)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _run_tests(folder, arguments)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return SURVIVED if status == 0 else NOTICED
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return NOTICED


def _run_tests(folder: Path, arguments: list[str]) -> None:
    """What the child does: the copy's tests on the copy's package. Does not return."""
    code = 1
    try:
        os.setpgrp()
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        sys.dont_write_bytecode = True  # two mutants of one second and size would share it
        os.environ["PYTEST_XDIST_WORKER"] = "mutant"  # builds nothing
        os.chdir(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("opml_dispute", "tests", "lib")]:
            del sys.modules[name]
        sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
        import pytest

        code = int(pytest.main(arguments))
        import opml_dispute

        if Path(opml_dispute.__file__).resolve().parent.parent != folder.resolve():
            code = 99  # not the copy: would be noticed by `prepare`
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
