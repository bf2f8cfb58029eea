"""
Defending a game until it is over, whatever the node does meanwhile.

`watch` plays round after round. Errors that may pass are told once and tried again after growing pauses: a node that
does not answer, limits its rate or contradicts itself, an empty account, a price of gas above the limit, a transaction
that is not mined, a claim that cannot be judged. It ends when the game is over, and with an error only if its
configuration cannot work: the wrong inference, the wrong release, no permission. `persistently` does the same for what
comes before the first round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from opml_dispute.actors.player import ChainGame, Round, play_round
from opml_dispute.chain.fees import FeeTooHigh
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import UnexpectedAnswer
from opml_dispute.chain.rpc_errors import RpcError, RpcUnreachable
from opml_dispute.chain.transactions import NonceTaken, NotEnoughFunds, NotMined
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.trace.provider import GameTrace, TraceError, WrongInference

LONGEST_PAUSE_S: Final = 60.0
"""Between two tries: short beside any clock of a game."""

PASSING: Final = (RpcError, Reverted, UnexpectedAnswer, NotMined, NonceTaken, NotEnoughFunds, FeeTooHigh, TraceError)
"""What may be otherwise the next time. A game that the node has not heard of yet, or no longer, is among them."""

Tell = Callable[[str], None]
"""Hears a sentence about something that is wrong, or well again."""

T = TypeVar("T")


class Troubles:
    """What is wrong at present: each told once, as long as it lasts."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: set[str] = set()
        self.count = 0
        """Rounds in a row in which something was wrong."""

    def round_of(self, sentences: list[str]) -> None:
        """All that is wrong in this round; what is gone may be told again when it comes back."""
        for sentence in sentences:
            if sentence not in self._told:
                self._tell(sentence)
        if self._told and not sentences:
            self._tell("All is well again")
        self._told = set(sentences)
        self.count = self.count + 1 if sentences else 0

    def pause_s(self, interval_s: float) -> float:
        """How long to wait: longer, the longer something has been wrong."""
        return min(interval_s * 1.5 ** min(self.count, 30), max(interval_s, LONGEST_PAUSE_S))


def persistently(action: Callable[[], T], tell: Tell, *, interval_s: float, pause: Callable[[float], None]) -> T:
    """What `action` gives, tried again as long as it fails for what passes. Where nothing listens it fails at once."""
    troubles = Troubles(tell)
    while True:
        try:
            result = action()
        except (RpcError, NotMined) as error:
            if (isinstance(error, RpcUnreachable) and error.at_once) or not _may_pass(error):
                raise
            troubles.round_of([f"{error}; trying again"])
            pause(troubles.pause_s(interval_s))
        else:
            return result


def _may_pass(error: OpmlError) -> bool:
    return error.passes if isinstance(error, RpcError) else True


def watch(
    game: ChainGame,
    trace: GameTrace,
    *,
    interval_s: float,
    tell: Tell,
    after_round: Callable[[Round], None] = lambda round_: None,
    pause: Callable[[float], None] = time.sleep,
) -> Game:
    """The game as it ended. Raises what cannot pass."""
    troubles = Troubles(tell)
    while True:
        try:
            round_ = play_round(game, trace)
        except WrongInference:
            raise
        except PASSING as error:
            troubles.round_of([f"{_sentence(error)}; trying again"])
        else:
            for unjudged in round_.unjudged:
                if isinstance(unjudged.error, WrongInference):
                    raise unjudged.error
            after_round(round_)
            wrong = [f"Claim {item.claim_index} cannot be judged: {item.error}" for item in round_.unjudged]
            wrong += [_sentence(error) for _, error in (*round_.refused, *round_.failed)]
            troubles.round_of(list(dict.fromkeys([*round_.missed, *wrong])))
            if not round_.game.in_progress:
                return round_.game
            if round_.done and not round_.failed:
                continue
        pause(troubles.pause_s(interval_s))


def _sentence(error: OpmlError) -> str:
    return f"{error}: {error.hint}" if error.hint and isinstance(error, NotEnoughFunds | FeeTooHigh) else str(error)
