"""
A copy of the project in which files may be spoilt, and what its tests say about each spoilt one.

A Python mutant is put into a process that has collected the tests (`warm_pytest`), and judged by the quick tests
first, those of its own file before; one that changes what an import computes gets such a process of its own. A
Solidity mutant is compiled by a compiler that keeps running (`warm_solc`), at first only as what the tests deploy
(`spoilt_artifacts`), then with the tests that take it in, and judged by Forge: by few runs of the quick contracts of
tests, then by all of them, then by the invariants. One of the verifier is held
against the engine and against vectors before (`spoilt_verifier`), since Forge's tests of it are about a step as a
whole; one of the pre-image oracle, which has tests of its own, afterwards.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from lib.environment import ROOT
from lib.mutants import Mutant
from lib.spoilt_artifacts import ForgeArtifacts
from lib.spoilt_verifier import AGREEMENT, put_verifier
from lib.warm_pytest import FAILED, NOT_HERE, PASSED, WarmPytest
from lib.warm_solc import WarmSolc

from opml_dispute.toolchain import programs
from opml_dispute.toolchain.solidity import CompileError

NOTICED: Final = "noticed"
SURVIVED: Final = "survived"
NO_MUTANT: Final = ("does not compile", "same bytecode")
"""Verdicts on a change that makes no other program."""

TIMEOUT_S: Final = 600
"""A mutant may wait for ever; then it is noticed."""

FORGE_ENVIRONMENT: Final = {
    "FOUNDRY_OPTIMIZER": "false",  # compiles in a fifth of the time; sizes and gas are not what is asked
    "FOUNDRY_DYNAMIC_TEST_LINKING": "true",  # a changed contract does not recompile the tests
    "FOUNDRY_GAS_LIMIT": str(20 * 10**9),  # what is not optimized takes more than the project's limit; loops end
    "FOUNDRY_DENY": "never",  # a variable that a mutant leaves unused is no error of the mutant's
    "FOUNDRY_FUZZ_RUNS": "32",
    "FOUNDRY_INVARIANT_RUNS": "4",
    "FORGE_SNAPSHOT_CHECK": "false",
    "FOUNDRY_DISABLE_NIGHTLY_WARNING": "1",
}
FORGE_TESTS: Final = {
    "dispute": "test/{dispute,oracle}/**",
    "oracle": "test/oracle/**",
    "vm": "test/vm/**",
    "preimages": "test/vm/{preimages/*,PreimageOracle.t.sol}",
}
ALL_FORGE_TESTS: Final = "test/**"
PYTHON_TESTS: Final = (
    "tests/game",
    "tests/actors",
    "tests/rules/test_every_game.py",
    "tests/rules/test_adversaries.py",
)
"""What can notice a mutant of the rules or of an actor. Other tests of the rules are about layers, names, and the game
in memory."""
PYTEST_ARGUMENTS: Final = ("-x", "-q", "-m", "not slow", "--no-header")
SLOW_SHARE: Final = 0.04
"""A contract of tests that takes more than this share of the time of all is asked late. A share, since Forge tells the
time that has passed, which grows with whatever else the machine does."""
FEW_RUNS: Final = {"FOUNDRY_FUZZ_RUNS": "4"}
"""For the first look: most mutants are noticed by the first runs of a fuzz test, or by a test of one case."""
_SUITE: Final = re.compile(
    r"^Ran \d+ tests? for \S+:(\w+)$(?:\n(?!Ran ).*)*?\(([\d.]+)(s|ms|µs) CPU time\)", re.MULTILINE
)
LINKED: Final = {
    "FOUNDRY_DYNAMIC_TEST_LINKING": "false",
    "FOUNDRY_OUT": "linked",
    "FOUNDRY_CACHE_PATH": "linked-cache",
    **FEW_RUNS,
}
"""Whether a constructor refuses is not seen by a test that deploys through a cheat code: `expectRevert` passes."""
_FAILED_IN: Final = re.compile(r"^Ran \d+ tests? for (\S+):\w+$(?:\n(?!Ran ).*)*?\n\[FAIL", re.MULTILINE)
LIKELY_FILES: Final = 2
"""So many files of tests that noticed most of a file's mutants are asked about the next one first."""
Look: TypeAlias = tuple[tuple[str, ...], dict[str, str]]
"""Arguments of `forge test`, and what the environment says besides."""
_WITHOUT: Final = "GasTest|SizesTest|SelectorsTest"


class BenchFailed(Exception):
    """The tests fail without any mutant."""


