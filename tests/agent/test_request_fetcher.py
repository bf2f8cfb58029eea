"""An agent whose computer has nothing fetches what requests need, in other processes, and says what it cannot have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import onnx
import pytest

from opml_dispute.agent import request_fetcher as fetcher_module
from opml_dispute.agent.remote_cases import RemoteCases
from opml_dispute.agent.request_fetcher import NotHere, RequestFetcher
from opml_dispute.availability.fetching import Fetcher, FetchPolicy
from opml_dispute.chain.contracts.oracle import ModelRegistry
from opml_dispute.compute.messages import StoreLacks
from opml_dispute.compute.worker_pool import WorkerPool
from opml_dispute.compute.workers import HereWorker
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.operator import outside_view
from opml_dispute.operator.inference import new_request_id, request_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import ModelStore, registration
from opml_dispute.primitives import ModelId, RequestId
from opml_dispute.trace.guest import absolute_prestate
from tests.agent.test_agent import Unattended, game_of, lie
from tests.conftest import Chain
from tests.operator.test_fetched_models import onnx_bytes
from tests.support.content_server import ContentServer, serving

T = TypeVar("T")


@pytest.fixture
def server() -> Iterator[ContentServer]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_model(onnx.load_from_string(onnx_bytes()), dims={"batch": 4})


def registered(chain: Chain, program: Program, uri: str) -> ModelId:
    sender = chain.sender("proposer")
    registry = ModelRegistry(chain.deployment.addresses["registry"])
    description = describe_model(program, uri)
    model_id = ModelId(sender.rpc.read(registry.model_id_of(description)))
    sender.send(registration(registry, program, description))
    return model_id


def asked(chain: Chain, model_id: ModelId, image: bytes, *, input_uri: str | None = None) -> RequestId:
    system = chain.system()
    intent = request_intent(system, model_id, image, fee_wei=0, input_uri=input_uri)
    done = perform(intent, chain.sender("requester"))
    assert done.receipt is not None
    return new_request_id(system, done.receipt)


def fetcher_of(chain: Chain, folder: Path, *, in_processes: bool = True) -> RequestFetcher:
    store = ModelStore(folder, Fetcher(FetchPolicy(allow="local")))
    return RequestFetcher(chain.system(), store, in_processes=in_processes)


def in_time(ask: Callable[[], T]) -> T:
    """What is not here yet is asked for again: other processes fetch it, as fast as the computer is."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return ask()
        except NotHere as error:
            if "not here yet" not in str(error) or time.monotonic() > deadline:
                raise


