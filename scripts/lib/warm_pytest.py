"""
Pytest with its tests collected once, for many changed versions of one file after another.

`WarmPytest` starts this file as a program inside a copy of the project. The program imports and collects, and then
reads requests, a JSON object a line: the file, its original and its changed text, and the first tests to run. For each
it forks; the child puts the changed functions in (`changed_functions`) and runs the tests up to the first that fails.
So a change that a quick test notices takes a tenth of a second. Tests that noticed an earlier change of the same file
come first; then the first run of the tests as they are, which notes how long each takes, decides: quick ones before.

What the collecting processes computed before (parameters of tests, objects of modules) is of the original; caches of
functions are emptied.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import pytest

PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_HERE: Final = "not here"
"""The change cannot be put into a process that runs: ask a fresh one."""

QUICK_S: Final = 0.3
LEAST_CPU_S: Final = 10
"""Processor time that a test gets in any case; beyond, and beyond ten times what it takes, it loops for ever."""

_EXIT: Final = {0: PASSED, 1: FAILED, 77: NOT_HERE}
_TIMES: Final = ".durations.json"
_NOTICED_BY: Final = ".noticed-by"
"""The test that failed last."""
_SPOILT: Final = (
    *("opml_dispute.game", "opml_dispute.actors", "opml_dispute.trace"),
    *("opml_dispute.chain.artifacts", "tests."),
)
"""Modules whose caches may hold what the original answered."""
_LOG: Final = ".log"
"""What pytest printed, in the copy, about the tests as they are."""


class WarmPytest:
    """The program, from outside."""

    def __init__(self, folder: Path, name: str, arguments: Sequence[str]) -> None:
        """
        Starts it. Its files in the copy begin with `name`.

        Raises `ChildProcessError` if the tests cannot be collected.
        """
        self._log = folder / f"{name}{_LOG}"
        self._process = subprocess.Popen(
            [sys.executable, "-B", __file__, str(folder), name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTEST_XDIST_WORKER": "mutant", "PYTHONHASHSEED": "0"},  # builds nothing
        )
        if self._read(timeout_s=600) != "ready":
            raise ChildProcessError(f"the tests cannot be collected: {self.last_words()}")

    def ask(
        self,
        path: Path | None,
        original: str = "",
        changed: str = "",
        *,
        about: str = "",
        first: str = "",
        timeout_s: int,
    ) -> str:
        """
        `PASSED`, `FAILED` or `NOT_HERE`; without a path the tests as they are, over what has been changed elsewhere
        in the copy, in the file `about`.
        """
        assert self._process.stdin is not None
        request = {
            "path": path and str(path),
            "about": about or str(path or ""),
            "original": original,
            "changed": changed,
            "first": first,
            "timeout_s": timeout_s,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read(timeout_s=timeout_s + 60)

    def last_words(self) -> str:
        """The last lines that pytest printed about the tests as they are."""
        return "\n".join(self._log.read_text().splitlines()[-12:]) if self._log.exists() else "it printed nothing"

    def _read(self, *, timeout_s: int) -> str:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        answer = self._process.stdout.readline().strip() if readable else ""
        if not answer:
            raise ChildProcessError("the process with the collected tests does not answer")
        return answer

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


class _Server:
    """The program: a plugin that takes the place of pytest's own loop."""

    def __init__(self, folder: Path, name: str, requests: IO[str], answers: IO[str]) -> None:
        self._folder, self._requests, self._answers = folder, requests, answers
        self._times, self._last = folder / f"{name}{_TIMES}", folder / f"{name}{_NOTICED_BY}"
        self._seconds: dict[str, float] = json.loads(self._times.read_text()) if self._times.exists() else {}
        self._noticed_by: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """How often each test was the first to notice a change, by file."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Answers requests until there are no more."""
        import opml_dispute

        is_copy = Path(opml_dispute.__file__).resolve().parent.parent == self._folder.resolve()
        self._answer("ready" if is_copy and session.items and not session.testsfailed else "failed")
        for line in self._requests:
            request = json.loads(line)
            answer = self._in_child(session, request)
            if answer == PASSED and not self._seconds:
                self._seconds = json.loads(self._times.read_text())
            if self._last.exists():
                self._noticed_by[request["about"]][self._last.read_text()] += 1
                self._last.unlink()
            self._answer(answer)
        return True

    def _answer(self, text: str) -> None:
        print(text, file=self._answers, flush=True)

    def _in_child(self, session: pytest.Session, request: dict[str, Any]) -> str:
        child = os.fork()
        if child == 0:
            self._judge(session, request)
        deadline = time.monotonic() + request["timeout_s"]
        pause_s = 0.005
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return _EXIT.get(os.waitstatus_to_exitcode(status), FAILED)
            time.sleep(pause_s)
            pause_s = min(0.1, pause_s * 1.5)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return FAILED

    def _judge(self, session: pytest.Session, request: dict[str, Any]) -> None:
        """What the child does. Does not return."""
        code = 1
        try:
            os.setpgrp()
            if request["about"]:
                _print_to(Path(os.devnull))
            code = self._run(session, request)
        finally:
            os._exit(code)

    def _run(self, session: pytest.Session, request: dict[str, Any]) -> int:
        from lib.changed_functions import replace_functions

        path = request["path"]
        if request["about"]:
            _empty_caches()
        original, changed = request["original"], request["changed"]
        if path is not None and not replace_functions(str(self._folder / path), original, changed):
            return 77
        taken: dict[str, float] = {}
        items = list(self._ordered(session.items, request["first"], self._noticed_by[request["about"]]))
        for item, following in zip(items, [*items[1:], None], strict=True):
            started = time.process_time()
            expected_s = self._seconds.get(item.nodeid, 60.0)
            signal.setitimer(signal.ITIMER_PROF, LEAST_CPU_S + 10 * expected_s)  # ends the process
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            taken[item.nodeid] = time.process_time() - started
            if session.testsfailed:
                self._last.write_text(item.nodeid)
                return 1
        if not self._seconds:
            self._times.write_text(json.dumps(taken))
        return 0

    def _ordered(self, items: list[pytest.Item], first: str, noticed: Counter[str]) -> Iterator[pytest.Item]:
        """Those that `noticed`, the quick tests of the file `first`, other quick tests, then slow ones, the quickest
        before."""
        rank = {nodeid: place for place, (nodeid, _) in enumerate(noticed.most_common())}
        yield from sorted((item for item in items if item.nodeid in rank), key=lambda item: rank[item.nodeid])
        items = [item for item in items if item.nodeid not in rank]
        quick = [item for item in items if self._seconds.get(item.nodeid, 0.0) < QUICK_S]
        own = [item for item in quick if item.nodeid.startswith(f"{first}::")]
        yield from own
        yield from (item for item in quick if item not in own)
        slow = [item for item in items if item not in quick]
        yield from sorted(slow, key=lambda item: self._seconds[item.nodeid])


def _empty_caches() -> None:
    for cached in gc.get_objects():
        if isinstance(cached, functools._lru_cache_wrapper):
            module = str(getattr(cached, "__module__", ""))
            if module.startswith(_SPOILT):
                cached.cache_clear()


def _print_to(path: Path) -> None:
    with path.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _main() -> None:
    folder, name, scripts = Path(sys.argv[1]), sys.argv[2], str(Path(__file__).resolve().parent.parent)
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")  # pytest captures the streams themselves
    _print_to(folder / f"{name}{_LOG}")
    project = str(Path(scripts).parent)
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry not in (project, str(Path(__file__).parent)))]
    sys.path.append(scripts)
    os.chdir(folder)
    server = _Server(folder, name, requests, answers)
    pytest.main([*sys.argv[3:], "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[server])


if __name__ == "__main__":
    _main()
