"""A proposer at a node that lies: no bond for terms that a request does not have, none beside a game that stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from eth_utils.crypto import keccak

from opml_dispute.chain.contracts.contract import as_it_is
from opml_dispute.chain.contracts.oracle import RequestTerms
from opml_dispute.chain.journal import KeyLedger
from opml_dispute.chain.request_terms import WrongTerms, expect_terms
from opml_dispute.chain.requests import read_request
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Rpc, UnexpectedAnswer
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System, connect
from opml_dispute.chain.transactions import NonceTaken
from opml_dispute.devnet import anvil as devnet
from opml_dispute.operator.deposits import (
    DepositInDoubt,
    DepositUnseen,
    believe_node,
    deposit_intents,
    withdrawal_intent,
)
from opml_dispute.operator.inference import request_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.proposing import ProposalExists, moved_to, proposal_intents
from opml_dispute.primitives import Address, RequestId, StateRoot
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.testing.node_lies import Lie, Teller, asked_by
from tests.conftest import TEST_TIMES, Chain
from tests.lies.hurried import HurriedTime

ROOT = StateRoot(b"\x5a" * 32)
PROPOSER = devnet.account("proposer").address
COMMITTED = {
    "model": 0,
    "starting root": 2,
    "requester": 3,
    "callback": 5,
    "callback gas": 6,
    "output by root": 7,
    "defenders' part": 8,
    "fee": 9,
    "demanded bond": 10,
}
"""Words of a request that its id is made of."""


@contextmanager
def lied_to(chain: Chain, *lies: Lie) -> Iterator[System]:
    """A system at a node that tells some lies, one behind the other."""
    tellers = [Teller(lie) for lie in lies]

    def edit(request: dict[str, object], reply: dict[str, object]) -> dict[str, object]:
        for teller in tellers:
            reply = teller(request, reply)
        return reply

    with FaultProxy(chain.anvil.url, edit=edit) as proxy:
        yield connect(Rpc(proxy.url, patience_s=0.5), chain.deployment)


def ask(chain: Chain, *, fee_wei: int, items: int = 1, min_bond_wei: int = 0) -> RequestId:
    """A request for the digits model, of an input of zeros."""
    system = chain.system()
    model_id = system.rpc.read(system.registry.model_id_at(0))
    size = system.rpc.read(system.registry.model(model_id)).input_bytes
    terms = RequestTerms(min_bond_wei=min_bond_wei, defenders_bps=100)
    intent = request_intent(system, model_id, bytes(size * items), fee_wei=fee_wei, terms=terms, item_count=items)
    perform(intent, chain.sender("requester"))
    return system.rpc.read(system.oracle.request_id_at(system.rpc.read(system.oracle.request_count()) - 1))


@pytest.mark.parametrize("kind", ["word one more", "word 0", "word 63 bits"])
@pytest.mark.parametrize("what", COMMITTED)
def test_no_bond_is_staked_on_terms_that_a_request_does_not_have(chain: Chain, what: str, kind: str) -> None:
    request_id = ask(chain, fee_wei=10**16, min_bond_wei=10**17)
    lie = Lie("eth_call requests", (f"word {COMMITTED[what]}",), kind)
    with lied_to(chain, lie) as system:
        try:
            told = read_request(system, request_id)
        except UnexpectedAnswer:
            return  # no contract answers that
        if told == read_request(chain.system(), request_id):
            return  # what is said is the truth: there is no callback, for example
        if what == "fee" and kind == "word 0":
            # As if it had been taken back: less than was offered is no reason to stake.
            expect_terms(system, request_id, told)
            return
        with pytest.raises(WrongTerms, match="do not belong to its id"):
            proposal_intents(system, request_id, ROOT, 1, proposer=PROPOSER)


def test_terms_that_are_nowhere_in_an_endless_list_end_in_a_refusal(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opml_dispute.chain.request_terms.MOST_PLACES", 1_000)
    monkeypatch.setattr("opml_dispute.chain.request_terms.RECENT_PLACES", 100)
    request_id = ask(chain, fee_wei=10**16)
    endless = Lie("eth_call requestCount", ("word 0",), "word 256 bits")
    with (
        lied_to(chain, endless, Lie("eth_call requests", ("word 9",), "word one more")) as system,
        pytest.raises(WrongTerms),
    ):
        proposal_intents(system, request_id, ROOT, 1, proposer=PROPOSER)


@pytest.mark.parametrize("lie", [None, Lie("eth_call requestCount", ("word 0",), "word 63 bits")])
def test_a_request_is_found_behind_any_number_of_later_ones(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, lie: Lie | None
) -> None:
    """At both ends of the list, in its middle, and among several of one second."""
    requests = [ask(chain, fee_wei=number) for number in range(3)]
    chain.warp(1)
    chain.rpc.request("evm_setAutomine", False)
    senders = [chain.sender(role) for role in ("requester", "challenger", "proposer")]
    system = chain.system()
    model_id = system.rpc.read(system.registry.model_id_at(0))
    image = bytes(system.rpc.read(system.registry.model(model_id)).input_bytes)
    intent = request_intent(system, model_id, image, fee_wei=7)
    with ThreadPoolExecutor() as threads:
        sent = [threads.submit(perform, intent, sender) for sender in senders]
        while int(chain.rpc.request("txpool_status")["pending"], 16) < len(senders):
            time.sleep(0.01)
        chain.rpc.request("evm_mine")
        chain.rpc.request("evm_setAutomine", True)
        assert all(one.result().receipt for one in sent)
    count = system.rpc.read(system.oracle.request_count())
    requests += [system.rpc.read(system.oracle.request_id_at(place)) for place in range(count - 3, count)]
    times = {read_request(system, id_).requested_at_s for id_ in requests[3:]}
    assert len(times) == 1, "of one block"
    chain.warp(1)
    requests += [ask(chain, fee_wei=number) for number in range(2)]
    monkeypatch.setattr("opml_dispute.chain.request_terms.RECENT_PLACES", 0)
    monkeypatch.setattr("opml_dispute.chain.request_terms.MOST_PLACES", 3)
    with lied_to(chain, *([] if lie is None else [lie])) as other:
        for id_ in requests:
            expect_terms(other, id_, read_request(other, id_))


@pytest.mark.parametrize("items", [1, 2])
def test_a_fee_that_was_taken_back_is_no_lie(chain: Chain, items: int) -> None:
    request_id = ask(chain, fee_wei=10**16, items=items)
    ask(chain, fee_wei=0)
    chain.warp(TEST_TIMES.reclaim_delay_s + 1)
    system = chain.system()
    chain.sender("requester").send(system.oracle._call(as_it_is, "reclaimFee", request_id))
    record = read_request(system, request_id)
    assert record.fee_wei == 0
    expect_terms(system, request_id, record)


@pytest.mark.parametrize("kind", ["word 0", "word 256 bits", "word 32 bits"])
def test_a_number_of_items_that_no_request_has_is_refused(chain: Chain, kind: str) -> None:
    """And not divided by, or counted to."""
    request_id = ask(chain, fee_wei=0)
    with lied_to(chain, Lie("eth_call requests", ("word 12",), kind)) as system, pytest.raises(UnexpectedAnswer):
        read_request(system, request_id)


# --- games that stand ---

HIDING = [
    Lie("eth_call gameCount", ("word 0",), "word 0"),
    Lie("eth_call gamesOf", ("word 1",), "word 0"),
    Lie("eth_call gamesOf", ("word 2",), "word 0"),
    Lie("eth_call rootClaim", ("word 0",), "word one more"),
    Lie("eth_call status", ("word 0",), "word 1"),
    Lie("eth_call isGameBlacklisted", ("word 0",), "word 1"),
    Lie("eth_call isGameRetired", ("word 0",), "word 1"),
    Lie("eth_call isGameRespected", ("word 0",), "word 0"),
    Lie("eth_call firstProposal", ("word 0",), "word 0"),
    Lie("eth_call games", ("word 0",), "word 0"),
]
"""Of these, each hides a game that stands from one reading of the chain."""


@pytest.mark.parametrize("fee_wei", [0, 10**16])
def test_one_lie_hides_no_game_that_stands(chain: Chain, fee_wei: int) -> None:
    request_id = ask(chain, fee_wei=fee_wei)
    for intent in proposal_intents(chain.system(), request_id, ROOT, 1, proposer=PROPOSER):
        perform(intent, chain.sender("proposer"))
    for lie in HIDING:
        with lied_to(chain, lie) as system, pytest.raises(ProposalExists):
            proposal_intents(system, request_id, ROOT, 1, proposer=PROPOSER)


# --- deposits ---

BOND_WEI = 10**17
ABOUT_DEPOSITS = [
    *(Lie("eth_call depositOf", ("word 0",), kind) for kind in ("word 0", "word one less", "word 255 bits")),
    *(Lie("eth_call withdraw", (), kind) for kind in ("reverted without data", "GameNotInProgress", "null")),
    Lie("eth_getTransactionReceipt", ("blockNumber",), "many more"),
    Lie("eth_getTransactionReceipt", (), "null"),
    Lie("eth_getBlockByNumber", ("number",), "one less"),
]


@pytest.mark.parametrize("lie", ABOUT_DEPOSITS, ids=str)
@pytest.mark.parametrize("is_deposited", [True, False])
def test_one_lie_has_no_deposit_made_twice(chain: Chain, lie: Lie, is_deposited: bool) -> None:
    """And none left out, to have a commitment paid for a proposal that is refused then."""
    request_id = ask(chain, fee_wei=10**16, min_bond_wei=BOND_WEI)
    if is_deposited:
        for intent in deposit_intents(chain.system(), BOND_WEI, PROPOSER):
            perform(intent, Sender(chain.rpc, devnet.account("proposer"), chain_id=chain.deployment.chain_id))
    with lied_to(chain, lie) as system:
        try:
            intents = proposal_intents(system, request_id, ROOT, 1, proposer=PROPOSER)
        except (DepositInDoubt, RpcError, Reverted):
            return
    assert [intent.value_wei for intent in intents if intent.kind == "deposit"] == ([] if is_deposited else [BOND_WEI])


def hiding_deposits(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    """A node that tells of no deposit in all places."""
    question = asked_by(request)
    if question == "eth_call depositOf":
        return reply | {"result": "0x" + "00" * 32}
    if question == "eth_call withdraw":
        data = request["params"][0]["input"]
        short = keccak(text="DepositShort(address,uint256,uint256)")[:4].hex() + PROPOSER[2:].lower().rjust(64, "0")
        error = {"code": 3, "message": "execution reverted", "data": "0x" + short + "00" * 32 + data[10:]}
        return {"jsonrpc": "2.0", "id": request["id"], "error": error}
    return reply


def test_a_deposit_that_a_node_hides_in_all_places_is_not_made_twice(chain: Chain) -> None:
    """Held against it: that this computer signed a deposit, and that its nonce is used. Until it is to be believed."""
    request_id = ask(chain, fee_wei=0, min_bond_wei=BOND_WEI)
    sender = Sender(chain.rpc, devnet.account("proposer"), chain_id=chain.deployment.chain_id)
    (made,) = deposit_intents(chain.system(), BOND_WEI, PROPOSER)
    perform(made, sender)
    with FaultProxy(chain.anvil.url, edit=hiding_deposits) as proxy:
        system = connect(Rpc(proxy.url, patience_s=0.5), chain.deployment)
        for _ in range(2):
            with pytest.raises(DepositUnseen, match="were deposited from this computer"):
                proposal_intents(system, request_id, ROOT, 1, proposer=PROPOSER)
        believe_node(system, PROPOSER)
        assert [intent.value_wei for intent in deposit_intents(system, BOND_WEI, PROPOSER)] == [BOND_WEI]


def test_a_deposit_that_a_node_does_not_count_is_not_made_beside_itself(chain: Chain) -> None:
    """As behind one address a node that lags answers first, and another one when the transaction is sent."""
    sender = Sender(chain.rpc, devnet.account("proposer"), chain_id=chain.deployment.chain_id)
    before, count = chain.rpc.head(), sender.rpc.request("eth_getTransactionCount", PROPOSER, "latest")
    perform(deposit_intents(chain.system(), BOND_WEI, PROPOSER)[0], sender)

    def lagging(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_getTransactionCount":
            return reply | {"result": count}
        if asked_by(request) == "eth_getTransactionReceipt":
            return reply | {"result": None}
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] == "latest":
            return reply | {"result": chain.rpc.request("eth_getBlockByNumber", hex(before.number), False)}
        if request["method"] == "eth_call" and request["params"][1] == "latest":
            return proxy.forward(request | {"params": [request["params"][0], hex(before.number)]})
        return reply

    with FaultProxy(chain.anvil.url, edit=lagging) as proxy:
        (again,) = deposit_intents(connect(Rpc(proxy.url, patience_s=0.5), chain.deployment), BOND_WEI, PROPOSER)
    with pytest.raises(NonceTaken, match="signed under nonce"):
        perform(again, sender)
    system = chain.system()
    assert system.rpc.read(system.proposer_bonds.deposit_wei(PROPOSER)) == BOND_WEI


def test_a_deposit_that_was_locked_or_taken_back_is_made_anew(chain: Chain) -> None:
    """Also many transactions later, and where a commitment comes between."""
    sender = Sender(chain.rpc, devnet.account("proposer"), chain_id=chain.deployment.chain_id)
    for round_ in range(2):
        request_id, system = ask(chain, fee_wei=round_, min_bond_wei=BOND_WEI), chain.system()
        intents = proposal_intents(system, request_id, ROOT, 1, proposer=PROPOSER)
        assert [intent.value_wei for intent in intents if intent.kind == "deposit"] == [BOND_WEI]
        for intent in intents:
            perform(intent, sender)
    (again,) = deposit_intents(system, BOND_WEI, PROPOSER)
    perform(again, sender)
    ledger, count = KeyLedger(chain.deployment.chain_id, PROPOSER), 1_000
    assert ledger.own_deposit_wei(system.proposer_bonds.address, count) == BOND_WEI
    perform(withdrawal_intent(system, BOND_WEI // 2), sender)
    assert ledger.own_deposit_wei(system.proposer_bonds.address, count) == BOND_WEI // 2
    assert [intent.value_wei for intent in deposit_intents(system, BOND_WEI, PROPOSER)] == [BOND_WEI // 2]


def test_a_node_that_lags_behind_a_deposit_is_waited_for(chain: Chain) -> None:
    """All of it tells of no deposit, and means it: the block of the deposit is one that it does not have yet."""
    before = chain.rpc.request("eth_getBlockByNumber", "latest", False)
    sender = Sender(chain.rpc, devnet.account("proposer"), chain_id=chain.deployment.chain_id)
    perform(deposit_intents(chain.system(), BOND_WEI, PROPOSER)[0], sender)
    lags = True

    def edit(request: dict[str, object], reply: dict[str, object]) -> dict[str, object]:
        is_latest = request["method"] == "eth_getBlockByNumber" and request["params"] == ["latest", False]
        return reply | {"result": before} if is_latest and lags else reply

    with FaultProxy(chain.anvil.url, edit=edit) as proxy:
        system = connect(Rpc(proxy.url, patience_s=0.3), chain.deployment)
        with pytest.raises(DepositInDoubt, match=r"in which .* made a deposit"):
            deposit_intents(system, BOND_WEI, PROPOSER)
        lags = False
        assert deposit_intents(system, BOND_WEI, PROPOSER) == []


# --- what was sent ---


def hiding_what_was_sent(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    """A node that counts a transaction, and knows nothing else of it."""
    hides = request["method"] in ("eth_getTransactionReceipt", "eth_getTransactionByHash")
    return reply | {"result": None} if hides else reply


def test_what_pays_once_is_not_sent_again_where_a_node_hides_it(chain: Chain) -> None:
    """Not by itself: as if another program had taken its nonce. That costs a run more, where it did."""
    system, fee_wei = chain.system(), 10**16
    model_id = system.rpc.read(system.registry.model_id_at(0))
    image = bytes(system.rpc.read(system.registry.model(model_id)).input_bytes)
    before = system.rpc.read(system.oracle.request_count())
    with FaultProxy(chain.anvil.url, edit=hiding_what_was_sent) as proxy, HurriedTime():
        intent = request_intent(system, model_id, image, fee_wei=fee_wei)
        sender = Sender(Rpc(proxy.url), devnet.account("requester"), chain_id=chain.deployment.chain_id)
        with pytest.raises(NonceTaken, match="says that nonce") as raised:
            perform(intent, sender)
        assert "at another node" in str(raised.value.hint)
    assert system.rpc.read(system.oracle.request_count()) == before + 1


# --- reorganisations ---


def test_a_game_whose_creation_is_taken_back_is_found_where_it_is_made_again(chain: Chain) -> None:
    """By another account too: its address is another one then, and the old one is watched in vain."""
    request_id, system = ask(chain, fee_wei=0), chain.system()
    snapshot = chain.rpc.request("evm_snapshot")

    def made_by(role: str) -> Address:
        sender = chain.sender(role)
        (intent,) = proposal_intents(system, request_id, ROOT, 1, proposer=sender.address)
        receipt = perform(intent, sender).receipt
        assert receipt is not None
        return system.factory.created_game(receipt)

    game = system.games.read(made_by("proposer"))
    assert moved_to(system, game) is None, "it is where it was"
    chain.rpc.request("evm_revert", snapshot)
    assert moved_to(system, game) is None, "it is nowhere yet"
    chain.rpc.request("evm_mine")
    again = made_by("challenger")
    assert again != game.address
    assert moved_to(system, game) == again
