"""Workers compute what is right, and one that dies, hangs or holds too much costs a retry and nothing else."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.availability.store import ContentStore
from opml_dispute.compute import worker_pool as pool_module
from opml_dispute.compute.case_server import CaseServer
from opml_dispute.compute.messages import ComputeFailed, ProgramUnusable, bytes_of, message_bytes
from opml_dispute.compute.worker_pool import WorkerPool
from opml_dispute.compute.workers import ProcessWorker, Worker, WorkerLost
from opml_dispute.errors import OpmlError
from opml_dispute.trace.guest import absolute_prestate
from tests.compute.cases import KnownCase, known_case

FINAL = {"ask": "final"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def case(folder: Path) -> KnownCase:
    return known_case(folder)


class Started:
    """Makes workers, and remembers them."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make = make
        self.workers: list[Any] = []

    def __call__(self) -> Worker:
        self.workers.append(self._make())
        return self.workers[-1]  # type: ignore[no-any-return]


@pytest.fixture
def start(folder: Path) -> Started:
    return Started(partial(ProcessWorker, folder))


@pytest.fixture
def crew(folder: Path, start: Started) -> Iterator[Callable[..., WorkerPool]]:
    """Makes a pool of workers; it is ended with the test."""
    made: list[WorkerPool] = []

    def make(
        count: int = 1,
        *,
        timeout_s: float = 60.0,
        start: Callable[[], Worker] = start,
        folder: Path = folder,
        prestate: bytes | None = None,
        tell: Callable[[str], object] = lambda _: None,
    ) -> WorkerPool:
        expected = bytes(absolute_prestate()) if prestate is None else prestate
        made.append(WorkerPool(start, count, folder=folder, prestate=expected, timeout_s=timeout_s, tell=tell))
        return made[-1]

    yield make
    for workers in made:
        workers.close()


def final_root(workers: WorkerPool, case: KnownCase) -> bytes:
    return bytes_of(workers.ask(case.files, FINAL), "root", 32)


def right_root(case: KnownCase) -> bytes:
    return bytes(case.inference.state_root(case.program.node_count))


def test_worker_that_dies_or_hangs_costs_a_retry(
    crew: Callable[..., WorkerPool], start: Started, case: KnownCase
) -> None:
    told: list[str] = []
    workers = crew(timeout_s=8.0, tell=told.append)
    assert final_root(workers, case) == right_root(case)
    assert len(start.workers) == 1, "the case stays with its worker"
    os.kill(start.workers[-1].pid, signal.SIGKILL)
    assert final_root(workers, case) == right_root(case)
    assert "ended by SIGKILL" in told[-1]
    os.kill(start.workers[-1].pid, signal.SIGSTOP)
    assert final_root(workers, case) == right_root(case)
    assert "did not answer in time" in told[-1]
    assert (workers.lost, len(start.workers)) == (2, 3)


def test_case_that_costs_every_worker_is_left_alone_for_a_while(
    crew: Callable[..., WorkerPool], folder: Path, case: KnownCase
) -> None:
    """A worker that holds more than it may ends itself; other cases have their own tries."""
    workers = crew(start=partial(ProcessWorker, folder, memory_bytes=1 << 20))
    with pytest.raises(ComputeFailed, match=r"3 workers were lost over it \(it needed more memory"):
        workers.ask(case.files, FINAL)
    lost = workers.lost
    with pytest.raises(ComputeFailed, match="is left alone for"):
        workers.ask(case.files, FINAL)
    assert workers.lost == lost == 3, "no further worker was spent on it"


