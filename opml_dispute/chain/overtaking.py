"""
Whether another transaction took the place, for good, of one that was signed here.

That a node shows nothing of a transaction proves nothing: it may lag, or hide it. A proof is another transaction that
the account's own key signed under the same nonce, in a block that the chain has finalised: what was signed here can
then never be mined, and nothing has to wait for it. The block is found by counting the account's transactions at
earlier blocks; a node that keeps the state of the latest ones alone can show it for some minutes after it was final.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opml_dispute.chain import answers
from opml_dispute.chain.journal import KeyLedger
from opml_dispute.chain.keys import signed_under
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.engine.hashing import keccak256
from opml_dispute.primitives import Address


def note_overtaken(rpc: Rpc, ledger: KeyLedger, address: Address, nonces: Collection[int]) -> dict[int, bytes]:
    """
    Of these nonces, those that a finalised block has used up, each with the hash of the transaction there.

    The ledger is told of it: what another program sent in the place of its own it forgets.
    """
    found = {nonce: hash_ for nonce in nonces if (hash_ := _used_for_good_by(rpc, address, nonce)) is not None}
    if found:
        with ledger.lock():
            for nonce, hash_ in found.items():
                is_own = any(form.hash == hash_ for form in ledger.launched().get(nonce, ()))
                ledger.land(nonce, hash_) if is_own else ledger.drop(nonce)
    return found


def _used_for_good_by(rpc: Rpc, address: Address, nonce: int) -> bytes | None:
    """The transaction that has the nonce in a finalised block; None if there is none, or the node cannot show it."""
    try:
        final = _ask(rpc, Ask("eth_getBlockByNumber", ("finalized", False), answers.head_or_none))
        block = None if final is None else _block_that_uses(rpc, address, nonce, final.number)
        return None if block is None else _shown_there(rpc, address, nonce, block)
    except RpcError:
        return None


def _block_that_uses(rpc: Rpc, address: Address, nonce: int, last: int) -> int | None:
    """The block, `last` at the latest, with the account's transaction of that nonce. Raises an `RpcError`."""

    def is_used_at(number: int) -> bool:
        count: int = _ask(rpc, Ask("eth_getTransactionCount", (address, hex(number)), answers.transaction_count))
        return count > nonce

    if not is_used_at(last):
        return None
    low, high, stride = last, last, 1
    while low > 0:
        low = max(0, high - stride)
        if not is_used_at(low):
            break
        high, stride = low, 2 * stride
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_used_at(middle) else (middle, high)
    return high


def _shown_there(rpc: Rpc, address: Address, nonce: int, block: int) -> bytes | None:
    """The hash of the transaction, if the account's key signed it. Raises an `RpcError`."""
    told = _ask(rpc, Ask("eth_getBlockByNumber", (hex(block), True)))
    listed: Any = told.get("transactions") if isinstance(told, dict) else None
    for item in listed if isinstance(listed, list) else ():
        if not isinstance(item, dict) or str(item.get("from")).lower() != address.lower():
            continue
        raw: bytes = _ask(rpc, Ask("eth_getRawTransactionByHash", (item.get("hash"),), answers.data))
        if signed_under(raw) == (address, nonce):
            return bytes(keccak256(raw))
    return None


def _ask(rpc: Rpc, ask: Ask) -> Any:
    """One question, asked once: what a node does not have any more is not waited for. Raises an `RpcError`."""
    (found,) = rpc.outcomes([ask], patience_s=0)
    if isinstance(found, Exception):
        raise found
    return found
