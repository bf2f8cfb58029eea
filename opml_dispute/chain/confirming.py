"""
Waiting until mined transactions lie so deep in the chain that no reorganisation is expected to take them back.

A receipt says where a transaction is now. A reorganisation can take its block away; most often the transaction comes
into another one by itself, where it may do something else: a game gets another address, or the call fails.
`await_confirmations` looks until every transaction has the blocks that are asked for, gives the node again what it
lost, and answers the receipts as they are then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from opml_dispute.chain import answers
from opml_dispute.chain.answers import Mined
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.chain.transactions import Receipt
from opml_dispute.errors import OpmlError

STANDSTILL_S: Final = 600.0
"""How long the chain may stand still, or a transaction be away, before that is an error, by this computer's clock."""

_LONGEST_PAUSE_S: Final = 4.0


class NotConfirmed(OpmlError):
    """A transaction was mined, and has not got the blocks that were asked for."""

    hint = "it was sent and mined once: look where it is now before it is sent again, with another --rpc-url"


class TakenBack(OpmlError):
    """A reorganisation took a transaction back, and it failed when it was mined again."""

    hint = "run the command again: it reads the chain as it is now"


def await_confirmations(
    rpc: Rpc,
    receipts: Sequence[Receipt],
    blocks: int,
    *,
    send_again: Callable[[Receipt], None],
    alike: Callable[[bytes], Sequence[bytes]],
    tell: Callable[[str], None],
) -> list[Receipt]:
    """
    The receipts, once the chain has `blocks` blocks from the one that each is in, that one included.

    `send_again` may offer a higher fee, and so may another process of the key: `alike` gives the hashes of every form
    of a transaction.

    Raises `NotConfirmed` and `TakenBack`. Errors of the node are waited out.
    """
    found = list(receipts)
    lost_at = dict[bytes, float]()
    """Since when a transaction that was mined is in no block."""
    moved_at, highest, pause_s = time.monotonic(), -1, 0.2
    while True:
        try:
            head = rpc.head().number
            mined = _mined(rpc, found, alike)
        except RpcError:
            head, mined = highest, [None] * len(found)
        else:
            if head > highest:
                moved_at, highest = time.monotonic(), head
            for index, one in enumerate(mined):
                if one is not None:
                    lost_at.pop(found[index].hash, None)
                    found[index] = _at_its_place(found[index], one)
                # A node that lags does not have that block yet.
                elif head >= found[index].block_number:
                    if found[index].hash not in lost_at:
                        tell(f"A reorganisation took back {found[index].what}; sending it again")
                    lost_at.setdefault(found[index].hash, time.monotonic())
                    send_again(found[index])
            if None not in mined and all(head - receipt.block_number + 1 >= blocks for receipt in found):
                return found
        _expect_progress(rpc.url, found, lost_at, moved_at, blocks)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def _expect_progress(
    url: str, receipts: Sequence[Receipt], lost_at: Mapping[bytes, float], moved_at: float, blocks: int
) -> None:
    """Raises `NotConfirmed` if the chain stands still, or a transaction is not mined again: its nonce may be used."""
    now = time.monotonic()
    away = next((one for one in receipts if now - lost_at.get(one.hash, now) > STANDSTILL_S), None)
    if away is not None:
        raise NotConfirmed(
            f"a reorganisation took back {away.what} (transaction 0x{away.hash.hex()}), and {url} has shown it in no "
            f"block for {STANDSTILL_S:.0f} s"
        )
    if now - moved_at > STANDSTILL_S:
        raise NotConfirmed(
            f"{url} has shown no new block for {STANDSTILL_S:.0f} s, and fewer than the {blocks} that were asked for"
        )


def _mined(rpc: Rpc, receipts: Sequence[Receipt], alike: Callable[[bytes], Sequence[bytes]]) -> list[Mined | None]:
    mined: list[Mined | None] = rpc.batch([_ask(receipt.hash) for receipt in receipts])
    for index, receipt in enumerate(receipts):
        if mined[index] is None:
            others = [hash_ for hash_ in alike(receipt.hash) if hash_ != receipt.hash]
            found = rpc.batch([_ask(hash_) for hash_ in others]) if others else []
            mined[index] = next((one for one in found if one is not None), None)
    return mined


def _ask(transaction_hash: bytes) -> Ask:
    return Ask(
        "eth_getTransactionReceipt", ("0x" + transaction_hash.hex(),), partial(answers.receipt_of, transaction_hash)
    )


def _at_its_place(receipt: Receipt, mined: Mined) -> Receipt:
    """The receipt with what the chain says now. Raises `TakenBack`."""
    if not mined.succeeded:
        raise TakenBack(
            f"a reorganisation took back {receipt.what}, and it failed when it came into block {mined.block_number} "
            f"(transaction 0x{receipt.hash.hex()})"
        )
    return replace(
        receipt,
        hash=mined.transaction_hash,
        block_number=mined.block_number,
        gas_used=mined.gas_used,
        gas_price_wei=mined.gas_price_wei,
        created=mined.created,
        logs=mined.logs,
        data_fee_wei=mined.data_fee_wei,
        blob_fee_wei=mined.blob_fee_wei,
    )
