"""
A player: it reads the game, decides, acts, and repeats. It keeps no state, so it can be killed at any time and started
again.

`ChainGame` is the interface that a player needs to a game, on a chain or simulated. `play_round` is one round: steps,
which end branches; what the clocks allow to be settled; then moves, the most important first. An action that the chain
refuses, that cannot be paid or could not be sent is noted in the `Round` and stops no other. `play` repeats rounds
until the game is over. A dishonest player uses the same function over a liar's trace; the chain refuses some of its
actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from opml_dispute.actors.actions import Action, Move, Step
from opml_dispute.actors.exposure import HasPurse, KeptForMore, within
from opml_dispute.actors.honest import Decision, Unjudged, consider, resolution_actions
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.trace.provider import GameTrace

URGENT_S: Final = 900
"""With less time left than this, in seconds, a move does not wait for settlements."""


class ActionRefused(OpmlError):
    """The chain refused an action: another account was faster, the time was over, or the action was wrong."""


class ChainGame(Protocol):
    """One game, on a chain or simulated."""

    def snapshot(self) -> tuple[Game, int]:
        """The game now, and the time there in seconds since 1970."""
        ...

    def send_all(self, actions: Sequence[Action]) -> Sequence[OpmlError | None]:
        """
        Send all actions, which do not depend on each other. A step's local pre-image is loaded first.

        Answers None for a finished action, `ActionRefused` for a refused one, any other error for one that may be tried
        again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Round:
    """The results of one round."""

    done: tuple[Action, ...]
    refused: tuple[tuple[Action, ActionRefused], ...]
    failed: tuple[tuple[Action, OpmlError], ...]
    """Actions that could not be paid or sent, and are still due."""

    unjudged: tuple[Unjudged, ...]
    missed: tuple[str, ...]
    """Answers that came too late: sentences."""

    game: Game
    """As it was when the round began."""

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not self.done and not self.refused and not self.failed


@dataclass
class _Outcome:
    done: list[Action] = field(default_factory=list)
    refused: list[tuple[Action, ActionRefused]] = field(default_factory=list)
    failed: list[tuple[Action, OpmlError]] = field(default_factory=list)

    def send(self, table: ChainGame, actions: Sequence[Action]) -> None:
        if not actions:
            return
        for action, error in zip(actions, table.send_all(actions), strict=True):
            if error is None:
                self.done.append(action)
            elif isinstance(error, ActionRefused):
                self.refused.append((action, error))
            else:
                self.failed.append((action, error))


def play_round(table: ChainGame, trace: GameTrace) -> Round:
    """
    Play one round: answer all claims that need it, and settle what the clocks allow.

    Steps come before settling: they have no clock, so even a late one may prevent a wrong settlement; a leaf claim
    whose step could not be sent is not settled. Raises the reason if no claim could be judged and no action was done.
    """
    game, now_s = table.snapshot()
    plan = consider(game, trace, now_s)
    outcome = _Outcome()
    steps = [action for action in plan.actions if isinstance(action, Step)]
    moves, kept = affordable(table, game, plan)
    outcome.failed += kept
    urgent = [move for move in moves if time_left_s(game, move.parent_index, now_s) < URGENT_S]
    outcome.send(table, [*steps, *urgent])
    owed = frozenset(action.claim_index for action, _ in outcome.failed if isinstance(action, Step))
    settled, now_s = table.snapshot() if outcome.done else (game, now_s)
    resolutions = resolution_actions(settled, now_s, owed=owed)
    if not resolutions:
        plan.expect_something()
    for resolution in resolutions:  # each may need the one before
        outcome.send(table, [resolution])
    outcome.send(table, [move for move in moves if move not in urgent])
    return Round(tuple(outcome.done), tuple(outcome.refused), tuple(outcome.failed), plan.unjudged, plan.missed, game)


def affordable(table: ChainGame, game: Game, plan: Decision) -> tuple[list[Move], list[tuple[Move, KeptForMore]]]:
    """The moves that are made now, and those whose funds are kept for moves that protect more."""
    moves = [action for action in plan.actions if isinstance(action, Move)]
    purse = table.purse() if moves and isinstance(table, HasPurse) else None
    if purse is None:
        return moves, []
    made, kept = within(game, plan, purse)
    return [move for move in moves if move in made], kept


def play(
    table: ChainGame,
    trace: GameTrace,
    *,
    wait: Callable[[], None],
    tell: Callable[[Round], None] = lambda _: None,
) -> Game:
    """
    Play rounds until the game is over, and return it. `wait` is called after each idle round.

    Raises the reason if too little is known to go on.
    """
    while True:
        game, _ = table.snapshot()
        if not game.in_progress:
            return game
        round_ = play_round(table, trace)
        tell(round_)
        if not round_.done:
            wait()
