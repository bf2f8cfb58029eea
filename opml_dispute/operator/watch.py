"""
Defending a game until it is over, through failures of the node.

`watch` plays round after round. After a temporary error, which is reported once, the round is repeated after growing
pauses: a node that does not answer, limits its rate or contradicts itself, an empty account, a price of gas above the
limit, a transaction that is not mined, a claim that cannot be judged. It ends when the game is over for good, and with
an error only if its configuration cannot work: the wrong inference, the wrong release, no permission. `persistently`
repeats an action in the same way before the first round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from opml_dispute.actors.actions import Action
from opml_dispute.actors.player import ChainGame, Round, play_round
from opml_dispute.chain.fees import FeeTooHigh
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import UnexpectedAnswer, WrongChain
from opml_dispute.chain.rpc_errors import RpcError, RpcUnreachable
from opml_dispute.chain.transactions import NonceTaken, NotEnoughFunds, NotMined
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.trace.provider import GameTrace, TraceError, WrongInference

LONGEST_PAUSE_S: Final = 60.0
"""The longest pause between two tries, in seconds: short compared with any clock of a game."""

TRIES: Final = 4
"""How often a first reading is tried that fails in a way which does not look like a passing one: for over a minute."""

TAKEN_BACK_S: Final = 900
"""By the chain's clock, after which no reorganisation is expected to take back how a game ended: over two epochs."""

PASSING: Final = (
    *(RpcError, Reverted, UnexpectedAnswer, WrongChain),
    *(NotMined, NonceTaken, NotEnoughFunds, FeeTooHigh, TraceError),
)
"""Errors that can be gone at the next try, among them a game that the node does not know yet or knows no longer."""

Tell = Callable[[str], None]
"""Receives a sentence about a problem, or about its end."""

T = TypeVar("T")


class Troubles:
    """The present problems; each is reported once for as long as it lasts."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: set[str] = set()
        self.count = 0
        """Rounds in a row in which something was wrong."""

    def round_of(self, sentences: list[str]) -> None:
        """Set the problems of this round; a problem that has ended is reported again if it returns."""
        for sentence in sentences:
            if sentence not in self._told:
                self._tell(sentence)
        if self._told and not sentences:
            self._tell("All is well again")
        self._told = set(sentences)
        self.count = self.count + 1 if sentences else 0

    def pause_s(self, interval_s: float) -> float:
        """Seconds to wait, which grow with the number of failed rounds."""
        return min(interval_s * 1.5 ** min(self.count, 30), max(interval_s, LONGEST_PAUSE_S))


def persistently(action: Callable[[], T], tell: Tell, *, interval_s: float, pause: Callable[[float], None]) -> T:
    """
    The result of `action`, repeated while it fails with a temporary error.

    What a node refuses or answers in another way than it should is tried `TRIES` times, even if it says that trying
    again will not help: nodes err in that, too. So is what follows from its answers: that it serves another chain, has
    no contracts yet, or no such game. Where no server listens, or none of Ethereum, it fails at once.
    """
    troubles = Troubles(tell)
    doubtful = 0
    while True:
        try:
            return action()
        except OpmlError as error:
            if not isinstance(error, RpcError | NotMined) and not error.is_told_by_node:
                raise
            doubtful += not _may_pass(error)
            if doubtful == TRIES or (isinstance(error, RpcUnreachable) and (error.at_once or not error.passes)):
                raise
            hint = f" ({error.hint})" if error.hint and error.is_told_by_node else ""
            troubles.round_of([f"{error}{hint}; trying again"])
            pause(troubles.pause_s(interval_s))


def _may_pass(error: OpmlError) -> bool:
    return error.passes if isinstance(error, RpcError) else isinstance(error, NotMined)


def watch(
    game: ChainGame,
    trace: GameTrace,
    *,
    interval_s: float,
    tell: Tell,
    after_round: Callable[[Round], None] = lambda round_: None,
    is_settled: Callable[[Game], bool] = lambda game: True,
    pause: Callable[[float], None],
) -> Game:
    """
    Play until the game is over and return it. Raises errors that are not temporary.

    `is_settled` says of a game that is over whether no reorganisation will take that back: until then it is watched on.
    """
    troubles = Troubles(tell)
    done: tuple[Action, ...] = ()
    while True:
        try:
            round_ = play_round(game, trace)
            is_over = not round_.game.in_progress and is_settled(round_.game)
        except WrongInference:
            raise
        except PASSING as error:
            troubles.round_of([f"{sentence_of(error)}; trying again"])
        else:
            for unjudged in round_.unjudged:
                if isinstance(unjudged.error, WrongInference):
                    raise unjudged.error
            after_round(round_)
            wrong = [f"Claim {item.claim_index} cannot be judged: {item.error}" for item in round_.unjudged]
            wrong += [sentence_of(error) for _, error in (*round_.refused, *round_.failed)]
            troubles.round_of(list(dict.fromkeys([*round_.missed, *wrong])))
            if is_over:
                return round_.game
            # WHY NOT at once after whatever was done: at a node that hides it, the same is done anew in every round.
            done, before = round_.done, done
            if done and done != before and not round_.failed:
                continue
        pause(troubles.pause_s(interval_s))


def sentence_of(error: OpmlError) -> str:
    """For people who may be asleep while it lasts: with what to do, where the operator has to do it."""
    is_theirs = isinstance(error, NotEnoughFunds | FeeTooHigh | WrongChain)
    return f"{error}: {error.hint}" if error.hint and is_theirs else str(error)
