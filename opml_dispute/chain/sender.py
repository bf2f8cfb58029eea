"""
Sending transactions: estimating, signing, sending, and waiting for the receipt.

`Sender.send` does one transaction and returns its `Receipt`; `Sender.send_all` does many that do not depend on each
other, under consecutive nonces, so that they can be mined in one block. Before anything is signed it is simulated
(`quote`): a call that would revert raises `reverts.Reverted` and costs nothing; an account that cannot pay raises
`NotEnoughFunds`; a price beyond the operator's limit raises `fees.FeeTooHigh`.

A transaction is mined at most once, whatever the node answers. One that is not mined in time, or that the node lost, is
sent again under the *same nonce*, later with a higher fee. A nonce that another program took is read anew, but not for
what pays once: a node that hides a transaction looks the same. `settle` waits for what earlier processes left.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from opml_dispute.chain import answers
from opml_dispute.chain.answers import Mined
from opml_dispute.chain.blob_transactions import PoolSigning, blob_fields
from opml_dispute.chain.confirming import await_confirmations
from opml_dispute.chain.fees import DEFAULT_MAX_FEE_WEI, Fees, raised
from opml_dispute.chain.gaps import Gaps
from opml_dispute.chain.journal import JournalEntry, KeyLedger, Launched
from opml_dispute.chain.keys import Signing
from opml_dispute.chain.left_behind import LeftBehind
from opml_dispute.chain.outlook import Flight, Outlook
from opml_dispute.chain.quoting import TRANSACTION_GAS_CAP, call_object, quotes_for, reason_of_failure, with_less_gas
from opml_dispute.chain.resuming import ChainOrigin, resumed
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Call, Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcError, RpcFailed
from opml_dispute.chain.transactions import Creation, NonceTaken, NotEnoughFunds, NotMined, Order, Quote, Receipt
from opml_dispute.errors import OpmlError
from opml_dispute.home import CannotWrite

IN_FLIGHT: Final = 16
"""The number of pending transactions of one account that every node's pool accepts."""

_BROADCAST_TRIES: Final = 9
_RELAUNCHES: Final = 3
_HURRY: Final = 3
"""How much sooner, and how much more often, the fee of an urgent transaction is raised."""

T = TypeVar("T")


