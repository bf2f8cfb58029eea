"""Sending: simulated first, mined exactly once, explained when refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.contracts.dispute import DelayedWETH, DisputeGameFactory
from opml_dispute.chain.fees import Fees, FeeTooHigh
from opml_dispute.chain.journal import KeyLedger, Launched
from opml_dispute.chain.keys import Account
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Ask, Call, Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import NotEnoughFunds, NotMined, Order, Receipt
from opml_dispute.devnet import anvil as devnet
from opml_dispute.home import CannotWrite
from opml_dispute.primitives import Address
from opml_dispute.testing.fault_proxy import FaultProxy

ETHER = 10**18


def deposit(weth: Address) -> Call[object]:
    """A payable call that always succeeds."""
    artifact = load_artifact("DelayedWETH")
    return Call(weth, artifact.functions["deposit()"], (), "DelayedWETH")


def nonce(rpc: Rpc, sender: Sender) -> int:
    return int(rpc.request("eth_getTransactionCount", sender.address, "latest"), 16)


def test_a_receipt_says_what_it_cost(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    before_wei = rpc.balance_wei(sender.address)
    receipt = sender.send(deposit(weth.address), value_wei=ETHER)
    spent_wei = before_wei - rpc.balance_wei(sender.address)
    assert spent_wei == ETHER + receipt.gas_used * receipt.gas_price_wei
    assert receipt.what == "DelayedWETH.deposit"
    assert rpc.head().number == receipt.block_number


def test_a_call_that_would_revert_is_not_sent(rpc: Rpc, sender: Sender, factory: DisputeGameFactory) -> None:
    before = nonce(rpc, sender)
    with pytest.raises(Reverted, match=r"NoImplementation\(gameType: 0\)") as raised:
        sender.send(factory.create(bytes(32), bytes(32)))
    assert raised.value.hint
    assert nonce(rpc, sender) == before


def test_a_revert_that_only_shows_when_mined_is_explained(
    rpc: Rpc, sender: Sender, factory: DisputeGameFactory
) -> None:
    """Between estimate and block another account was first: the reason is found by running it again there."""
    other = Sender(rpc, devnet.account("proposer"), timeout_s=5.0)
    rpc.request("evm_setAutomine", False)
    call = factory.set_init_bond(5)
    away: Call[None] = Call(
        factory.address, factory.artifact().functions["transferOwnership"], (other.address,), "DisputeGameFactory"
    )
    failures: list[Exception] = []

    def send_late() -> None:
        try:
            sender.send(call)
        except Reverted as error:
            failures.append(error)

    # Same account, so nonces fix the order: ownership goes away before the call that needs it.
    raw, _ = sender.account.sign(
        {
            "to": away.to,
            "data": "0x" + away.data.hex(),
            "value": 0,
            "gas": 100_000,
            "gasPrice": 10**10,
            "nonce": nonce(rpc, sender),
            "chainId": devnet.CHAIN_ID,
        }
    )
    rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
    late = threading.Thread(target=send_late)
    late.start()
    time.sleep(0.3)
    rpc.request("evm_mine")
    late.join(timeout=10)
    assert len(failures) == 1
    assert "not the owner" in str(failures[0])


def test_who_cannot_pay_is_told_how_much_is_missing(rpc: Rpc, weth: DelayedWETH) -> None:
    poor = Sender(rpc, Account.from_hex("0x" + "77" * 32, "a test"))
    with pytest.raises(NotEnoughFunds, match=r"has 0 ETH, but DelayedWETH\.deposit needs 1 ETH") as raised:
        poor.send(deposit(weth.address), value_wei=ETHER)
    assert "send at least 1 ETH" in str(raised.value.hint)
    with pytest.raises(NotEnoughFunds):
        poor.send(deposit(weth.address))


def test_an_unmined_transaction_is_sent_again_under_its_nonce(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    """The second, better-paid form takes the first one's place: the deposit happens once."""
    hasty = Sender(rpc, sender.account, timeout_s=0.3, resends=20)
    rpc.request("evm_setAutomine", False)
    before = nonce(rpc, hasty)
    miner = threading.Timer(1.0, lambda: rpc.request("evm_mine"))
    miner.start()
    receipt = hasty.send(deposit(weth.address), value_wei=ETHER)
    miner.join()
    assert nonce(rpc, hasty) == before + 1
    assert rpc.balance_wei(weth.address) == ETHER
    assert receipt.block_number == rpc.head().number


