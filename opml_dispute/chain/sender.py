"""
Transactions: estimated, paid for, signed, sent, waited for, explained.

`Sender.send` does one transaction and returns its `Receipt`; `Sender.send_all` does many that do not depend on each
other, under consecutive nonces, so that they can be mined in one block. Before anything is signed it is simulated
(`quote`): a call that would revert raises `reverts.Reverted` and costs nothing; an account that cannot pay raises
`NotEnoughFunds`; a price beyond the operator's limit raises `fees.FeeTooHigh`.

What is sent is mined at most once, whatever the node answers. A transaction that is not mined in time, or that the
node accepted and lost, is sent again under the *same nonce*, later with a higher fee. A nonce that another process
of the same key took meanwhile is read anew. `Sender.settle`, at the start of every command that sends, waits for what
an earlier process left in flight; an order that must not be repeated (`once`) is found again in the journal.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from opml_dispute.chain import answers
from opml_dispute.chain.answers import Mined
from opml_dispute.chain.fees import DEFAULT_MAX_FEE_WEI, Fees, suggest
from opml_dispute.chain.journal import Entry, KeyLedger
from opml_dispute.chain.keys import Account
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Ask, Call, Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcAnswerInvalid, RpcError, RpcFailed
from opml_dispute.chain.transactions import Deployment, NonceTaken, NotEnoughFunds, NotMined, Order, Quote, Receipt
from opml_dispute.errors import OpmlError

GAS_MARGIN_PERCENT = 25
"""Added to the node's estimate: contract state, and with it the gas, may change before the transaction is mined."""

TRANSACTION_GAS_CAP = 2**24
"""The most gas one transaction may ask for on chains with EIP-7825."""

MOST_GAS: Final = 2**40
"""No chain has blocks of so much gas: an estimate above it is a fault of the node."""

IN_FLIGHT: Final = 16
"""Transactions of one account that a node's pool is sure to take at once."""

_BROADCAST_TRIES: Final = 9
_RELAUNCHES: Final = 3

T = TypeVar("T")


@dataclass
class _Flight:
    """A transaction on its way."""

    order: Order
    quote: Quote
    fees: Fees
    nonce: int
    raw: bytes
    hashes: list[bytes]
    """Of every form in which it was sent; one of them is mined."""


