"""An agent that defends answers fetches its part of a shared fee: after the delivery, and if it is worth its gas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opml_dispute.agent.waiting import LOOK_AGAIN_S
from opml_dispute.chain.contracts.oracle import RequestTerms
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.game.bond import forfeited_wei
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import delivery_intents, proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.settle import read_settlement, settle_intents
from opml_dispute.primitives import Address, RequestId
from tests.agent.test_agent import CHALLENGER, Unattended
from tests.agent.test_policies import attack
from tests.conftest import TEST_TIMES, Chain

ETHER = 10**18
SHARED = RequestTerms(defenders_bps=2_000)


@pytest.fixture
def defender(chain: Chain, tmp_path: Path) -> Iterator[Unattended]:
    """An agent that defends right claims of others, and delivers nothing."""
    one = Unattended(chain, tmp_path).start(preflight=False, defend="right")
    yield one
    one.end()


def shared_game(chain: Chain, tmp_path: Path, fee_wei: int) -> tuple[RequestId, Address]:
    """Another account's right answer to a request that shares its fee, attacked with nonsense by a third."""
    system, store = chain.system(), ModelStore(tmp_path / "models")
    request_id = ask_sample(system, chain.sender("requester"), 6, store, fee_wei=fee_wei, terms=SHARED)
    case = open_case(system, request_id, store=store)
    done = perform(proposal_intent(system, request_id, case.final_root, case.node_count), chain.sender("proposer"))
    assert done.receipt is not None
    game = system.factory.created_game(done.receipt)
    attack(chain, game)
    return request_id, game


def deliver(chain: Chain, tmp_path: Path, request_id: RequestId, game: Address) -> None:
    system = chain.system()
    case = open_case(system, request_id, store=ModelStore(tmp_path / "models"))
    for intent in delivery_intents(system, case, game):
        perform(intent, chain.sender("requester"))


def defend_to_the_end(chain: Chain, defender: Unattended) -> None:
    """All passes of the agent until the last of its bonds is paid."""
    delays_s = (0, TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s + 1)
    for delay_s in delays_s:
        chain.warp(delay_s)
        defender.passes()


def test_an_agent_fetches_its_share_after_the_delivery(chain: Chain, tmp_path: Path, defender: Unattended) -> None:
    """Though its bonds were paid long before: a game whose output can still be delivered is looked at again."""
    request_id, game = shared_game(chain, tmp_path, ETHER)
    defend_to_the_end(chain, defender)
    assert not defender.agent._settler.ended
    deliver(chain, tmp_path, request_id, game)
    state = chain.system().games.read(game)
    (lost,) = [claim for claim in state.claims if claim.countered_by == CHALLENGER]
    share_wei, before_wei = forfeited_wei(lost.bond_wei, state.terms) // 2, chain.rpc.balance_wei(CHALLENGER)
    chain.warp(LOOK_AGAIN_S + 1)
    defender.passes()
    assert before_wei + share_wei - ETHER // 1000 < chain.rpc.balance_wei(CHALLENGER) < before_wei + share_wei
    assert chain.rpc.balance_wei(chain.system().defender_shares.address) == 0
    assert defender.agent._context.metrics.share_paid._value.get() == share_wei
    assert not defender.agent._settler.ended, "it is looked at once more"
    chain.warp(LOOK_AGAIN_S)
    defender.passes()
    assert defender.agent._settler.ended == {game}


def test_a_share_below_its_gas_is_left(chain: Chain, tmp_path: Path, defender: Unattended) -> None:
    """Until the gas is cheaper; by hand the payment can be sent all the same."""
    request_id, game = shared_game(chain, tmp_path, 10_000)
    defend_to_the_end(chain, defender)
    deliver(chain, tmp_path, request_id, game)
    chain.warp(LOOK_AGAIN_S + 1)
    defender.passes()
    system = chain.system()
    assert chain.rpc.balance_wei(system.defender_shares.address) == 2_000
    settlement = read_settlement(system, game, [CHALLENGER])
    assert settlement.shares.owed_wei == 2_000
    assert settle_intents(settlement, share_gas_price_wei=1) == []
    (intent,) = settle_intents(settlement)
    perform(intent, chain.sender("requester"))
    assert chain.rpc.balance_wei(system.defender_shares.address) == 0


def test_the_share_of_a_fee_that_is_taken_back_is_waited_for_no_more(
    chain: Chain, tmp_path: Path, defender: Unattended
) -> None:
    request_id, game = shared_game(chain, tmp_path, ETHER)
    defend_to_the_end(chain, defender)
    chain.warp(TEST_TIMES.reclaim_delay_s)
    system = chain.system()
    assert read_settlement(system, game, [CHALLENGER]).shares.may_come
    chain.sender("requester").send(system.oracle._call(lambda v: v, "reclaimFee", request_id))
    assert not read_settlement(system, game, [CHALLENGER]).shares.may_come
    assert not read_settlement(system, game, [devnet.account("deployer").address]).shares.may_come
    defender.passes()
    assert not defender.agent._settler.ended, "it is looked at once more"
    chain.warp(LOOK_AGAIN_S)
    defender.passes()
    assert defender.agent._settler.ended == {game}


def test_a_proposer_counts_what_is_left_of_the_fee(chain: Chain, tmp_path: Path) -> None:
    """A part that defenders may get is no part of the fee that its policy demands."""
    ask_sample(
        chain.system(), chain.sender("requester"), 5, ModelStore(tmp_path / "models"), fee_wei=ETHER, terms=SHARED
    )
    for least_wei, answered in ((ETHER * 8 // 10 + 1, 0), (ETHER * 8 // 10, 1)):
        one = Unattended(chain, tmp_path, role="proposer")
        one.start(preflight=False, roles=frozenset({"proposer"}), min_fee_wei=least_wei)
        one.passes()
        one.end()
        assert chain.rpc.read(chain.system().factory.game_count()) == answered
