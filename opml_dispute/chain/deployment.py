"""
The file that says where a system is: one deployment's addresses, owners, times and bonds.

`deploy` writes it, contract by contract; `system.connect` checks it against the chain.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from opml_dispute import plain_json
from opml_dispute.chain.bonds import Bonds
from opml_dispute.chain.games import BadAddress, parse_address
from opml_dispute.chain.times import Times
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import BondTerms
from opml_dispute.home import write_json
from opml_dispute.primitives import Address, StateHash
from opml_dispute.reading import Unreadable, read_text

CONTRACTS = (
    *("preimage_oracle", "vm", "timelock", "factory", "registry", "oracle", "weth", "game"),
    *("input_parts", "input_blobs"),
)
"""Names in the deployment file, in the order of creation."""


class BadDeployment(OpmlError):
    """The deployment file is missing, unreadable, or does not describe this chain."""

    hint = "give --deployment FILE, as `opml-dispute deploy` or `devnet start` wrote it"


@dataclass(frozen=True)
class Deployment:
    """The contracts of a deployment, with its times and bonds."""

    chain_id: int
    block: int
    """The block from which the system's events are searched."""
    absolute_prestate: StateHash
    addresses: dict[str, Address]
    owner: Address
    """Who proposes to the timelock, which owns factory, oracle and vault."""
    guardian: Address
    """Who may pause for a while and discard games, at once."""
    times: Times = field(default_factory=Times)
    bonds: Bonds = field(default_factory=Bonds)

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Read the file. Raises `BadDeployment`."""
        try:
            text = read_text(path)
        except Unreadable as error:
            raise BadDeployment(f"cannot read the deployment {path}: {error.reason}") from None
        try:
            raw = plain_json.loads(text)
            return cls(
                chain_id=_number(raw, "chain_id"),
                block=_number(raw, "block"),
                absolute_prestate=StateHash(_hash(raw, "absolute_prestate")),
                addresses={name: _address(text, name) for name, text in _part(raw, "addresses").items()},
                owner=_address(_field(raw, "owner"), "owner"),
                guardian=_address(_field(raw, "guardian"), "guardian"),
                bonds=_bonds(_part(raw, "bonds")),
                times=Times(**{name: _number(_part(raw, "times"), name) for name in Times.__dataclass_fields__}),
            )
        except ValueError as error:
            raise BadDeployment(f"{path} is not a deployment: {error}") from None

    def save(self, path: Path) -> None:
        """Write the file."""
        write_json(path, asdict(self) | {"absolute_prestate": "0x" + self.absolute_prestate.hex()})


def _field(raw: Any, name: str) -> Any:
    if not isinstance(raw, dict):
        raise ValueError("expected a JSON object")
    if name not in raw:
        raise ValueError(f"it has no `{name}`")
    return raw[name]


def _part(raw: Any, name: str) -> dict[str, Any]:
    found = _field(raw, name)
    if not isinstance(found, dict):
        raise ValueError(f"its `{name}` is not an object")
    return found


def _number(raw: Any, name: str) -> int:
    found = _field(raw, name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 1 << 64:
        raise ValueError(f"its `{name}` is not a number from 0 to 2^64 - 1")
    return found


def _bonds(raw: Any) -> Bonds:
    terms = _part(raw, "terms")
    numbers = {
        name: _number(terms, name)
        for name in ("assumed_base_fee_wei", "gas_at_root", "gas_at_max_depth", "forfeited_bps")
    }
    to = _address(_field(terms, "forfeited_to"), "recipient of forfeited bonds")
    at_once = _field(terms, "deposited_at_once")
    if not isinstance(at_once, bool):
        raise ValueError("its `deposited_at_once` is neither true nor false")
    terms_of_bonds = BondTerms(**numbers, forfeited_to=to, deposited_at_once=at_once)
    return Bonds(terms_of_bonds, _number(raw, "root_bond_wei"))


def _hash(raw: Any, name: str) -> bytes:
    found = _field(raw, name)
    if not isinstance(found, str) or re.fullmatch("0x[0-9a-fA-F]{64}", found) is None:
        raise ValueError(f"its `{name}` is not 0x and 64 hexadecimal digits")
    return bytes.fromhex(found[2:])


def _address(text: Any, name: str) -> Address:
    try:
        return parse_address(str(text), f"the address of the {name.replace('_', ' ')}")
    except BadAddress as error:
        raise ValueError(str(error)) from None