class Sender:
    """One account on one chain. Not for two threads at once; two of the same account may be."""

    def __init__(
        self,
        rpc: Rpc,
        account: Account,
        *,
        timeout_s: float = 90.0,
        resends: int = 3,
        max_fee_wei: int = DEFAULT_MAX_FEE_WEI,
        on_sent: Callable[[Receipt], None] | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """
        A transaction is given `timeout_s` to be mined before it is sent with a higher fee, `resends` times at most,
        and never for more than `max_fee_wei` per gas. `tell` hears in a sentence what takes longer than it should.
        """
        self.rpc, self.account, self.max_fee_wei = rpc, account, max_fee_wei
        self.address = account.address
        self._timeout_s, self._resends, self._on_sent, self._tell = timeout_s, resends, on_sent, tell
        self._chain_id: int | None = None
        self._flights: deque[_Flight] = deque()
        self._stuck: dict[int, Fees] = {}
        self._sent: set[bytes] = set()
        self._nonce: int | None = None
        """The next nonce, while the lock is held and nothing was refused."""

    def settle(self) -> None:
        """
        Wait until no transaction of this account is in flight, so that what is read next is what it made.

        Raises `NotMined` if one stays unmined.
        """
        deadline = time.monotonic() + self._timeout_s
        pause_s = 0.05
        while True:
            mined, pending = self._nonces()
            if mined >= pending:
                return
            if time.monotonic() > deadline:
                raise NotMined(f"an earlier transaction of {self.address}", self._timeout_s)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)

    def send(self, work: Call[Any] | Deployment, *, value_wei: int = 0, once: bool = False) -> Receipt:
        """
        Send one transaction and wait until it is mined.

        Raises `Reverted` if the contract refuses (nothing is sent then, unless the chain changed meanwhile),
        `NotEnoughFunds`, `FeeTooHigh`, `NotMined`, `NonceTaken`, or an `RpcError`.
        """
        (result,) = self.send_all([Order(work, value_wei, once)])
        if isinstance(result, OpmlError):
            raise result
        return result

    def send_all(self, orders: Sequence[Order]) -> list[Receipt | OpmlError]:
        """
        Send transactions that do not depend on each other, and wait until each is mined.

        Each one's receipt, or the error that `send` would raise: one that fails stops no other.
        """
        results: dict[int, Receipt | OpmlError] = {}
        to_launch = deque((index, _RELAUNCHES) for index in range(len(orders)))
        in_flight: deque[tuple[int, int]] = deque()
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
                results[index] = self._land(self._flights[0])
                if isinstance(results[index], NonceTaken) and tries > 0:
                    to_launch.append((index, tries))  # it can no longer be mined as it was sent
        finally:
            self._flights.clear()
        return [results[index] for index in range(len(orders))]

    def quote(self, work: Call[Any] | Deployment, *, value_wei: int = 0) -> Quote:
        """What it would take. Raises what `send` raises before it sends anything."""
        (quote,) = self._quotes([Order(work, value_wei)])
        if isinstance(quote, OpmlError):
            raise quote
        return quote

    def simulate(self, call: Call[T], *, value_wei: int = 0) -> T:
        """What the call would answer if sent now. Raises `Reverted`."""
        try:
            raw = self.rpc.request("eth_call", self._object(call, value_wei), "latest", parse=answers.data)
        except Reverted as reverted:
            raise Reverted(call.what, reverted.data) from None
        return call.decode(raw)

    # ---- before it is sent ----

    def _ledger(self) -> KeyLedger:
        if self._chain_id is None:
            self._chain_id = self.rpc.chain_id()
        return KeyLedger(self._chain_id, self.address)

    def _nonces(self) -> tuple[int, int]:
        """How many transactions of the account are mined, and how many the node knows of."""
        mined, pending = self.rpc.batch(
            [Ask("eth_getTransactionCount", (self.address, tag), answers.quantity) for tag in ("latest", "pending")]
        )
        return mined, pending

    def _object(self, work: Call[Any] | Deployment, value_wei: int) -> dict[str, Any]:
        to = {"to": work.to} if isinstance(work, Call) else {}
        return {"from": self.address} | to | {"data": "0x" + work.data.hex(), "value": hex(value_wei)}

    def _quotes(self, orders: Sequence[Order]) -> list[Quote | OpmlError]:
        """What each would take after those before it. Raises what concerns all of them."""
        head = self.rpc.head()
        fees = suggest(self.rpc, head, self.max_fee_wei)
        balance_wei = self.rpc.balance_wei(self.address) - sum(
            flight.order.value_wei + flight.quote.most_wei for flight in self._flights
        )
        method = "eth_estimateGas"
        # What the account could not even pay the value of is not asked about: every node has its own words for that.
        is_asked = [order.value_wei <= balance_wei for order in orders]
        estimates = iter(
            self.rpc.outcomes(
                [
                    Ask(method, (self._object(order.work, order.value_wei),), answers.quantity)
                    for order, asked in zip(orders, is_asked, strict=True)
                    if asked
                ]
            )
        )
        quotes: list[Quote | OpmlError] = []
        for order, asked in zip(orders, is_asked, strict=True):
            estimate = next(estimates) if asked else None
            quote = self._quote(order, estimate, Quote(0, fees, head.number), balance_wei)
            if isinstance(quote, Quote):
                balance_wei -= order.value_wei + quote.most_wei
            quotes.append(quote)
        return quotes

    def _quote(self, order: Order, estimate: Any, terms: Quote, balance_wei: int) -> Quote | OpmlError:
        """One quote, from the node's estimate or its refusal; None for an estimate that was not asked for."""
        work = order.work
        if isinstance(estimate, Reverted):
            return Reverted(work.what, estimate.data)
        is_poor = isinstance(estimate, RpcFailed) and estimate.kind == Refusal.FUNDS
        if isinstance(estimate, OpmlError) and not is_poor:
            return estimate
        if isinstance(estimate, int) and estimate > MOST_GAS:
            return RpcAnswerInvalid("eth_estimateGas", hex(estimate), f"at most {MOST_GAS:,} gas")
        gas = 0
        if isinstance(estimate, int):
            with_margin = estimate * (100 + GAS_MARGIN_PERCENT) // 100
            gas = max(estimate, min(with_margin, TRANSACTION_GAS_CAP))
        needed_wei = order.value_wei + gas * terms.fees.max_fee_wei
        if balance_wei < needed_wei or is_poor:
            return NotEnoughFunds(self.address, max(balance_wei, 0), max(needed_wei, balance_wei + 1), work.what)
        return Quote(gas, terms.fees, terms.block_number)

    # ---- sending ----

    def _launch(self, orders: Sequence[Order]) -> list[Receipt | OpmlError | None]:
        """
        Puts orders among the flights: None for each. Else why not, or the receipt of an earlier process that had sent
        it.
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
                    self._flights.append(self._broadcast(ledger, orders[index], quote))
                except OpmlError as error:
                    outcomes[index], self._nonce = error, None
        return outcomes

    def _broadcast(self, ledger: KeyLedger, order: Order, quote: Quote) -> _Flight:
        """Signs under the next nonce and sends, until the node has it."""
        fees, hashes = quote.fees, list[bytes]()
        trouble: OpmlError = NonceTaken(f"no nonce of {self.address} could be had for {order.work.what}")
        for attempt in range(_BROADCAST_TRIES):
            nonce, replaces = self._next_nonce() if self._nonce is None else (self._nonce, None)
            self._nonce = None
            if replaces is not None:
                fees = fees.at_least(replaces)
            flight = self._signed(ledger, order, quote, fees, nonce, hashes)
            if flight.hashes[-1] in self._sent:  # the node counts less than it did: this is an earlier order's
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
                if error.kind == Refusal.KNOWN or self._is_on_its_way(flight):
                    self._sent.update(flight.hashes)
                    return flight
                if error.kind == Refusal.FUNDS:
                    self._drop(ledger, order)
                    raise NotEnoughFunds(
                        self.address,
                        (balance_wei := self.rpc.balance_wei(self.address)),
                        max(balance_wei + 1, order.value_wei + quote.gas * fees.max_fee_wei),
                        order.work.what,
                    ) from None
                is_race = "replacement" in error.message.lower() and replaces is None  # another process has the nonce
                higher = fees.bumped(self.max_fee_wei) if error.kind == Refusal.UNDERPRICED and not is_race else None
                if higher is not None:
                    fees = higher
                elif error.kind != Refusal.NONCE and not is_race:
                    self._drop(ledger, order)
                    raise
            except RpcError:
                if self._is_on_its_way(flight):
                    self._sent.update(flight.hashes)
                    return flight
                raise
            time.sleep(0.02 * 2**attempt)
        raise trouble

    def _next_nonce(self) -> tuple[int, Fees | None]:
        """The nonce to use, and what it takes to replace a stuck transaction of ours that has it."""
        mined, pending = self._nonces()
        self._stuck = {nonce: fees for nonce, fees in self._stuck.items() if nonce >= mined}
        if not self._flights and self._stuck and min(self._stuck) == mined:
            higher = self._stuck[mined].bumped(self.max_fee_wei)
            if higher is not None:
                return mined, higher
        after_flights = self._flights[-1].nonce + 1 if self._flights else 0
        # WHY NOT count here: the node's count may go down again with a reorganisation, and a gap is never mined.
        return max(pending, after_flights), None

    def _signed(
        self, ledger: KeyLedger, order: Order, quote: Quote, fees: Fees, nonce: int, hashes: list[bytes]
    ) -> _Flight:
        to = {"to": order.work.to} if isinstance(order.work, Call) else {}
        fields = to | {"data": "0x" + order.work.data.hex(), "value": order.value_wei}
        transaction = fields | fees.fields() | {"gas": quote.gas, "nonce": nonce, "chainId": self._chain_id}
        raw, transaction_hash = self.account.sign(transaction)
        hashes.append(transaction_hash)
        if order.once:
            ledger.note(_digest(order), Entry(nonce, tuple(hashes), raw))
        return _Flight(order, quote, fees, nonce, raw, hashes)

    def _drop(self, ledger: KeyLedger, order: Order) -> None:
        """The node refused it for good: nothing is in flight."""
        if order.once:
            ledger.forget(_digest(order))

    def _resume(self, ledger: KeyLedger, order: Order) -> Receipt | None:
        """What became of the same order of an earlier process; None if there was none, or nothing came of it."""
        entry = ledger.find(_digest(order))
        if entry is None:
            return None
        self._tell(f"An earlier run sent {order.work.what} already; waiting for that transaction")
        quote = Quote(0, Fees(0, None), -1)
        flight = _Flight(order, quote, Fees(self.max_fee_wei, None), entry.nonce, entry.raw, list(entry.hashes))
        result = self._land(flight, resends=0)
        if isinstance(result, NonceTaken | Reverted):
            ledger.forget(_digest(order))
            return None
        if isinstance(result, OpmlError):
            raise result
        return result

    # ---- until it is mined ----

    def _land(self, flight: _Flight, *, resends: int | None = None) -> Receipt | OpmlError:
        """Waits for a flight and takes it off the list. Its receipt, or what came of it instead."""
        try:
            mined = self._await(flight, self._resends if resends is None else resends)
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
        self._drop(self._ledger(), flight.order)
        if self._on_sent is not None:
            self._on_sent(receipt)
        return receipt

    def _await(self, flight: _Flight, resends: int) -> Mined:
        """Raises `NotMined`, or `NonceTaken` if another transaction was mined in its place."""
        for attempt in range(resends + 1):
            if attempt > 0:
                self._raise_fee(flight)
            mined = self._poll(flight)
            if mined is not None:
                return mined
        raise NotMined(flight.order.work.what, self._timeout_s * (resends + 1))

    def _poll(self, flight: _Flight) -> Mined | None:
        """Looks for the receipt for a while. A node that has lost the transaction gets it once more."""
        deadline = time.monotonic() + self._timeout_s
        look_after_s, pause_s, taken = 2.0, 0.005, 0
        look_at = time.monotonic() + look_after_s
        while True:
            try:
                mined = self._receipt(flight)
                if mined is not None:
                    return mined
                if time.monotonic() > look_at:
                    taken = taken + 1 if self._nonces()[0] > flight.nonce else 0
                    if taken >= 3 and self._receipt(flight) is None:
                        raise NonceTaken(f"nonce {flight.nonce} of {self.address} went to another transaction")
                    if not taken and not self._is_known(flight):
                        self._tell(f"The node has lost {flight.order.work.what}; sending it again")
                        self._resend(flight)
                    elif not taken:
                        self._tell(f"{flight.order.work.what} is not mined yet")
                        look_after_s = min(2 * look_after_s, 30.0)
                    look_at = time.monotonic() + look_after_s
            except RpcError:
                pass  # the node is asked again until the time is over
            if time.monotonic() > deadline:
                return None
            time.sleep(min(pause_s, max(0.0, deadline - time.monotonic()) + 0.001))
            pause_s = min(pause_s * 1.5, 2.0)

    def _receipt(self, flight: _Flight) -> Mined | None:
        asked = [
            Ask("eth_getTransactionReceipt", ("0x" + hash_.hex(),), answers.receipt) for hash_ in set(flight.hashes)
        ]
        return next((found for found in self.rpc.batch(asked) if found is not None), None)

    def _is_known(self, flight: _Flight) -> bool:
        """Whether the node has the transaction in any form, mined or not."""
        asked = [Ask("eth_getTransactionByHash", ("0x" + hash_.hex(),)) for hash_ in set(flight.hashes)]
        try:
            return any(found is not None for found in self.rpc.batch(asked))
        except RpcError:
            return False

    def _is_on_its_way(self, flight: _Flight) -> bool:
        """Whether a refused transaction was sent on all the same: pending, or mined since the order was looked at."""
        if not self._is_known(flight):
            return False
        try:
            mined = self._receipt(flight)
        except RpcError:
            return True
        return mined is None or mined.block_number > flight.quote.block_number

    def _raise_fee(self, flight: _Flight) -> None:
        """Sends it with a higher fee under its nonce, if the limit allows."""
        higher = flight.fees.bumped(self.max_fee_wei)
        if higher is None or flight.quote.gas == 0:
            self._resend(flight)
            return
        ledger = self._ledger()
        with ledger.lock():
            again = self._signed(ledger, flight.order, flight.quote, higher, flight.nonce, flight.hashes)
            flight.fees, flight.raw = higher, again.raw
            self._tell(f"{flight.order.work.what} is not mined yet; sending it again with a higher fee")
            self._resend(flight)

    def _resend(self, flight: _Flight) -> None:
        try:
            self.rpc.request("eth_sendRawTransaction", "0x" + flight.raw.hex())
        except RpcError:
            return  # known, mined meanwhile, or to be tried again: the receipt tells

    def _finish(self, flight: _Flight, mined: Mined) -> Receipt:
        work = flight.order.work
        if not mined.succeeded:
            raise Reverted(f"{work.what} (transaction 0x{mined.transaction_hash.hex()})", self._why(flight, mined))
        return Receipt(
            what=work.what,
            hash=mined.transaction_hash,
            block_number=mined.block_number,
            gas_used=mined.gas_used,
            gas_price_wei=mined.gas_price_wei,
            value_wei=flight.order.value_wei,
            created=mined.created,
            logs=mined.logs,
        )

    def _why(self, flight: _Flight, mined: Mined) -> bytes:
        """Run a failed transaction again where it failed, to hear the reason; empty if it no longer fails."""
        gas = {"gas": hex(flight.quote.gas)} if flight.quote.gas else {}
        again = self._object(flight.order.work, flight.order.value_wei) | gas
        try:
            self.rpc.request("eth_call", again, hex(mined.block_number))
        except Reverted as reverted:
            return reverted.data
        except RpcError:
            return b""
        return b""


def _digest(order: Order) -> bytes:
    """What makes two orders the same."""
    to = bytes.fromhex(order.work.to[2:]) if isinstance(order.work, Call) else b""
    return to.rjust(20, b"\0") + order.value_wei.to_bytes(32, "big") + order.work.data
