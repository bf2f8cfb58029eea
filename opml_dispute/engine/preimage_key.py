"""
Keys of pre-images: the program's key, and the oracle's.

The first byte of a key is its type. A program asks for local data by an *unlocalized* key, which is the ident alone;
the oracle keeps them under the *localized* key, which also depends on the game and on the place in the game. So two
games, and two subgames of one game, never read each other's data.

Twin: PreimageKey.sol. Source: docs/vm.md, "Pre-image oracle".
"""

from __future__ import annotations

from typing import Final

from opml_dispute.engine.hashing import keccak256
from opml_dispute.primitives import Address, Hash32

LOCAL_KEY: Final = 1
KECCAK256_KEY: Final = 2


def typed(digest: bytes, key_type: int) -> Hash32:
    """`digest` (32 bytes) with its first byte replaced by the key type."""
    return Hash32(bytes([key_type]) + digest[1:])


def unlocalized_key(ident: int) -> Hash32:
    """The key by which a program asks for local pre-image `ident`, in whatever game it runs."""
    return typed(ident.to_bytes(32, "big"), LOCAL_KEY)


def localized(key: bytes, owner: Address, context: bytes) -> Hash32:
    """Where the oracle keeps the local data that `owner` (a game) loaded under `key` for `context` (32 bytes)."""
    return typed(keccak256(key + bytes.fromhex(owner.removeprefix("0x")).rjust(32, b"\0") + context), LOCAL_KEY)


def localized_key(ident: int, owner: Address, context: bytes) -> Hash32:
    """Where the oracle keeps local pre-image `ident` of game `owner` for `context` (32 bytes)."""
    return localized(unlocalized_key(ident), owner, context)


def keccak256_key(preimage: bytes) -> Hash32:
    """The key of data that is named by its own hash."""
    return typed(keccak256(preimage), KECCAK256_KEY)
