"""
What was sent with a key and left, by this process or an earlier one: how it is signed once more, and sent again.

Earlier processes have left what the journal holds, which forgets large data once it is in a block. What this process
signed itself is kept here as it was sent, so that it can be sent again after a reorganisation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from opml_dispute.chain.blob_transactions import PoolSigning, Sidecar
from opml_dispute.chain.fees import Fees, raised
from opml_dispute.chain.journal import KeyLedger, Launched, likeliest
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.primitives import Address

_MOST_REMEMBERED: Final = 256
"""Transactions of this process, of 128 KiB at most: those with blobs, which are larger, are in the ledger alone."""


class LeftBehind:
    """One account's transactions, as far as this process or its ledger remembers them."""

    def __init__(
        self,
        rpc: Rpc,
        address: Address,
        signing: PoolSigning,
        ledger: Callable[[], KeyLedger],
        tell: Callable[[str], None],
    ) -> None:
        self._rpc, self._address, self._signing, self._ledger, self._tell = rpc, address, signing, ledger, tell
        self._remembered: dict[bytes, tuple[int, bytes]] = {}
        """Nonces and signed transactions by their hashes, oldest first."""

    def remember(self, nonce: int, transaction_hash: bytes, raw: bytes) -> None:
        """This process is about to send that."""
        self._remembered[transaction_hash] = nonce, raw
        while len(self._remembered) > _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def signed(self, nonce: int) -> bytes | None:
        """What was sent lately under a nonce, signed: of several, what is most likely to be in the chain."""
        forms = self._ledger().launched().get(nonce)
        if forms is not None:
            return self._sign_again(nonce, likeliest(forms).fields)[0]
        return next((raw for number, raw in reversed(self._remembered.values()) if number == nonce), None)

    def has(self, nonce: int) -> bool:
        """Whether anything is remembered that was sent under a nonce."""
        return nonce in self._ledger().launched() or any(number == nonce for number, _ in self._remembered.values())

    def found(self, transaction_hash: bytes) -> tuple[int, bytes | None]:
        """
        The nonce of a transaction, and the transaction, signed: None if its blobs are lost.

        Raises `LookupError` if it is not remembered.
        """
        if transaction_hash in self._remembered:
            return self._remembered[transaction_hash]
        for nonce, forms in self._ledger().launched().items():
            for form in forms:
                if form.hash == transaction_hash:
                    return nonce, self._sign_again(nonce, form.fields)[0]
        raise LookupError(transaction_hash.hex())

    def push(self, nonce: int, max_fee_wei: int, *, is_lost: bool = False) -> None:
        """Sends what still waits under `nonce` again, with a higher fee; with `is_lost`, what is in no pool, too."""
        ledger = self._ledger()
        with ledger.lock():
            forms = ledger.launched().get(nonce, ())
            left = self._waiting(forms) or (likeliest(forms) if is_lost and forms else None)
            higher = None if left is None else raised(self._rpc, Fees.of(left.fields), max_fee_wei)
            if left is None or higher is None:
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
        names = fields.get("blobVersionedHashes")
        kept = None if names is None else self._ledger().blobs(nonce, names)
        sidecar = None if kept is None else Sidecar.from_bytes(kept)
        if names is not None and (sidecar is None or sidecar.hex_hashes != names):
            return None, b""
        return self._signing.sign(fields, sidecar)