class Sender:
    """One account on one chain. One object serves one thread; several objects may serve the same account."""

    def __init__(
        self,
        rpc: Rpc,
        account: Signing,
        *,
        timeout_s: float = 90.0,
        resends: int = 3,
        max_fee_wei: int = DEFAULT_MAX_FEE_WEI,
        chain_id: int | None = None,
        folder: Path | None = None,
        on_sent: Callable[[Receipt], None] | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """
        A transaction is given `timeout_s` to be mined before it is sent with a higher fee, `resends` times at most,
        and never for more than `max_fee_wei` per gas. It is signed for the chain of `chain_id`, whatever the node says;
        without it, for what the node says first. `tell` receives a sentence about every delay. `folder` is where what
        was sent is remembered, by default the project's own.
        """
        self.rpc, self.account, self.max_fee_wei = rpc, account, max_fee_wei
        self.address = account.address
        self._signing = PoolSigning(account)
        self._timeout_s, self._resends, self._on_sent, self._tell = timeout_s, resends, on_sent, tell
        self._origin, self._chain_id = ChainOrigin(rpc), chain_id
        self._folder = folder
        self._flights: deque[Flight] = deque()
        self._left = LeftBehind(rpc, account.address, self._signing, self._ledger, tell)
        self._gaps = Gaps(
            rpc, account.address, self._signing, self._ledger, lambda: self.chain_id, tell, is_own=self._left.has
        )
        self._outlook = Outlook(
            rpc,
            account.address,
            tell,
            left=self._left,
            gaps=self._gaps,
            raise_fee=self._raise_fee,
            raise_earlier=lambda nonce: self._left.push(nonce, self.max_fee_wei, is_lost=True),
        )
        self._stuck: dict[int, Fees] = {}
        self._sent: set[bytes] = set()
        self._nonce: int | None = None
        """The next nonce, while the lock is held and nothing was refused."""

    @property
    def chain_id(self) -> int:
        """The chain that its transactions are signed for."""
        if self._chain_id is None:
            self._chain_id = self.rpc.chain_id()
        return self._chain_id

    def settle(self) -> None:
        """
        Wait until no transaction of this account is in flight, so that what is read next is what it made.

        One of an earlier process that blocks the way for long is sent again with a higher fee, up to the limit. Raises
        `NotMined` if one stays unmined all the same.
        """
        started = time.monotonic()
        deadline, push_at = started + self._timeout_s, started + self._timeout_s / 6
        pause_s = 0.05
        while True:
            mined, pending = self._outlook.counts.told()
            if mined >= pending:
                return
            if time.monotonic() > push_at:
                self._left.push(mined, self.max_fee_wei)
                push_at += self._timeout_s / 3
            if time.monotonic() > deadline:
                raise NotMined(f"an earlier transaction of {self.address}", self._timeout_s)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)

    def send(
        self, work: Call[Any] | Creation, *, value_wei: int = 0, once: bool = False, is_urgent: bool = False
    ) -> Receipt:
        """
        Send one transaction and wait until it is mined.

        Raises `Reverted` if the contract refuses (nothing is sent then, unless the chain changed meanwhile),
        `NotEnoughFunds`, `FeeTooHigh`, `NotMined`, `NonceTaken`, or an `RpcError`.
        """
        (result,) = self.send_all([Order(work, value_wei, once, is_urgent)])
        if isinstance(result, OpmlError):
            raise result
        return result

    def send_all(self, orders: Sequence[Order]) -> list[Receipt | OpmlError]:
        """
        Send transactions that do not depend on each other, and wait until each is mined.

        The result for each is its receipt, or the error that `send` would raise: a failed one stops no other.
        """
        results: dict[int, Receipt | OpmlError] = {}
        to_launch = deque((index, _RELAUNCHES) for index in range(len(orders)))
        in_flight: deque[tuple[int, int]] = deque()
        is_blocked = False
        try:
            while to_launch or in_flight:
                room = IN_FLIGHT - len(in_flight)
                if to_launch and (room > IN_FLIGHT // 2 or not in_flight):
                    part = [to_launch.popleft() for _ in range(min(room, len(to_launch)))]
                    launched = self._launch([orders[index] for index, _ in part])
                    for (index, tries), outcome in zip(part, launched, strict=True):
                        if outcome is None:
                            in_flight.append((index, tries - 1))
                        else:
                            results[index] = outcome
                    continue
                index, tries = in_flight.popleft()
                # A stuck transaction blocks all later ones: it is not waited for again.
                results[index] = self._land(self._flights[0], timeout_s=0.0 if is_blocked else None)
                is_blocked = is_blocked or isinstance(results[index], NotMined)
                if isinstance(results[index], NonceTaken) and tries > 0 and not orders[index].is_paid_once:
                    to_launch.append((index, tries))  # it can no longer be mined as it was sent
        finally:
            self._flights.clear()
        return [results[index] for index in range(len(orders))]

    def confirmed(self, receipts: Sequence[Receipt], blocks: int) -> list[Receipt]:
        """
        The receipts once `blocks` blocks hold them, the first of which is their own. Raises as `await_confirmations`.
        """

        def send_again(receipt: Receipt) -> None:
            with suppress(LookupError):
                self._outlook.send_again(self._left.found(receipt.hash))

        return await_confirmations(
            self.rpc, receipts, blocks, send_again=send_again, alike=self._left.alike, tell=self._tell
        )

    def quote(self, work: Call[Any] | Creation, *, value_wei: int = 0) -> Quote:
        """The quote of a transaction. Raises what `send` raises before it sends anything."""
        (quote,) = self._quotes([Order(work, value_wei)])
        if isinstance(quote, OpmlError):
            raise quote
        return quote

    def simulate(self, call: Call[T], *, value_wei: int = 0) -> T:
        """The answer of the call if it were sent now. Raises `Reverted`."""
        try:
            raw = self.rpc.request("eth_call", call_object(self.address, call, value_wei), "latest", parse=answers.data)
        except Reverted as reverted:
            raise Reverted(call.what, reverted.data) from None
        return call.decode(raw)

    # ---- before it is sent ----

    def _ledger(self) -> KeyLedger:
        return KeyLedger(self.chain_id, self.address, self._folder)

    def _quotes(self, orders: Sequence[Order]) -> list[Quote | OpmlError]:
        committed_wei = sum(flight.order.value_wei + flight.quote.most_wei for flight in self._flights)
        return quotes_for(self.rpc, self.address, orders, max_fee_wei=self.max_fee_wei, committed_wei=committed_wei)

    # ---- sending ----

    def _launch(self, orders: Sequence[Order]) -> list[Receipt | OpmlError | None]:
        """
        Send orders: None for each that is in flight, else its error, or the receipt of an earlier process's
        transaction.
        """
        ledger = self._ledger()
        outcomes: list[Receipt | OpmlError | None] = [None] * len(orders)
        for index, order in enumerate(orders):
            if order.once:
                try:
                    outcomes[index] = self._resume(ledger, order)
                except OpmlError as error:
                    outcomes[index] = error
        left = [index for index, outcome in enumerate(outcomes) if outcome is None]
        try:
            quotes = self._quotes([orders[index] for index in left]) if left else []
        except OpmlError as error:
            return [error if outcome is None else outcome for outcome in outcomes]
        with ledger.lock():
            self._nonce = None
            for index, quote in zip(left, quotes, strict=True):
                if isinstance(quote, OpmlError):
                    outcomes[index] = quote
                    continue
                try:
                    orders[index].expect_alone()
                    self._flights.append(self._broadcast(ledger, orders[index], quote))
                except OpmlError as error:
                    outcomes[index], self._nonce = error, None
        return outcomes

    def _broadcast(self, ledger: KeyLedger, order: Order, quote: Quote) -> Flight:
        """Signs under the next nonce and sends, until the node has it."""
        fees, hashes = quote.fees, list[bytes]()
        trouble: OpmlError = NonceTaken(f"no nonce of {self.address} could be had for {order.work.what}")
        for attempt in range(_BROADCAST_TRIES):
            nonce, replaces = (self._nonce, None) if self._nonce is not None else self._next_nonce(order)
            self._nonce = None
            if replaces is not None:
                fees = fees.at_least(replaces)
            flight = self._signed(ledger, order, quote, fees, nonce, hashes)
            if flight.hashes[-1] in self._sent and self._outlook.is_known(flight):
                # The node counts less than it did: this is an earlier order's. One that the node no longer knows was
                # lost in a reorganisation, and is sent once more.
                flight.hashes.pop()
                time.sleep(0.02 * 2**attempt)
                continue
            try:
                self.rpc.request("eth_sendRawTransaction", "0x" + flight.raw.hex())
                self._sent.update(flight.hashes)
                self._nonce = nonce + 1
                return flight
            except RpcFailed as error:
                trouble = error
                if error.kind == Refusal.KNOWN or self._outlook.is_on_its_way(flight):
                    self._sent.update(flight.hashes)
                    return flight
                if error.kind == Refusal.FUNDS:
                    self._drop(ledger, order)
                    raise NotEnoughFunds(
                        self.address,
                        (balance_wei := self.rpc.balance_wei(self.address)),
                        max(balance_wei + 1, order.value_wei + quote.gas * fees.max_fee_wei + quote.data_fee_wei),
                        order.work.what,
                    ) from None
                is_race = "replacement" in error.message.lower() and replaces is None  # another process has the nonce
                if is_race:
                    self._gaps.believe()
                higher = fees.bumped(self.max_fee_wei) if error.kind == Refusal.UNDERPRICED and not is_race else None
                if higher is not None:
                    fees = higher
                elif error.kind != Refusal.NONCE and not is_race:
                    may_be_form = error.kind in (Refusal.FINAL, Refusal.CAPABILITY) and order.work.blobs is not None
                    if may_be_form and self._signing.use_older_form():
                        continue
                    if error.kind == Refusal.FINAL and quote.gas > TRANSACTION_GAS_CAP:
                        less = with_less_gas(self.rpc, self.address, order, quote)
                        if less is not None:
                            quote = less
                            continue
                    self._drop(ledger, order)
                    raise
            except RpcError:
                if self._outlook.is_on_its_way(flight):
                    self._sent.update(flight.hashes)
                    return flight
                raise
            time.sleep(0.02 * 2**attempt)
        raise trouble

    def _next_nonce(self, order: Order) -> tuple[int, Fees | None]:
        """The nonce to use, and what it takes to replace a stuck transaction of ours that has it."""
        mined, pending = self._outlook.counts.sure()
        self._stuck = {nonce: fees for nonce, fees in self._stuck.items() if nonce >= mined}
        if not self._flights and self._stuck and min(self._stuck) == mined:
            higher = self._stuck[mined].bumped(self.max_fee_wei)
            # Nodes replace a transaction with blobs by one with blobs only, and one without by one without.
            if higher is not None and (higher.blob_fee_wei is None) == (order.work.blobs is None):
                return mined, higher
        after_flights = self._flights[-1].nonce + 1 if self._flights else 0
        # WHY NOT count here: the node's count may go down again with a reorganisation, and a gap is never mined.
        return max(self._gaps.next_nonce(mined, pending), after_flights), None

    def _signed(
        self, ledger: KeyLedger, order: Order, quote: Quote, fees: Fees, nonce: int, hashes: list[bytes]
    ) -> Flight:
        to = {"to": order.work.to} if isinstance(order.work, Call) else {}
        order.expect_nonce(nonce)
        sidecar = order.work.blobs
        fields = to | {"data": "0x" + order.work.data.hex(), "value": order.value_wei} | blob_fields(sidecar)
        transaction = fields | fees.fields() | {"gas": quote.gas, "nonce": nonce, "chainId": self.chain_id}
        raw, transaction_hash = self._signing.sign(transaction, sidecar)
        hashes.append(transaction_hash)
        launched = Launched(transaction_hash, transaction, order.deposit, makes_game=order.makes_game)
        ledger.launch(nonce, launched)
        if sidecar is None:
            self._left.remember(nonce, launched, raw)
        else:
            ledger.keep_blobs(nonce, sidecar.hex_hashes, sidecar.to_bytes())
        if order.once:
            ledger.note(order.digest, JournalEntry(nonce, tuple(hashes), raw, self._origin.genesis))
        return Flight(order, quote, fees, nonce, raw, hashes)

    def _drop(self, ledger: KeyLedger, order: Order) -> None:
        """The node refused it for good: nothing is in flight."""
        if order.once:
            ledger.forget(order.digest)

    def _resume(self, ledger: KeyLedger, order: Order) -> Receipt | None:
        """The result of the same order in an earlier process; None if there was none, or if it was never mined."""
        entry = ledger.find(order.digest)
        if entry is None:
            return None
        flight = resumed(ledger, order, entry, max_fee_wei=self.max_fee_wei)
        if self._origin.is_another(entry, flight, self._outlook):
            ledger.forget(order.digest)
            return None
        self._tell(f"An earlier run sent {order.work.what} already; waiting for that transaction")
        result = self._land(flight)
        if isinstance(result, NonceTaken | Reverted):
            ledger.forget(order.digest)
        if isinstance(result, Reverted) or (isinstance(result, NonceTaken) and not order.is_paid_once):
            return None
        if isinstance(result, OpmlError):
            raise result
        return result

    # ---- until it is mined ----

    def _land(self, flight: Flight, *, timeout_s: float | None = None) -> Receipt | OpmlError:
        """
        Wait for a flight and remove it from the list: its receipt, or its error.

        With `timeout_s` it is not sent again.
        """
        try:
            mined = self._await(flight, timeout_s)
            receipt = self._finish(flight, mined)
        except NotMined as error:
            self._stuck[flight.nonce] = flight.fees
            return error
        except OpmlError as error:
            if isinstance(error, Reverted | NonceTaken):
                self._drop(self._ledger(), flight.order)
            return error
        finally:
            self._sent.update(flight.hashes)
            if flight in self._flights:
                self._flights.remove(flight)
        ledger = self._ledger()
        self._drop(ledger, flight.order)
        with ledger.lock():
            ledger.land(flight.nonce, receipt.hash)
        if self._on_sent is not None:
            self._on_sent(receipt)
        return receipt

    def _await(self, flight: Flight, timeout_s: float | None) -> Mined:
        """Raises `NotMined`, or `NonceTaken` if another transaction was mined in its place."""
        resends = 0 if timeout_s is not None else self._resends
        each_s = self._timeout_s if timeout_s is None else timeout_s
        if flight.order.is_urgent:
            resends, each_s = resends * _HURRY, each_s / _HURRY
        for attempt in range(resends + 1):
            if attempt > 0:
                self._raise_fee(flight)
            later = [other for other in self._flights if other.nonce > flight.nonce]
            mined = self._outlook.receipt_of(flight, each_s, later=later)
            if mined is not None:
                return mined
        raise NotMined(flight.order.work.what, each_s * (resends + 1))

    def _raise_fee(self, flight: Flight) -> None:
        """Sends it with a higher fee under its nonce, if the limit allows."""
        higher = None if flight.quote.gas == 0 else raised(self.rpc, flight.fees, self.max_fee_wei)
        if higher is None:
            limit = f"{flight.order.work.what} is not mined yet, and --max-fee allows no higher fee"
            if limit not in flight.told and flight.quote.gas > 0:
                flight.told.add(limit)
                self._tell(limit)
            self._outlook.resend(flight)
            return
        ledger = self._ledger()
        with ledger.lock():
            try:
                again = self._signed(ledger, flight.order, flight.quote, higher, flight.nonce, flight.hashes)
            except CannotWrite:  # a full disk: what was sent before is remembered, and waited for
                self._outlook.resend(flight)
                return
            flight.fees, flight.raw = higher, again.raw
            self._tell(f"{flight.order.work.what} is not mined yet; sending it again with a higher fee")
            self._outlook.resend(flight)

    def _finish(self, flight: Flight, mined: Mined) -> Receipt:
        work = flight.order.work
        if not mined.succeeded:
            gas = f"{mined.gas_used:,} of {flight.quote.gas:,} gas" if flight.quote.gas else f"{mined.gas_used:,} gas"
            raise Reverted(
                f"{work.what} (transaction 0x{mined.transaction_hash.hex()})",
                reason_of_failure(self.rpc, self.address, flight.order, flight.quote.gas, mined.block_number),
                otherwise=f"it failed in block {mined.block_number} after {gas}, and the node gives no reason",
            )
        return Receipt(
            what=work.what,
            hash=mined.transaction_hash,
            block_number=mined.block_number,
            gas_used=mined.gas_used,
            gas_price_wei=mined.gas_price_wei,
            value_wei=flight.order.value_wei,
            created=mined.created,
            logs=mined.logs,
            data_fee_wei=mined.data_fee_wei,
            blob_fee_wei=mined.blob_fee_wei,
        )
