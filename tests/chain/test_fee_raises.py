"""What pools drop because gas became dearer is sent again for more: under its nonce, within the limit, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from opml_dispute.chain.journal import KeyLedger
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import NotMined, Order
from opml_dispute.devnet import anvil as devnet
from opml_dispute.home import CannotWrite
from tests.chain.test_sender import deposit, nonce
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
def test_what_every_pool_dropped_is_paid_more_for(rpc: Rpc, sender: Sender, weth: Any, by: str) -> None:
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


def test_no_more_than_the_limit_is_paid_for_what_pools_dropped(rpc: Rpc, sender: Sender, weth: Any) -> None:
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


def test_an_earlier_transaction_that_pools_dropped_is_paid_more_for(rpc: Rpc, sender: Sender, weth: Any) -> None:
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


def taken_back(rpc: Rpc, blocks: int) -> None:
    """The last blocks are replaced by empty ones, and no pool has what was in them."""
    rpc.request("evm_setAutomine", False)
    rpc.request("anvil_reorg", blocks, [])
    gets_dearer(rpc, 50 * GWEI)
    rpc.request("evm_setAutomine", True)


@pytest.mark.parametrize("by", ["this process", "an earlier process"])
@pytest.mark.parametrize("takes", ["every fee", "enough fees only"])
def test_what_a_reorganisation_took_back_is_paid_more_for(
    rpc: Rpc,
    sender: Sender,
    weth: Any,
    by: str,
    takes: str,
) -> None:
    """Once, whether the pool refuses what is too little by now, or keeps it for cheaper days."""
    told: list[str] = []
    before, balance_wei = nonce(rpc, sender), rpc.balance_wei(weth.address)
    node = KeepsTheCheap(rpc.url) if takes == "every fee" else rpc
    one = Sender(node, devnet.account("deployer"), tell=told.append)
    if by == "an earlier process":
        Sender(rpc, devnet.account("deployer")).send(deposit(weth.address), value_wei=7)
        receipt = one.send(deposit(weth.address), value_wei=8)
    else:
        one.send(deposit(weth.address), value_wei=7)
        receipt = one.send(deposit(weth.address), value_wei=8)
    taken_back(rpc, 2)
    with HurriedTime(lambda passed_s: rpc.request("evm_mine")) as clock:
        (now,) = one.confirmed([receipt], 3)
    assert clock.passed_s < 60
    assert now.gas_price_wei > 30 * GWEI, "each empty block makes it cheaper"
    assert now.hash != receipt.hash
    assert (nonce(rpc, sender), rpc.balance_wei(weth.address) - balance_wei) == (before + 2, 15)
    assert sum("higher fee" in sentence for sentence in told) == 2, "once for each"


def test_no_more_than_the_limit_is_paid_for_what_was_taken_back(rpc: Rpc, sender: Sender, weth: Any) -> None:
    """It is told once, and goes on when gas is cheap again."""
    told: list[str] = []
    balance_wei = rpc.balance_wei(weth.address)
    one = Sender(KeepsTheCheap(rpc.url), devnet.account("deployer"), tell=told.append, max_fee_wei=20 * GWEI)
    receipt = one.send(deposit(weth.address), value_wei=7)
    taken_back(rpc, 1)

    def slept(passed_s: float) -> None:
        rpc.request("anvil_setNextBlockBaseFeePerGas", hex(GWEI if passed_s > 100 else 50 * GWEI))
        rpc.request("evm_mine")

    with HurriedTime(slept) as clock:
        (now,) = one.confirmed([receipt], 2)
    assert 100 < clock.passed_s < 200
    assert now.gas_price_wei <= 20 * GWEI
    assert rpc.balance_wei(weth.address) - balance_wei == 7
    assert sum("--max-fee" in sentence for sentence in told) == 1


class KeepsTheCheap(Rpc):
    """A node whose pool keeps what pays less than the base fee, and says nothing of it."""

    def outcomes(self, asked: Sequence[Ask], *, patience_s: float | None = None) -> list[Any]:
        found = super().outcomes(asked, patience_s=patience_s)
        for index, ask in enumerate(asked):
            if ask.method == "eth_sendRawTransaction" and isinstance(found[index], RpcError):
                found[index] = "0x" + "00" * 32
        return found


def test_what_another_process_of_the_key_paid_more_for_is_no_other_transaction(
    rpc: Rpc,
    sender: Sender,
    weth: Any,
) -> None:
    """One waits for its own; the other, which that blocks, raises its fee: the first gets the receipt of that form."""
    rpc.request("evm_setAutomine", False)
    before, balance_wei = nonce(rpc, sender), rpc.balance_wei(weth.address)
    other = Sender(rpc, devnet.account("deployer"), timeout_s=0.1)

    def pushed() -> None:
        other._left.push(before, 100 * GWEI)
        rpc.request("evm_mine")

    with HurriedTime(at(1.0, pushed)):
        receipt = Sender(rpc, devnet.account("deployer")).send(deposit(weth.address), value_wei=7, once=True)
    assert receipt.value_wei == 7
    assert (nonce(rpc, sender), rpc.balance_wei(weth.address) - balance_wei) == (before + 1, 7)
    assert not other._ledger().find(Order(deposit(weth.address), 7).digest), "it is over for the journal, too"


def test_a_disk_that_is_full_by_now_ends_no_waiting(
    rpc: Rpc,
    sender: Sender,
    weth: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What could not be remembered is not sent for more; what was sent before is on its way, and is mined."""
    rpc.request("evm_setAutomine", False)
    before, balance_wei = nonce(rpc, sender), rpc.balance_wei(weth.address)

    def full(*_: Any) -> None:
        raise CannotWrite("cannot write a file: No space left on device")

    filled = at(1.0, lambda: monkeypatch.setattr(KeyLedger, "note", full))
    mined = at(200.0, lambda: rpc.request("evm_mine"))
    with HurriedTime(lambda passed_s: (filled(passed_s), mined(passed_s))[0]) as clock:
        receipt = Sender(rpc, devnet.account("deployer")).send(deposit(weth.address), value_wei=7, once=True)
    assert clock.passed_s > 200
    assert receipt.value_wei == 7
    assert (nonce(rpc, sender), rpc.balance_wei(weth.address) - balance_wei) == (before + 1, 7)
