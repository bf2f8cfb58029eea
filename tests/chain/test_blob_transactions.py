"""Transactions with blobs: as nodes take them, mined once, and sent again at twice the price."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.blob_transactions import GAS_PER_BLOB, PoolSigning, Sidecar
from opml_dispute.chain.fees import BlobsUnsupported, Fees, FeeTooHigh
from opml_dispute.chain.input_blobs import BlobPublication, BlobStatus, InputBlobs, hashes_of
from opml_dispute.chain.journal import KeyLedger, Launched
from opml_dispute.chain.rpc import Call, Rpc
from opml_dispute.chain.rpc_errors import RpcFailed
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Creation, NotMined
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.blob_tables import make_blob_tables
from opml_dispute.engine.blob_row import RowShape, blobs_of
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.primitives import Address
from tests.chain.test_confirming import mining
from tests.chain.test_sender import nonce
from tests.lies.hurried import HurriedTime

BOND = 10**17
BURN = Address("0x000000000000000000000000000000000000dEaD")
IMAGE = bytes(range(256)) * 30
ROOT = merkle_root(IMAGE, 36)
SHAPE = RowShape.of(len(IMAGE))


@pytest.fixture(scope="module")
def sidecar() -> Sidecar:
    return Sidecar.of(blobs_of(IMAGE))


@pytest.fixture(autouse=True)
def warm(bare_anvil: devnet.Anvil) -> None:
    """The chain has made its tables for blobs."""
    make_blob_tables(bare_anvil.url)


@pytest.fixture
def contract(sender: Sender) -> InputBlobs:
    receipt = sender.send(Creation(load_artifact("InputBlobs"), (BOND, 3_600, 2_000, BURN)))
    assert receipt.created is not None
    return InputBlobs(receipt.created)


@pytest.fixture
def publish(contract: InputBlobs, sidecar: Sidecar) -> Call[None]:
    return contract.publish(bytes(32), 0, ROOT, SHAPE.leaf_count, sidecar)


def published(rpc: Rpc, contract: InputBlobs, sender: Sender) -> BlobPublication:
    found = rpc.read(contract.publication_id(sender.address, bytes(32), ROOT, SHAPE.leaf_count))
    return rpc.read(contract.publication(found))


def expect_published_once(rpc: Rpc, contract: InputBlobs, sender: Sender, sidecar: Sidecar) -> None:
    found = published(rpc, contract, sender)
    assert (found.status, found.blob_count, found.holds_bond) == (BlobStatus.PUBLISHED, 1, True)
    assert rpc.balance_wei(contract.address) == BOND
    hashes = hashes_of(rpc, contract, found)
    assert hashes is not None
    assert [name for name, _ in hashes] == list(sidecar.hashes)
    assert {block for _, block in hashes} == {found.last_block}


def test_it_is_mined_and_says_what_it_cost(
    rpc: Rpc, sender: Sender, contract: InputBlobs, publish: Call[None], sidecar: Sidecar
) -> None:
    quote = sender.quote(publish, value_wei=BOND)
    assert quote.blob_gas == GAS_PER_BLOB
    before_wei = rpc.balance_wei(sender.address)
    receipt = sender.send(publish, value_wei=BOND)
    assert receipt.blob_fee_wei > 0
    assert before_wei - rpc.balance_wei(sender.address) == BOND + receipt.paid_wei
    assert receipt.paid_wei <= quote.most_wei
    expect_published_once(rpc, contract, sender, sidecar)


def refusing_form(rpc: Rpc, is_refused: Callable[[bytes], bool]) -> Rpc:
    """The same node, which refuses some forms of what is sent."""
    other = Rpc(rpc.url)
    ask = other.request

    def request(method: str, *parameters: Any, **named: Any) -> Any:
        if method == "eth_sendRawTransaction" and is_refused(bytes.fromhex(parameters[0][2:])):
            raise RpcFailed(method, -32000, "unexpected blob sidecar version")
        return ask(method, *parameters, **named)

    other.request = request  # type: ignore[method-assign]
    return other


def is_newer_form(raw: bytes) -> bool:
    """A blob has 128 proofs of cells in it, or one of its own."""
    return len(raw) > 131_072 + 128 * 48


def test_a_node_of_before_osaka_gets_the_older_form(
    rpc: Rpc, sender: Sender, contract: InputBlobs, publish: Call[None], sidecar: Sidecar
) -> None:
    old = Sender(refusing_form(rpc, is_newer_form), sender.account, timeout_s=5.0)
    old.send(publish, value_wei=BOND)
    expect_published_once(rpc, contract, sender, sidecar)
    with pytest.raises(RpcFailed, match="sidecar version"):  # neither form: no third try
        Sender(refusing_form(rpc, lambda raw: True), sender.account, timeout_s=5.0).send(
            replace(publish, arguments=(b"\1" * 32, *publish.arguments[1:])), value_wei=BOND
        )


def test_an_unmined_one_is_sent_again_at_twice_each_price(
    rpc: Rpc, sender: Sender, contract: InputBlobs, publish: Call[None], sidecar: Sidecar
) -> None:
    """Nodes replace no blob transaction for less. It happens once."""
    hasty = Sender(rpc, sender.account, timeout_s=0.6, resends=20)
    rpc.request("evm_setAutomine", False)
    before = nonce(rpc, hasty)
    seen: list[Fees] = []

    def mine() -> None:
        time.sleep(2.5)
        pool = rpc.request("txpool_content")["pending"]
        seen.extend(
            Fees(*(int(item[name], 16) for name in ("maxFeePerGas", "maxPriorityFeePerGas", "maxFeePerBlobGas")))
            for waiting in pool.values()
            for item in waiting.values()
        )
        rpc.request("evm_mine")

    miner = threading.Thread(target=mine, daemon=True)
    miner.start()
    first = hasty.quote(publish, value_wei=BOND).fees
    hasty.send(publish, value_wei=BOND)
    miner.join()
    assert nonce(rpc, hasty) == before + 1
    expect_published_once(rpc, contract, sender, sidecar)
    (last,) = seen
    assert last.tip_wei is not None
    assert first.tip_wei is not None
    assert last.tip_wei >= 2 * first.tip_wei
    assert last.max_fee_wei >= 2 * first.max_fee_wei
    assert (last.blob_fee_wei or 0) >= 2 * (first.blob_fee_wei or 1)


def test_what_an_earlier_process_left_is_sent_again_with_its_blobs(
    rpc: Rpc, sender: Sender, contract: InputBlobs, publish: Call[None], sidecar: Sidecar
) -> None:
    """Of the same key: it has the blobs from the journal."""
    rpc.request("evm_setAutomine", False)
    with pytest.raises(NotMined):
        Sender(rpc, sender.account, timeout_s=0.3, resends=0).send(publish, value_wei=BOND)
    waiting = nonce(rpc, sender)
    ledger = KeyLedger(devnet.CHAIN_ID, sender.address)
    assert ledger.blobs(waiting, sidecar.hex_hashes) == sidecar.to_bytes()
    told: list[str] = []
    later = Sender(rpc, sender.account, timeout_s=40.0, tell=told.append)

    def mine() -> None:
        pool = Rpc(rpc.url)
        while True:
            waits = pool.request("eth_getTransactionBySenderAndNonce", sender.address, hex(waiting))
            if told and waits is not None and int(waits["maxFeePerBlobGas"], 16) > 2:
                break
            time.sleep(0.1)
        rpc.request("evm_mine")

    miner = threading.Thread(target=mine, daemon=True)
    miner.start()
    later.settle()
    miner.join()
    assert any("higher fee" in sentence for sentence in told)
    assert ledger.launched()[waiting][-1].fields["maxFeePerBlobGas"] > 2
    expect_published_once(rpc, contract, sender, sidecar)


def test_one_that_another_program_replaced_is_sent_under_another_nonce(
    rpc: Rpc, sender: Sender, contract: InputBlobs, publish: Call[None], sidecar: Sidecar
) -> None:
    rpc.request("evm_setAutomine", False)
    taken, chain_id = nonce(rpc, sender), devnet.CHAIN_ID

    def replace_it(passed_s: float) -> None:
        if passed_s < 1.5 or nonce(rpc, sender) != taken:
            return
        other = Sidecar.of(blobs_of(b"another"))
        fields = {"to": BURN, "data": "0x", "value": 0, "gas": 30_000, "nonce": taken, "chainId": chain_id}
        fees = Fees(10**12, 10**11, 10**11).fields()
        raw, _ = PoolSigning(sender.account).sign(fields | fees | {"blobVersionedHashes": other.hex_hashes}, other)
        rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
        rpc.request("evm_mine")
        rpc.request("evm_setAutomine", True)

    with HurriedTime(replace_it):
        Sender(rpc, sender.account, timeout_s=30.0).send(publish, value_wei=BOND)
    assert nonce(rpc, sender) == taken + 2
    expect_published_once(rpc, contract, sender, sidecar)


def test_blobs_of_two_transactions_under_one_nonce_are_kept_and_either_can_be_sent_again(
    rpc: Rpc, sender: Sender, contract: InputBlobs, publish: Call[None], sidecar: Sidecar
) -> None:
    """As at a node that did not count the first one, which another node has, and a reorganisation takes back."""
    snapshot, waiting = rpc.request("evm_snapshot"), nonce(rpc, sender)
    first = sender.send(publish, value_wei=BOND)
    other = Sidecar.of(blobs_of(b"another"))
    ledger, chain_id = KeyLedger(devnet.CHAIN_ID, sender.address), devnet.CHAIN_ID
    fields = {"to": BURN, "data": "0x", "value": 0, "gas": 30_000, "nonce": waiting, "chainId": chain_id}
    fields |= Fees(10**12, 10**11, 10**11).fields() | {"blobVersionedHashes": other.hex_hashes}
    _, hash_ = PoolSigning(sender.account).sign(fields, other)
    with ledger.lock():
        ledger.launch(waiting, Launched(hash_, fields))
        ledger.keep_blobs(waiting, other.hex_hashes, other.to_bytes())
    assert rpc.request("evm_revert", snapshot)
    rpc.request("evm_mine")
    assert published(rpc, contract, sender).status == BlobStatus.NONE
    with mining(rpc):
        Sender(rpc, sender.account).confirmed([first], 2)
    expect_published_once(rpc, contract, sender, sidecar)
    assert ledger.blobs(waiting, other.hex_hashes) == other.to_bytes()


def test_blobs_are_kept_for_as_long_as_they_may_be_sent_again(tmp_path: Path) -> None:
    ledger = KeyLedger(1, BURN, tmp_path)
    for number in range(100):
        ledger.keep_blobs(number, [hex(number)], bytes([number]))
    assert [number for number in range(100) if ledger.blobs(number, [hex(number)])] == list(range(68, 100))


def test_a_price_beyond_the_limit_is_not_paid(rpc: Rpc, sender: Sender, publish: Call[None]) -> None:
    dear = Rpc(rpc.url)
    ask = dear.request

    def request(method: str, *parameters: Any, **named: Any) -> Any:
        return 10**12 if method == "eth_blobBaseFee" else ask(method, *parameters, **named)

    dear.request = request  # type: ignore[method-assign]
    with pytest.raises(FeeTooHigh, match=r"blob gas costs 1,?000 gwei"):
        Sender(dear, sender.account).send(publish, value_wei=BOND)
    assert Fees(10, 1, 30).bumped(61) == Fees(21, 3, 61)
    assert Fees(10, 1, 30).bumped(60) is None


def test_a_chain_without_blobs_is_told_as_such(rpc: Rpc, sender: Sender, publish: Call[None]) -> None:
    old = Rpc(rpc.url)
    ask = old.request

    def request(method: str, *parameters: Any, **named: Any) -> Any:
        if method == "eth_blobBaseFee":
            raise RpcFailed(method, -32601, "the method eth_blobBaseFee does not exist")
        return ask(method, *parameters, **named)

    old.request = request  # type: ignore[method-assign]
    with pytest.raises(BlobsUnsupported, match="takes no blob transactions"):
        Sender(old, sender.account).send(publish, value_wei=BOND)


def test_kept_blobs_are_read_back_or_not_at_all(sidecar: Sidecar) -> None:
    content = sidecar.to_bytes()
    assert Sidecar.from_bytes(content) == sidecar
    assert Sidecar.from_bytes(content[:-1]) is None
    assert Sidecar.from_bytes(b"") is None
