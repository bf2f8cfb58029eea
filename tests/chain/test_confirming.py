"""Waiting until no reorganisation is expected to take a transaction back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from opml_dispute.chain import confirming
from opml_dispute.chain.answers import quantity
from opml_dispute.chain.confirming import NotConfirmed, TakenBack, await_confirmations
from opml_dispute.chain.contracts.oracle import InferenceOracle
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Receipt
from opml_dispute.devnet import anvil as devnet
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.conftest import Chain


def proposer(chain: Chain, told: list[str] | None = None) -> Sender:
    tell = (lambda sentence: None) if told is None else told.append
    return Sender(chain.rpc, devnet.account("proposer"), chain_id=devnet.CHAIN_ID, tell=tell)


def oracle(chain: Chain) -> InferenceOracle:
    return chain.system().oracle


def later(action: Callable[[], object], is_due: Callable[[], bool]) -> threading.Thread:
    """Does it in a thread once that is so."""

    def run() -> None:
        while not is_due():
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_one_block_is_enough_if_no_more_were_asked_for(chain: Chain) -> None:
    sender = proposer(chain)
    receipt = sender.send(oracle(chain).commit(b"\1" * 32))
    assert sender.confirmed([receipt], 1) == [receipt]


def test_blocks_are_counted_from_the_one_that_has_the_transaction(chain: Chain) -> None:
    sender = proposer(chain)
    receipts = [sender.send(oracle(chain).commit(bytes([number]) * 32)) for number in (1, 2)]
    chain.rpc.request("evm_mine")
    assert sender.confirmed(receipts[:1], 3) == receipts[:1]
    mined = later(lambda: chain.rpc.request("evm_mine"), lambda: bool(chain.rpc.head()))
    assert sender.confirmed(receipts, 3) == receipts
    mined.join()
    assert chain.rpc.head().number == receipts[-1].block_number + 2


def test_what_a_reorganisation_takes_back_is_sent_again(chain: Chain) -> None:
    """And has its new block in the receipt then."""
    told: list[str] = []
    sender = proposer(chain, told)
    snapshot = chain.rpc.request("evm_snapshot")
    receipt = sender.send(oracle(chain).commit(b"\1" * 32))
    chain.rpc.request("evm_revert", snapshot)
    for _ in range(2):
        chain.rpc.request("evm_mine")
    mined = later(lambda: chain.rpc.request("anvil_mine", "0x3"), lambda: bool(told))
    (now,) = sender.confirmed([receipt], 3)
    mined.join()
    assert now.hash == receipt.hash
    assert now.block_number > receipt.block_number
    assert [sentence for sentence in told if "took back" in sentence] == told
    assert len(told) == 1


def test_what_fails_when_it_is_mined_again_is_told(chain: Chain) -> None:
    sender = proposer(chain)
    receipt = sender.send(oracle(chain).commit(b"\1" * 32))
    with (
        FaultProxy(chain.anvil.url, edit=lambda request, reply: _failed(request, reply)) as proxy,
        pytest.raises(TakenBack, match="failed when it came into block"),
    ):
        await_confirmations(Rpc(proxy.url), [receipt], 2, send_again=_never, alike=_alone, tell=_never)


def _failed(request: dict[str, object], reply: dict[str, object]) -> dict[str, object]:
    result = reply.get("result")
    if request["method"] != "eth_getTransactionReceipt" or not isinstance(result, dict):
        return reply
    return reply | {"result": result | {"status": "0x0", "logs": []}}


def _alone(transaction_hash: bytes) -> list[bytes]:
    return [transaction_hash]


def _never(what: object) -> None:
    raise AssertionError(what)


def test_a_node_that_lags_has_taken_nothing_back(chain: Chain) -> None:
    """Its latest block is before that of the receipt."""
    sender = proposer(chain)
    before = chain.rpc.request("eth_getBlockByNumber", "latest", False)
    receipt = sender.send(oracle(chain).commit(b"\1" * 32))
    asked = 0

    def edit(request: dict[str, object], reply: dict[str, object]) -> dict[str, object]:
        nonlocal asked
        if request["method"] == "eth_getBlockByNumber":
            asked += 1
        if asked > 4:
            return reply
        hidden = {"eth_getBlockByNumber": before, "eth_getTransactionReceipt": None}
        method = str(request["method"])
        return reply | {"result": hidden[method]} if method in hidden else reply

    chain.rpc.request("evm_mine")
    with FaultProxy(chain.anvil.url, edit=edit) as proxy:
        assert await_confirmations(Rpc(proxy.url), [receipt], 2, send_again=_never, alike=_alone, tell=_never) == [
            receipt
        ]


def test_a_chain_that_stands_still_is_not_waited_for_without_end(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "STANDSTILL_S", 0.5)
    sender = proposer(chain)
    receipt = sender.send(oracle(chain).commit(b"\1" * 32))
    with pytest.raises(NotConfirmed, match="fewer than the 2"):
        sender.confirmed([receipt], 2)
    lost = replace(receipt, hash=b"\7" * 32)
    sent: list[Receipt] = []
    with pytest.raises(NotConfirmed, match=r"has shown it in no block for 0 s|no new block"):
        await_confirmations(chain.rpc, [lost], 1, send_again=sent.append, alike=_alone, tell=lambda sentence: None)
    assert lost in sent


@contextmanager
def mining(rpc: Rpc) -> Iterator[None]:
    """A block every tenth of a second."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.1):
            rpc.request("evm_mine")

    miner = threading.Thread(target=run, daemon=True)
    miner.start()
    try:
        yield
    finally:
        ended.set()
        miner.join()


def test_one_that_cannot_be_mined_again_is_not_waited_for_without_end(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program has used its nonce since, and the chain goes on."""
    monkeypatch.setattr(confirming, "STANDSTILL_S", 1.0)
    sender = proposer(chain)
    snapshot = chain.rpc.request("evm_snapshot")
    nonce = sender.rpc.request("eth_getTransactionCount", sender.address, "latest", parse=quantity)
    receipt = sender.send(oracle(chain).commit(b"\1" * 32))
    chain.rpc.request("evm_revert", snapshot)
    other = {"to": sender.address, "data": "0x", "value": 0, "gas": 21_000, "gasPrice": 10**11, "nonce": nonce}
    raw, _ = sender.account.sign(other | {"chainId": devnet.CHAIN_ID})
    chain.rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
    with mining(chain.rpc), pytest.raises(NotConfirmed, match=r"took back .* has shown it in no block for 1 s"):
        sender.confirmed([receipt], 2)


def test_what_another_process_sent_before_it_is_sent_again_too(chain: Chain) -> None:
    """Without it the nonce before is free, and what comes after it is never mined."""
    snapshot = chain.rpc.request("evm_snapshot")
    proposer(chain).send(oracle(chain).commit(b"\1" * 32))
    sender = proposer(chain)
    receipt = sender.send(oracle(chain).commit(b"\2" * 32))
    chain.rpc.request("evm_revert", snapshot)
    with mining(chain.rpc):
        (now,) = sender.confirmed([receipt], 2)
    assert now.hash == receipt.hash
