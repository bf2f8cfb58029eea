"""
Decoding and encoding of a step's proof.

`Proof.decode` reads either encoding; `Proof.encode` writes either. The VM decides which parts a step needs; this module
only finds them: the active thread, the inner root of its stack, and up to three memory proofs.

A tensor call's third memory proof is that of a subtree, whose size is the call's a1 in the thread itself.
Source: docs/vm.md, "Proof".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from opml_dispute.engine.hashing import LEAF_LOG2, zero_root
from opml_dispute.engine.merkle import root_from_proof
from opml_dispute.fpvm.state import BadEncoding, Thread, push_thread
from opml_dispute.primitives import BASE_THREAD_BYTES, ML_THREAD_BYTES, Hash32

COMPACT_MARKER: Final = b"OPMLCMP1"
MEMORY_PROOF_BYTES: Final = 60 * 32
TENSOR_CALLS: Final = (7001, 7002)
_SYSCALL: Final = 0x0C


@dataclass(frozen=True, slots=True)
class MemoryProof:
    """A leaf or subtree and its siblings up to the memory root, lowest first."""

    log2_size: int
    root: bytes
    """The subtree's root; of a leaf its 32 bytes."""
    siblings: tuple[bytes, ...]

    def memory_root(self, address: int) -> Hash32:
        """The memory root that the proof leads to if the subtree is at `address`."""
        return root_from_proof(self.root, address, self.log2_size, self.siblings)

    def encode(self) -> bytes:
        """65 - log2_size words."""
        return self.root + b"".join(self.siblings)

    def encode_compact(self) -> bytes:
        """Root, bitmap, and the siblings that are not zero subtrees."""
        sent = [i for i, sibling in enumerate(self.siblings) if sibling != zero_root(self.log2_size + i)]
        bitmap = sum(1 << i for i in sent)
        return self.root + bitmap.to_bytes(8, "big") + b"".join(self.siblings[i] for i in sent)


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof of a step."""

    thread: Thread
    inner_root: bytes
    """Root of the active stack without its top."""
    memory_proofs: tuple[MemoryProof, ...]
    """In order: the instruction's leaf; the data's; the second word's, or a tensor call's subtree."""

    @property
    def stack_root(self) -> Hash32:
        """The active stack's root that this proof shows."""
        return push_thread(self.inner_root, self.thread)

    def encode(self, *, compact: bool = False) -> bytes:
        """The bytes that `step` takes, ending after the last memory proof there is."""
        head = self.thread.encode() + self.inner_root
        if compact:
            return COMPACT_MARKER + head + b"".join(shown.encode_compact() for shown in self.memory_proofs)
        padded = [shown.encode().ljust(MEMORY_PROOF_BYTES, b"\0") for shown in self.memory_proofs]
        return head + b"".join(padded)

    @classmethod
    def decode(cls, proof: bytes, *, ml: bool) -> Proof:
        """
        Reads a proof in either encoding. In the full one, memory proofs that are all zero bytes are unused places.

        Raises `BadEncoding` if it is too short for a part it begins.
        """
        compact = proof.startswith(COMPACT_MARKER)
        at = len(COMPACT_MARKER) if compact else 0
        size = ML_THREAD_BYTES if ml else BASE_THREAD_BYTES
        if len(proof) < at + size + 32:
            raise BadEncoding(f"a thread proof has {size + 32} bytes, found {len(proof) - at}")
        thread, inner_root = Thread.decode(proof[at : at + size]), proof[at + size : at + size + 32]
        at += size + 32
        proofs: list[MemoryProof] = []
        while len(proofs) < 3 and at < len(proof):
            log2_size = _log2_size(thread, proofs)
            if compact:
                shown, at = _take_compact(proof, at, log2_size)
                proofs.append(shown)
                continue
            part = proof[at : at + MEMORY_PROOF_BYTES]
            at += MEMORY_PROOF_BYTES
            if len(part) < 32 * (65 - log2_size):
                raise BadEncoding(f"memory proof {len(proofs)} has {len(part)} bytes, expected {32 * (65 - log2_size)}")
            if not any(part):
                break
            words = [part[i : i + 32] for i in range(0, 32 * (65 - log2_size), 32)]
            proofs.append(MemoryProof(log2_size, words[0], tuple(words[1:])))
        return cls(thread, inner_root, tuple(proofs))


def _log2_size(thread: Thread, proofs: list[MemoryProof]) -> int:
    """The size of what the next memory proof shows: a leaf, except for the third one of a tensor call."""
    if len(proofs) < 2 or thread.registers[2] not in TENSOR_CALLS:
        return LEAF_LOG2
    word = thread.pc % 32 & ~3
    instruction = int.from_bytes(proofs[0].root[word : word + 4], "big")
    is_syscall = instruction >> 26 == 0 and instruction & 63 == _SYSCALL
    log2_size = thread.registers[5]
    return log2_size if is_syscall and LEAF_LOG2 <= log2_size < 64 else LEAF_LOG2


def _take_compact(proof: bytes, at: int, log2_size: int) -> tuple[MemoryProof, int]:
    root, bitmap = proof[at : at + 32], int.from_bytes(proof[at + 32 : at + 40], "big")
    levels = 64 - log2_size
    if bitmap >> levels:
        raise BadEncoding(f"bitmap 0x{bitmap:x} of a compact proof names siblings beyond its {levels} levels")
    end = at + 40 + 32 * bitmap.bit_count()
    if end > len(proof):
        raise BadEncoding(f"a compact memory proof ends at byte {end} of {len(proof)}")
    siblings: list[bytes] = []
    at += 40
    for level in range(levels):
        if bitmap >> level & 1:
            siblings.append(proof[at : at + 32])
            at += 32
        else:
            siblings.append(zero_root(log2_size + level))
    return MemoryProof(log2_size, root, tuple(siblings)), end