class Bench:
    """A copy of the project in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("contracts/src", "contracts/test", "contracts/snapshots", "opml_dispute", "tests"):
            shutil.copytree(ROOT / part, folder / part, symlinks=True)
        for part in ("contracts/foundry.toml", "pyproject.toml"):
            shutil.copy(ROOT / part, folder / part)
        (folder / "contracts" / "node_modules").symlink_to(ROOT / "contracts" / "node_modules")
        self._slow_suites: dict[str, set[str]] = {}
        self._noticed_by: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._refusal = ""
        self._pytest: WarmPytest | None = None
        self._agreement: WarmPytest | None = None
        self._solc: WarmSolc | None = None
        self._artifacts = ForgeArtifacts(folder)

    def copied(self, folder: Path) -> Bench:
        """Another one, for work at the same time, with what is compiled here."""
        other = object.__new__(Bench)
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("solc*"))
        other.folder, other._slow_suites, other._refusal = folder, self._slow_suites, ""
        other._noticed_by = defaultdict(Counter)
        other._pytest = other._agreement = other._solc = None
        other._artifacts = ForgeArtifacts(folder)
        return other

    def prepare(self, kinds: set[str]) -> None:
        """
        Runs without a mutant what mutants of these kinds (`kind_of`) will be judged by, and keeps processes running.
        What is `copied` from here is prepared as well.

        Raises `BenchFailed` if a test fails.
        """
        for kind in sorted(kinds):
            if any(judge() != SURVIVED for judge in self._judges(kind)):
                raise BenchFailed(f"the tests that judge {kind} fail without any mutant:\n{self._refusal}")
        if kinds - {"python", "vm"} and (other := self._artifacts.unlike_compiled(self._warm_solc())):
            raise BenchFailed(f"Forge compiles {', '.join(other)} to other bytecode than the compiler alone")

    def judge(self, mutant: Mutant) -> str:
        """`NOTICED`, `SURVIVED`, or one of `NO_MUTANT`."""
        if mutant.path.suffix == ".py":
            verdict = self._warm_verdict(mutant)
            if verdict is not None:
                return verdict
        elif (verdict := self._deployed_verdict(mutant.path, mutant.text)) != SURVIVED:
            return verdict
        with self._spoilt(mutant):
            if mutant.path.suffix == ".py":
                return self._fresh_verdict(mutant.path)
            for judge in self._judges(kind_of(mutant.path), str(mutant.path)):
                if (verdict := judge()) != SURVIVED:
                    return verdict
            spoilt = self._bytecode()
        return SURVIVED if spoilt != self._bytecode() else "same bytecode"

    def _judges(self, kind: str, changed: str = "") -> list[Callable[[], str]]:
        """What answers about the copy as it is, in which this file is changed, one after the other."""
        if kind == "python":
            return [self._python_as_it_is]
        forge: Callable[[], str] = partial(self._forge_test, kind, changed)
        agreement = partial(self._agreement_verdict, changed)
        if kind == "vm":
            return [agreement, forge]
        return [forge, agreement] if kind == "preimages" else [forge]

    def close(self) -> None:
        """Ends what keeps running."""
        for running in (self._pytest, self._agreement, self._solc):
            if running is not None:
                running.close()

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

    def _forge(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        solc = str(self._warm_solc())
        command = [str(programs.forge()), *arguments, "--root", "contracts", "--use", solc, "--offline"]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | FORGE_ENVIRONMENT | environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def _warm_solc(self) -> Path:
        if self._solc is None:
            self._solc = WarmSolc(self.folder)
        self._solc.keep_running()
        return self._solc.path

    def _agreement_verdict(self, changed: str) -> str:
        """By the tests that hold the verifier against the engine."""
        if self._agreement is not None and not changed:
            return SURVIVED  # as it was for another kind
        try:
            put_verifier(self.folder, self._warm_solc())
        except CompileError:
            return NO_MUTANT[0]
        if self._agreement is None:
            self._agreement = WarmPytest(self.folder, "agreement", (*PYTEST_ARGUMENTS, *AGREEMENT))
        answer = self._agreement.ask(None, about=changed, timeout_s=TIMEOUT_S)
        if answer != PASSED:
            self._refusal = self._agreement.last_words()
        return SURVIVED if answer == PASSED else NOTICED

    def _quick_looks(self, kind: str, changed: str) -> Iterator[Look]:
        """What noticed other mutants of this file, which compiles little else; the quick contracts of tests."""
        late = f"{_WITHOUT}|Invariants"
        if likely := [file for file, _ in self._noticed_by[changed].most_common(LIKELY_FILES)]:
            path = likely[0] if len(likely) == 1 else f"{{{','.join(likely)}}}"
            yield ("--match-path", path, "--no-match-contract", late), FEW_RUNS
        if slow := self._slow_suites.get(kind):
            quick = (
                "--match-path",
                FORGE_TESTS.get(kind, ALL_FORGE_TESTS),
                "--no-match-contract",
                "|".join([late, *sorted(slow)]),
            )
            yield quick, FEW_RUNS

    def _thorough_looks(self, kind: str) -> Iterator[Look]:
        """All contracts of tests; the invariants; at last all once more with what they deploy inside."""
        tests, late = ("--match-path", FORGE_TESTS.get(kind, ALL_FORGE_TESTS)), f"{_WITHOUT}|Invariants"
        yield (*tests, "--no-match-contract", late), {}
        if kind in ("dispute", "oracle"):  # the others have none
            yield (*tests, "--match-contract", "Invariants"), {}
        yield (*tests, "--no-match-contract", late), LINKED

    def _deployed_verdict(self, changed: Path, text: str) -> str:
        """By the quick tests and what Forge's tests deploy, none of which is compiled again."""
        kind = kind_of(changed)
        if kind == "vm":
            return SURVIVED  # the engine's tests deploy it as well, and notice more
        try:
            with self._artifacts.spoilt(changed, text, self._warm_solc()) as differs:
                return self._first_failure(kind, str(changed), self._quick_looks(kind, str(changed)) if differs else ())
        except CompileError:
            return NO_MUTANT[0]

    def _forge_test(self, kind: str, changed: str) -> str:
        """By everything that Forge is asked."""
        looks = chain(self._quick_looks(kind, changed), self._thorough_looks(kind))
        return self._first_failure(kind, changed, looks)

    def _first_failure(self, kind: str, changed: str, looks: Iterable[Look]) -> str:
        """What the first of these looks says that is not `SURVIVED`."""
        for selection, environment in looks:
            try:
                run = self._forge("test", "--fail-fast", "--no-match-test", "test_sizes", *selection, **environment)
            except subprocess.TimeoutExpired:
                return NOTICED
            if "Compilation failed" in run.stderr + run.stdout or "Compiler run failed" in run.stderr + run.stdout:
                return NO_MUTANT[0]
            if run.returncode:
                self._refusal = "\n".join([line for line in run.stdout.splitlines() if line.startswith("[FAIL")])
                self._noticed_by[changed].update(set(_FAILED_IN.findall(run.stdout)))
                return NOTICED
            self._note_slow_suites(kind, run.stdout)
        return SURVIVED

    def _note_slow_suites(self, kind: str, told: str) -> None:
        if kind in self._slow_suites:
            return
        units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
        took = {name: float(number) * units[unit] for name, number, unit in _SUITE.findall(told)}
        self._slow_suites[kind] = {name for name, time in took.items() if time > SLOW_SHARE * sum(took.values())}

    def _bytecode(self) -> list[str]:
        """What all contracts of `src` compile to: a library's code is in those that use it."""
        if self._forge("build", "--skip", "test").returncode:
            return []
        artifacts = sorted((self.folder / "contracts" / "out").glob("*.sol/*.json"))
        own = [path for path in artifacts if "t.sol" not in str(path)]
        return [path.read_text().partition('"deployedBytecode"')[2].partition('"sourceMap"')[0] for path in own]

    # ---------------------------------------------------------------- Python

    def _collected(self) -> WarmPytest:
        if self._pytest is None:
            self._pytest = WarmPytest(self.folder, "python", (*PYTEST_ARGUMENTS, *PYTHON_TESTS))
        return self._pytest

    def _python_as_it_is(self) -> str:
        try:
            tests = self._collected()
            answer = tests.ask(None, timeout_s=TIMEOUT_S)
        except ChildProcessError as error:
            raise BenchFailed(str(error)) from error
        if answer != PASSED:
            raise BenchFailed(f"the tests fail without any mutant: {tests.last_words()}")
        return SURVIVED

    def _warm_verdict(self, mutant: Mutant) -> str | None:
        """None if only a fresh process can tell."""
        original = (self.folder / mutant.path).read_text()
        first = _own_tests(mutant.path)
        answer = self._collected().ask(mutant.path, original, mutant.text, first=first, timeout_s=TIMEOUT_S)
        return {PASSED: SURVIVED, FAILED: NOTICED, NOT_HERE: None}[answer]

    def _fresh_verdict(self, path: Path) -> str:
        """By a process that imports the spoilt file."""
        try:
            fresh = WarmPytest(self.folder, "python", (*PYTEST_ARGUMENTS, *PYTHON_TESTS))
        except ChildProcessError:
            return NOTICED  # the tests cannot even be collected
        try:
            answer = fresh.ask(None, first=_own_tests(path), timeout_s=TIMEOUT_S)
        finally:
            fresh.close()
        return SURVIVED if answer == PASSED else NOTICED


def kind_of(path: Path) -> str:
    """By what a file is judged: "python", or the folder of contracts."""
    return "python" if path.suffix == ".py" else path.parts[-2]


def _own_tests(path: Path) -> str:
    return f"tests/{path.parent.name}/test_{path.name}"
