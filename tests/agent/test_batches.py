"""An agent answers a batch with one game, and delivers every output."""

from __future__ import annotations

from pathlib import Path

from opml_dispute.engine.hashing import keccak256
from opml_dispute.models import digit_samples
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import new_request_id, request_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import ModelId
from tests.agent.test_agent import Unattended
from tests.conftest import TEST_TIMES, Chain

ITEMS = 3


def test_agent_answers_a_batch_and_delivers_it(chain: Chain, tmp_path: Path) -> None:
    system = chain.system()
    model_id = ModelId(system.rpc.read(system.registry.model_id_at(0)))
    images = digit_samples()[0][:ITEMS].astype(">f4").tobytes()
    done = perform(
        request_intent(system, model_id, images, fee_wei=ITEMS * 10**15, item_count=ITEMS), chain.sender("requester")
    )
    assert done.receipt is not None
    request_id = new_request_id(system, done.receipt)
    found = Unattended(chain, tmp_path, role="proposer")
    found.start(roles=frozenset({"proposer", "resolver", "claimer", "finalizer"}), second_opinion=True)
    found.passes()
    (game,) = found.agent.discovery.addresses
    case = open_case(system, request_id, store=ModelStore(tmp_path / "models"))
    made = system.games.read(game)
    assert (made.root.value, made.item_count) == (bytes(case.final_root), ITEMS)
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s):
        chain.warp(delay_s)
        found.passes()
    hashes = system.rpc.read_each([system.oracle.item_output_hash(request_id, item) for item in range(ITEMS)])
    assert hashes == [keccak256(result.output_image) for result in case.results]
    assert system.rpc.read(system.oracle.request_of(request_id)).fee_wei == 0
    found.end()
