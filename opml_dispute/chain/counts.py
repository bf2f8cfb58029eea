"""
How many transactions an account has sent: the node's count, held against a second question.

A transaction that is signed under a nonce of later waits for that day, and does then what is no longer wanted; one
that is taken for overtaken is sent once more under the next nonce. So a count is believed only if a contract that the
account would make now gets the address that belongs to it: the EVM makes that address of the account's nonce. Whether a
node simulates such a creation as the EVM does, an account tells that never sent anything.
"""

from __future__ import annotations

import time
from typing import Final

from opml_dispute.chain import answers
from opml_dispute.chain.abi import checksummed
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import RpcAnswerInvalid, RpcError
from opml_dispute.engine.hashing import keccak256
from opml_dispute.primitives import Address

MOST_PENDING: Final = 64
"""Transactions of one account that wait: no pool keeps more."""

TELLS_ITS_ADDRESS: Final = "0x3060005260206000f3"
"""Code of a contract that returns its own address where it is made: ADDRESS, MSTORE at 0, RETURN 32 bytes."""

NEVER_SENT: Final = checksummed("0x" + keccak256(b"opml-dispute: an account without a key")[12:].hex())
"""Its nonce is 0 on every chain."""

_READINGS: Final = 5
"""How often a count is read anew that does not fit: a block may have come in between."""


class TransactionCounts:
    """Of one account, as one node reports them."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc, self._address = rpc, address
        self._is_checked = True
        """Whether the node simulates creations, as far as is known."""

    def told(self) -> tuple[int, int]:
        """The number of mined transactions, and with those that wait: as the node says."""
        mined, pending = self._rpc.batch(self._asked())
        return mined, pending

    def sure(self) -> tuple[int, int]:
        """
        The same, if it can be so. Whether any wait is asked twice: a number that is too high leaves a gap, behind which
        nothing is mined.

        Raises `RpcAnswerInvalid` if the node contradicts itself again and again, or names more than a pool keeps.
        """
        pause_s = 0.05
        for left in reversed(range(_READINGS)):
            mined, pending = self._once()
            if mined is not None and pending - mined <= MOST_PENDING:
                again = self._rpc.batch(self._asked()[1:])[0] if pending > mined else mined
                if again == pending or pending <= mined or not left:
                    return mined, max(mined, min(pending, again))
            elif not self._is_checked:
                break
            time.sleep(pause_s)
            pause_s *= 3
        raise RpcAnswerInvalid(
            "eth_getTransactionCount", hex(pending), "how many transactions an account has sent, as simulations show it"
        )

    def _once(self) -> tuple[int | None, int]:
        """Both counts; None for the first if the simulation does not fit it."""
        probes = [_creation_by(self._address), _creation_by(NEVER_SENT)] if self._is_checked else []
        mined, pending, *made = self._rpc.outcomes([*self._asked(), *probes])
        for outcome in (mined, pending):
            if isinstance(outcome, Exception):
                raise outcome
        if not made or any(isinstance(outcome, RpcError) and outcome.passes for outcome in made):
            return mined, pending
        if made[1] != _in_word(created_by(NEVER_SENT, 0)):
            self._is_checked = False  # this node, or this chain, makes other addresses
            return mined, pending
        return mined if made[0] == _in_word(created_by(self._address, mined)) else None, pending

    def _asked(self) -> list[Ask]:
        return [
            Ask("eth_getTransactionCount", (self._address, tag), answers.transaction_count)
            for tag in ("latest", "pending")
        ]


def _creation_by(address: Address) -> Ask:
    return Ask("eth_call", ({"from": address, "data": TELLS_ITS_ADDRESS}, "latest"))


def _in_word(address: Address) -> str:
    return "0x" + address[2:].lower().rjust(64, "0")


def created_by(address: Address, nonce: int) -> Address:
    """
    The contract that an account makes under a nonce: the hash of both, in RLP.

    >>> created_by(Address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"), 1)
    '0x343c43A37D37dfF08AE8C4A11544c718AbB4fCF8'
    """
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    if len(number) != 1 or number[0] >= 0x80:
        number = bytes([0x80 + len(number)]) + number
    content = b"\x94" + bytes.fromhex(address[2:]) + number
    return checksummed("0x" + keccak256(bytes([0xC0 + len(content)]) + content)[12:].hex())
