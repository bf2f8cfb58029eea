"""
What must hold whatever a node says, judged without the package's own reading of the chain.

`sent_by` decodes what was signed; `wrong_with` compares it with what the same command signs at an honest node.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import rlp
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

DOCUMENTED_CODES: Final = frozenset({0, 1, 2, 3})
"""docs/operating.md and docs/agent.md: 3 is the monitor's, if there are alerts; 70 is a bug."""

LONGEST_S: Final = 1_200.0
"""No command waits longer for a node that answers; a transaction that is not mined is waited for the longest."""

MOST_GAS_WEI: Final = 2**24 * 500 * 10**9
"""The gas that one transaction may cost: --max-fee times the cap of EIP-7825."""

_CREATE: Final = keccak(text="create(uint32,bytes32,bytes)")[:4]
_CREATE_BYTES: Final = 4 + 5 * 32
"""Its selector, game type, root claim, and the first word of its extra data, which is the request."""

_LIST: Final = 0xC0
"""From this byte on, RLP begins a list: a transaction without a type."""

_RAW: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Sent:
    """A signed transaction."""

    chain_id: int
    to: str | None
    value_wei: int
    data: bytes
    most_gas_wei: int
    sender: str = ""
    nonce: int = 0

    @property
    def order(self) -> tuple[str | None, int, bytes]:
        """What is ordered: a proposal without the nonce that is drawn for it."""
        return self.to, self.value_wei, self.data[: _CREATE_BYTES if self.data[:4] == _CREATE else None]


def sent_by(raws: Iterable[str]) -> list[Sent]:
    """
    The transactions of EIP-155, EIP-1559 and EIP-4844, decoded: of those with one nonce the last, for one is mined.

    One without EIP-155 counts as one for chain 0, since it is valid on every chain.
    """
    found: dict[bytes, Sent] = {}
    for raw in raws:
        content = bytes.fromhex(raw[2:])
        assert content[0] in (2, 3) or content[0] >= _LIST, f"a transaction of type {content[0]}"
        fields: Any = rlp.decode(content[content[0] < _LIST :])
        if content[0] == 3 and isinstance(fields[0], list):
            fields = fields[0]
        if content[0] >= _LIST:
            nonce, fee, gas, to, value, data, parity = fields[:7]
            chain = max(0, int.from_bytes(parity, "big") - 35) // 2
        else:
            chain, (nonce, _tip, fee, gas, to, value, data) = int.from_bytes(fields[0], "big"), fields[1:8]
        found[b"%d/" % chain + bytes(nonce)] = Sent(
            chain,
            to_checksum_address(to) if to else None,
            int.from_bytes(value, "big"),
            bytes(data),
            int.from_bytes(fee, "big") * int.from_bytes(gas, "big"),
            Account.recover_transaction(b"\x03" + rlp.encode(fields) if content[0] == 3 else content),
            int.from_bytes(nonce, "big"),
        )
    return list(found.values())


def wrong_with(
    sent: Sequence[Sent],
    *,
    honest: Sequence[Sent],
    chain_id: int,
    known: Iterable[str],
    counts: Mapping[str, int] | None = None,
) -> list[str]:
    """
    What was signed that must not be: for another chain or address, under a nonce of later, or with money that the truth
    does not ask for. `counts` says how many transactions each sender had sent in the end.
    """
    found: list[str] = []
    addresses = {address.lower() for address in known}
    asked = Counter(one.order for one in honest if one.value_wei)
    staked: Counter[tuple[str | None, int, bytes]] = Counter()
    for one in sent:
        what = f"to {one.to}, {one.value_wei} wei, data 0x{one.data[:4].hex()}"
        if one.chain_id != chain_id:
            found.append(f"signed for chain {one.chain_id}: {what}")
        if one.to is None or one.to.lower() not in addresses:
            found.append(f"signed for another address: {what}")
        if counts is not None and one.nonce > counts[one.sender]:
            found.append(f"signed for later, nonce {one.nonce} where {counts[one.sender]} is next: {what}")
        if one.value_wei and one.order not in asked:
            found.append(f"staked what the truth does not ask for: {what}")
        elif one.value_wei and staked[one.order] >= asked[one.order]:
            found.append(f"staked more than once: {what}")
        staked[one.order] += 1
        if one.most_gas_wei > MOST_GAS_WEI:
            found.append(f"offered {one.most_gas_wei} wei for gas: {what}")
    return found


def wrong_words(text: str, secrets: Iterable[str]) -> list[str]:
    """What must not be printed."""
    found = [f"prints a secret: …{secret[-6:]}" for secret in secrets if secret.lower() in text.lower()]
    if "Traceback (most recent" in text:
        found.append("prints a traceback")
    if (raw := _RAW.search(text)) is not None:
        found.append(f"prints {raw.group()!r} raw: {text[max(0, raw.start() - 40) : raw.start() + 20]!r}")
    return found
