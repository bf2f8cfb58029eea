"""An agent that refutes inputs in blobs which are wrong: once, for their bonds, and nothing else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.agent import publication_looks
from opml_dispute.agent.config import AgentConfig, BadConfig
from opml_dispute.availability.fetching import FetchPolicy
from opml_dispute.chain.contracts.oracle import NO_TERMS
from opml_dispute.chain.input_blobs import BlobStatus, publication_terms, publications_of
from opml_dispute.chain.reverts import Reverted
from opml_dispute.devnet.blob_tables import make_blob_tables
from opml_dispute.operator.blob_refuting import commit_intent, fault_at, look_for_fault, refute_intent
from tests.agent.test_agent import CHALLENGER, Unattended
from tests.conftest import TEST_TIMES, Chain
from tests.support.blobs import ROOT, publish_right, publish_wrong

ROLE = frozenset({"refuter"})


@pytest.fixture
def refuter(chain: Chain, tmp_path: Path) -> Iterator[Unattended]:
    """An agent that does nothing but refute, beside a request about ROOT."""
    make_blob_tables(chain.anvil.url)
    system = chain.system()
    model_id = system.rpc.read(system.registry.model_id_at(0))
    chain.sender("requester").send(system.oracle.request_by_root(model_id, ROOT, "blobs:", NO_TERMS))
    found = Unattended(chain, tmp_path).start(roles=ROLE, fetch=FetchPolicy(blobs=(chain.anvil.url,)))
    yield found
    found.end()


def look(refuter: Unattended, count: int) -> None:
    """Passes, until so many publications were looked at."""
    deadline = time.monotonic() + 60
    while refuter.said().count('"looked at publication"') < count:
        refuter.agent.run_pass()
        assert time.monotonic() < deadline, refuter.said()
        time.sleep(0.02)


def status_of(chain: Chain, found: bytes) -> BlobStatus:
    system = chain.system()
    return system.rpc.read(system.input_blobs.publication(found)).status


def sent(refuter: Unattended) -> Counter[str]:
    return Counter(refuter.agent.memory.sent_counts())


def test_a_wrong_publication_is_refuted_once_for_its_bond(chain: Chain, refuter: Unattended) -> None:
    """Another process looks at its blobs, and later passes send nothing."""
    refuter.end()
    refuter.start(workers=1)
    wrong = publish_wrong(chain, None)
    before_wei = chain.rpc.balance_wei(CHALLENGER)
    look(refuter, 1)
    refuter.passes()
    assert status_of(chain, wrong) == BlobStatus.REFUTED
    assert sent(refuter) == {"commit-refutation": 1, "refute": 1}
    reward_wei = publication_terms(chain.rpc, chain.system().input_blobs).reward_wei
    assert before_wei + reward_wei // 2 < chain.rpc.balance_wei(CHALLENGER) < before_wei + reward_wei
    assert refuter.agent.metrics.publications_wrong._value.get() == 0
    for _ in range(3):
        assert not refuter.agent.run_pass()


def test_an_agent_that_is_killed_after_its_commitment_refutes_once(chain: Chain, refuter: Unattended) -> None:
    """Without its memory. The right publication beside it is left alone."""
    publish_right(chain)
    wrong = publish_wrong(chain, None)
    deadline = time.monotonic() + 60
    while not sent(refuter):
        refuter.agent.run_pass()
        assert time.monotonic() < deadline, refuter.said()
        time.sleep(0.02)
    assert sent(refuter) == {"commit-refutation": 1}
    refuter.end()
    looked_at = refuter.said().count('"looked at publication"')
    refuter.config.state.unlink()
    refuter.start()
    look(refuter, looked_at + 2)
    refuter.passes()
    assert status_of(chain, wrong) == BlobStatus.REFUTED
    assert sent(refuter) == {"refute": 1}
    (right,) = publications_of(chain.rpc, chain.system().input_blobs, ROOT)
    assert right.publisher == chain.sender("requester").address


def test_what_pays_less_than_its_gas_is_told_and_left(chain: Chain, refuter: Unattended) -> None:
    """A bond that its publisher has taken back pays nothing."""
    wrong = publish_wrong(chain, None)
    chain.warp(TEST_TIMES.max_clock_s + 1)
    chain.sender("proposer").send(chain.system().input_blobs.take_bond(wrong))
    look(refuter, 1)
    refuter.passes()
    assert sent(refuter) == Counter()
    assert refuter.said().count("and pays 0 ETH") == 1
    assert refuter.agent.metrics.publications_wrong._value.get() == 1
    assert status_of(chain, wrong) == BlobStatus.PUBLISHED


def test_the_reserve_is_kept(chain: Chain, refuter: Unattended) -> None:
    """An account with less than the reserve pays no gas for a refutation."""
    publish_wrong(chain, None)
    refuter.end()
    refuter.start(reserve_wei=10**24)
    look(refuter, 1)
    refuter.passes()
    assert sent(refuter) == Counter()
    assert "0 ETH are free" in refuter.said()


def test_an_agent_that_may_not_send_tells_what_it_would(chain: Chain, refuter: Unattended) -> None:
    wrong = publish_wrong(chain, None)
    refuter.end()
    refuter.start(dry_run=True)
    look(refuter, 1)
    for _ in range(3):
        refuter.agent.run_pass()
    assert refuter.said().count('"would send"') == 1
    assert status_of(chain, wrong) == BlobStatus.PUBLISHED


def test_another_account_was_faster(chain: Chain, refuter: Unattended) -> None:
    """After the agent's commitment: nothing more is sent, and it is no trouble."""
    wrong = publish_wrong(chain, None)
    look(refuter, 1)
    while not sent(refuter):
        refuter.agent.run_pass()
    system, other = chain.system(), chain.sender("requester")
    publication = system.rpc.read(system.input_blobs.publication(wrong))
    fault = look_for_fault(system, publication, [chain.anvil.url], timeout_s=60)
    assert fault is not None
    commitment = commit_intent(system, fault, other.address)
    assert commitment is not None
    other.send(commitment.call)
    chain.warp(1)
    other.send(refute_intent(system, fault, 0).call)
    with pytest.raises(Reverted):
        refuter.agent.sender.quote(refute_intent(system, fault, 0).call)
    refuter.passes()
    assert sent(refuter) == {"commit-refutation": 1}
    assert "trouble" not in refuter.said()


