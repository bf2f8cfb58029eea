"""The monitor tells of inputs in blobs that are wrong or gone, while a request or a game needs them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.agent import input_watch, publication_looks
from opml_dispute.agent.input_watch import InputWatch
from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.agent.monitor import Alert, Monitor
from opml_dispute.agent.monitor_metrics import MonitorMetrics
from opml_dispute.agent.open_requests import OpenRequests
from opml_dispute.availability.blobs import BlobsMissing
from opml_dispute.availability.fetching import FetchPolicy
from opml_dispute.chain.contracts.oracle import NO_TERMS
from opml_dispute.cli import execute
from opml_dispute.devnet.blob_tables import make_blob_tables
from opml_dispute.operator.blob_refuting import expect_place
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Address, RequestId, StateRoot
from tests.agent.test_agent import Unattended
from tests.conftest import Chain
from tests.support.blobs import ROOT, publish_right, publish_wrong


@pytest.fixture
def request_id(chain: Chain) -> RequestId:
    """A request about ROOT."""
    make_blob_tables(chain.anvil.url)
    system = chain.system()
    model_id = system.rpc.read(system.registry.model_id_at(0))
    chain.sender("requester").send(system.oracle.request_by_root(model_id, ROOT, "blobs:", NO_TERMS))
    return system.rpc.read(system.oracle.request_id_at(system.rpc.read(system.oracle.request_count()) - 1))


@pytest.fixture
def cases(chain: Chain, tmp_path: Path) -> Iterator[LocalCases]:
    found = LocalCases(chain.system(), ModelStore(tmp_path / "models"), workers=1)
    yield found
    found.close()


def open_game(chain: Chain, request_id: RequestId) -> Address:
    """A proposal for the request, of any state."""
    system = chain.system()
    done = perform(proposal_intent(system, request_id, StateRoot(b"\x11" * 32), 1), chain.sender("proposer"))
    assert done.receipt is not None
    return system.factory.created_game(done.receipt)


def watch(chain: Chain, cases: LocalCases, *blobs: str) -> Monitor:
    """A monitor that looks at blobs and computes nothing."""
    return Monitor(chain.system(), cases, computes=False, blobs=blobs, waits_for_blobs=True)


def about_inputs(monitor: Monitor) -> list[Alert]:
    return [alert for alert in monitor.look().alerts if alert.kind.startswith("input_")]


def test_a_wrong_publication_is_told_with_the_game_about_it(
    chain: Chain, cases: LocalCases, request_id: RequestId
) -> None:
    """Before there is a game, too; it is counted for the rule; and of the right one beside it there is no alert."""
    publish_right(chain)
    wrong = publish_wrong(chain, None)
    monitor = watch(chain, cases, chain.anvil.url)
    (alert,) = about_inputs(monitor)
    assert (alert.kind, alert.game) == ("input_wrong", None)
    assert wrong.hex() in alert.what
    assert monitor.look().inputs.publications == 2
    game = open_game(chain, request_id)
    report = monitor.look()
    (alert,) = (alert for alert in report.alerts if alert.kind == "input_wrong")
    assert alert.game == game
    metrics = MonitorMetrics()
    metrics.show(report, 0.1)
    assert metrics.registry.get_sample_value("opml_monitor_alerts", {"kind": "input_wrong"}) == 1


def test_blobs_that_are_gone_are_told(
    chain: Chain, cases: LocalCases, request_id: RequestId, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they were never, and where they were once; a publication that is at hand makes up for others of it."""
    publish_right(chain)
    (alert,) = about_inputs(watch(chain, cases, str(tmp_path)))
    assert alert.kind == "input_missing"
    monkeypatch.setattr(input_watch, "AGAIN_S", 0.0)
    places: list[Any] = []

    def place_once(*given: Any) -> Any:
        if places:
            raise BlobsMissing("gone")
        places.append(expect_place(*given))
        return places[0]

    monkeypatch.setattr(publication_looks, "expect_place", place_once)
    watcher = InputWatch(chain.system(), [chain.anvil.url], max_age_s=10**6, waits=False)
    deadline = time.monotonic() + 60
    while not (found := watcher.look(chain.rpc.head(), [request_id], []).findings):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert places
    assert [one.is_missing for one in found] == [True]
    assert "gone" in found[0].what


def test_without_a_source_it_is_said_that_nothing_is_looked_at(
    chain: Chain, cases: LocalCases, request_id: RequestId, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By the command too, which has no alert for it."""
    publish_wrong(chain, None)
    report = watch(chain, cases).look()
    assert (report.inputs.is_looked_at, report.inputs.publications, report.inputs.findings) == (False, 1, ())
    arguments = ["monitor", "--once", "--no-compute", "--deployment", str(chain.deployment_file)]
    assert execute([*arguments, "--rpc-url", chain.anvil.url]) == 0
    assert "not looked at (1 stand)" in capsys.readouterr().err
    assert execute([*arguments, "--rpc-url", chain.anvil.url, "--blobs", chain.anvil.url]) == 3
    assert "input_wrong" in capsys.readouterr().err


def test_an_input_of_a_game_is_looked_at_though_its_request_is_not_open(
    chain: Chain, request_id: RequestId, cases: LocalCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the agent, which refutes, and by the monitor."""
    publish_wrong(chain, None)
    monkeypatch.setattr(OpenRequests, "read", lambda *_: {})
    assert about_inputs(watch(chain, cases, chain.anvil.url)) == []
    open_game(chain, request_id)
    assert [alert.kind for alert in about_inputs(watch(chain, cases, chain.anvil.url))] == ["input_wrong"]
    fetch = FetchPolicy(blobs=(chain.anvil.url,))
    refuter = Unattended(chain, tmp_path).start(roles=frozenset({"refuter"}), fetch=fetch)
    while '"looked at publication"' not in refuter.said():
        refuter.agent.run_pass()
    refuter.passes()
    assert dict(refuter.agent.memory.sent_counts()) == {"commit-refutation": 1, "refute": 1}
    refuter.end()
    assert about_inputs(watch(chain, cases, chain.anvil.url)) == []
