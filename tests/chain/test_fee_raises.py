"""What pools drop because gas became dearer is sent again for more: under its nonce, within the limit, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import NotMined
from opml_dispute.devnet import anvil as devnet
from tests.chain.test_sender import deposit, factory, nonce, weth  # noqa: F401
from tests.lies.hurried import HurriedTime

GWEI = 10**9


@pytest.fixture(autouse=True)
def cheap_again(rpc: Rpc) -> Iterator[None]:
    """What a block's gas costs outlives a snapshot that is put back."""
    base_fee_wei = rpc.head().base_fee_wei
    yield
    rpc.request("anvil_dropAllTransactions")
    rpc.request("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
    rpc.request("evm_mine")


def gets_dearer(rpc: Rpc, base_fee_wei: int) -> None:
    """Every pool drops what it has, and the next block's gas costs that much."""
    rpc.request("anvil_dropAllTransactions")
    rpc.request("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
    rpc.request("evm_mine")
    rpc.request("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))


def at(due_s: float, act: Callable[[], Any]) -> Callable[[float], None]:
    """Does it once, when so much time has been slept."""
    left = [act]

    def slept(passed_s: float) -> None:
        if passed_s > due_s and left:
            left.pop()()

    return slept


@pytest.mark.parametrize("by", ["this process", "a later process"])
def test_what_every_pool_dropped_is_paid_more_for(rpc: Rpc, sender: Sender, weth: Any, by: str) -> None:  # noqa: F811
    told: list[str] = []
    rpc.request("evm_setAutomine", False)
    before, balance_wei = nonce(rpc, sender), rpc.balance_wei(weth.address)
    one = Sender(rpc, devnet.account("deployer"), tell=told.append)
    if by == "a later process":
        with pytest.raises(NotMined), HurriedTime():
            Sender(rpc, devnet.account("deployer"), timeout_s=1, resends=0).send(
                deposit(weth.address), value_wei=7, once=True
            )
        gets_dearer(rpc, 50 * GWEI)
        rpc.request("evm_setAutomine", True)
        with HurriedTime() as clock:
            receipt = one.send(deposit(weth.address), value_wei=7, once=True)
    else:

        def dearer() -> None:
            gets_dearer(rpc, 50 * GWEI)
            rpc.request("evm_setAutomine", True)

        with HurriedTime(at(1.0, dearer)) as clock:
            receipt = one.send(deposit(weth.address), value_wei=7, once=True)
    assert clock.passed_s < 30, "sooner than what is merely slow"
    assert receipt.gas_price_wei > 50 * GWEI
    assert (nonce(rpc, sender), rpc.balance_wei(weth.address) - balance_wei) == (before + 1, 7)
    assert sum("higher fee" in sentence for sentence in told) == 1


def test_no_more_than_the_limit_is_paid_for_what_pools_dropped(rpc: Rpc, sender: Sender, weth: Any) -> None:  # noqa: F811
    """It is told once, and goes on when gas is cheap again."""
    told: list[str] = []
    rpc.request("evm_setAutomine", False)
    balance_wei = rpc.balance_wei(weth.address)
    one = Sender(rpc, devnet.account("deployer"), tell=told.append, max_fee_wei=20 * GWEI)

    def cheap() -> None:
        rpc.request("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        rpc.request("evm_mine")
        rpc.request("evm_setAutomine", True)

    first, last = at(1.0, lambda: gets_dearer(rpc, 50 * GWEI)), at(200.0, cheap)
    with HurriedTime(lambda passed_s: (first(passed_s), last(passed_s))[0]):
        receipt = one.send(deposit(weth.address), value_wei=7, once=True)
    assert receipt.gas_price_wei <= 20 * GWEI
    assert rpc.balance_wei(weth.address) - balance_wei == 7
    assert sum("--max-fee" in sentence for sentence in told) == 1


def test_an_earlier_transaction_that_pools_dropped_is_paid_more_for(rpc: Rpc, sender: Sender, weth: Any) -> None:  # noqa: F811
    """What waits behind it is mined with it."""
    rpc.request("evm_setAutomine", False)
    before, balance_wei = nonce(rpc, sender), rpc.balance_wei(weth.address)
    with pytest.raises(NotMined), HurriedTime():
        Sender(rpc, devnet.account("deployer"), timeout_s=1, resends=0).send(deposit(weth.address), value_wei=7)

    def dearer() -> None:
        gets_dearer(rpc, 50 * GWEI)
        rpc.request("evm_setAutomine", True)

    with HurriedTime(at(1.0, dearer)):
        Sender(rpc, devnet.account("deployer")).send(deposit(weth.address), value_wei=8)
    assert (nonce(rpc, sender), rpc.balance_wei(weth.address) - balance_wei) == (before + 2, 15)
