"""
Thirty-two bytes can be many things: these types keep them apart.

Crossing from one to another is an explicit, named act (`StateRoot(raw)`), so that a wrong call looks wrong.
"""

from __future__ import annotations

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
