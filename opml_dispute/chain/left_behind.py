"""What earlier processes of a key sent and left: how it is signed once more, and sent again with a higher fee."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from opml_dispute.chain.blob_transactions import PoolSigning, Sidecar
from opml_dispute.chain.fees import Fees
from opml_dispute.chain.journal import KeyLedger, Launched, likeliest
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.primitives import Address


class LeftBehind:
    """One account's transactions of earlier processes, as far as its ledger remembers them."""

    def __init__(
        self,
        rpc: Rpc,
        address: Address,
        signing: PoolSigning,
        ledger: Callable[[], KeyLedger],
        tell: Callable[[str], None],
    ) -> None:
        self._rpc, self._address, self._signing, self._ledger, self._tell = rpc, address, signing, ledger, tell

    def signed(self, nonce: int) -> bytes | None:
        """What was sent lately under a nonce, signed: of several, what is most likely to be in the chain."""
        forms = self._ledger().launched().get(nonce)
        return None if forms is None else self._sign_again(nonce, likeliest(forms).fields)[0]

    def send_again(self, transaction_hash: bytes) -> None:
        """Gives the node a transaction that it has lost, if the ledger still has it."""
        for nonce, forms in self._ledger().launched().items():
            for form in forms:
                raw = self._sign_again(nonce, form.fields)[0] if form.hash == transaction_hash else None
                if raw is not None:
                    with suppress(RpcError):  # known, or mined meanwhile
                        self._rpc.request("eth_sendRawTransaction", "0x" + raw.hex())

    def push(self, nonce: int, max_fee_wei: int) -> None:
        """Sends what still waits under `nonce` again, with a higher fee."""
        ledger = self._ledger()
        with ledger.lock():
            left = self._waiting(ledger.launched().get(nonce, ()))
            if left is None:
                return
            higher = Fees.of(left.fields).bumped(max_fee_wei)
            if higher is None:
                return
            self._tell(f"An earlier transaction of {self._address} is not mined; sending it again with a higher fee")
            fields = left.fields | higher.fields()
            raw, transaction_hash = self._sign_again(nonce, fields)
            if raw is None:
                return
            ledger.launch(nonce, replace(left, hash=transaction_hash, fields=fields))
            with suppress(RpcError):
                self._rpc.request("eth_sendRawTransaction", "0x" + raw.hex())

    def _waiting(self, forms: tuple[Launched, ...]) -> Launched | None:
        """The one that the node has in its pool."""
        found = self._rpc.batch([Ask("eth_getTransactionByHash", ("0x" + form.hash.hex(),)) for form in forms])
        return next(
            (
                form
                for form, known in zip(forms, found, strict=True)
                if isinstance(known, dict) and known.get("blockHash") is None
            ),
            None,
        )

    def _sign_again(self, nonce: int, fields: dict[str, Any]) -> tuple[bytes | None, bytes]:
        """What an earlier process sent under `nonce`, and its hash; None if its blobs are lost."""
        kept = self._ledger().blobs(nonce) if "blobVersionedHashes" in fields else None
        sidecar = None if kept is None else Sidecar.from_bytes(kept)
        if "blobVersionedHashes" in fields and (sidecar is None or sidecar.hex_hashes != fields["blobVersionedHashes"]):
            return None, b""
        return self._signing.sign(fields, sidecar)
