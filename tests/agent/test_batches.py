"""An agent answers a batch with one game, and delivers every output that there is, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import parser

from opml_dispute.agent import serving
from opml_dispute.chain.contracts.governance import GuardedOracle
from opml_dispute.chain.system import System
from opml_dispute.engine.segment import OUTPUT, section_root
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import digit_samples
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import new_request_id, request_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import ModelId, RequestId
from tests.agent.test_agent import Unattended
from tests.agent.test_request_fetcher import registered
from tests.conftest import TEST_TIMES, Chain
from tests.trace.test_batch import LOOK_UP

ITEMS = 3
SHARE_WEI = 10**15


def asked(chain: Chain, system: System, model_id: ModelId, images: bytes) -> RequestId:
    """A batch that pays `SHARE_WEI` an item."""
    intent = request_intent(system, model_id, images, fee_wei=ITEMS * SHARE_WEI, item_count=ITEMS)
    done = perform(intent, chain.sender("requester"))
    assert done.receipt is not None
    return new_request_id(system, done.receipt)


def test_agent_answers_a_batch_and_delivers_it(chain: Chain, tmp_path: Path) -> None:
    system = chain.system()
    model_id = ModelId(system.rpc.read(system.registry.model_id_at(0)))
    request_id = asked(chain, system, model_id, digit_samples()[0][:ITEMS].astype(">f4").tobytes())
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
    roots = system.rpc.read_each([system.oracle.item_output_root(request_id, item) for item in range(ITEMS)])
    assert roots == [section_root(result.output_image, OUTPUT) for result in case.results]
    assert system.rpc.read(system.oracle.request_of(request_id)).fee_wei == 0
    found.end()


@pytest.mark.parametrize("least_wei", [2 * SHARE_WEI, 2 * SHARE_WEI + 1])
def test_items_that_fail_pay_nothing_and_are_not_looked_at_for_ever(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least_wei: int
) -> None:
    """The smallest fee that is answered is held against the items that have an output, one of three has none."""
    system, program = chain.system(), compile_model(parser.parse_model(LOOK_UP))
    ModelStore(tmp_path / "models").keep(program)
    model_id = registered(chain, program, "")
    request_id = asked(chain, system, model_id, b"".join(at.to_bytes(8, "big", signed=True) for at in (9, 1, 3)))
    found = Unattended(chain, tmp_path, role="proposer")
    roles = frozenset({"proposer", "resolver", "finalizer"})
    found.start(roles=roles, answer_unavailable=True, min_fee_wei=least_wei)
    found.passes()
    if least_wei > 2 * SHARE_WEI:
        assert not found.agent.discovery.addresses
        assert "2 of its 3 items have an output to deliver" in found.said()
        found.end()
        return
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1):
        chain.warp(delay_s)
        found.passes()
    record = system.rpc.read(system.oracle.request_of(request_id))
    assert (record.items_left, record.fee_wei) == (1, SHARE_WEI)
    monkeypatch.setattr(serving, "delivery_intents", None)
    found.passes()
    monkeypatch.undo()

    # Without the game that delivered, an answer would be staked for nothing.
    found.end()
    guard = GuardedOracle(system.oracle.address)
    chain.sender("deployer").send(guard.retire())
    found.start(min_fee_wei=0)
    found.passes()
    assert len(found.agent.discovery.addresses) == 1
    assert "all outputs of this batch are delivered" in found.said()
    found.end()