def test_hung_case_keeps_no_other_waiting(
    crew: Callable[..., WorkerPool], start: Started, folder: Path, case: KnownCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both cases are at home with one worker; that one hangs over the first, and the second moves."""
    monkeypatch.setattr(pool_module, "MOVE_AFTER_S", 0.1)
    workers, other = crew(2, timeout_s=30.0), known_case(folder, 1)
    final_root(workers, case)
    workers._home[other.files.key] = workers._home[case.files.key]
    os.kill(start.workers[0].pid, signal.SIGSTOP)

    def wait_for_it() -> None:
        with suppress(ComputeFailed):
            workers.ask(case.files, FINAL)

    hung = threading.Thread(target=wait_for_it)
    hung.start()
    time.sleep(0.2)
    begun = time.monotonic()
    assert final_root(workers, other) == right_root(other)
    assert time.monotonic() - begun < 20
    workers.close()
    hung.join(20)
    assert not hung.is_alive(), "closing ends what waits"


def test_many_cases_at_once_are_shared_out(crew: Callable[..., WorkerPool], start: Started, folder: Path) -> None:
    workers, cases = crew(2), [known_case(folder, sample) for sample in range(8)]
    with ThreadPoolExecutor(8) as pool:
        roots = list(pool.map(lambda known: final_root(workers, known), cases))
    assert roots == [right_root(known) for known in cases]
    assert len(start.workers) == 2
    again = [final_root(workers, known) for known in cases]
    assert again == roots, "also those that had to make room"


def test_workers_end_with_the_pool_and_with_the_process_that_asks(
    crew: Callable[..., WorkerPool], start: Started, case: KnownCase
) -> None:
    workers = crew()
    final_root(workers, case)
    pid = start.workers[0].pid
    workers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ComputeFailed, match="were ended"):
        workers.ask(case.files, FINAL)


def test_damaged_program_is_told_apart_from_a_lost_worker(crew: Callable[..., WorkerPool], tmp_path: Path) -> None:
    case = known_case(tmp_path)
    path = tmp_path / case.files.program_name
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    workers = crew(start=partial(ProcessWorker, tmp_path), folder=tmp_path)
    with pytest.raises(ProgramUnusable):
        workers.ask(case.files, FINAL)
    assert workers.lost == 0


def test_worker_of_another_release_is_refused(crew: Callable[..., WorkerPool], case: KnownCase) -> None:
    with pytest.raises(ComputeFailed, match="another release"):
        crew(prestate=bytes(32)).ask(case.files, FINAL)


def test_worker_of_another_computer_is_sent_the_program(
    crew: Callable[..., WorkerPool], tmp_path: Path, case: KnownCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its store is its own; the parts arrive in order and make one file."""
    monkeypatch.setattr(pool_module, "_PART_BYTES", 10_000)
    workers = crew(start=partial(ProcessWorker, tmp_path / "elsewhere"))
    assert final_root(workers, case) == right_root(case)
    assert (tmp_path / "elsewhere" / case.files.program_name).exists()


def test_workers_of_one_computer_that_are_sent_a_program_at_the_same_time_do_not_mix_it(
    tmp_path: Path, folder: Path, case: KnownCase
) -> None:
    raw = (folder / case.files.program_name).read_bytes()
    half, store = len(raw) // 2, ContentStore(tmp_path)
    first, second = CaseServer(store), CaseServer(store)
    sending = {"ask": "take", "root": case.files.model_root}
    begin, end = {**sending, "at": 0, "part": raw[:half]}, {**sending, "at": half, "part": raw[half:], "last": True}
    for bench, question in ((first, begin), (second, begin), (second, end), (first, end)):
        assert json.loads(bench.answer(message_bytes(question))) == {}
        if question is end:
            assert store.path(case.files.program_name).read_bytes() == raw
    assert "error" in json.loads(first.answer(message_bytes(end))), "a part without those before it"
    assert [path.name for path in tmp_path.glob(".*")] == []


class Babbling:
    """A worker whose answers are anything."""

    def __init__(self, answers: Iterator[bytes]) -> None:
        self._answers = answers

    def ask(self, raw: bytes, timeout_s: float) -> bytes:
        return next(self._answers)

    def stop(self) -> None:
        pass


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"root": 1}', b'{"root": "zz"}', b'{"root": "00"}', b"{}"],
)
def test_whatever_a_worker_answers_is_data(crew: Callable[..., WorkerPool], case: KnownCase, answer: bytes) -> None:
    """Nothing is unpickled or run; what is no answer is an error about this case."""
    hello = message_bytes({"prestate": absolute_prestate(), "version": "x"})

    def start() -> Babbling:
        return Babbling(iter([hello, b'{"opened": true}', *[answer] * 5]))

    with pytest.raises(OpmlError):
        final_root(crew(start=start), case)


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"{}",
        b'{"ask": "nothing"}',
        b'{"ask": "open"}',
        b'{"ask": "open", "case": "x", "model_root": "00", "image": ""}',
        b'{"ask": "take", "root": "../../x", "at": 0, "part": ""}',
        b'{"ask": "root", "case": "x", "t": -1}',
    ],
)
def test_bench_answers_every_question(tmp_path: Path, question: bytes) -> None:
    answer = json.loads(CaseServer(ContentStore(tmp_path / "s")).answer(question))
    assert {"error", "not_open"} & answer.keys()
    assert not (tmp_path / "s").exists()


def test_process_that_cannot_start_is_a_lost_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))
    with pytest.raises(WorkerLost, match="no process can be started"):
        ProcessWorker(tmp_path)


def test_input_that_is_not_the_models_is_refused(crew: Callable[..., WorkerPool], case: KnownCase) -> None:
    wrong = replace(case.files, key="ff" * 32, read_image=lambda: bytes(1 << 20))
    answer = crew().ask(wrong, {"ask": "root", "t": 0})
    assert bytes_of(answer, "root", 32) != bytes(case.inference.state_root(0)), "its S_0 gives it away"
