"""
Blob transactions (EIP-4844): their blobs, and the form in which nodes take them.

Who sends signs the blobs' versioned hashes alone; the blobs travel beside the signed transaction, with commitments and
proofs (`Sidecar`). Since Osaka (EIP-7594) nodes want proofs of cells in place of those of whole blobs. `PoolSigning`
signs in the newer form, and in the older one after `use_older_form`, when a node refused the newer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from opml_dispute.chain.kzg import blob_proof, cell_proofs, commitment_of, versioned_hash
from opml_dispute.engine.blob_row import BLOB_BYTES

if TYPE_CHECKING:
    from opml_dispute.chain.keys import Signing

BLOB_TYPE: Final = 3
GAS_PER_BLOB: Final = 1 << 17
MAX_BLOBS_EACH: Final = 6
"""The most blobs of one transaction (EIP-7594)."""

_COMMITMENT_BYTES: Final = 48


@dataclass(frozen=True)
class Sidecar:
    """The blobs of a transaction."""

    blobs: tuple[bytes, ...]
    commitments: tuple[bytes, ...]

    @classmethod
    def of(cls, blobs: Sequence[bytes]) -> Sidecar:
        """Commits to the blobs: a fifth of a second each."""
        return cls(tuple(blobs), tuple(commitment_of(blob) for blob in blobs))

    @cached_property
    def hashes(self) -> tuple[bytes, ...]:
        """The blobs' versioned hashes."""
        return tuple(versioned_hash(commitment) for commitment in self.commitments)

    @property
    def hex_hashes(self) -> list[str]:
        """The same as JSON-RPC has them."""
        return ["0x" + name.hex() for name in self.hashes]

    @property
    def blob_gas(self) -> int:
        """What the blobs take, in a gas of their own."""
        return GAS_PER_BLOB * len(self.blobs)

    @cached_property
    def _proofs(self) -> tuple[bytes, ...]:
        return tuple(
            blob_proof(blob, commitment) for blob, commitment in zip(self.blobs, self.commitments, strict=True)
        )

    @cached_property
    def _cell_proofs(self) -> tuple[bytes, ...]:
        return tuple(proof for blob in self.blobs for proof in cell_proofs(blob))

    def wrap(self, raw: bytes, *, older_form: bool) -> bytes:
        """The signed transaction with its blobs behind it, as a node's pool takes it."""
        proofs = self._proofs if older_form else self._cell_proofs
        version = b"" if older_form else b"\x01"
        lists = b"".join(
            _rlp_list([_rlp_bytes(item) for item in part]) for part in (self.blobs, self.commitments, proofs)
        )
        return raw[:1] + _rlp_list([raw[1:], version, lists])

    def to_bytes(self) -> bytes:
        """To keep it in a file."""
        return b"".join(self.commitments) + b"".join(self.blobs)

    @classmethod
    def from_bytes(cls, content: bytes) -> Sidecar | None:
        """What `to_bytes` gave; None if it is something else."""
        count, rest = divmod(len(content), BLOB_BYTES + _COMMITMENT_BYTES)
        if count == 0 or rest:
            return None
        commitments, blobs = content[: _COMMITMENT_BYTES * count], content[_COMMITMENT_BYTES * count :]
        return cls(
            tuple(blobs[BLOB_BYTES * i : BLOB_BYTES * (i + 1)] for i in range(count)),
            tuple(commitments[_COMMITMENT_BYTES * i : _COMMITMENT_BYTES * (i + 1)] for i in range(count)),
        )


class PoolSigning:
    """Signs transactions in the form that is sent to a node."""

    def __init__(self, account: Signing) -> None:
        self._account = account
        self.older_form = False

    def sign(self, fields: Mapping[str, Any], sidecar: Sidecar | None) -> tuple[bytes, bytes]:
        """
        The bytes to send, and the transaction's hash. `sidecar` has the blobs that `fields` names, if it names any.

        Raises what the account's `sign` raises.
        """
        raw, transaction_hash = self._account.sign(fields)
        return (raw if sidecar is None else sidecar.wrap(raw, older_form=self.older_form)), transaction_hash

    def use_older_form(self) -> bool:
        """From now on blobs have the proofs of before Osaka. False if they had before."""
        changed, self.older_form = not self.older_form, True
        return changed


def blob_fields(sidecar: Sidecar | None) -> dict[str, Any]:
    """What a transaction says about its blobs, beside their fee."""
    return {} if sidecar is None else {"blobVersionedHashes": sidecar.hex_hashes}


def _rlp_list(items: Sequence[bytes]) -> bytes:
    """The RLP of a list, from that of its items."""
    return _rlp_head(0xC0, len(payload := b"".join(items))) + payload


def _rlp_bytes(content: bytes) -> bytes:
    """The RLP of more than one byte."""
    return _rlp_head(0x80, len(content)) + content


def _rlp_head(kind: int, size: int) -> bytes:
    if size < 56:
        return bytes([kind + size])
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([kind + 55 + len(digits)]) + digits
