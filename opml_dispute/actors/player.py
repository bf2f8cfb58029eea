"""
A player: look, decide, act, and again. It remembers nothing: kill it anywhere, start it again, and it goes on.

`ChainGame` is the little that a player needs of a game, wherever it is played. `play_round` is one round: answer
everything, settle what the clocks allow; `play` repeats it until the game is over. A dishonest player is the same
over a liar's trace; the chain refuses some of what it tries, so a refusal is noted, not raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from opml_dispute.actors.actions import Action
from opml_dispute.actors.honest import consider, resolution_actions
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.trace.provider import GameTrace


class ActionRefused(OpmlError):
    """The chain would not have it: somebody was faster, the time was over, or the action was wrong."""


class ChainGame(Protocol):
    """One game, where it is played."""

    def snapshot(self) -> tuple[Game, int]:
        """The game now, and the time there in seconds since 1970."""
        ...

    def send(self, action: Action) -> None:
        """Does it; a step's local pre-image is loaded first. Raises `ActionRefused`."""
        ...


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to."""

    done: tuple[Action, ...]
    refused: tuple[tuple[Action, ActionRefused], ...]
    game: Game
    """As it was when the round began."""

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not self.done and not self.refused


def play_round(table: ChainGame, trace: GameTrace) -> Round:
    """
    One round: answer everything, then settle what the clocks allow.

    Answers come first: a step has no clock, so even one that comes late may turn what would be settled wrongly.
    Raises `TraceError` if too little is known to do anything.
    """
    game, now_s = table.snapshot()
    plan = consider(game, trace, now_s)
    done, refused = _send_all(table, plan.actions)
    settled, now_s = table.snapshot() if done else (game, now_s)
    resolutions = resolution_actions(settled, now_s)
    if plan.stopped_by is not None and not plan.actions and not resolutions:
        raise plan.stopped_by
    more_done, more_refused = _send_all(table, resolutions)
    return Round((*done, *more_done), (*refused, *more_refused), game)


def _send_all(table: ChainGame, actions: Sequence[Action]) -> tuple[list[Action], list[tuple[Action, ActionRefused]]]:
    """Sends each, in order; a refusal does not stop the others."""
    done: list[Action] = []
    refused: list[tuple[Action, ActionRefused]] = []
    for action in actions:
        try:
            table.send(action)
        except ActionRefused as error:
            refused.append((action, error))
        else:
            done.append(action)
    return done, refused


def play(
    table: ChainGame,
    trace: GameTrace,
    *,
    wait: Callable[[], None],
    tell: Callable[[Round], None] = lambda _: None,
) -> Game:
    """
    Rounds until the game is over; the game as it ended. `wait` is called after each idle round.

    Raises `TraceError` if too little is known to go on.
    """
    while True:
        game, _ = table.snapshot()
        if not game.in_progress:
            return game
        round_ = play_round(table, trace)
        tell(round_)
        if not round_.done:
            wait()
