"""What became of one item of a batch (`engine.batch`)."""

from __future__ import annotations

from dataclasses import dataclass

from opml_dispute.primitives import Hash32, StateRoot


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one item."""

    item: int
    root: StateRoot
    """Its final state."""
    status: int
    """0, or why it failed."""
    fault_node: int
    input_root: Hash32
    arena_root: Hash32
    output_image: bytes
    """Of an item that failed it means nothing."""
