"""
Quotes of transactions as if they were sent now: gas, price, and whether the account can pay.

`quotes_for` simulates many orders at once. A refusal by a contract, lack of funds and an invalid estimate each concern
one order alone.

A node may estimate far too much: more than a block has, more than a transaction may ask for, or more than the account
can pay. Then less is tried (`with_less_gas`): what the account can pay, if the call runs with a fifth less than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from opml_dispute.chain import answers
from opml_dispute.chain.answers import MOST_GAS, Head
from opml_dispute.chain.blob_transactions import blob_fields
from opml_dispute.chain.data_fee import data_fees_wei
from opml_dispute.chain.fees import BlobsUnsupported, FeeTooHigh, suggest, with_blob_fee
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Ask, Call, Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcAnswerInvalid, RpcError, RpcFailed
from opml_dispute.chain.transactions import (
    ENVELOPE_BYTES,
    MAX_TRANSACTION_BYTES,
    Creation,
    NotEnoughFunds,
    Order,
    Quote,
    TransactionTooLarge,
)
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address

GAS_MARGIN_PERCENT = 25
"""Added to the node's estimate: contract state, and with it the gas, may change before the transaction is mined."""

TRANSACTION_GAS, ZERO_BYTE_GAS, BYTE_GAS = 21_000, 4, 16
"""What a transaction takes by itself, and by each byte of its data (EIP-2028)."""

TRANSACTION_GAS_CAP = 2**24
"""The most gas one transaction may ask for on chains with EIP-7825."""


def call_object(address: Address, work: Call[Any] | Creation, value_wei: int) -> dict[str, Any]:
    """A transaction as nodes simulate it."""
    to = {"to": work.to} | blob_fields(work.blobs) if isinstance(work, Call) else {}
    return {"from": address} | to | {"data": "0x" + work.data.hex(), "value": hex(value_wei)}


def quotes_for(
    rpc: Rpc, address: Address, orders: Sequence[Order], *, max_fee_wei: int, committed_wei: int
) -> list[Quote | OpmlError]:
    """
    The quote of each order, after those before it, or the reason why it cannot be sent.

    `committed_wei` is the highest cost of the pending transactions. Raises the errors that concern all: an `RpcError`,
    `FeeTooHigh`.
    """
    head = rpc.head()
    fees = suggest(rpc, head, max_fee_wei)
    balance_wei = rpc.balance_wei(address) - committed_wei
    method = "eth_estimateGas"
    # An order whose value exceeds the balance is not estimated: nodes report that in different ways.
    too_large = [len(order.work.data) + ENVELOPE_BYTES > MAX_TRANSACTION_BYTES for order in orders]
    is_asked = [order.value_wei <= balance_wei and not large for order, large in zip(orders, too_large, strict=True)]
    estimates = iter(
        rpc.outcomes(
            [
                Ask(
                    method, (call_object(address, order.work, order.value_wei),), partial(_estimate_of, order.work.data)
                )
                for order, asked in zip(orders, is_asked, strict=True)
                if asked
            ]
        )
    )
    data_fees = iter(
        data_fees_wei(rpc, [order.work.data for order, large in zip(orders, too_large, strict=True) if not large])
    )
    quotes: list[Quote | OpmlError] = []
    for order, asked, large in zip(orders, is_asked, too_large, strict=True):
        if large:
            quotes.append(TransactionTooLarge(order.work.what, len(order.work.data) + ENVELOPE_BYTES))
            continue
        estimate = next(estimates) if asked else None
        offered = fees.hurried(max_fee_wei) if order.is_urgent else fees
        terms = Quote(0, offered, head.number, next(data_fees))
        if order.work.blobs is not None:
            try:
                fees_of_blobs = with_blob_fee(rpc, offered, max_fee_wei)
            except (BlobsUnsupported, FeeTooHigh) as error:
                quotes.append(error)
                continue
            terms = replace(terms, fees=fees_of_blobs, blob_gas=order.work.blobs.blob_gas)
        quote = _quote(address, order, estimate, terms, balance_wei)
        if isinstance(quote, NotEnoughFunds) and order.is_urgent:
            # WHY NOT always: if the price rises, it waits, and the account cannot pay for a higher fee.
            terms = replace(terms, fees=replace(fees.lean(head.base_fee_wei), blob_fee_wei=terms.fees.blob_fee_wei))
            quote = _quote(address, order, estimate, terms, balance_wei)
        if isinstance(estimate, int) and (isinstance(quote, NotEnoughFunds) or estimate > _most_gas_of(head)):
            quote = with_less_gas(rpc, address, order, terms, balance_wei=balance_wei) or quote
        if isinstance(quote, Quote):
            balance_wei -= order.value_wei + quote.most_wei
        quotes.append(quote)
    return quotes


def _estimate_of(data: bytes, method: str, value: Any) -> int:
    """
    An estimate. What any transaction with these data takes before it runs is no estimate: it would be sent, and fail.
    """
    gas, zeros = answers.quantity(method, value), data.count(0)
    least = TRANSACTION_GAS + ZERO_BYTE_GAS * zeros + BYTE_GAS * (len(data) - zeros)
    if gas < least:
        raise RpcAnswerInvalid(method, value, f"at least {least:,} gas, as each transaction with such data takes")
    return gas


def _quote(address: Address, order: Order, estimate: Any, terms: Quote, balance_wei: int) -> Quote | OpmlError:
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
    quote = replace(terms, gas=gas)
    needed_wei = order.value_wei + quote.most_wei
    if balance_wei < needed_wei or is_poor:
        return NotEnoughFunds(address, max(balance_wei, 0), max(needed_wei, balance_wei + 1), work.what)
    return quote


def _most_gas_of(head: Head) -> int:
    """
    What no honest estimate exceeds.

    WHY NOT the transaction's cap alone: rollups that count the fee for data as gas have none.
    """
    return max(head.gas_limit, TRANSACTION_GAS_CAP)


def with_less_gas(
    rpc: Rpc, address: Address, order: Order, quote: Quote, *, balance_wei: int | None = None
) -> Quote | None:
    """
    The quote with what the account can pay, at most the gas that a transaction may ask for; None if that is too little.

    Without a balance, the account can pay all of it.
    """
    gas = TRANSACTION_GAS_CAP
    if balance_wei is not None:
        left_wei = balance_wei - order.value_wei - replace(quote, gas=0).most_wei
        gas = min(gas, left_wei // max(quote.fees.max_fee_wei, 1))
    tried = gas * 100 // (100 + GAS_MARGIN_PERCENT)
    if tried < TRANSACTION_GAS:
        return None
    try:
        rpc.request("eth_call", call_object(address, order.work, order.value_wei) | {"gas": hex(tried)}, "latest")
    except (Reverted, RpcError):
        return None
    return replace(quote, gas=gas)


def reason_of_failure(rpc: Rpc, address: Address, order: Order, gas: int, block_number: int) -> bytes:
    """
    What a transaction that failed in a block reverts with if it is simulated there; empty if it no longer fails.

    `gas` is its limit, 0 if that is not known.
    """
    limit = {"gas": hex(gas)} if gas else {}
    try:
        rpc.request("eth_call", call_object(address, order.work, order.value_wei) | limit, hex(block_number))
    except Reverted as reverted:
        return reverted.data
    except RpcError:
        return b""
    return b""
