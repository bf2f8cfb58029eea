"""
One agent: a pass over the deployment, and passes until it is told to stop.

`Agent.run_pass` looks, computes, and acts. It never stops at one failure: a game, a request or a node that gives
trouble is noted and told, and everything else goes on. Nothing it needs is remembered but what `memory` may lose.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from opml_dispute.actors.player import Round, play_round
from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.desk import Desk
from opml_dispute.agent.discovery import Discovery
from opml_dispute.agent.endpoints import Agreement, compare_endpoints
from opml_dispute.agent.lease import Lease
from opml_dispute.agent.log import Log
from opml_dispute.agent.memory import Memory
from opml_dispute.agent.metrics import Metrics
from opml_dispute.agent.second_opinion import second_opinion
from opml_dispute.agent.treasury import StakeLimits, game_need_wei, refusal, staked_wei
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.depths import Depths
from opml_dispute.operator.inference import NothingToDeliver, deliverable_game, delivery_intent
from opml_dispute.operator.intents import Done, Intent, perform_all
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table
from opml_dispute.operator.preflight import Prospect, expect_defensible, preflight
from opml_dispute.operator.proposing import ProposalExists, proposal_intents
from opml_dispute.operator.settle import read_settlement, settle_intents, waiting
from opml_dispute.operator.watch import LONGEST_PAUSE_S
from opml_dispute.primitives import Address, RequestId, StateRoot
from opml_dispute.trace.split import SplitTrace

_STANDING: Final = {
    GameStatus.IN_PROGRESS: "in_progress",
    GameStatus.CHALLENGER_WINS: "challenger_won",
    GameStatus.DEFENDER_WINS: "defender_won",
}


class WrongEngine(OpmlError):
    """Two builds of the engine compute different results on this computer."""

    hint = "nothing was staked; check the memory and the processor of this computer, and run `opml-dispute doctor`"


@dataclass
class _Pass:
    """What one pass knows and did."""

    head: Head
    may_act: bool
    games: dict[Address, Game] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    unjudged: int = 0
    sent: int = 0

    def trouble(self, what: str, error: OpmlError | str) -> None:
        self.troubles.append(f"{what}: {error}")


class Agent:
    """One process's agent for one deployment and one key."""

    def __init__(
        self,
        config: AgentConfig,
        system: System,
        sender: Sender,
        *,
        memory: Memory,
        store: ModelStore,
        log: Log,
        metrics: Metrics,
        lease: Lease,
        others: Sequence[Rpc] = (),
    ) -> None:
        """`others` are the endpoints that the system's own one is compared with."""
        self.config, self.system, self.sender = config, system, sender
        self.memory, self.log, self.metrics, self.lease = memory, log, metrics, lease
        self.desk = Desk(system, store, workers=config.workers)
        self.discovery = Discovery(system)
        self._others = others
        self._ended = memory.ended_games()
        self._told: set[str] = set()
        self._limits = StakeLimits(config.max_at_risk_wei, config.max_per_game_wei, config.reserve_wei)

    # ---- passes ----

    def run(self, stop: threading.Event, *, pause: Callable[[float], object] | None = None) -> None:
        """Pass after pass until `stop` is set. What fails is told, and tried again after growing pauses."""
        failures = 0
        self.metrics.up.set(1)
        try:
            while not stop.is_set():
                try:
                    busy = self.run_pass(stop)
                    failures = 0
                except OpmlError as error:
                    failures += 1
                    busy = False
                    self.metrics.passes.labels("failed").inc()
                    self._tell([f"{error}"])
                interval_s = self.config.interval_s
                wait_s = min(interval_s * 1.5 ** min(failures, 20), max(LONGEST_PAUSE_S, interval_s))
                if not busy:
                    (pause or stop.wait)(wait_s)
        finally:
            self.metrics.up.set(0)
            self.desk.close()

    def run_pass(self, stop: threading.Event | None = None) -> bool:
        """One pass; whether it sent anything. Raises only what keeps it from looking at all."""
        started = time.monotonic()
        is_stopped = stop.is_set if stop is not None else lambda: False
        head = self.system.rpc.head()
        agreement = compare_endpoints(head, self._others, max_lag_blocks=self.config.max_lag_blocks)
        now = _Pass(head, self._may_act(agreement))
        now.troubles += [f"Not acting: {reason}" for reason in agreement.disagreements]
        now.troubles += [f"An endpoint does not answer: {reason}" for reason in agreement.silent]
        before = self.discovery.reorganisations
        self.discovery.refresh(head)
        if self.discovery.reorganisations > before:
            now.trouble("The chain was reorganised", "games and requests are read anew")
            self.memory.forget_games()
            self._ended = set()
        running, over = self._games(now)
        roots = self._roots(now, running)
        self._play(now, running, roots, is_stopped)
        self._settle(now, running, over, is_stopped)
        self._serve_requests(now, is_stopped)
        self._measure(now, running, over, roots, agreement, time.monotonic() - started)
        self._tell(now.troubles)
        return now.sent > 0

    def _may_act(self, agreement: Agreement) -> bool:
        holds = self.config.dry_run or self.lease.take()
        if not holds:
            self._tell([f"Not acting: process {self.lease.holder()} has the lease of {self.sender.address}"])
        return holds and not agreement.disagreements

    # ---- looking ----

    def _games(self, now: _Pass) -> tuple[list[Address], list[Address]]:
        """The games in progress and those that are over, of those that concern this agent, oldest first."""
        oldest = now.head.timestamp - self.config.max_age_s
        wanted = [
            entry.address
            for entry in self.discovery.games
            if entry.created_at_s >= oldest
            and entry.address not in self._ended
            and (self.config.games is None or entry.address in self.config.games)
        ]
        statuses = self.system.rpc.read_each([FaultDisputeGame(address).status() for address in wanted], at=now.head)
        running = [a for a, status in zip(wanted, statuses, strict=True) if status == GameStatus.IN_PROGRESS]
        over = [a for a, status in zip(wanted, statuses, strict=True) if status != GameStatus.IN_PROGRESS]
        for address in running:
            try:
                now.games[address] = self.system.games.read(address, at=now.head)
            except OpmlError as error:
                now.trouble(f"Game {address} cannot be read", error)
        return [address for address in running if address in now.games], over

    def _roots(self, now: _Pass, running: Sequence[Address]) -> dict[RequestId, StateRoot]:
        """The right S_n of every request with a game in progress, as far as it can be computed here."""
        if not self.config.roles & {"challenger", "proposer"}:
            return {}
        wanted = list(dict.fromkeys(now.games[address].request_id for address in running))
        return self._computed(now, wanted)

    def _computed(self, now: _Pass, wanted: Sequence[RequestId]) -> dict[RequestId, StateRoot]:
        known = {request_id: kept[0] for request_id in wanted if (kept := self.memory.root(request_id)) is not None}
        missing = [request_id for request_id in wanted if request_id not in known]
        outcomes = self.desk.each(self.desk.final_root, [(request_id,) for request_id in missing])
        for request_id, outcome in zip(missing, outcomes, strict=True):
            if isinstance(outcome, OpmlError):
                now.unjudged += 1
                now.trouble(f"Request 0x{request_id.hex()} cannot be computed here", outcome)
                continue
            root, status = outcome
            model = self.desk.case(request_id).record.model_id
            self.memory.keep_root(request_id, bytes(model), root, status)
            known[request_id] = root
        return known

    # ---- playing ----

    def _play(
        self,
        now: _Pass,
        running: Sequence[Address],
        roots: dict[RequestId, StateRoot],
        is_stopped: Callable[[], bool],
    ) -> None:
        """Moves and steps in every game that this agent plays, the most urgent game first."""
        if not self.config.roles & {"challenger", "proposer"}:
            return
        games = [now.games[address] for address in running]
        played = [game for game in games if self._concerns(game, roots.get(game.request_id))]
        played.sort(key=lambda game: (self._deadline_s(game, now.head.timestamp), -_bonds_wei(game)))
        plans = self.desk.each(self.desk.warm, [(game, now.head.timestamp) for game in played])
        for game, plan in zip(played, plans, strict=True):
            if is_stopped():
                return
            if isinstance(plan, OpmlError):
                now.trouble(f"Game {game.address} cannot be judged", plan)
                continue
            if not plan.actions and not plan.missed and not plan.unjudged:
                continue
            try:
                self._enter(game, now)
                round_ = play_round(Seat(self._table(game), self._actor(now, game.address)), self._trace(game))
            except OpmlError as error:
                now.trouble(f"Game {game.address}", error)
                continue
            self._note_round(now, game, round_)

    def _concerns(self, game: Game, right: StateRoot | None) -> bool:
        """Whether this agent plays a game: it is in it, or the root is wrong, or it defends right roots of others."""
        if any(claim.claimant == self.sender.address for claim in game.claims):
            return True
        if right is None or "challenger" not in self.config.roles:
            return False
        return bytes(game.root.value) != bytes(right) or (self.config.defend == "right" and len(game.claims) > 1)

    def _enter(self, game: Game, now: _Pass) -> None:
        """What must hold before the first bond in a game. Raises an `OpmlError` with the reason if it does not."""
        if any(claim.claimant == self.sender.address for claim in game.claims):
            return
        self._confirm(game.request_id)
        own = self.sender.address
        reason = refusal(
            self._limits,
            balance_wei=self.system.rpc.balance_wei(own),
            at_risk_wei=sum(staked_wei(other, own) for other in now.games.values()),
            in_game_wei=staked_wei(game, own),
            need_wei=game_need_wei(game, own),
        )
        if reason is not None:
            raise OpmlError(f"it is not entered: {reason}", hint="add funds, or raise the limits in [treasury]")
        case = self.desk.case(game.request_id)
        self._expect_defensible(
            Prospect(
                case.program,
                case.inference,
                game.depths,
                defends=bytes(game.root.value) == bytes(case.final_root),
                system=self.system,
                constants=self.system.games.constants(game.address),
                game=game,
                account=own,
            )
        )

    def _expect_defensible(self, prospect: Prospect) -> None:
        """Raises `NotDefensible` if a game could not be played to its end from here (`operator.preflight`)."""
        if self.config.preflight:
            expect_defensible(list(preflight(prospect)))

    def _confirm(self, request_id: RequestId) -> None:
        """Two builds of the engine agree about a request. Raises `WrongEngine`, or why there is no second opinion."""
        kept = self.memory.root(request_id)
        if not self.config.second_opinion or (kept is not None and kept[2]):
            return
        case = self.desk.case(request_id)
        first, second = case.final_root, second_opinion(case.program, case.image)
        if first != second or (kept is not None and kept[0] != first):
            raise WrongEngine(
                f"request 0x{request_id.hex()}: one build of the engine computes 0x{first.hex()}, "
                f"another 0x{second.hex()}"
            )
        self.memory.confirm_root(request_id)

    def _note_round(self, now: _Pass, game: Game, round_: Round) -> None:
        for sentence in round_.missed:
            now.trouble(f"Game {game.address}", sentence)
        for unjudged in round_.unjudged:
            now.trouble(f"Game {game.address}, claim {unjudged.claim_index} cannot be judged", unjudged.error)
        for _, error in (*round_.failed, *round_.refused):
            self.metrics.failed.inc()
            now.trouble(f"Game {game.address}", error)

    # ---- settling ----

    def _settle(
        self, now: _Pass, running: Sequence[Address], over: Sequence[Address], is_stopped: Callable[[], bool]
    ) -> None:
        """What the clocks allow: claims and games resolved, bonds unlocked and paid out."""
        payees = [self.sender.address, *self.config.claim_for]
        games = (list(running) if "resolver" in self.config.roles else []) + (
            list(over) if "claimer" in self.config.roles else []
        )
        for address in games:
            if is_stopped():
                return
            try:
                settlement = read_settlement(self.system, address, payees)
                intents = settle_intents(settlement)
                if intents:
                    self._act(now, address, intents)
                elif waiting(settlement) is None:
                    self.memory.end_game(address)
                    self._ended.add(address)
            except OpmlError as error:
                now.trouble(f"Game {address} cannot be settled", error)

    # ---- requests ----

    def _serve_requests(self, now: _Pass, is_stopped: Callable[[], bool]) -> None:
        """Answers proposed, and outputs delivered."""
        if not self.config.roles & {"proposer", "finalizer"}:
            return
        ids = self.discovery.requests
        records = self.system.rpc.read_each([self.system.oracle.request_of(id_) for id_ in ids], at=now.head)
        oldest = now.head.timestamp - self.config.max_age_s
        waiting_ = [
            (id_, record)
            for id_, record in zip(ids, records, strict=True)
            if record.delivered_by == ZERO_ADDRESS and record.requested_at_s >= oldest
        ]
        for request_id, record in waiting_:
            if is_stopped():
                return
            try:
                if "finalizer" in self.config.roles and self._deliver(now, request_id):
                    continue
                if "proposer" in self.config.roles and self._accepts(record):
                    self._propose(now, request_id)
            except OpmlError as error:
                now.trouble(f"Request 0x{request_id.hex()}", error)

    def _accepts(self, record: RequestRecord) -> bool:
        models = self.config.models
        return record.fee_wei >= self.config.min_fee_wei and (models is None or bytes(record.model_id) in models)

    def _deliver(self, now: _Pass, request_id: RequestId) -> bool:
        """Whether the request has a game that may deliver; its output is delivered then."""
        try:
            game = deliverable_game(self.system, request_id)
        except NothingToDeliver:
            return False
        self._act(now, game, [delivery_intent(self.system, self.desk.case(request_id), game)])
        return True

    def _propose(self, now: _Pass, request_id: RequestId) -> None:
        root = self._computed(now, [request_id]).get(request_id)
        kept = self.memory.root(request_id)
        if root is None or kept is None:
            return
        if kept[1] != 0:
            why = f"its inference fails with status {kept[1]}: nothing could be delivered"
            now.trouble(f"Request 0x{request_id.hex()}", why)
            return
        count = self.desk.case(request_id).program.node_count
        own = self.sender.address
        try:
            intents = proposal_intents(self.system, request_id, root, count, proposer=own)
        except ProposalExists:
            return
        case = self.desk.case(request_id)
        self._confirm(request_id)
        self._expect_defensible(
            Prospect(
                case.program,
                case.inference,
                Depths(case.registered.split_depth, case.registered.max_depth),
                defends=True,
                must_succeed=True,
                system=self.system,
                account=own,
            )
        )
        reason = refusal(
            self._limits,
            balance_wei=self.system.rpc.balance_wei(own),
            at_risk_wei=sum(staked_wei(game, own) for game in now.games.values()),
            in_game_wei=0,
            need_wei=sum(intent.value_wei for intent in intents),
        )
        if reason is not None:
            raise OpmlError(f"it is not answered: {reason}", hint="add funds, or raise the limits in [treasury]")
        for intent in intents:  # the proposal needs its commitment
            if isinstance(self._act(now, None, [intent])[0], OpmlError):
                return

    # ---- acting ----

    def _table(self, game: Game) -> Table:
        return Table(self.system, game.address, self._trace(game))

    def _trace(self, game: Game) -> SplitTrace:
        return self.desk.trace(game.request_id)

    def _actor(self, now: _Pass, game: Address) -> Callable[[Sequence[Intent]], Sequence[object]]:
        return lambda intents: self._act(now, game, intents)

    def _act(self, now: _Pass, game: Address | None, intents: Sequence[Intent]) -> list[Done | OpmlError | None]:
        """Sends intents that do not depend on each other; what became of each. Nothing is sent while not acting."""
        if not now.may_act or self.config.dry_run:
            for intent in intents:
                self.log.info("would send", what=intent.will, kind=intent.kind, game=game, value_wei=intent.value_wei)
            return [None for _ in intents]
        outcomes: list[Done | OpmlError | None] = list(perform_all(intents, self.sender))
        for intent, outcome in zip(intents, outcomes, strict=True):
            if not isinstance(outcome, Done):
                self.log.warning("not done", what=intent.will, kind=intent.kind, game=game, error=str(outcome))
                continue
            receipt = outcome.receipt
            now.sent += 1
            self.log.info("done", what=outcome.sentence, reason=intent.reason, **outcome.facts)
            self.metrics.sent.labels(intent.kind).inc()
            if intent.kind == "withdraw-credit" and receipt is not None:
                self.metrics.bond_paid.inc(int(intent.facts.get("credit_wei", 0)))
            self.memory.note_sent(
                intent.kind,
                game,
                intent.value_wei,
                None if receipt is None else "0x" + receipt.hash.hex(),
                None if receipt is None else receipt.gas_used,
            )
        return outcomes

    # ---- telling ----

    def _deadline_s(self, game: Game, now_s: int) -> int:
        """The least time that is left to answer a claim of somebody else."""
        return min(
            (
                left
                for claim in game.claims
                if claim.claimant != self.sender.address
                and not claim.is_resolved
                and (left := time_left_s(game, claim.index, now_s)) > 0
            ),
            default=1 << 40,
        )

    def _measure(
        self,
        now: _Pass,
        running: Sequence[Address],
        over: Sequence[Address],
        roots: dict[RequestId, StateRoot],
        agreement: Agreement,
        seconds: float,
    ) -> None:
        metrics, games = self.metrics, [now.games[address] for address in running]
        metrics.may_act = now.may_act
        metrics.acting.set(int(now.may_act))
        metrics.tracked_games.labels("in_progress").set(len(running))
        metrics.tracked_games.labels("settling").set(len(over))
        metrics.tracked_games.labels("ended").set(len(self._ended))
        metrics.games_unjudged.set(now.unjudged)
        metrics.disagreements.set(
            sum(bytes(game.root.value) != roots.get(game.request_id, game.root.value) for game in games)
        )
        metrics.bonds_pending.set(sum(staked_wei(game, self.sender.address) for game in games))
        deadlines = [
            self._deadline_s(game, now.head.timestamp)
            for game in games
            if self._concerns(game, roots.get(game.request_id))
        ]
        metrics.next_deadline.set(min(deadlines, default=float("inf")))
        metrics.endpoint_lag.set(agreement.lag_blocks)
        try:
            metrics.balance.set(self.system.rpc.balance_wei(self.sender.address))
        except OpmlError as error:
            now.trouble("The balance cannot be read", error)
        metrics.pass_seconds.observe(seconds)
        metrics.passes.labels("ended").inc()
        metrics.last_pass_ended = time.monotonic()

    def _tell(self, sentences: Sequence[str]) -> None:
        """Warns of what is new among the troubles; what is gone may be told again when it comes back."""
        for sentence in dict.fromkeys(sentences):
            if sentence not in self._told:
                self.log.warning("trouble", what=sentence)
        self._told = set(sentences)


def _bonds_wei(game: Game) -> int:
    return sum(claim.bond_wei for claim in game.claims)
