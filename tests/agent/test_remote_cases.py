"""What an agent remembers of requests and models is asked again: a lie costs half an hour, not an output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opml_dispute.agent.remote_cases import BELIEVED_S, RemoteCases
from opml_dispute.agent.request_fetcher import FetchedRequest, NotHere, RequestFetcher
from opml_dispute.compute.worker_pool import WorkerPool
from opml_dispute.compute.workers import HereWorker
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import RequestId
from opml_dispute.trace.guest import absolute_prestate
from tests.conftest import Chain


class Lying(RequestFetcher):
    """A fetcher at a node that lies for a while, or fails."""

    lies = fails = False
    read = 0

    def request(self, request_id: RequestId, *, ahead: bool = False) -> FetchedRequest:
        self.read += 1
        if self.fails:
            raise NotHere("the node does not answer")
        found = super().request(request_id, ahead=ahead)
        if not self.lies:
            return found
        record = replace(found.record, output_by_root=True, min_bond_wei=10**18)
        return replace(found, record=record, registered=replace(found.registered, output_bytes=1 << 30))


@pytest.fixture
def fetcher(chain: Chain, tmp_path: Path) -> Iterator[Lying]:
    found = Lying(chain.system(), ModelStore(tmp_path / "models"), in_processes=False)
    yield found
    found.close()


def test_what_a_node_says_of_a_request_is_asked_again_after_half_an_hour(
    chain: Chain, fetcher: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = ask_sample(chain.system(), chain.sender("requester"), 3, fetcher.store)
    prestate, folder = absolute_prestate(), fetcher.store.folder
    pool = WorkerPool(lambda: HereWorker(folder), 1, folder=folder, prestate=bytes(prestate), timeout_s=60.0)
    cases = RemoteCases(fetcher, pool, prestate=prestate)
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    fetcher.lies = True
    assert cases.case(request_id).record.output_by_root
    fetcher.lies = False
    now_s += BELIEVED_S - 1
    assert cases.case(request_id).record.output_by_root
    now_s += 2
    case = cases.case(request_id)
    assert not case.record.output_by_root
    assert case.registered.output_bytes < 1 << 20
    now_s += BELIEVED_S + 1
    assert cases.case(request_id) is case, "what was computed for it is kept, where nothing has changed"
    now_s += BELIEVED_S + 1
    fetcher.fails = True
    read = fetcher.read
    assert cases.case(request_id) is case
    assert cases.case(request_id) is case
    assert fetcher.read == read + 1, "a node that fails is not asked for each game"
    cases.close()
