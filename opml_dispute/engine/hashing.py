"""
Keccak-256, and Merkle roots of large data, at the speed of the native library.

A tree's leaves are raw 32-byte words; an inner node is the hash of its two children; level k is the node over 2^k
bytes, so a leaf is level 5. `merkle_root` hashes data that lies in the host's byte order as VM memory would hold it.
Trees that change, and proofs, are in `merkle`.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

from opml_dispute.engine.lib import Buffer, buffer, library
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Hash32

HASH_BYTES: Final = 32
LEAF_LOG2: Final = 5
MAX_LOG2: Final = 64


class BadSubtree(OpmlError):
    """A size, place or word width that no subtree has."""


def keccak256(data: Buffer) -> Hash32:
    """
    Keccak-256 as Ethereum uses it (the padding before NIST's).

    >>> keccak256(b"").hex()[:8]
    'c5d24601'
    """
    out = ctypes.create_string_buffer(HASH_BYTES)
    if type(data) is bytes:  # the most frequent case; no array is made of it
        library().opml_keccak256(data, len(data), out)
    else:
        address, size, owner = buffer(data)
        library().opml_keccak256(address, size, out)
        del owner
    return Hash32(out.raw)


@cache
def zero_root(log2_size: int) -> Hash32:
    """Z[k]: the root of 2^k zero bytes, 5 <= k <= 64. Raises `BadSubtree` otherwise."""
    _check_log2_size(log2_size)
    out = ctypes.create_string_buffer(HASH_BYTES)
    library().opml_zero_root(log2_size, out)
    return Hash32(out.raw)


def merkle_root(data: Buffer, log2_size: int, word_bytes: int = 1, *, threads: int = 1) -> Hash32:
    """
    The root of 2^log2_size bytes: `data`, then zeros.

    `word_bytes` above 1 (2, 4 or 8) says that `data` is made of host-order words of that width; what is hashed is their
    big-endian form. Raises `BadSubtree` if the data does not fit, or is not a whole number of words.
    """
    _check_log2_size(log2_size)
    if word_bytes not in {1, 2, 4, 8}:
        raise BadSubtree(f"word_bytes is {word_bytes}; it must be 1, 2, 4 or 8")
    address, size, owner = buffer(data)
    if size > 1 << log2_size:
        raise BadSubtree(f"{size} bytes do not fit a subtree of 2^{log2_size}")
    if size % word_bytes:
        raise BadSubtree(f"{size} bytes are not a whole number of {word_bytes}-byte words")
    out = ctypes.create_string_buffer(HASH_BYTES)
    if not library().opml_merkle_root(address, size, log2_size, word_bytes, threads, out):
        raise MemoryError("no memory to hash in")
    del owner
    return Hash32(out.raw)


def keccak_pairs(pairs: Buffer) -> bytes:
    """H of every 64-byte pair in `pairs`, one after the other: one level of a tree from the level below it."""
    address, size, owner = buffer(pairs)
    if size % (2 * HASH_BYTES):
        raise BadSubtree(f"{size} bytes are not a whole number of pairs of 64")
    out = ctypes.create_string_buffer(max(size // 2, 1))
    library().opml_keccak_pairs(address, ctypes.addressof(out), size // 64)
    del owner
    return out.raw[: size // 2]


def root_above(root: bytes, offset: int, log2_size: int, levels: int, siblings: bytes | None = None) -> Hash32:
    """
    The root `levels` levels above a subtree of 2^log2_size bytes at `offset` whose root is given.

    `siblings` are those on the way up, 32 bytes each, lowest first; by default all are zeros. Raises `BadSubtree` if
    the root, the siblings or the levels are not what such a place has.
    """
    _check_log2_size(log2_size)
    _check_log2_size(log2_size + levels)
    if len(root) != HASH_BYTES or (siblings is not None and len(siblings) != HASH_BYTES * levels):
        raise BadSubtree(
            f"a root of {len(root)} bytes and siblings of {len(siblings or b'')}; expected 32 for each level"
        )
    out = ctypes.create_string_buffer(HASH_BYTES)
    library().opml_root_above(bytes(root), offset, log2_size, levels, siblings, out)
    return Hash32(out.raw)


def hash_pair(left: bytes, right: bytes) -> Hash32:
    """H(left ++ right), both 32 bytes."""
    return keccak256(left + right)


def _check_log2_size(log2_size: int) -> None:
    if not LEAF_LOG2 <= log2_size <= MAX_LOG2:
        raise BadSubtree(f"log2_size is {log2_size}; it must be {LEAF_LOG2} to {MAX_LOG2}")
