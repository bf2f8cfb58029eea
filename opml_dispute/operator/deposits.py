"""
Deposits for the bonds that requests demand of their proposers: what is missing, the transactions that put it in, and
the one that takes it back.

A deposit can be made twice by an answer that tells of none. So what is deposited is read by two functions, at a block
that has every deposit which this computer's journal knows to be mined, and nothing is sent if the two disagree. A node
can say the same in both: it is held against what this computer signed itself, too, until the operator believes it
(`believe_node`), or a finalised block shows what took its place (`chain.overtaking`). And one that lags may not even
count a deposit: another is signed under the same nonce at the latest.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from opml_dispute.chain import answers
from opml_dispute.chain.amounts import ether
from opml_dispute.chain.answers import Head, Mined
from opml_dispute.chain.counts import TransactionCounts
from opml_dispute.chain.journal import KeyLedger
from opml_dispute.chain.overtaking import note_overtaken
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Ask
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import DepositChange
from opml_dispute.errors import OpmlError
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address

_PAUSE_S: Final = 0.5


class DepositInDoubt(OpmlError):
    """A node contradicts itself, or the journal, about what is deposited."""

    is_told_by_node = True
    hint = "nothing was deposited; run the command again, or use another --rpc-url"


class DepositUnseen(DepositInDoubt):
    """A node tells of less than this computer deposited."""

    hint = (
        "nothing was deposited. Ask another node: opml-dispute deposit --rpc-url URL. Only if that one says the same, "
        "because another computer has this key: opml-dispute deposit --as-told"
    )


def missing_deposit_wei(system: System, min_bond_wei: int, proposer: Address) -> int:
    """
    What a proposer still has to deposit before a game for a request that demands this bond can be made.

    Raises `DepositInDoubt`, also as `DepositUnseen`.
    """
    return _missing(system, min_bond_wei, proposer)[0]


def _missing(system: System, min_bond_wei: int, proposer: Address) -> tuple[int, int | None]:
    """The same, and under which nonce a deposit has to come at the latest. Raises as `missing_deposit_wei`."""
    if min_bond_wei == 0:
        return 0, None
    bonds, ledger = system.proposer_bonds, KeyLedger(system.deployment.chain_id, proposer)
    # One reading for both: of a node that lags, the next one may come from another behind the same address.
    mined, _ = TransactionCounts(system.rpc, proposer).sure()
    own_wei = ledger.own_deposit_wei(bonds.address, mined)
    head = _head_with_own_deposits(system, proposer)
    told_wei = system.rpc.read(bonds.deposit_wei(proposer), at=head)
    try:
        system.rpc.read(bonds.withdraw(min_bond_wei), at=head, sender=proposer)
        least_wei, most_wei = min_bond_wei, None
    except Reverted as refusal:
        if refusal.name != "DepositShort":
            raise
        least_wei = most_wei = int(refusal.meaning.arguments[1])
    if told_wei < least_wei or (most_wei is not None and told_wei > most_wei):
        raise DepositInDoubt(
            f"{system.rpc.url} says that {proposer} has deposited {ether(told_wei)}, and otherwise when asked to take "
            f"back {ether(min_bond_wei)} of it"
        )
    if told_wei < min(own_wei, min_bond_wei):
        unseen = ledger.unseen_deposit_nonces(bonds.address, mined)
        if note_overtaken(system.rpc, ledger, proposer, unseen):
            own_wei = ledger.own_deposit_wei(bonds.address, mined)
    if told_wei < min(own_wei, min_bond_wei):
        raise DepositUnseen(
            f"{system.rpc.url} says that {proposer} has deposited {ether(told_wei)}, but {ether(own_wei)} were "
            "deposited from this computer and not taken back or locked since"
        )
    return max(0, min_bond_wei - told_wei), ledger.waiting_deposit_nonce(bonds.address, mined)


def believe_node(system: System, proposer: Address) -> None:
    """From now on what the node says about deposits is not held against what this computer signed until now."""
    ledger = KeyLedger(system.deployment.chain_id, proposer)
    with ledger.lock():
        ledger.forget_deposits()


def _head_with_own_deposits(system: System, proposer: Address) -> Head:
    """
    The latest block, if it is not before the last deposit that any process of this computer made.

    Waits for a node that lags; raises `DepositInDoubt` if it goes on to.
    """
    deadline = time.monotonic() + system.rpc.patience_s
    least = _last_deposit_block(system, proposer)
    while (head := system.rpc.head()).number < least:
        if time.monotonic() >= deadline:
            raise DepositInDoubt(
                f"{system.rpc.url} is at block {head.number}, before block {least}, in which {proposer} made a deposit"
            )
        time.sleep(_PAUSE_S)
    return head


def _last_deposit_block(system: System, proposer: Address) -> int:
    """The block of the last deposit in the journal; 0 if there is none."""
    call = system.proposer_bonds.deposit()
    ledger = KeyLedger(system.deployment.chain_id, proposer)
    hashes = [
        launched.hash
        for forms in ledger.launched().values()
        for launched in forms
        if launched.fields.get("to") == call.to and launched.fields.get("data") == "0x" + call.data.hex()
    ]
    asked = [
        Ask("eth_getTransactionReceipt", ("0x" + hash_.hex(),), partial(answers.receipt_of, hash_)) for hash_ in hashes
    ]
    receipts: list[Mined | None] = system.rpc.batch(asked)
    return max((receipt.block_number for receipt in receipts if receipt is not None), default=0)


def deposit_intents(system: System, min_bond_wei: int, proposer: Address) -> list[Intent]:
    """
    The deposit missing for a proposal. Making the game locks it, and it comes back as the game's bonds do.

    Raises `DepositInDoubt`.
    """
    missing_wei, latest_nonce = _missing(system, min_bond_wei, proposer)
    if missing_wei == 0:
        return []
    return [
        Intent(
            kind="deposit",
            call=system.proposer_bonds.deposit(),
            value_wei=missing_wei,
            will=f"Will deposit {ether(missing_wei)}: the request demands a bond of {ether(min_bond_wei)}",
            did=lambda receipt: "Deposited: making the game locks it; `opml-dispute deposit` shows what is not locked",
            facts={"deposit_wei": missing_wei, "min_bond_wei": min_bond_wei},
            once=True,
            deposit=DepositChange(system.proposer_bonds.address, missing_wei, latest_nonce),
        )
    ]


def withdrawal_intent(system: System, amount_wei: int) -> Intent:
    """Take back a part of the sender's deposit that no game has locked."""
    return Intent(
        kind="withdraw-deposit",
        call=system.proposer_bonds.withdraw(amount_wei),
        will=f"Will take back {ether(amount_wei)} that no game has locked",
        did=lambda receipt: f"Taken back: {ether(amount_wei)}",
        facts={"amount_wei": amount_wei},
        deposit=DepositChange(system.proposer_bonds.address, -amount_wei),
    )