def test_blobs_that_are_nowhere_are_told_and_looked_for_again_later(
    chain: Chain, refuter: Unattended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in each pass; once they are there, the publication is refuted."""
    wrong = publish_wrong(chain, None)
    refuter.end()
    refuter.start(fetch=FetchPolicy(blobs=(str(tmp_path / "nowhere"),)))
    looked: list[bytes] = []

    def look_and_count(*given: Any, **named: Any) -> Any:
        looked.append(wrong)
        return fault_at(*given, **named)

    monkeypatch.setattr(publication_looks, "fault_at", look_and_count)
    deadline = time.monotonic() + 60
    while "cannot be looked at" not in refuter.said():
        refuter.agent.run_pass()
        assert time.monotonic() < deadline
    for _ in range(5):
        refuter.agent.run_pass()
    assert len(looked) == 1
    refuter.end()
    monkeypatch.setattr(publication_looks, "_FIRST_PAUSE_S", 0.0)
    refuter.start(fetch=FetchPolicy(blobs=(str(tmp_path / "nowhere"), chain.anvil.url)))
    look(refuter, 1)
    refuter.passes()
    assert status_of(chain, wrong) == BlobStatus.REFUTED


def test_a_refuter_without_a_source_of_blobs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPML_BLOBS", raising=False)
    file = tmp_path / "agent.toml"
    file.write_text('[chain]\ndeployment = "d.json"\n[agent]\nroles = ["refuter"]\n')
    with pytest.raises(BadConfig, match=r"fetch\.blobs"):
        AgentConfig.load(file)
    file.write_text(file.read_text() + '[fetch]\nblobs = ["http://127.0.0.1:5052"]\n')
    assert AgentConfig.load(file).roles == ROLE
