"""
Nonces below that of a transaction which waits, under which no transaction will come: found, and closed.

A node that counts a waiting transaction too many has the next one signed behind a nonce that is never used, and nothing
behind it is mined. WHY NOT sign that one anew under the nonce that is missing: both forms could be mined then, and a
proposal would pay two bonds. A gap is closed by a transaction that does nothing, from the account to itself.

What another program sent must not give way to it. So it is offered for the least that the pool takes at all: a pool
replaces what it has for a higher fee only, and refuses. Once it is taken, the nonce was free, and it is given the
fee of what waits behind it. A node that had counted that nonce is not believed about waiting transactions any more,
until it shows that one is there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from opml_dispute.chain import answers
from opml_dispute.chain.blob_transactions import PoolSigning
from opml_dispute.chain.counts import MOST_PENDING
from opml_dispute.chain.fees import FEE_BUMP_PERCENT, Fees
from opml_dispute.chain.journal import KeyLedger, Launched
from opml_dispute.chain.quoting import TRANSACTION_GAS, TRANSACTION_GAS_CAP
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcError, RpcFailed
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address

_LOOKS_IF_SHOWN: Final = 2
"""After how many looks, seconds apart, a gap that the node's own counts show is closed."""
_LOOKS_IF_HIDDEN: Final = 3
"""The same where the node counts a transaction of which this computer knows nothing."""


class Gaps:
    """Of one account at one node."""

    def __init__(
        self,
        rpc: Rpc,
        address: Address,
        signing: PoolSigning,
        ledger: Callable[[], KeyLedger],
        chain_id: Callable[[], int],
        tell: Callable[[str], None],
        *,
        is_own: Callable[[int], bool],
    ) -> None:
        """`is_own` tells whether anything is remembered that was sent under a nonce."""
        self._rpc, self._address, self._signing, self._tell, self._is_own = rpc, address, signing, tell, is_own
        self._ledger, self._chain_id = ledger, chain_id
        self._looks: dict[int, int] = {}
        """How often each nonce was seen to hold up what waits."""
        self._closed: dict[int, Fees] = {}
        """What closes gaps, by nonce, with the fees offered last."""
        self._tried: set[int] = set()
        """Where the node has a transaction of another program, or closing failed: neither is tried again."""
        self._counts_too_many = False

    def next_nonce(self, mined: int, pending: int) -> int:
        """
        The first nonce under which nothing was sent: the node's count, unless it was found to count too many.

        Raises an `RpcError`.
        """
        if not self._counts_too_many:
            return max(mined, pending)
        nonce, launched = mined, self._ledger().launched()
        while nonce in self._closed or (nonce < pending and self._has_any(launched.get(nonce, ()))):
            nonce += 1
        return nonce

    def believe(self) -> None:
        """The node refused a nonce because a transaction has it: what it counts is there."""
        self._counts_too_many = False

    def look(self, mined: int, pending: int, nonce: int, fees: Fees) -> None:
        """
        What waits under `nonce`, for these fees, is not mined: closes the gaps before it that were seen often enough.

        Raises an `RpcError`.
        """
        self._looks = {n: count for n, count in self._looks.items() if n >= mined}
        self._closed = {n: offered for n, offered in self._closed.items() if n >= mined}
        fees = replace(fees, blob_fee_wei=None)
        for missing in range(max(mined, nonce - MOST_PENDING), nonce):
            if missing in self._closed:
                if fees.replaces(self._closed[missing]):
                    with suppress(_Occupied):  # it is mined by now
                        self._send(missing, fees)
                continue
            if missing in self._tried or self._is_own(missing):
                continue
            self._looks[missing] = self._looks.get(missing, 0) + 1
            if self._looks[missing] >= (_LOOKS_IF_SHOWN if pending <= missing else _LOOKS_IF_HIDDEN):
                self._tried.add(missing)
                self._close(missing, fees, was_counted=missing < pending)

    def _has_any(self, forms: tuple[Launched, ...]) -> bool:
        asked = [Ask("eth_getTransactionByHash", ("0x" + form.hash.hex(),)) for form in forms]
        return any(known is not None for known in (self._rpc.batch(asked) if asked else ()))

    def _close(self, nonce: int, fees: Fees, *, was_counted: bool) -> None:
        """Raises an `RpcError` that passes; what does not is told."""
        try:
            offers = _offers(fees, self._rpc.head().base_fee_wei or 0)
            if not any(self._send(nonce, offer) for offer in offers):
                return
            self._counts_too_many = self._counts_too_many or was_counted
            self._tell(
                f"Nonce {nonce} of {self._address} was never used, and holds up what was sent after it: closing the "
                "gap with a transaction that does nothing"
            )
            if fees.replaces(self._closed[nonce]):
                self._send(nonce, fees)
        except _Occupied:
            return
        except OpmlError as error:  # the node, or a signer that does not sign it
            if isinstance(error, RpcError) and error.passes:
                self._tried.discard(nonce)
                raise
            self._tell(f"Nonce {nonce} of {self._address} seems unused, and the gap cannot be closed: {error}")

    def _send(self, nonce: int, fees: Fees) -> bool:
        """
        Offers the transaction that does nothing; whether the pool has it now. One that it refuses is forgotten.

        Raises `_Occupied` if another transaction has the nonce, and an `RpcError` if the node takes it for no fee.
        """
        plain = {"to": self._address, "data": "0x", "value": 0}
        estimate = {"from": self._address, "to": self._address, "value": "0x0"}
        estimated = int(self._rpc.request("eth_estimateGas", estimate, parse=answers.quantity))
        gas = min(max(TRANSACTION_GAS, estimated), TRANSACTION_GAS_CAP)
        fields = plain | fees.fields() | {"gas": gas, "nonce": nonce, "chainId": self._chain_id()}
        ledger = self._ledger()
        with ledger.lock():
            if nonce not in self._closed and nonce in ledger.launched():
                raise _Occupied  # by another process of this key
            raw, transaction_hash = self._signing.sign(fields, None)
            ledger.launch(nonce, Launched(transaction_hash, fields))
            try:
                self._rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
            except RpcFailed as error:
                if error.kind != Refusal.KNOWN:
                    if nonce not in self._closed and not error.passes:
                        ledger.drop(nonce)
                    if error.kind == Refusal.NONCE or "replacement" in error.message.lower():
                        raise _Occupied from None
                    if error.kind == Refusal.UNDERPRICED:
                        return False
                    raise
            self._closed[nonce] = fees
        return True


class _Occupied(OpmlError):
    """The nonce has a transaction already."""

    def __init__(self) -> None:
        super().__init__("the nonce has a transaction already")


def _offers(fees: Fees, base_fee_wei: int) -> list[Fees]:
    """What to offer, the lowest first: all but the last can be replaced for `fees`."""
    below_wei = max(1, fees.max_fee_wei * 100 // (101 + FEE_BUMP_PERCENT))
    if fees.tip_wei is None:
        return [*(Fees(step, None) for step in _tenfold(below_wei)), fees]
    # Nodes refuse less than the next block's base fee, which is an eighth higher at most.
    least_wei = base_fee_wei + base_fee_wei // 8
    tips = _tenfold(min(below_wei, fees.tip_wei))
    return [*(Fees(min(least_wei + tip, below_wei), min(tip, below_wei)) for tip in tips), fees]


def _tenfold(most: int) -> list[int]:
    return [10**digits for digits in range(len(str(most)))]