def test_what_a_reorganisation_took_back_is_sent_again(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    """By the same sender, although it is the very same transaction: the node no longer knows it."""
    snapshot = rpc.request("evm_snapshot")
    first = sender.send(deposit(weth.address), value_wei=5)
    rpc.request("evm_revert", snapshot)
    started = time.monotonic()
    second = sender.send(deposit(weth.address), value_wei=5)
    assert time.monotonic() - started < 8, "without waiting for a nonce that is free"
    assert second.hash == first.hash
    assert rpc.balance_wei(weth.address) == 5


@pytest.mark.parametrize("by", ["the same process", "an earlier process", "one that was killed before it saw it mined"])
def test_what_waits_for_one_that_a_reorganisation_took_back_is_mined_with_it(
    rpc: Rpc, sender: Sender, weth: DelayedWETH, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node drops the first transaction with its block; the second one's nonce is never reached without it."""
    earlier = sender if by == "the same process" else Sender(Rpc(rpc.url), sender.account)
    with monkeypatch.context() as patched:
        if "killed" in by:
            patched.setattr(KeyLedger, "land", lambda *_: None)
        earlier.send(deposit(weth.address), value_wei=5)
    rpc.request("evm_setAutomine", False)
    with ThreadPoolExecutor(1) as thread:
        second = thread.submit(sender.send, deposit(weth.address), value_wei=7)
        other = Rpc(rpc.url)
        while other.request("txpool_status")["pending"] == "0x0":
            time.sleep(0.01)
        other.request("anvil_reorg", 1, [])
        other.request("evm_setAutomine", True)
        started = time.monotonic()
        while not second.done() and time.monotonic() - started < 20:
            other.request("evm_mine")
            time.sleep(0.2)
        assert second.done(), "it is stuck behind a nonce that no transaction has"
        assert second.result().value_wei == 7
    assert rpc.balance_wei(weth.address) == 12


def test_what_is_never_mined_is_reported(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    rpc.request("evm_setAutomine", False)
    with pytest.raises(NotMined, match="deposit was not mined") as raised:
        Sender(rpc, sender.account, timeout_s=0.1, resends=1).send(deposit(weth.address))
    assert "run the command again" in str(raised.value.hint)


def test_settle_waits_for_what_a_dead_process_left_in_flight(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    rpc.request("evm_setAutomine", False)
    with pytest.raises(NotMined):
        Sender(rpc, sender.account, timeout_s=0.05, resends=0).send(deposit(weth.address), value_wei=ETHER)
    miner = threading.Timer(0.4, lambda: rpc.request("evm_mine"))
    miner.start()
    started = time.monotonic()
    Sender(rpc, sender.account, timeout_s=5.0).settle()
    miner.join()
    assert time.monotonic() - started > 0.3
    assert rpc.balance_wei(weth.address) == ETHER


def test_settle_gives_up_on_what_is_stuck(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    rpc.request("evm_setAutomine", False)
    stuck = Sender(rpc, sender.account, timeout_s=0.05, resends=0)
    with pytest.raises(NotMined):
        stuck.send(deposit(weth.address))
    with pytest.raises(NotMined, match="an earlier transaction"):
        stuck.settle()


def test_many_orders_share_a_block(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    """Forty deposits wait for a few blocks, not for forty; one that cannot be done stops no other."""
    rpc.request("evm_setAutomine", False)
    first = rpc.head().number
    stop = threading.Event()

    def mine() -> None:
        own, before = Rpc(rpc.url), "0x0"
        while not stop.wait(0.2):
            waiting = own.request("txpool_status")["pending"]
            if waiting == before != "0x0":  # all that is sent at once has come
                own.request("evm_mine")
            before = waiting

    miner = threading.Thread(target=mine)
    miner.start()
    refused: Call[object] = Call(
        weth.address, load_artifact("DelayedWETH").functions["withdraw(uint256)"], (5,), "DelayedWETH"
    )
    orders = [Order(deposit(weth.address), index) for index in range(40)]
    orders.insert(7, Order(refused))
    orders.insert(20, Order(deposit(weth.address), 10**30))
    try:
        results = sender.send_all(orders)
    finally:
        stop.set()
        miner.join()
    assert isinstance(results.pop(20), NotEnoughFunds)
    assert isinstance(results.pop(7), Reverted)
    receipts = [result for result in results if isinstance(result, Receipt)]
    assert [receipt.value_wei for receipt in receipts] == list(range(40))
    assert len({receipt.block_number for receipt in receipts}) <= 8
    assert max(receipt.block_number for receipt in receipts) - first < 20


def test_all_that_a_node_lost_is_sent_again_at_once(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    """A node that restarts loses its pool: sixteen moves cost one wait, not one after the other."""
    rpc.request("evm_setAutomine", False)
    with ThreadPoolExecutor(1) as thread:
        results = thread.submit(sender.send_all, [Order(deposit(weth.address), index) for index in range(16)])
        other = Rpc(rpc.url)
        while other.request("txpool_status")["pending"] != "0x10":
            time.sleep(0.01)
        other.request("anvil_dropAllTransactions")
        other.request("evm_setAutomine", True)
        started = time.monotonic()
        receipts = results.result(60)
        assert time.monotonic() - started < 20, "one after the other took 56 s"
    assert [receipt.value_wei for receipt in receipts if isinstance(receipt, Receipt)] == list(range(16))


def test_two_senders_of_one_key_do_not_get_in_each_others_way(rpc: Rpc, weth: DelayedWETH) -> None:
    failures: list[object] = []

    def work() -> None:
        own = Sender(Rpc(rpc.url), devnet.account("requester"), timeout_s=20.0)
        for _ in range(6):
            failures.extend(
                result
                for result in own.send_all([Order(deposit(weth.address), 1)] * 3)
                if not isinstance(result, Receipt)
            )

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rpc.balance_wei(weth.address) == 3 * 6 * 3


def test_no_price_beyond_the_limit_is_paid(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    frugal = Sender(rpc, sender.account, max_fee_wei=10)
    before = nonce(rpc, sender)
    with pytest.raises(FeeTooHigh, match=r"more than the limit of 0\.00000001 gwei") as raised:
        frugal.send(deposit(weth.address))
    assert "--max-fee" in str(raised.value.hint)
    assert nonce(rpc, sender) == before


def test_what_is_urgent_offers_more_within_the_limit_and_is_raised_sooner(
    rpc: Rpc, sender: Sender, weth: DelayedWETH
) -> None:
    rpc.request("evm_setAutomine", False)
    patient, cap_wei = Sender(rpc, sender.account, timeout_s=0.9, resends=2), 30 * 10**9
    told: list[str] = []
    hasty = Sender(rpc, sender.account, timeout_s=0.9, resends=2, max_fee_wei=cap_wei, tell=told.append)
    plain = patient.quote(deposit(weth.address)).fees
    with pytest.raises(NotMined):
        hasty.send(deposit(weth.address), is_urgent=True)
    (offered,) = [
        {name: int(transaction[name], 16) for name in ("maxFeePerGas", "maxPriorityFeePerGas")}
        for transactions in rpc.request("txpool_content")["pending"].values()
        for transaction in transactions.values()
    ]
    assert plain.tip_wei is not None
    assert offered["maxPriorityFeePerGas"] >= (2 * plain.tip_wei + 10**9) * 115**6 // 100**6
    assert offered["maxFeePerGas"] <= cap_wei
    assert len([sentence for sentence in told if "higher fee" in sentence]) == 6, "in the time of two"
    assert Fees(9, 2).hurried(9) == Fees(9, 9)
    assert Fees(9, None).hurried(9) == Fees(9, None)
    rpc.request("evm_mine")


def test_an_absurd_tip_is_not_paid(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    """What was paid lately is believed rather than a suggestion of a million gwei."""
    with FaultProxy(rpc.url, ["absurd-tip"]) as proxy:
        other = Sender(Rpc(proxy.url), sender.account)
        assert other.quote(deposit(weth.address)).fees.max_fee_wei < 100 * 10**9
        assert other.send(deposit(weth.address)).gas_price_wei < 100 * 10**9


def test_a_quote_is_what_sending_takes(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    quote = sender.quote(deposit(weth.address), value_wei=1)
    receipt = sender.send(deposit(weth.address), value_wei=1)
    assert receipt.gas_used <= quote.gas
    assert receipt.gas_used * receipt.gas_price_wei <= quote.most_wei


class Interrupted(BaseException):
    """Ctrl-C, or a machine that goes down."""


class Interrupting(Rpc):
    """Ends the process at the first request of a method, before or after the node had it."""

    def __init__(self, url: str, method: str, *, before: bool) -> None:
        super().__init__(url)
        self.method, self.before = method, before

    def outcomes(self, asked: Sequence[Ask], *, patience_s: float | None = None) -> list[Any]:
        here = any(ask[0] == self.method for ask in asked)
        if here and self.before:
            raise Interrupted
        found = super().outcomes(asked, patience_s=patience_s)
        if here:
            raise Interrupted
        return found


@pytest.mark.parametrize(
    ("method", "before"),
    [
        ("eth_estimateGas", False),
        ("eth_sendRawTransaction", True),
        ("eth_sendRawTransaction", False),
        ("eth_getTransactionReceipt", True),
        ("eth_getTransactionReceipt", False),
    ],
)
@pytest.mark.parametrize("automine", [True, False])
def test_what_may_happen_once_happens_once(
    rpc: Rpc, sender: Sender, weth: DelayedWETH, method: str, before: bool, automine: bool
) -> None:
    """Whatever the moment of the interruption, the same command again pays once in all; after that it pays again."""
    rpc.request("evm_setAutomine", automine)
    with pytest.raises(Interrupted):
        Sender(Interrupting(rpc.url, method, before=before), sender.account).send(
            deposit(weth.address), value_wei=ETHER, once=True
        )
    rpc.request("evm_setAutomine", True)
    rpc.request("evm_mine")
    again = Sender(rpc, sender.account, timeout_s=10.0)
    receipt = again.send(deposit(weth.address), value_wei=ETHER, once=True)
    assert rpc.balance_wei(weth.address) == ETHER
    assert receipt.value_wei == ETHER
    again.send(deposit(weth.address), value_wei=ETHER, once=True)
    assert rpc.balance_wei(weth.address) == 2 * ETHER


def test_another_order_is_not_taken_for_the_interrupted_one(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    with pytest.raises(Interrupted):
        Sender(Interrupting(rpc.url, "eth_getTransactionReceipt", before=True), sender.account).send(
            deposit(weth.address), value_wei=ETHER, once=True
        )
    Sender(rpc, sender.account).send(deposit(weth.address), value_wei=ETHER + 1, once=True)
    assert rpc.balance_wei(weth.address) == 2 * ETHER + 1


def test_nothing_is_sent_that_could_not_be_remembered(
    rpc: Rpc, sender: Sender, weth: DelayedWETH, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPML_HOME", str(tmp_path / "file" / "home"))
    before = nonce(rpc, sender)
    with pytest.raises(CannotWrite, match="cannot write"):
        sender.send(deposit(weth.address), once=True)
    assert nonce(rpc, sender) == before
    sender.send(deposit(weth.address))


def test_what_a_dead_process_left_underpriced_does_not_block_the_way(
    rpc: Rpc, sender: Sender, weth: DelayedWETH
) -> None:
    """The next process pays more for it, under its nonce: it is mined once, and the way is free."""
    rpc.request("evm_setAutomine", False)
    with pytest.raises(NotMined):
        Sender(rpc, sender.account, timeout_s=0.05, resends=0).send(deposit(weth.address), value_wei=ETHER)
    first = rpc.request("eth_getBlockByNumber", "pending", True)["transactions"]
    told: list[str] = []
    heir = Sender(rpc, sender.account, timeout_s=1.2, tell=told.append)
    with pytest.raises(NotMined):
        heir.settle()
    second = rpc.request("eth_getBlockByNumber", "pending", True)["transactions"]
    assert len(first) == len(second) == 1
    assert first[0]["nonce"] == second[0]["nonce"]
    assert int(second[0]["maxFeePerGas"], 16) > int(first[0]["maxFeePerGas"], 16)
    assert "higher fee" in told[0]
    rpc.request("evm_mine")
    heir.settle()
    assert rpc.balance_wei(weth.address) == ETHER


def test_of_two_transactions_under_one_nonce_the_one_that_waits_is_paid_more_for(
    rpc: Rpc, sender: Sender, weth: DelayedWETH
) -> None:
    """The younger one was signed at a node that did not count the older one, and is in no pool."""
    rpc.request("evm_setAutomine", False)
    with pytest.raises(NotMined):
        Sender(rpc, sender.account, timeout_s=0.05, resends=0).send(deposit(weth.address), value_wei=ETHER)
    ledger = KeyLedger(devnet.CHAIN_ID, sender.address)
    number, (waiting,) = max(ledger.launched().items())
    ledger.launch(number, Launched(b"\x11" * 32, waiting.fields | {"value": 0}))
    heir = Sender(rpc, sender.account, timeout_s=1.2)
    with pytest.raises(NotMined):
        heir.settle()
    (after,) = rpc.request("eth_getBlockByNumber", "pending", True)["transactions"]
    assert int(after["maxFeePerGas"], 16) > waiting.fields["maxFeePerGas"]
    assert int(after["value"], 16) == ETHER


def test_what_another_program_sent_is_not_replaced(rpc: Rpc, sender: Sender, weth: DelayedWETH, own_home: Path) -> None:
    """A file of another chain, or of yesterday, must not bring back what lies in no pool."""
    rpc.request("evm_setAutomine", False)
    with pytest.raises(NotMined):
        Sender(rpc, sender.account, timeout_s=0.05, resends=0).send(deposit(weth.address), value_wei=ETHER)
    (launched,) = (own_home / "sending").glob("*-launched.json")
    before = rpc.request("eth_getBlockByNumber", "pending", True)["transactions"]
    mine = before[0]["hash"][2:]
    launched.write_text(launched.read_text().replace(mine, "11" * 32))
    with pytest.raises(NotMined):
        Sender(rpc, sender.account, timeout_s=0.6).settle()
    (after,) = rpc.request("eth_getBlockByNumber", "pending", True)["transactions"]
    assert after["hash"] == before[0]["hash"]
