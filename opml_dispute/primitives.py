"""
Types and numbers that every part of the project shares.

Thirty-two bytes can be many things, and types keep them apart. Crossing from one to another is an explicit, named act
(`StateRoot(raw)`), so that a wrong call looks wrong. `VmStatus` and `LocalIdent` are numbers that the contracts, the
guest and this package agree on.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NewType

Hash32 = NewType("Hash32", bytes)
"""Any Keccak-256 digest or Merkle root: 32 bytes."""

StateRoot = NewType("StateRoot", bytes)
"""S_t: the Merkle root of the ML segment; what claims assert down to the split depth. 32 bytes."""

StateHash = NewType("StateHash", bytes)
"""Hash of a VM state, its first byte the VM status; what claims assert below the split depth. 32 bytes."""

ModelId = NewType("ModelId", bytes)
"""A registered model, derived from its content. 32 bytes."""

RequestId = NewType("RequestId", bytes)
"""A request for one inference. 32 bytes."""

Address = NewType("Address", str)
"""An Ethereum address, checksummed, with 0x."""

RECORD_BYTES = 512
"""Size of a node record, and of the program's header before the records."""

BASE_VERSION, ML_VERSION = 8, 136
"""State versions: the base machine; the base machine with the ML extension."""

STATE_BYTES = 188
"""Size of a VM state's witness."""

BASE_THREAD_BYTES, ML_THREAD_BYTES = 298, 430
"""Size of a thread's witness, by state version."""

QUANTUM = 100_000
"""Steps that a thread may run before another's turn comes."""

LEAST_LOG2_STEPS, MOST_LOG2_STEPS = 16, 40
"""Every program bounds the VM steps of its nodes by a power of two between these."""


class VmStatus(IntEnum):
    """The first byte of a state hash: whether the VM has exited, and with which code."""

    VALID = 0
    """Exited with 0. The guest says with it that the disputed root follows from the starting root."""

    INVALID = 1
    """Exited with 1. The guest says with it that the disputed root does not follow."""

    PANIC = 2
    """Exited with any other code."""

    UNFINISHED = 3
    """Still running."""


class LocalIdent(IntEnum):
    """
    The local pre-images that a game fixes for one execution subgame.

    Ident 1 is the L1 head in the OP Stack's games; these games have no such datum.
    """

    STARTING_ROOT = 2
    """The agreed state root S_t."""

    DISPUTED_ROOT = 3
    """The state root that the subgame is about."""

    DISPUTED_INDEX = 4
    """The index t of the disputed root S_t: 8 bytes, big-endian."""

    CHAIN_ID = 5
    """8 bytes, big-endian."""

    ITEM = 6
    """The item of a batch that the disputed node is of: `item_data`."""

    def describe(self) -> str:
        """The name as words, for messages: "starting root"."""
        return self.name.lower().replace("_", " ")


def item_data(item: int = 0, room_log2: int = 0) -> bytes:
    """
    Local pre-image `LocalIdent.ITEM`: an item's index in a batch that has room for 2**room_log2; by default, no batch.

    >>> item_data(5, 6).hex()
    '0000000000000000000000000000000000000000000000060000000000000005'
    """
    return bytes(16) + room_log2.to_bytes(8, "big") + item.to_bytes(8, "big")
