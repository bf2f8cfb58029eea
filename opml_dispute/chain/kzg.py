"""
KZG commitments of blobs, and openings of single field elements (EIP-4844, EIP-7594).

The chain names a blob by its versioned hash, which follows from the blob's commitment: with a blob at hand, the hash is
computed again, and no source is believed. `opening` is what `InputBlobs.refute` takes for one element. The trusted
setup is that of the signing library's package; it is read once, which takes some seconds.
"""

from __future__ import annotations

import importlib.util
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opml_dispute.engine.blob_row import BLOB_BYTES, ELEMENTS_PER_BLOB
from opml_dispute.errors import OpmlError

if TYPE_CHECKING:
    from collections.abc import Iterable

MODULUS: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""The order of the curve's scalar field; every field element is below it."""

OPENING_BYTES: Final = 128
"""The element, the blob's commitment, the proof."""

_ROOT_OF_UNITY: Final = pow(7, (MODULUS - 1) // ELEMENTS_PER_BLOB, MODULUS)
_VERSION: Final = b"\x01"
_INDEX_BITS: Final = 12


class NotABlob(OpmlError):
    """Bytes that no blob has."""


def versioned_hash(commitment: bytes) -> bytes:
    """The name of a blob on the chain, from its commitment of 48 bytes."""
    return _VERSION + sha256(commitment).digest()[1:]


@lru_cache(maxsize=32)
def commitment_of(blob: bytes) -> bytes:
    """A blob's commitment, 48 bytes. Raises `NotABlob`."""
    _expect_blob(blob)
    import ckzg

    return bytes(ckzg.blob_to_kzg_commitment(blob, _setup()))


def blob_proof(blob: bytes, commitment: bytes) -> bytes:
    """The proof that nodes ask for with a blob before Osaka, 48 bytes."""
    import ckzg

    return bytes(ckzg.compute_blob_kzg_proof(blob, commitment, _setup()))


def cell_proofs(blob: bytes) -> list[bytes]:
    """The proofs that nodes ask for since Osaka, 128 of 48 bytes."""
    import ckzg

    return [bytes(proof) for proof in ckzg.compute_cells_and_kzg_proofs(blob, _setup())[1]]


def opening(blob: bytes, commitment: bytes, index: int) -> bytes:
    """The blob's element `index` with its proof: OPENING_BYTES."""
    import ckzg

    proof, value = ckzg.compute_kzg_proof(blob, point_of(index).to_bytes(32, "big"), _setup())
    return bytes(value) + commitment + bytes(proof)


def point_of(index: int) -> int:
    """Where a blob's polynomial has the element `index`, 0 to 4095: its bits are reversed in the exponent."""
    exponent = int(format(index, f"0{_INDEX_BITS}b")[::-1], 2)
    return pow(_ROOT_OF_UNITY, exponent, MODULUS)


def _expect_blob(blob: bytes) -> None:
    if len(blob) != BLOB_BYTES:
        raise NotABlob(f"a blob has {BLOB_BYTES:,} bytes, not {len(blob):,}")
    if not _are_below_modulus(blob[at : at + 32] for at in range(0, BLOB_BYTES, 32)):
        raise NotABlob("a field element of the blob is not below the curve's order")


def _are_below_modulus(elements: Iterable[bytes]) -> bool:
    limit = MODULUS.to_bytes(32, "big")
    return all(element < limit for element in elements)


@cache
def _setup() -> Any:
    import ckzg

    found = importlib.util.find_spec("eth_account")  # imports nothing
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "typed_transactions" / "blob_transactions" / "kzg_trusted_setup.txt"
    return ckzg.load_trusted_setup(str(path), 0)
