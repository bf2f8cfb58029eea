"""
The state of pending transactions, as a node reports it.

A `Flight` is a transaction that was sent, in one or several forms with the same nonce. `Outlook.receipt_of` waits until
one form lies in a block, and gives the node the transaction again if it lost it; `is_on_its_way` tells of one that the
node refused whether it was sent on all the same. Errors of the node are tolerated: the question is repeated later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from opml_dispute.chain import answers
from opml_dispute.chain.answers import Mined
from opml_dispute.chain.counts import MOST_PENDING, TransactionCounts
from opml_dispute.chain.fees import Fees
from opml_dispute.chain.gaps import Gaps
from opml_dispute.chain.left_behind import LeftBehind, Signed
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcError, RpcFailed
from opml_dispute.chain.transactions import NonceTaken, Order, Quote
from opml_dispute.primitives import Address


@dataclass
class Flight:
    """A pending transaction."""

    order: Order
    quote: Quote
    fees: Fees
    nonce: int
    raw: bytes
    hashes: list[bytes]
    """The hashes of every form in which it was sent; one of them is mined."""
    told: set[str] = field(default_factory=set)
    """What was told of it, and is told once."""


class Outlook:
    """One account's transactions, as one node reports them."""

    def __init__(
        self,
        rpc: Rpc,
        address: Address,
        tell: Callable[[str], None],
        *,
        left: LeftBehind,
        gaps: Gaps,
        raise_fee: Callable[[Flight], None],
        raise_earlier: Callable[[int], None],
    ) -> None:
        """
        `left` is what was sent lately, as far as it is remembered.
        `raise_fee` and `raise_earlier` send what a pool does not take for its fee with a higher one.
        """
        self._rpc, self._address, self._tell, self._left, self._gaps = rpc, address, tell, left, gaps
        self._raise_fee, self._raise_earlier = raise_fee, raise_earlier
        self.counts = TransactionCounts(rpc, address)

    def receipt_of(self, flight: Flight, timeout_s: float, *, later: Iterable[Flight] = ()) -> Mined | None:
        """
        The receipt, waited for during `timeout_s`; None if there is none. A node that lost the transaction gets it
        again, with those before it that a reorganisation took back, and those of `later` that it lost too.

        Raises `NonceTaken` if another transaction was mined in its place.
        """
        deadline = time.monotonic() + timeout_s
        look_after_s, pause_s, taken = 2.0, 0.005, 0
        look_at = time.monotonic() + look_after_s
        while True:
            try:
                mined = self._receipt(flight)
                if mined is not None:
                    return mined
                if time.monotonic() > look_at:
                    self._note_other_forms(flight)
                    mined_count, pending_count = self.counts.sure()
                    # WHY NOT begin anew at one lower count: a node behind a balancer lags now and then.
                    taken = taken + 1 if mined_count > flight.nonce else max(0, taken - 1)
                    # WHY NOT trust in receipts alone: a node that withholds them would have all be paid for once more.
                    if taken >= 3 and self._receipt(flight) is None and not self._known([flight])[0]:
                        raise _taken(self._rpc.url, self._address, flight)
                    self._fill(pending_count, flight.nonce)
                    self._gaps.look(mined_count, pending_count, flight.nonce, flight.fees)
                    if not taken and self._give_again([flight, *later]):
                        pass  # told
                    elif not taken:
                        self._tell(f"{flight.order.work.what} is not mined yet")
                        look_after_s = min(2 * look_after_s, 30.0)
                    look_at = time.monotonic() + look_after_s
            except RpcError:
                pass  # the node is asked again until the time is up
            if time.monotonic() > deadline:
                return None
            time.sleep(min(pause_s, max(0.0, deadline - time.monotonic()) + 0.001))
            pause_s = min(pause_s * 1.5, 2.0)

    def _note_other_forms(self, flight: Flight) -> None:
        """Another process of the key may have sent the flight for a higher fee: that one is no other transaction."""
        flight.hashes[:0] = [hash_ for hash_ in self._left.alike(flight.hashes[-1]) if hash_ not in flight.hashes]

    def _receipt(self, flight: Flight) -> Mined | None:
        asked = [
            Ask("eth_getTransactionReceipt", ("0x" + hash_.hex(),), partial(answers.receipt_of, hash_))
            for hash_ in set(flight.hashes)
        ]
        return next((found for found in self._rpc.batch(asked) if found is not None), None)

    def _give_again(self, flights: Sequence[Flight]) -> bool:
        """Sends again what the node has lost of these, in their order; whether the first was among them."""
        lost = [flight for flight, is_known in zip(flights, self._known(flights), strict=True) if not is_known]
        for flight in lost:
            self._tell(f"The node has lost {flight.order.work.what}; sending it again")
            # A pool that is full drops first what pays less than the base fee.
            if self._rpc.head().base_fee_wei > flight.fees.max_fee_wei or not self.resend(flight):
                self._raise_fee(flight)
        return flights[0] in lost

    def is_known(self, flight: Flight) -> bool:
        """Whether the node has the transaction in any form, mined or not."""
        try:
            return self._known([flight])[0]
        except RpcError:
            return False

    def _known(self, flights: Sequence[Flight]) -> list[bool]:
        hashes = [(number, hash_) for number, flight in enumerate(flights) for hash_ in set(flight.hashes)]
        found = self._rpc.batch([Ask("eth_getTransactionByHash", ("0x" + hash_.hex(),)) for _, hash_ in hashes])
        known = {number for (number, _), answer in zip(hashes, found, strict=True) if answer is not None}
        return [number in known for number in range(len(flights))]

    def is_on_its_way(self, flight: Flight) -> bool:
        """Whether a transaction that the node refused is pending all the same, or was mined meanwhile."""
        if not self.is_known(flight):
            return False
        try:
            mined = self._receipt(flight)
        except RpcError:
            return True
        return mined is None or mined.block_number > flight.quote.block_number

    def resend(self, flight: Flight) -> bool:
        """Send the same transaction again; whether its fee is high enough for the node."""
        return self._resend(flight.raw)

    def send_again(self, signed: Signed) -> None:
        """Gives the node a mined transaction that it has lost, with those of the account that it lost before it."""
        with suppress(RpcError):  # it is tried again
            self._fill(self.counts.told()[1], signed.nonce)
        with suppress(RpcError):
            self._offer(signed)

    def _fill(self, first: int, last: int) -> None:
        """
        Sends again what had the nonces from `first` to before `last`, of which the node knows none.

        WHY NOT sign the flight anew under the first of them: both forms could be mined then.
        """
        for nonce in range(max(first, last - MOST_PENDING), last):
            signed = self._left.signed(nonce)
            if signed is not None and signed.raw is not None:
                self._tell("A reorganisation took back an earlier transaction; sending it again")
                self._offer(signed)

    def _offer(self, signed: Signed) -> None:
        """Sends it as it was, and for more where that is too little by now. Raises an `RpcError`."""
        if signed.raw is None:
            return
        # Many a pool takes what pays less than the base fee, and keeps it.
        if not self._resend(signed.raw) or self._rpc.head().base_fee_wei > signed.fees.max_fee_wei:
            self._raise_earlier(signed.nonce)

    def _resend(self, raw: bytes) -> bool:
        """Whether the fee is high enough for the node, as far as it says."""
        try:
            self._rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
        except RpcError as error:
            # Anything else: known, mined meanwhile, or to be tried again. The receipt decides.
            return not isinstance(error, RpcFailed) or error.kind != Refusal.UNDERPRICED
        return True


def _taken(url: str, address: Address, flight: Flight) -> NonceTaken:
    what = f"{url} says that nonce {flight.nonce} of {address} went to another transaction"
    if not flight.order.is_paid_once:
        return NonceTaken(what)
    where = f"transaction 0x{flight.hashes[-1].hex()} at another node"
    return NonceTaken(what, hint=f"nothing is paid again by itself: only if there is no {where}, run the command again")
