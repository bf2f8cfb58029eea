"""Nonces at a node that lies: nothing is signed for later, and nothing is paid for twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from opml_dispute.chain.counts import NEVER_SENT, TransactionCounts, created_by
from opml_dispute.chain.fees import Fees
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcAnswerInvalid, RpcError
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import NotMined, Order, Receipt
from opml_dispute.devnet import anvil as devnet
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.testing.node_lies import Lie, Teller
from tests.chain.test_sender import deposit
from tests.lies.hurried import HurriedTime
from tests.lies.oracle import sent_by

COUNTS = [
    Lie("eth_getTransactionCount", (), kind)
    for kind in ("one more", "one less", "many more", "zero", "63 bits", "null", "text")
]
RECEIPTS = [
    Lie("eth_getTransactionReceipt", (), "null"),
    Lie("eth_getTransactionReceipt", ("blockHash",), "null"),
    Lie("eth_getTransactionReceipt", ("status",), "zero"),
    Lie("eth_getTransactionReceipt", ("gasUsed",), "256 bits"),
]
OTHERS = [
    Lie("eth_getTransactionByHash", (), "null"),
    Lie("eth_call 0x30600052", (), "zeros"),
    Lie("eth_call 0x30600052", (), "no such method"),
]


@contextmanager
def lied_to(rpc: Rpc, *lies: Lie) -> Iterator[tuple[Rpc, list[Teller]]]:
    tellers = [Teller(lie) for lie in lies]

    def edit(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        for teller in tellers:
            reply = teller(request, reply)
        return reply

    with FaultProxy(rpc.url, edit=edit) as proxy:
        yield Rpc(proxy.url, patience_s=0.2), tellers


@pytest.mark.parametrize("lie", [*COUNTS, *RECEIPTS, *OTHERS], ids=str)
@pytest.mark.parametrize("is_slow", [False, True])
def test_what_is_sent_once_is_signed_once_whatever_one_answer_says(
    rpc: Rpc,
    sender: Sender,
    weth: Any,
    lie: Lie,
    is_slow: bool,
) -> None:
    """And under the next nonce: whether blocks come at once, or only after every look at what was sent."""
    before = int(rpc.request("eth_getTransactionCount", sender.address, "latest"), 16)
    balance_wei = rpc.balance_wei(weth.address)

    def slept(passed_s: float) -> None:
        if is_slow and passed_s > 60:
            rpc.request("evm_mine")

    rpc.request("evm_setAutomine", not is_slow)
    with lied_to(rpc, lie) as (other, (teller,)), HurriedTime(slept):
        one = Sender(other, devnet.account("deployer"), chain_id=devnet.CHAIN_ID)
        try:
            (outcome,) = one.send_all([Order(deposit(weth.address), value_wei=7, once=True)])
        finally:
            rpc.request("evm_mine")
            rpc.request("evm_setAutomine", True)
    after = int(rpc.request("eth_getTransactionCount", sender.address, "latest"), 16)
    assert after - before <= 1
    assert rpc.balance_wei(weth.address) - balance_wei == 7 * (after - before)
    assert not isinstance(outcome, Receipt) or outcome.gas_used < 2**40, "no number that a database cannot keep"
    if after == before:
        assert isinstance(outcome, RpcError | NotMined)
    assert rpc.request("txpool_status") == {"pending": "0x0", "queued": "0x0"}, "nothing waits for a later nonce"
    assert len(sent_by(teller.sent)) <= 1, "under one nonce"


def test_a_node_that_makes_other_addresses_is_believed(rpc: Rpc, sender: Sender) -> None:
    """Some chains derive addresses in another way; one that cannot simulate creations is served, too."""
    count = int(rpc.request("eth_getTransactionCount", sender.address, "latest"), 16)
    assert TransactionCounts(rpc, sender.address).sure() == (count, count)
    for kind in ("zeros", "no such method", "reverted without data"):
        with lied_to(rpc, Lie("eth_call 0x30600052", (), kind)) as (other, _):
            assert TransactionCounts(other, sender.address).sure() == (count, count)


def test_more_than_a_pool_keeps_does_not_wait(rpc: Rpc, sender: Sender) -> None:
    """Also where creations cannot be simulated."""

    def edit(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        waits = request["method"] == "eth_getTransactionCount" and request["params"][1] == "pending"
        if request["method"] == "eth_call":
            return {"id": reply["id"], "error": {"code": -32601, "message": "the method does not exist"}}
        return reply | {"result": hex(int(reply["result"], 16) + 65)} if waits else reply

    with (
        FaultProxy(rpc.url, edit=edit) as proxy,
        HurriedTime(),
        pytest.raises(RpcAnswerInvalid, match="transactions an account"),
    ):
        TransactionCounts(Rpc(proxy.url), sender.address).sure()


def test_the_account_that_never_sent_has_the_first_address(rpc: Rpc) -> None:
    code = "0x3060005260206000f3"
    word = rpc.request("eth_call", {"from": NEVER_SENT, "data": code}, "latest")
    assert "0x" + word[-40:] == created_by(NEVER_SENT, 0).lower()


def test_a_node_that_always_counts_one_too_many_stops_nothing(rpc: Rpc, sender: Sender, weth: Any) -> None:
    """What waits behind the nonce that was never used is mined, once, and the next one does not wait."""
    balance_wei = rpc.balance_wei(weth.address)
    before = TransactionCounts(rpc, sender.address).sure()[0]
    told: list[str] = []
    with FaultProxy(rpc.url, ["early-nonce"], every=1) as proxy, HurriedTime() as clock:
        one = Sender(Rpc(proxy.url), devnet.account("deployer"), chain_id=devnet.CHAIN_ID, tell=told.append)
        one.send(deposit(weth.address), value_wei=7, once=True)
        waited_s = clock.passed_s
        one.send(deposit(weth.address), value_wei=8, once=True)
        one.send_all([Order(deposit(weth.address), value_wei=1)] * 2)
    assert waited_s < 30
    assert clock.passed_s - waited_s < 2
    assert rpc.balance_wei(weth.address) - balance_wei == 7 + 8 + 2
    assert TransactionCounts(rpc, sender.address).sure() == (before + 5, before + 5)
    assert sum("was never used" in sentence for sentence in told) == 1


def test_a_gap_that_the_node_shows_is_closed_within_seconds(rpc: Rpc, sender: Sender, weth: Any) -> None:
    """It counted three too many while this was signed, and counts right after that."""
    balance_wei, mined = rpc.balance_wei(weth.address), TransactionCounts(rpc, sender.address).sure()[0]
    is_lying = True

    def edit(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        nonlocal is_lying
        is_lying = is_lying and request["method"] != "eth_sendRawTransaction"
        waits = request["method"] == "eth_getTransactionCount" and request["params"][1] == "pending"
        return reply | {"result": hex(mined + 3)} if waits and is_lying else reply

    with FaultProxy(rpc.url, edit=edit) as proxy, HurriedTime() as clock:
        one = Sender(Rpc(proxy.url), devnet.account("deployer"), chain_id=devnet.CHAIN_ID)
        one.send(deposit(weth.address), value_wei=7, once=True)
    assert clock.passed_s < 12
    assert rpc.balance_wei(weth.address) - balance_wei == 7
    assert TransactionCounts(rpc, sender.address).sure() == (mined + 4, mined + 4)


def test_what_another_program_sent_does_not_give_way_to_what_closes_a_gap(rpc: Rpc, weth: Any) -> None:
    """The nonce before ours waits in the pool, for hardly more than the base fee, and is in no journal."""
    account = devnet.account("deployer")
    low = Fees(rpc.head().base_fee_wei * 5 // 4 + 1_000, 1)
    mined = TransactionCounts(rpc, account.address).sure()[0]
    fields = {"to": account.address, "data": "0x", "value": 0, "gas": 21_000, "chainId": devnet.CHAIN_ID}
    raw, foreign = account.sign(fields | {"nonce": mined} | low.fields())
    rpc.request("evm_setAutomine", False)
    rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
    with HurriedTime(lambda passed_s: rpc.request("evm_mine") if passed_s > 60 else None):
        Sender(rpc, account, chain_id=devnet.CHAIN_ID).send(deposit(weth.address), value_wei=7)
    assert rpc.request("eth_getTransactionReceipt", "0x" + foreign.hex())["status"] == "0x1"


def test_one_answer_that_counts_too_many_leaves_no_gap(rpc: Rpc, sender: Sender, weth: Any) -> None:
    left = [1]

    def edit(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        waits = request["method"] == "eth_getTransactionCount" and request["params"][1] == "pending"
        return reply | {"result": hex(int(reply["result"], 16) + left.pop())} if waits and left else reply

    with FaultProxy(rpc.url, edit=edit) as proxy, HurriedTime() as clock:
        Sender(Rpc(proxy.url), devnet.account("deployer"), chain_id=devnet.CHAIN_ID).send(deposit(weth.address))
    assert clock.passed_s < 2
    assert not left
