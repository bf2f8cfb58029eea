"""
The actions of an actor in a game. Each action has its reason, as a sentence for people.

`Move` and `Step` are played while a game runs (`honest`); `ResolveClaim`, `Settle` and `ResolveGame` end it. The chain
layer sends them, and reads a move's bond from the chain then.
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
    """The value of that claim as read: the contract refuses the move if the claim has another value by then."""

    is_attack: bool
    value: Hash32
    position: Position
    """The position of the new claim."""

    bond_wei: int
    """The bond at that depth by the published formula. The chain's own answer decides."""

    reason: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Step:
    """Run one VM instruction on chain against the leaf claim `claim_index`."""

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
    Settle the subgames of these claims in one transaction, answers before the claims they answer, and the game once its
    root is settled.

    A claim that another account has settled by then is skipped.
    """

    claim_indices: tuple[int, ...]
    expected: GameStatus | None
    """The game's result if this settles its root; None if the game goes on."""
    reason: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class ResolveGame:
    """Settle the game."""

    expected: GameStatus
    reason: str = field(compare=False)


Resolution = ResolveClaim | Settle | ResolveGame
Action = Move | Step | Resolution
