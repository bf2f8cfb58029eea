"""
What was sent with a key and left, by this process or an earlier one: how it is signed once more, and sent again.

Earlier processes have left what the journal holds, which forgets large data once it is in a block. What this process
signed itself is kept here as it was sent, so that it can be sent again after a reorganisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from opml_dispute.chain.blob_transactions import PoolSigning, Sidecar
from opml_dispute.chain.fees import Fees, raised
from opml_dispute.chain.journal import KeyLedger, Launched, likeliest
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.primitives import Address

_MOST_REMEMBERED: Final = 256
"""Transactions of this process, of 128 KiB at most: those with blobs, which are larger, are in the ledger alone."""


@dataclass(frozen=True)
class Signed:
    """A transaction that was sent, and can be sent again."""

    nonce: int
    fees: Fees
    raw: bytes | None
    """As it is posted; None if its blobs are lost."""


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
        self._remembered: dict[bytes, tuple[int, Launched, bytes]] = {}
        """Nonces and signed transactions by their hashes, oldest first."""
        self._told: set[int] = set()
        """The nonces of which it was told that the limit allows no higher fee."""

    def remember(self, nonce: int, launched: Launched, raw: bytes) -> None:
        """This process is about to send that."""
        self._remembered[launched.hash] = nonce, launched, raw
        while len(self._remembered) > _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def signed(self, nonce: int) -> Signed | None:
        """What was sent lately under a nonce: of several, what is most likely to be in the chain."""
        forms = self._forms(nonce)
        return self._signed(nonce, likeliest(forms)) if forms else None

    def has(self, nonce: int) -> bool:
        """Whether anything is remembered that was sent under a nonce."""
        return bool(self._forms(nonce))

    def found(self, transaction_hash: bytes) -> Signed:
        """
        A transaction, in the form in which it was sent last: another fee may have been offered for it since.

        Raises `LookupError` if it is not remembered.
        """
        nonce, alike = self._alike(transaction_hash)
        return self._signed(nonce, alike[-1])

    def alike(self, transaction_hash: bytes) -> Sequence[bytes]:
        """
        The hashes of all forms of a transaction, which differ in their fees: of those another process of the key may
        have sent some. Itself alone, if it is not remembered.
        """
        try:
            return [form.hash for form in self._alike(transaction_hash)[1]]
        except LookupError:
            return [transaction_hash]

    def _alike(self, transaction_hash: bytes) -> tuple[int, list[Launched]]:
        """Raises `LookupError`."""
        launched = self._ledger().launched()
        if transaction_hash in self._remembered:
            nonce = self._remembered[transaction_hash][0]
        else:
            places = (n for n, forms in launched.items() if any(form.hash == transaction_hash for form in forms))
            nonce = next(places, -1)
        forms = self._forms(nonce)
        mine = next((form for form in forms if form.hash == transaction_hash), None)
        if mine is None:
            raise LookupError(transaction_hash.hex())
        return nonce, [form for form in forms if _content(form) == _content(mine)]

    def _forms(self, nonce: int) -> tuple[Launched, ...]:
        """What was signed under a nonce, oldest first: the ledger forgets what is large, and may not be writable."""
        forms = self._ledger().launched().get(nonce, ())
        known = {form.hash for form in forms}
        own = (form for number, form, _ in self._remembered.values() if number == nonce)
        return (*(form for form in own if form.hash not in known), *forms)

    def _signed(self, nonce: int, form: Launched) -> Signed:
        remembered = self._remembered.get(form.hash)
        raw = remembered[2] if remembered is not None else self._sign_again(nonce, form.fields)[0]
        return Signed(nonce, Fees.of(form.fields), raw)

    def push(self, nonce: int, max_fee_wei: int, *, is_lost: bool = False) -> None:
        """
        Sends what still waits under `nonce` again, with a higher fee; with `is_lost`, what is in no pool, too.

        That the limit allows no higher fee is told, once.
        """
        ledger = self._ledger()
        with ledger.lock():
            forms = self._forms(nonce)
            left = self._waiting(forms) or (likeliest(forms) if is_lost and forms else None)
            if left is None:
                return
            higher = raised(self._rpc, Fees.of(left.fields), max_fee_wei)
            if higher is None:
                if nonce not in self._told:
                    self._told.add(nonce)
                    self._tell(
                        f"An earlier transaction of {self._address} is not mined, and --max-fee allows no higher fee"
                    )
                return
            self._tell(f"An earlier transaction of {self._address} is not mined; sending it again with a higher fee")
            fields = left.fields | higher.fields()
            raw, transaction_hash = self._sign_again(nonce, fields)
            if raw is None:
                return
            again = replace(left, hash=transaction_hash, fields=fields)
            ledger.launch(nonce, again)
            if "blobVersionedHashes" not in fields:
                self.remember(nonce, again, raw)
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


def _content(form: Launched) -> dict[str, Any]:
    """What a transaction does, whatever it pays for it."""
    return {name: form.fields.get(name) for name in ("to", "data", "value", "blobVersionedHashes")}
