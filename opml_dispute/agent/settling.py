"""
Settling: claims and games resolved as their clocks allow, bonds unlocked and paid out, many games at a time.

Games in progress are judged by the snapshots that the pass has read. Games that are over are looked at again only when
what they wait for is over (`operator.settle.waiting`), and what they owe is read for all of them together. What has to
be sent goes out in turns: one transaction of each game, as many at once as one account may have in flight.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from opml_dispute.actors.honest import resolution_actions
from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.agent.waiting import LOOK_AGAIN_S, is_waiting
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.sender import IN_FLIGHT
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.operator.inference import restoring_intents
from opml_dispute.operator.intents import Done, Intent
from opml_dispute.operator.settle import read_settlements, resolution_intent, settle_intents, waiting
from opml_dispute.primitives import Address

MOST_A_PASS: Final = 8 * IN_FLIGHT
"""Transactions, after which moves that may be owed meanwhile come first."""

_ENDED_FOR_S: Final = 86_400.0
"""How long, by this computer's clock, a game in which nothing is left to do is not looked at: a node may have erred."""


class Settler:
    """Settles every game of an agent."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._payees = context.payees
        self._look_at_s: dict[Address, int] = {}
        """The chain's time before which there is nothing to do in a game that is over."""
        self._look_for_places_s = 0
        """The chain's time before which own proposals are not looked at for a place that they may have again."""
        until = time.monotonic() + _ENDED_FOR_S
        self._ended_until = dict.fromkeys(context.memory.ended_games(self._payees, newer_than_s=_ENDED_FOR_S), until)
        self._seen_ended: set[Address] = set()
        """Games in which nothing was left to do when they were looked at once."""

    @property
    def ended(self) -> set[Address]:
        """Games in which nothing is left to do: two looks came to that."""
        now = time.monotonic()
        self._ended_until = {game: until for game, until in self._ended_until.items() if until > now}
        return set(self._ended_until)

    def forget(self) -> None:
        """After a reorganisation: what was done may have been undone."""
        self._context.memory.forget_games()
        self._ended_until.clear()
        self._seen_ended.clear()
        self._look_at_s.clear()
        self._look_for_places_s = 0

    def settle(self, now: Pass, running: Sequence[Game], over: Sequence[Game], is_stopped: Callable[[], bool]) -> None:
        """Sends what the clocks allow."""
        roles = self._context.config.roles
        queues: list[deque[Intent]] = []
        if "resolver" in roles:
            queues += [deque(self._resolutions(now, game)) for game in running if game.address not in now.played]
        if "claimer" in roles:
            queues += [deque(intents) for intents in self._payments(now, over)]
        if roles & {"proposer", "claimer"}:
            queues += [deque([intent]) for intent in self._restorations(now, [*running, *over])]
        self._send(now, [queue for queue in queues if queue], is_stopped)

    def _resolutions(self, now: Pass, game: Game) -> list[Intent]:
        contract = FaultDisputeGame(game.address)
        return [resolution_intent(contract, action) for action in resolution_actions(game, now.head.timestamp)]

    def _restorations(self, now: Pass, games: Sequence[Game]) -> list[Intent]:
        """Own proposals that can be recorded again; also those in progress, for another game may deliver before."""
        own = [game.address for game in games if game.root.claimant in self._payees]
        if not own or is_waiting(self._look_for_places_s, now.head.timestamp):
            return []
        try:
            intents = restoring_intents(self._context.system, own, self._payees, at=now.head)
        except OpmlError as error:
            now.trouble("Own proposals that others came before cannot be looked at", error)
            return []
        if not intents:  # else again in the next pass: what is sent may fail
            self._look_for_places_s = now.head.timestamp + LOOK_AGAIN_S
        return intents

    def _payments(self, now: Pass, over: Sequence[Game]) -> list[list[Intent]]:
        now_s = now.head.timestamp
        due = [game for game in over if not is_waiting(self._look_at_s.get(game.address, 0), now_s)]
        found = []
        settlements = read_settlements(self._context.system, due, self._payees, at=now.head) if due else []
        for game, settlement in zip(due, settlements, strict=True):
            if isinstance(settlement, OpmlError):
                now.trouble(f"Game {game.address} cannot be settled", settlement)
                continue
            intents = settle_intents(settlement, share_gas_price_wei=now.head.base_fee_wei)
            wait = waiting(settlement)
            if intents:
                found.append(intents)
            elif wait is None and (settlement.shares.owed or settlement.shares.may_come):
                # The output may be delivered later, or gas become cheaper.
                self._look_at_s[game.address] = now_s + LOOK_AGAIN_S
            elif wait is None and game.address not in self._seen_ended:
                # A node that erred about it now will hardly do so then.
                self._seen_ended.add(game.address)
                self._look_at_s[game.address] = now_s + LOOK_AGAIN_S
            elif wait is None:
                self._context.memory.end_game(game.address, self._payees)
                self._ended_until[game.address] = time.monotonic() + _ENDED_FOR_S
                self._seen_ended.discard(game.address)
            else:
                self._look_at_s[game.address] = now_s + min(wait.seconds, LOOK_AGAIN_S)
        return found

    def _send(self, now: Pass, queues: Sequence[deque[Intent]], is_stopped: Callable[[], bool]) -> None:
        left, turn = MOST_A_PASS, deque(queues)
        while turn and left > 0 and not is_stopped():
            part = [turn.popleft() for _ in range(min(len(turn), IN_FLIGHT, left))]
            left -= len(part)
            outcomes = self._context.act(now, None, [queue.popleft() for queue in part])
            for queue, outcome in zip(part, outcomes, strict=True):
                # An account that takes no ether keeps none from the others. After another failure the next pass tries.
                if queue and (outcome is None or isinstance(outcome, Done | Reverted)):
                    turn.append(queue)
