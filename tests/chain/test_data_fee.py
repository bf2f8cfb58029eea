"""The fee for data on a rollup's first layer: told before, charged after, and counted wherever funds are."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import pytest

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.contracts.dispute import DisputeGameFactory
from opml_dispute.chain.data_fee import (
    GAS_PRICE_ORACLE,
    MOST_FEE_WEI,
    data_fees_wei,
    dispute_data_fee_wei,
    move_data_fee_wei,
)
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcAnswerInvalid
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Creation, NotEnoughFunds
from opml_dispute.cli.demo.on_rollup import FEE_VAULT
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet import rollup
from opml_dispute.game.depths import Depths

FACTORY = Creation(load_artifact("DisputeGameFactory"), (devnet.account("deployer").address,))


@pytest.fixture(scope="module")
def rolled() -> Iterator[devnet.Anvil]:
    """A chain that charges for data."""
    anvil = rollup.spawn()
    yield anvil
    anvil.stop()


@pytest.fixture
def rpc(bare_anvil: devnet.Anvil) -> Iterator[Rpc]:
    """An ordinary chain, put back after the test."""
    rpc = bare_anvil.rpc
    snapshot = rpc.request("evm_snapshot")
    yield rpc
    rpc.request("evm_revert", snapshot)


def answering(rpc: Rpc, code: str) -> Rpc:
    """The chain with this code where the OP Stack's contract stands, as a new connection sees it."""
    rpc.request("anvil_setCode", GAS_PRICE_ORACLE, code)
    return Rpc(rpc.url, patience_s=0)


def test_an_ordinary_chain_asks_for_no_data_fee(rpc: Rpc) -> None:
    assert data_fees_wei(rpc, [b"x" * 1_000, b""]) == [0, 0]
    assert Sender(rpc, devnet.account("deployer")).quote(FACTORY).data_fee_wei == 0


@pytest.mark.parametrize("code", ["0x5f5ffd", "0x00", "0xfe", "0x01", "0x60405ff3", "0x600160015f5ff3"])
def test_another_contract_at_that_address_is_no_fee(rpc: Rpc, code: str) -> None:
    """It reverts, answers nothing, or something that is no number: the chain is not one of these rollups."""
    assert data_fees_wei(answering(rpc, code), [b"x"]) == [0]


def test_a_fee_that_no_chain_asks_for_is_the_nodes_fault(rpc: Rpc) -> None:
    """All bits set: an error, and not a demand for more ether than there is."""
    absurd = answering(rpc, "0x5f195f5260205ff3")
    with pytest.raises(RpcAnswerInvalid, match=f"at most {MOST_FEE_WEI} wei"):
        data_fees_wei(absurd, [b"x"])


def test_no_transaction_is_charged_more_for_data_than_was_told(rolled: devnet.Anvil) -> None:
    """Of any size and content, at any price of the first layer."""
    rpc = rolled.rpc
    account = devnet.account("requester")
    for price_wei, blob_wei in ((10**9, 1), (10**10, 10**8), (10**11, 10**10)):
        rollup.set_prices(rpc, l1_base_fee_wei=price_wei, blob_base_fee_wei=blob_wei)
        for data in (b"", b"\0" * 3_000, secrets.token_bytes(36), secrets.token_bytes(5_000), b"word" * 700):
            (told_wei,) = data_fees_wei(rpc, [data])
            before_wei = rpc.balance_wei(FEE_VAULT)
            fields = {"from": account.address, "to": account.address, "data": "0x" + data.hex()}
            sent = rpc.request("eth_sendTransaction", fields)
            while rpc.request("eth_getTransactionReceipt", sent) is None:  # it is mined a moment after the answer
                time.sleep(0.01)
            charged_wei = rpc.balance_wei(FEE_VAULT) - before_wei
            assert 0 < charged_wei <= told_wei // 2, "told twice over"
    rollup.set_prices(rpc)


def test_an_account_that_could_pay_the_gas_alone_is_told_before(rolled: devnet.Anvil) -> None:
    """The quote counts data, and nothing is sent that the chain would not take."""
    rpc = rolled.rpc
    rollup.set_prices(rpc, l1_base_fee_wei=10**13)
    sender = Sender(rpc, devnet.account("challenger"))
    quote = sender.quote(FACTORY)
    gas_wei = quote.gas * quote.fees.max_fee_wei
    assert quote.most_wei == gas_wei + quote.data_fee_wei
    rpc.request("anvil_setBalance", sender.address, hex(gas_wei + quote.data_fee_wei // 2))
    with pytest.raises(NotEnoughFunds, match="deploying DisputeGameFactory needs") as raised:
        sender.send(FACTORY)
    assert raised.value.needed_wei >= quote.most_wei * 9 // 10
    rpc.request("anvil_setBalance", sender.address, hex(2 * quote.most_wei))
    created = sender.send(FACTORY).created
    assert created is not None
    assert rpc.read(DisputeGameFactory(created).owner()) == devnet.account("deployer").address
    rollup.set_prices(rpc)


def test_a_dispute_pays_for_the_data_of_all_its_transactions(rolled: devnet.Anvil) -> None:
    """More with more lines; nothing on an ordinary chain."""
    depths = Depths(split=4, max=26)
    one, two = (dispute_data_fee_wei(rolled.rpc, depths, further_lines=more) for more in (0, 1))
    move_wei = move_data_fee_wei(rolled.rpc)
    assert one > 26 * move_wei > 0
    assert two - one > 13 * move_wei
    deeper = dispute_data_fee_wei(rolled.rpc, Depths(split=4, max=28), further_lines=1) - two
    assert deeper > 2.9 * move_wei  # two on the first line, one on the other


def test_a_dispute_costs_nothing_for_data_on_an_ordinary_chain(rpc: Rpc) -> None:
    assert dispute_data_fee_wei(rpc, Depths(split=4, max=26)) == move_data_fee_wei(rpc) == 0
