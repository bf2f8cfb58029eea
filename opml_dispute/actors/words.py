"""
Positions and values of claims in words, for the messages about a game.
"""

from __future__ import annotations

from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.position import Position
from opml_dispute.game.rules import SubgameRoots, subgame_roots_of


def short_hex(value: bytes) -> str:
    """
    The first and last digits of a hash, enough to recognise it.

    >>> short_hex(bytes.fromhex("91c3") + bytes(29) + b"D")
    '0x91c3…44'
    """
    return f"0x{value[:2].hex()}…{value[-1:].hex()}"


def state_name(game: Game, position: Position) -> str:
    """The state root that a position of the ML phase is about: "S_118"."""
    return f"S_{min(position.trace_index(game.depths.split) + 1, game.node_count)}"


def vm_state_name(game: Game, outputs: SubgameRoots, position: Position) -> str:
    """The VM state that a position of the FPVM phase is about."""
    local = position.within_subtree(game.depths.execution_root)
    steps = local.trace_index(game.depths.execution) + 1
    return f"the VM state of node {outputs.node_index(game)} after {steps:,} steps"


def subject(game: Game, claim: Claim) -> str:
    """The state that `claim` is about, in words."""
    if claim.position.depth <= game.depths.split:
        return state_name(game, claim.position)
    return vm_state_name(game, subgame_roots_of(game, claim.index), claim.position)
