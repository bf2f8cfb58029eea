"""The tables with which an Anvil checks blobs: it makes them for the first transaction that has one."""

from __future__ import annotations

from opml_dispute.chain.blob_transactions import PoolSigning, Sidecar
from opml_dispute.chain.fees import Fees
from opml_dispute.chain.rpc import Rpc
from opml_dispute.devnet import anvil as devnet
from opml_dispute.engine.blob_row import blobs_of


def make_blob_tables(url: str) -> None:
    """Sends that first transaction, with more patience than a node is owed otherwise."""
    rpc = Rpc(url, timeout_s=300.0)
    account, sidecar = devnet.account("deployer"), Sidecar.of(blobs_of(b""))
    fields = {"to": account.address, "data": "0x", "value": 0, "gas": 30_000, "chainId": devnet.CHAIN_ID}
    nonce = int(rpc.request("eth_getTransactionCount", account.address, "latest"), 16)
    fees = Fees(10**11, 10**9, 10**10).fields()
    raw, _ = PoolSigning(account).sign(
        fields | fees | {"nonce": nonce, "blobVersionedHashes": sidecar.hex_hashes}, sidecar
    )
    rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
