"""
What preimages.c is served: sets of pre-images of every type, as the folder of files that the servers read.

Cannon was run on the same sets (`scripts/record-cannon`), so their bytes must not change.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from opml_dispute.cannon.server import BLOB, KECCAK, PRECOMPILE, SHA256
from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.preimage_key import unlocalized_key

KECCAK_DATA: Final = bytes(range(40))
SHA256_DATA: Final = b"odd length!"


def typed(kind: int, digest: bytes) -> bytes:
    """A key of this type: the digest with another first byte."""
    return bytes([kind]) + digest[1:]


def keccak_key(data: bytes) -> bytes:
    """The key under which data go by their Keccak-256."""
    return typed(KECCAK, keccak256(data))


KECCAK_KEY: Final = keccak_key(KECCAK_DATA)

SMALL: Final = {KECCAK_KEY: KECCAK_DATA, typed(SHA256, hashlib.sha256(SHA256_DATA).digest()): SHA256_DATA}

_LARGE: Final = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(5000))[:150_001]
_ELEMENT: Final = hashlib.sha256(b"field element").digest()
_POINT: Final = bytes(range(48)) + (7).to_bytes(32, "big")
_CALL: Final = (1).to_bytes(20, "big") + (3000).to_bytes(8, "big") + bytes(128)

EVERY_TYPE: Final = SMALL | {
    keccak_key(b""): b"",
    keccak_key(_LARGE): _LARGE,
    typed(BLOB, keccak256(_POINT)): _ELEMENT,
    typed(PRECOMPILE, keccak256(_CALL)): b"\x01" + bytes(12) + b"\xaa" * 20,
}
"""Large ones and empty ones, a blob's field element, a precompile's result."""


def served(preimages: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Those and the local ones that tell preimages.c their keys."""
    local = {unlocalized_key(0): len(preimages).to_bytes(8, "big")}
    local |= {unlocalized_key(index): key for index, key in enumerate(preimages, 1)}
    return local | preimages


def write_folder(preimages: dict[bytes, bytes], folder: Path) -> Path:
    """The folder that the servers read."""
    folder.mkdir(exist_ok=True)
    for key, data in served(preimages).items():
        (folder / key.hex()).write_bytes(data)
    return folder


def expected_exit(preimages: dict[bytes, bytes]) -> int:
    """What preimages.c makes of them."""
    total = 7
    for data in (*preimages.values(), next(iter(preimages.values()))):
        for byte in data:
            total = (total * 31 + byte) % (1 << 64)
    return total & 63
