"""A node that asks for absurd amounts of gas keeps nothing from being sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from opml_dispute.chain.contracts.dispute import DelayedWETH, DisputeGameFactory
from opml_dispute.chain.fees import SUSPICIOUS_TIP_WEI, FeeTooHigh, suggest
from opml_dispute.chain.quoting import TRANSACTION_GAS_CAP
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcAnswerInvalid
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import NotEnoughFunds
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.chain.test_sender import ETHER, deposit, nonce


@pytest.mark.parametrize("fault", ["high-estimate", "endless-estimate"])
def test_an_estimate_beyond_what_a_transaction_may_take_keeps_nothing_from_being_sent(
    rpc: Rpc, sender: Sender, weth: DelayedWETH, fault: str
) -> None:
    """The most that a transaction may ask for is enough for the call, so it goes with that."""
    with FaultProxy(rpc.url, [fault]) as proxy:
        receipt = Sender(Rpc(proxy.url), sender.account).send(deposit(weth.address), value_wei=ETHER)
    assert rpc.balance_wei(weth.address) == ETHER
    sent = rpc.request("eth_getTransactionByHash", "0x" + receipt.hash.hex())
    assert int(sent["gas"], 16) == TRANSACTION_GAS_CAP


@pytest.mark.parametrize("fault", ["high-estimate", "endless-estimate"])
def test_an_account_that_can_pay_the_gas_pays_it_whatever_the_estimate(
    rpc: Rpc, sender: Sender, weth: DelayedWETH, fault: str
) -> None:
    """An account with a bond and a little gas is not asked for a block's gas, and the bond is paid in time."""
    quote = sender.quote(deposit(weth.address), value_wei=ETHER)
    rpc.request("anvil_setBalance", sender.address, hex(ETHER + 2 * quote.most_wei))
    with FaultProxy(rpc.url, [fault]) as proxy:
        Sender(Rpc(proxy.url), sender.account).send(deposit(weth.address), value_wei=ETHER)
    assert rpc.balance_wei(weth.address) == ETHER


def test_an_account_that_cannot_pay_the_gas_is_told_so(rpc: Rpc, sender: Sender, weth: DelayedWETH) -> None:
    """Neither an honest estimate nor an absurd one has a transaction sent that runs out of gas."""
    quote = sender.quote(deposit(weth.address), value_wei=ETHER)
    rpc.request("anvil_setBalance", sender.address, hex(ETHER + quote.most_wei // 2))
    with pytest.raises(NotEnoughFunds):
        sender.send(deposit(weth.address), value_wei=ETHER)
    with FaultProxy(rpc.url, ["high-estimate"]) as proxy, pytest.raises(NotEnoughFunds):
        Sender(Rpc(proxy.url), sender.account).send(deposit(weth.address), value_wei=ETHER)


@pytest.fixture
def dear(rpc: Rpc) -> Iterator[None]:
    """Gas at 100 gwei; the node keeps the next block's price when the chain is put back."""
    rpc.request("anvil_setNextBlockBaseFeePerGas", hex(100 * 10**9))
    rpc.request("evm_mine")
    yield
    rpc.request("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    rpc.request("evm_mine")


@pytest.mark.usefixtures("dear")
def test_what_is_urgent_goes_with_what_the_account_can_pay_for_the_next_block(
    rpc: Rpc, sender: Sender, weth: DelayedWETH
) -> None:
    """With time left the account is told to be short; when a clock runs out, room for rising prices is done without."""
    quote = sender.quote(deposit(weth.address), value_wei=ETHER)
    rpc.request("anvil_setBalance", sender.address, hex(ETHER + quote.most_wei * 2 // 3))
    with pytest.raises(NotEnoughFunds):
        sender.send(deposit(weth.address), value_wei=ETHER)
    sender.send(deposit(weth.address), value_wei=ETHER, is_urgent=True)
    assert rpc.balance_wei(weth.address) == ETHER


def test_an_absurd_estimate_of_what_would_revert_sends_nothing(
    rpc: Rpc, sender: Sender, factory: DisputeGameFactory
) -> None:
    """What the contract refuses at any amount of gas stays unsent: the account's nonce is as before."""
    before = nonce(rpc, sender)
    with FaultProxy(rpc.url, ["endless-estimate"]) as proxy, pytest.raises(RpcAnswerInvalid, match="gas"):
        Sender(Rpc(proxy.url), sender.account).send(factory.create(bytes(32), bytes(32)))
    assert nonce(rpc, sender) == before


def test_an_absurd_tip_that_nothing_confirms_keeps_nothing_from_being_sent(
    rpc: Rpc, sender: Sender, weth: DelayedWETH
) -> None:
    """Gas itself is cheap: a suggestion beyond the limit, without a history of tips, counts as a high tip at most."""
    with FaultProxy(rpc.url, ["absurd-tip-alone"]) as proxy:
        other = Sender(Rpc(proxy.url), sender.account)
        fees = other.quote(deposit(weth.address)).fees
        assert fees.tip_wei == SUSPICIOUS_TIP_WEI
        assert other.send(deposit(weth.address)).gas_price_wei <= fees.max_fee_wei < 100 * 10**9


def test_a_tip_beyond_the_limit_is_lowered_and_a_price_beyond_it_is_not_paid(rpc: Rpc) -> None:
    """What gas and a high tip cost together decides, not what the node suggests."""
    head = rpc.head()
    with FaultProxy(rpc.url, ["absurd-tip-alone"]) as proxy:
        dear = Rpc(proxy.url)
        cap_wei = head.base_fee_wei + SUSPICIOUS_TIP_WEI
        assert suggest(dear, head, cap_wei).tip_wei == SUSPICIOUS_TIP_WEI
        with pytest.raises(FeeTooHigh):
            suggest(dear, head, cap_wei - 1)
