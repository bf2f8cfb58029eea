"""The games of an agent: which it plays, the conditions of its first stake, and its moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from opml_dispute.actors.exposure import deciding, rest_wei
from opml_dispute.actors.player import Round, play_round
from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.agent.joint_sending import JointSending
from opml_dispute.agent.remote_cases import Judgement, StillComputing
from opml_dispute.agent.treasury import refusal
from opml_dispute.chain.sender import IN_FLIGHT
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.operator.play import Seat, Table
from opml_dispute.operator.preflight import Prospect
from opml_dispute.primitives import Address, RequestId, StateRoot
from opml_dispute.trace.provider import WrongInference

ROUNDS_AT_ONCE: Final = IN_FLIGHT
"""Games that are played at the same time: as many as one account can have transactions in flight."""


class GamePlayer:
    """Plays every game that concerns an agent, the most urgent one first."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self.closely: set[Address] = set()
        """Games whose next move matters to this agent, whatever the node's events say."""
        self._idle: dict[Address, Game] = {}
        """Games in which nothing is owed, as they were judged."""

    def roots(self, now: Pass, running: Sequence[Address]) -> dict[RequestId, StateRoot]:
        """The right S_n of every request with a game in progress, where this computer can compute it."""
        if not self._context.config.roles & {"challenger", "proposer"}:
            return {}
        wanted = list(dict.fromkeys(now.games[address].request_id for address in running))
        return self._context.right_roots(now, wanted)

    def play(
        self,
        now: Pass,
        running: Sequence[Address],
        roots: dict[RequestId, StateRoot],
        is_stopped: Callable[[], bool],
    ) -> None:
        """Make moves and steps in every game that this agent plays, the most urgent game first."""
        if not self._context.config.roles & {"challenger", "proposer"}:
            return
        games = [now.games[address] for address in running]
        played = [game for game in games if self.concerns(game, roots.get(game.request_id))]
        self.closely = {game.address for game in played if len(game.claims) > 1 or not self._is_in(game)}
        self._context.cases.hold(game.request_id for game in played)
        # A game that the agent is in comes first: what it may still take is known before another one is entered.
        played.sort(
            key=lambda game: (not self._is_in(game), self.deadline_s(game, now.head.timestamp), -_bonds_wei(game))
        )
        before_wei = self._context.committed_wei
        self._context.committed_wei = {
            game.address: before_wei.get(game.address, 0) for game in played if self._is_in(game)
        }
        changed = [game for game in played if not self._is_idle(game)]
        rounds = dict[Address, tuple[Game, Future[Round | None]]]()
        # An agent that ends leaves what waits to its next life, which finds it on the chain.
        sending = JointSending(
            lambda intents: [None for _ in intents] if is_stopped() else self._context.act_all(now, intents)
        )
        with ThreadPoolExecutor(ROUNDS_AT_ONCE, thread_name_prefix="round") as threads:
            for game, judged in zip(changed, self._judged(changed, now), strict=True):
                if is_stopped():
                    break
                if isinstance(judged, StillComputing):
                    now.played.add(game.address)
                    now.trouble("Some games", judged)
                elif self._is_to_be_played(now, game, judged):
                    rounds[game.address] = game, threads.submit(self._round, game, sending, is_stopped)
        for game, round_ in rounds.values():
            try:
                self._note_round(now, game, round_.result())
            except OpmlError as error:
                now.trouble(f"Game {game.address}", error)
        self._idle = {game.address: game for game in played if self._is_idle(game)}

    def _round(self, game: Game, sending: JointSending, is_stopped: Callable[[], bool]) -> Round | None:
        """In a thread: its transactions wait for their blocks, together with those of other games."""
        if is_stopped():
            return None
        trace = self._context.cases.trace(game)
        table = Table(self._context.system, game.address, trace)
        account = self._context.sender.address
        seat = Seat(table, lambda intents: sending.send(game.address, intents), account=account)
        return play_round(seat, trace)

    def _judged(self, games: Sequence[Game], now: Pass) -> Iterator[Judgement | OpmlError]:
        """What is to be done in each game, and what the first bond in it needs, as soon as it is computed."""
        context = self._context
        return context.cases.stream(
            context.cases.judge,
            [
                (
                    game.address,
                    (
                        game,
                        now.head.timestamp,
                        not self._is_in(game),
                        context.wants_opinion(game.request_id),
                        context.config.preflight,
                    ),
                )
                for game in games
            ],
        )

    def _is_to_be_played(self, now: Pass, game: Game, judged: Judgement | OpmlError) -> bool:
        """Whether something is to be done in a game, and may be staked."""
        if isinstance(judged, OpmlError):
            now.played.add(game.address)
            now.trouble(f"Game {game.address} cannot be judged", judged)
            return False
        plan = judged.plan
        if any(isinstance(one.error, WrongInference) for one in plan.unjudged):
            # What was read about it when it was first met may be why: it is read again.
            self._context.system.games.forget(game.address)
            self.closely.add(game.address)
        if self._is_in(game):
            self._context.committed_wei[game.address] = rest_wei(game, deciding(plan))
        if not plan.actions and not plan.missed and not plan.unjudged:
            self._idle[game.address] = game
            return False
        try:
            if not self._is_in(game) and not self._enter(game, judged, now):
                return False
        except OpmlError as error:
            now.trouble(f"Game {game.address}", error)
            return False
        now.played.add(game.address)
        return True

    def _is_idle(self, game: Game) -> bool:
        """Whether nothing was owed in a game when it was last judged, and it has not changed since."""
        judged = self._idle.get(game.address)
        return judged is not None and (judged is game or judged == game)

    def concerns(self, game: Game, right: StateRoot | None) -> bool:
        """Whether this agent plays a game: it has claims in it, or the root is wrong, or it defends others' right
        roots."""
        if self._is_in(game):
            return True
        if right is None or "challenger" not in self._context.config.roles:
            return False
        defends = self._context.config.defend == "right" and len(game.claims) > 1
        return defends or bytes(game.root.value) != bytes(right)

    def _is_in(self, game: Game) -> bool:
        return any(claim.claimant == self._context.sender.address for claim in game.claims)

    def _enter(self, game: Game, judged: Judgement, now: Pass) -> bool:
        """
        Whether there is anything to stake in a game that the agent is not in.

        Raises an `OpmlError` with the reason if what must hold before the first bond does not.
        """
        plan, case = judged.plan, judged.case
        if isinstance(case, OpmlError):
            raise case
        if case is None:
            for sentence in plan.missed:
                now.trouble(f"Game {game.address}", sentence)
            for unjudged in plan.unjudged:
                now.trouble(f"Game {game.address}, claim {unjudged.claim_index} cannot be judged", unjudged.error)
            return False
        self._context.confirm(case)
        own = self._context.sender.address
        reason = refusal(
            self._context.limits,
            balance_wei=self._context.system.rpc.balance_wei(own),
            at_risk_wei=self._context.at_risk_wei(now.games.values()),
            in_game_wei=self._context.at_risk_wei([game]),
            committed_wei=sum(self._context.committed_wei.values()),
            need_wei=(need_wei := rest_wei(game, deciding(plan))),
        )
        if reason is not None:
            raise OpmlError(f"it is not entered: {reason}", hint="add funds, or raise the limits in [treasury]")
        self._context.expect_defensible(
            Prospect(
                case.registered,
                case,
                game.depths,
                defends=bytes(game.root.value) == bytes(case.final_root),
                item_count=case.item_count,
                system=self._context.system,
                constants=self._context.system.games.constants(game.address),
                game=game,
                account=own,
                plan=plan,
            )
        )
        self._context.committed_wei[game.address] = need_wei
        return True

    def _note_round(self, now: Pass, game: Game, round_: Round | None) -> None:
        if round_ is None:
            return
        for sentence in round_.missed:
            now.trouble(f"Game {game.address}", sentence)
        for unjudged in round_.unjudged:
            now.trouble(f"Game {game.address}, claim {unjudged.claim_index} cannot be judged", unjudged.error)
        for _, error in (*round_.failed, *round_.refused):
            self._context.metrics.failed.inc()
            now.trouble(f"Game {game.address}", error)

    def deadline_s(self, game: Game, now_s: int) -> int:
        """The least time left, in seconds, to answer a claim of another account."""
        return min(
            (
                left
                for claim in game.claims
                if claim.claimant != self._context.sender.address
                and not claim.is_resolved
                and (left := time_left_s(game, claim.index, now_s)) > 0
            ),
            default=1 << 40,
        )


def _bonds_wei(game: Game) -> int:
    return sum(claim.bond_wei for claim in game.claims)
