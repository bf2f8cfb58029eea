"""Sending: simulated first, mined exactly once, explained when refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from opml_dispute.chain.artifacts import load
from opml_dispute.chain.contracts import DelayedWETH, DisputeGameFactory
from opml_dispute.chain.keys import Account
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Call, Rpc
from opml_dispute.chain.sender import Deployment, NotEnoughFunds, NotMined, Sender
from opml_dispute.devnet import anvil as devnet
from opml_dispute.primitives import Address

ETHER = 10**18


@pytest.fixture
def rpc(bare_anvil: devnet.Anvil) -> Iterator[Rpc]:
    """A bare chain, put back after the test."""
    rpc = bare_anvil.rpc
    snapshot = rpc.request("evm_snapshot")
    yield rpc
    rpc.request("evm_setAutomine", True)
    rpc.request("evm_mine")
    rpc.request("evm_revert", snapshot)


@pytest.fixture
def sender(rpc: Rpc) -> Sender:
    return Sender(rpc, devnet.account("deployer"), timeout_s=5.0)


@pytest.fixture
def factory(sender: Sender) -> DisputeGameFactory:
    """A factory that the sender owns."""
    receipt = sender.send(Deployment(load("DisputeGameFactory"), (sender.address,)))
    assert receipt.created is not None
    return DisputeGameFactory(receipt.created)


def deposit(weth: Address) -> Call[object]:
    """A payable call that always succeeds."""
    artifact = load("DelayedWETH")
    return Call(weth, artifact.functions["deposit()"], (), "DelayedWETH")


@pytest.fixture
def weth(sender: Sender, factory: DisputeGameFactory) -> DelayedWETH:
    receipt = sender.send(Deployment(load("DelayedWETH"), (1, factory.address, sender.address)))
    assert receipt.created is not None
    return DelayedWETH(receipt.created)


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
    """Between estimate and block somebody else was first: the reason is found by running it again there."""
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
