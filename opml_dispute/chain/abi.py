"""
The contract ABI: values as bytes and back, names of types, checksums of addresses.

eth_abi brings a third of a second of imports with it, so it is loaded with the first value that is encoded or decoded;
a command has sent its first request by then. Everything else of the package gets the ABI from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from opml_dispute.engine.hashing import keccak256
from opml_dispute.primitives import Address

if TYPE_CHECKING:
    from eth_abi.codec import ABIDecoder


class Undecodable(ValueError):
    """Bytes that do not encode values of the expected types."""


def encode(types: Iterable[str], values: Iterable[Any]) -> bytes:
    """The values as the ABI lays them out. Raises eth_abi's errors for a value that its type does not have."""
    from eth_abi.abi import encode as encode_values

    return encode_values(tuple(types), tuple(values))


def decode(types: Sequence[str], raw: bytes, *, strict: bool = True) -> tuple[Any, ...]:
    """
    The values of these types in `raw`, addresses checksummed wherever they stand. Raises `Undecodable`; `strict`
    refuses padding that is not zero. A text is what any account wrote, so bytes of it that are no UTF-8 are replaced.
    """
    from eth_abi.exceptions import DecodingError

    try:
        return _decoder().decode(types, raw, strict=strict)
    except (DecodingError, OverflowError) as error:
        raise Undecodable(str(error)) from error


@cache
def _decoder() -> ABIDecoder:
    """eth_abi's own answers addresses in small letters, also within tuples and arrays, and raises for bad UTF-8."""
    from eth_abi.codec import ABIDecoder
    from eth_abi.decoding import AddressDecoder, StringDecoder
    from eth_abi.registry import registry

    typeless: Any = AddressDecoder  # its constructor has no annotations
    typeless_text: Any = StringDecoder
    checksumming = typeless(decoder_fn=lambda raw: checksummed("0x" + raw.hex()))
    own = copy(registry)
    own.unregister_decoder("address")
    own.register_decoder("address", checksumming)
    own.unregister_decoder("string")
    own.register_decoder("string", typeless_text(handle_string_errors="replace"))
    return ABIDecoder(own)


def canonical_type(entry: dict[str, Any]) -> str:
    """The type of an ABI's parameter as signatures name it, tuples written out."""
    kind = str(entry["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(canonical_type, entry['components']))}){kind.removeprefix('tuple')}"


@lru_cache(maxsize=4096)
def checksummed(address: str) -> Address:
    """An address of 0x and 40 hexadecimal digits with the checksum of EIP-55. Raises `ValueError` for other text."""
    digits = address[2:].lower()
    if re.fullmatch("0x[0-9a-fA-F]{40}", address) is None:
        raise ValueError(f"{address} is not an address: that is 0x and 40 hexadecimal digits")
    marks = keccak256(digits.encode()).hex()
    return Address(
        "0x" + "".join(c.upper() if int(mark, 16) >= 8 else c for c, mark in zip(digits, marks, strict=False))
    )
