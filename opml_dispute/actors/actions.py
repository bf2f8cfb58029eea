"""
What an actor can do in a game. Each action carries its reason, in a sentence for people.

`Move` and `Step` are played while a game runs (`honest`); `ResolveClaim`, `Settle` and `ResolveGame` end it. Sending
them is the chain layer's work, money and all: bonds are asked from the chain when a move is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from opml_dispute.game.claim import GameStatus
from opml_dispute.game.position import Position
from opml_dispute.primitives import Hash32
from opml_dispute.trace.provider import StepData


@dataclass(frozen=True, slots=True)
class Move:
    """Post `value` against claim `parent_index`."""

    parent_index: int
    disputed: Hash32
    """The value of that claim, as seen: the contract refuses the move if another stands there now."""

    is_attack: bool
    value: Hash32
    position: Position
    """Where the new claim will stand."""

    bond_wei: int
    """The bond at that depth by the published formula. The chain's own answer is what counts."""

    reason: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Step:
    """Run one VM instruction on chain against leaf `claim_index`."""

    claim_index: int
    is_attack: bool
    data: StepData
    reason: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class ResolveClaim:
    """Settle the subgame of claim `claim_index`."""

    claim_index: int
    reason: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Settle:
    """
    Settle the subgames of these claims in one go, answers before what they answer, and the game once its root is.

    What another account has settled by then is skipped.
    """

    claim_indices: tuple[int, ...]
    expected: GameStatus | None
    """How the game ends by this; None if it goes on."""
    reason: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class ResolveGame:
    """Settle the game."""

    expected: GameStatus
    reason: str = field(compare=False)


Resolution = ResolveClaim | Settle | ResolveGame
Action = Move | Step | Resolution
