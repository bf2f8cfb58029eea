"""
What an earlier process sent and did not see mined: as a flight again, if it was sent to this chain.

A local chain that was begun anew has the id of the one before, and the journal's entries of that one are of no use on
it. They are told apart by the chain's first block. That a node knows nothing of a transaction, and counts fewer than
its nonce, is no sign of another chain: it may have lost what waited behind a gap, and another node, which has it, mines
it once the nonces before it are used.
"""

from __future__ import annotations

from functools import cached_property

from opml_dispute.chain import answers
from opml_dispute.chain.answers import Head
from opml_dispute.chain.blob_transactions import blob_fields
from opml_dispute.chain.fees import Fees
from opml_dispute.chain.journal import JournalEntry, KeyLedger
from opml_dispute.chain.outlook import Flight, Outlook
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.transactions import Order, Quote


class ChainOrigin:
    """The chain behind one node."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    @cached_property
    def genesis(self) -> bytes | None:
        """The hash of its first block; None if the node does not tell it."""
        (first,) = self._rpc.outcomes([Ask("eth_getBlockByNumber", ("0x0", False), answers.head_or_none)])
        return first.hash if isinstance(first, Head) and first.number == 0 else None

    def is_another(self, entry: JournalEntry, flight: Flight, outlook: Outlook) -> bool:
        """Whether the entry was sent to another chain with this id. Raises an `RpcError`."""
        # WHY NOT go by the first block alone: a node that lies about it would have all be paid for once more.
        if entry.nonce <= outlook.counts.sure()[1] or outlook.is_known(flight):
            return False
        return entry.genesis is not None and self.genesis not in (None, entry.genesis)


def resumed(ledger: KeyLedger, order: Order, entry: JournalEntry, *, max_fee_wei: int) -> Flight:
    """As an earlier process sent it last; without gas if the journal does not say how it was signed."""
    forms = ledger.launched().get(entry.nonce, ())
    fields = next((form.fields for form in reversed(forms) if form.hash in entry.hashes), {})
    names = blob_fields(order.work.blobs).get("blobVersionedHashes")
    is_same = bool(fields) and fields.get("blobVersionedHashes") == names
    fees = Fees.of(fields) if is_same else Fees(max_fee_wei, None)
    quote = Quote(int(fields["gas"]) if is_same else 0, fees, -1)
    return Flight(order, quote, fees, entry.nonce, entry.raw, list(entry.hashes))
