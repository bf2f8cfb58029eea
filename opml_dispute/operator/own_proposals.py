"""
Proposals that this computer signed itself, held against a node that does not show them.

Behind one address there may be nodes that lag: one tells of no game, though the transaction that makes it was signed
here seconds ago and is mined elsewhere. A second game for the same answer would lock a second bond. So before an answer
is proposed, the key's journal is asked what was signed for it. Under a nonce that is still free, the new proposal takes
the place of the old one: not both can be mined. What is under a used nonce, and made a game that the node does not show
or is nowhere to be found, is waited for, and no other is signed, until a finalised block shows what used the nonce up
in its place (`chain.overtaking`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from opml_dispute.actors.words import short_hex
from opml_dispute.chain import answers
from opml_dispute.chain.answers import Mined
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.counts import TransactionCounts
from opml_dispute.chain.journal import KeyLedger, Launched
from opml_dispute.chain.overtaking import note_overtaken
from opml_dispute.chain.rpc import Ask
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address, RequestId, StateRoot

_PAUSE_S: Final = 0.5


class ProposalUnseen(OpmlError):
    """A node shows nothing of a proposal that this computer signed."""

    is_told_by_node = True
    hint = (
        "nothing was sent. Run the command again in a minute, or with another --rpc-url; if another program replaced "
        "that transaction, once the other one is final. Or overrule it: opml-dispute propose --again"
    )


@dataclass(frozen=True)
class OwnProposals:
    """What became of the proposals of one answer that were signed here."""

    games: tuple[Address, ...]
    """The games they made."""
    only_nonce: int | None
    """The nonce whose place a new proposal has to take; None if none waits."""


def own_proposals(
    system: System, request_id: RequestId, root_claim: StateRoot, proposer: Address, *, patience_s: float
) -> OwnProposals:
    """Waits so long for a node that lags. Raises `ProposalUnseen` if it goes on to, and an `RpcError`."""
    ledger = KeyLedger(system.deployment.chain_id, proposer)
    launched = ledger.launched()
    signed = _signed(system, launched, request_id, root_claim)
    if not signed:
        return OwnProposals((), None)
    deadline = time.monotonic() + patience_s
    while True:
        # Before the receipts: what is mined in between is found by them.
        mined, _ = TransactionCounts(system.rpc, proposer).sure()
        games, waiting, unseen = list[Address](), list[int](), list[int]()
        for nonce, creations in signed.items():
            made = system.rpc.read_each([system.factory.game_of(root_claim, extra) for extra in creations.values()])
            games += [game for game in made if game != ZERO_ADDRESS]
            if any(game != ZERO_ADDRESS for game in made):
                continue
            receipt = _receipt(system, launched[nonce])
            if receipt is None:
                (waiting if nonce >= mined else unseen).append(nonce)
            elif receipt.succeeded and receipt.transaction_hash in creations:
                unseen.append(nonce)
        overtaken = note_overtaken(system.rpc, ledger, proposer, unseen)
        unseen = [nonce for nonce in unseen if nonce not in overtaken or overtaken[nonce] in signed[nonce]]
        if not unseen and len(waiting) <= 1:
            return OwnProposals(tuple(games), waiting[0] if waiting else None)
        if time.monotonic() >= deadline:
            raise ProposalUnseen(
                f"{system.rpc.url} does not show what became of the proposal of {short_hex(root_claim)} that was "
                f"signed here for {proposer} under nonce {', '.join(map(str, [*unseen, *waiting]))}"
            )
        time.sleep(_PAUSE_S)


def signed_proposals(
    system: System, request_id: RequestId, root_claim: StateRoot, proposer: Address
) -> dict[bytes, bytes]:
    """The extra data of games that proposals of this answer make, by the hashes of what was signed here."""
    launched = KeyLedger(system.deployment.chain_id, proposer).launched()
    of_nonces = _signed(system, launched, request_id, root_claim).values()
    return {hash_: extra for creations in of_nonces for hash_, extra in creations.items()}


def _signed(
    system: System, launched: Mapping[int, Sequence[Launched]], request_id: RequestId, root_claim: StateRoot
) -> dict[int, dict[bytes, bytes]]:
    """The same, by nonces."""
    of_answer = {nonce: _creations(system, forms, request_id, root_claim) for nonce, forms in launched.items()}
    return {nonce: creations for nonce, creations in of_answer.items() if creations}


def _creations(
    system: System, forms: Sequence[Launched], request_id: RequestId, root_claim: StateRoot
) -> dict[bytes, bytes]:
    """Of what was signed under one nonce, the hashes of proposals of this answer, with their games' extra data."""
    found, told = dict[bytes, bytes](), root_claim.hex()
    for form in forms:
        if form.fields.get("to") == system.factory.address and told in form.fields["data"]:
            created = system.factory.created_with(bytes.fromhex(form.fields["data"][2:]))
            if created is not None and created[0] == root_claim and created[1].startswith(request_id):
                found[form.hash] = created[1]
    return found


def _receipt(system: System, forms: Sequence[Launched]) -> Mined | None:
    """Of what was signed under one nonce, the receipt of what is in a block."""
    asked = [
        Ask("eth_getTransactionReceipt", ("0x" + form.hash.hex(),), partial(answers.receipt_of, form.hash))
        for form in forms
    ]
    return next((found for found in system.rpc.batch(asked) if found is not None), None)