def test_model_and_input_are_brought_by_another_process(
    chain: Chain, server: ContentServer, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bytes(range(64))
    server.files = {"/m.onnx": onnx_bytes(), "/i": image}
    model_id = registered(chain, program, f"{server.url}/m.onnx")
    request_id = asked(chain, model_id, image, input_uri=f"{server.url}/i")
    fetcher = fetcher_of(chain, tmp_path / "s")
    found = in_time(lambda: fetcher.request(request_id))
    assert found.files.read_image() == image
    assert fetcher.store.contents.path(found.files.program_name).exists()
    fetcher.expect_others_could(found)
    assert server.asked.count("/m.onnx") == 1, "it was had from there just now"
    monkeypatch.setattr(outside_view, "RECHECK_S", 0)
    in_time(lambda: fetcher.expect_others_could(found))
    # On a busy machine the first look again may end between two polls, which then ask once more.
    assert min(server.asked.count("/m.onnx"), server.asked.count("/i")) >= 2, "a day later it is asked for again"
    fetcher.close()


def test_what_others_could_not_fetch_is_known_although_it_is_here(
    chain: Chain, server: ContentServer, program: Program, tmp_path: Path
) -> None:
    image = bytes(range(64))
    model_id = registered(chain, program, f"{server.url}/m.onnx")
    request_id = asked(chain, model_id, image, input_uri=f"{server.url}/i")
    fetcher = fetcher_of(chain, tmp_path / "s", in_processes=False)
    fetcher.store.keep(program)
    server.files["/i"] = image
    found = fetcher.request(request_id)
    with pytest.raises(NotHere, match=r"model 0x.* cannot be had: .*answers 404"):
        fetcher.expect_others_could(found)
    fetcher.close()


def test_slow_server_keeps_nobody_waiting_and_a_failure_rests(
    chain: Chain, server: ContentServer, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher_module, "PATIENCE_S", 0.5)
    image = bytes(64)
    slow = asked(chain, registered(chain, program, f"{server.url}/slow"), image)
    server.misbehaving["/slow"] = "silent"
    fetcher = fetcher_of(chain, tmp_path / "s")
    begun = time.monotonic()
    with pytest.raises(NotHere, match="is not here yet: it is being fetched from"):
        fetcher.request(slow)
    assert time.monotonic() - begun < 5
    fetcher.close()

    gone = asked(chain, registered(chain, program, f"{server.url}/gone"), image)
    other = fetcher_of(chain, tmp_path / "t", in_processes=False)
    for _ in range(3):
        with pytest.raises(NotHere, match="answers 404"):
            other.request(gone)
    assert server.asked.count("/gone") == 1, "it rests before it is tried again"
    other._failed = {key: replace(failed, until=0.0) for key, failed in other._failed.items()}
    server.files["/gone"] = onnx_bytes()
    assert other.request(gone).files.read_image() == image
    other.close()


def test_dead_uri_of_another_registration_or_request_costs_the_right_ones_nothing(
    chain: Chain, server: ContentServer, program: Program, tmp_path: Path
) -> None:
    """Any account can register the same model, and ask about the same input, with a URI that leads nowhere."""
    image = bytes(range(64))
    server.files = {"/m.onnx": onnx_bytes(), "/i": image}
    dead = registered(chain, program, f"{server.url}/dead")
    right = registered(chain, program, f"{server.url}/m.onnx")
    fetcher = fetcher_of(chain, tmp_path / "s", in_processes=False)
    with pytest.raises(NotHere, match="answers 404"):
        fetcher.request(asked(chain, dead, image))
    fetcher.request(asked(chain, right, image))
    with pytest.raises(NotHere, match="answers 404"):
        fetcher.request(asked(chain, right, image, input_uri=f"{server.url}/dead"))
    found = fetcher.request(asked(chain, right, image, input_uri=f"{server.url}/i"))
    fetcher.expect_others_could(found)
    stranger = fetcher.request(asked(chain, dead, image, input_uri=f"{server.url}/i"))
    with pytest.raises(NotHere, match="answers 404"):
        fetcher.expect_others_could(stranger)
    fetcher.close()


def test_game_does_not_wait_for_what_is_brought_ahead(
    chain: Chain, server: ContentServer, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher_module, "PATIENCE_S", 0.2)
    monkeypatch.setattr(fetcher_module, "MOST_AT_ONCE", 1)
    server.files = {"/m.onnx": onnx_bytes()}
    server.misbehaving["/slow"] = "silent"
    slow = asked(chain, registered(chain, program, f"{server.url}/slow"), bytes(64))
    needed = asked(chain, registered(chain, program, f"{server.url}/m.onnx"), bytes(64))
    fetcher = fetcher_of(chain, tmp_path / "s")
    for request_id in (slow, needed):
        with pytest.raises(NotHere, match="not here yet"):
            fetcher.request(request_id, ahead=True)
    assert in_time(lambda: fetcher.request(needed)).files.model_root == program.model_root
    fetcher.close()


def test_what_the_store_lost_meanwhile_is_brought_again(
    chain: Chain, server: ContentServer, program: Program, tmp_path: Path
) -> None:
    image = bytes(range(64))
    server.files = {"/m.onnx": onnx_bytes(), "/i": image}
    model_id = registered(chain, program, f"{server.url}/m.onnx")
    request_id = asked(chain, model_id, image, input_uri=f"{server.url}/i")
    fetcher = fetcher_of(chain, tmp_path / "s", in_processes=False)
    prestate = absolute_prestate()

    def cases() -> RemoteCases:
        folder = fetcher.store.folder
        start = partial(HereWorker, folder)
        return RemoteCases(
            fetcher, WorkerPool(start, 1, folder=folder, prestate=bytes(prestate), timeout_s=60.0), prestate=prestate
        )

    right = cases().final_root(request_id)
    for lost in ([".program"], [".input"], [".program", ".input"]):
        found = cases()
        case = found.case(request_id)
        for path in [path for path in fetcher.store.folder.iterdir() if path.suffix in lost]:
            path.unlink()
        with pytest.raises(StoreLacks):
            case.ask({"ask": "root", "t": 0})
        assert found.final_root(request_id) == right
        for path in [path for path in fetcher.store.folder.iterdir() if path.suffix in lost]:
            path.unlink()
        with pytest.raises(StoreLacks):
            found.prepare(request_id, 20, True, False)
        assert found.case(request_id) is not case
    fetcher.close()


def test_what_is_too_large_for_the_agent_is_refused(
    chain: Chain, server: ContentServer, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bytes(range(64))
    server.files = {"/m.onnx": onnx_bytes(), "/i": image}
    model_id = registered(chain, program, f"{server.url}/m.onnx")
    small = RequestFetcher(
        chain.system(), ModelStore(tmp_path / "t", Fetcher(FetchPolicy(allow="local"))), memory_bytes=1 << 20
    )
    with pytest.raises(NotHere, match="more memory than a process may have"):
        in_time(lambda: small.model(model_id))
    small.close()
    monkeypatch.setattr(fetcher_module, "MOST_INPUT_BYTES", 63)
    fetcher = fetcher_of(chain, tmp_path / "s", in_processes=False)
    with pytest.raises(NotHere, match="may have 64 bytes, and an agent takes 63 at most"):
        fetcher.request(asked(chain, model_id, image, input_uri=f"{server.url}/i"))
    assert "/i" not in server.asked
    fetcher.close()


def test_agent_says_what_it_cannot_have_before_a_game_needs_it_and_plays_the_others(
    chain: Chain, server: ContentServer, program: Program, tmp_path: Path
) -> None:
    asked(chain, registered(chain, program, f"{server.url}/gone"), bytes(64))
    found = Unattended(chain, tmp_path).start(workers=2)
    seat, _ = lie(chain, tmp_path, 3)
    deadline = time.monotonic() + 120
    while len(game_of(chain, seat).claims) == 1 and time.monotonic() < deadline:
        found.agent.run_pass()
    assert len(game_of(chain, seat).claims) == 2, found.said()
    found.agent.prefetch_patience_s = 60
    found.agent.run_pass()
    assert "for when it is needed" in found.said()
    assert len(found.agent.prefetcher.missing) == 1
    assert found.agent.metrics.registry.get_sample_value("opml_agent_missing") == 1
    found.end()
