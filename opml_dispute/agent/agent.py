"""
One agent: passes over the deployment until it is told to stop.

`Agent.run_pass` reads the chain, computes, and acts. A failure of one game, request or node is reported, and all others
are served. The agent keeps no state except `memory`, which may be lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.agent.discovery import Discovery
from opml_dispute.agent.endpoints import Agreement, compare_endpoints, old_head
from opml_dispute.agent.lease import Lease
from opml_dispute.agent.log import Log
from opml_dispute.agent.memory import Memory
from opml_dispute.agent.metrics import Metrics
from opml_dispute.agent.open_requests import OpenRequests
from opml_dispute.agent.playing import GamePlayer
from opml_dispute.agent.prefetching import PREFETCH_PATIENCE_S, Prefetcher
from opml_dispute.agent.refuting import Refuter
from opml_dispute.agent.serving import RequestServer
from opml_dispute.agent.settling import Settler
from opml_dispute.agent.treasury import staked_wei
from opml_dispute.chain.game_cache import GameCache
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.watch import LONGEST_PAUSE_S, sentence_of
from opml_dispute.primitives import Address, RequestId, StateRoot


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
        """`others` are the endpoints with which the system's own is compared."""
        self.config, self.system, self.sender = config, system, sender
        self.memory, self.log, self.metrics, self.lease = memory, log, metrics, lease
        self._context = AgentContext(config, system, sender, memory, store, log, metrics)
        self._player, self._server = GamePlayer(self._context), RequestServer(self._context)
        self._settler, self._refuter = Settler(self._context), Refuter(self._context)
        self.cases = self._context.cases
        self.prefetcher = Prefetcher(self._context)
        # What this process fetches and computes itself is waited for in any case.
        self.prefetch_patience_s = PREFETCH_PATIENCE_S if config.workers else self.cases.patience_s
        self.discovery, self.requests = Discovery(system), OpenRequests(system, max_age_s=config.max_age_s)
        self.game_cache = GameCache(system.games)
        self._others = others
        self._told: set[str] = set()

    # ---- passes ----

    def run(self, stop: threading.Event, *, pause: Callable[[float], object] | None = None) -> None:
        """Make passes until `stop` is set. A failed pass is reported and repeated after growing pauses."""
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
                    self._tell([sentence_of(error)])
                except Exception:
                    # A bug of this package in one pass must not end the process that defends every other game.
                    failures += 1
                    busy = False
                    self.metrics.passes.labels("failed").inc()
                    self.log.exception("bug")
                interval_s = self.config.interval_s
                wait_s = min(interval_s * 1.5 ** min(failures, 20), max(LONGEST_PAUSE_S, interval_s))
                if not busy:
                    (pause or stop.wait)(wait_s)
        finally:
            self.metrics.up.set(0)
            self.close()

    def close(self) -> None:
        """End what other processes compute and fetch for this agent."""
        self.cases.close()
        self._refuter.close()

    def run_pass(self, stop: threading.Event | None = None) -> bool:
        """Make one pass and answer whether it sent anything. Raises only errors that keep it from reading the chain."""
        started = time.monotonic()
        is_stopped = stop.is_set if stop is not None else lambda: False
        head = self.system.head()
        agreement = compare_endpoints(
            head, self._others, chain_id=self.system.deployment.chain_id, max_lag_blocks=self.config.max_lag_blocks
        )
        holds_lease = self.config.dry_run or self.lease.take()
        now = Pass(head, holds_lease and not agreement.objections)
        if not holds_lease:
            now.trouble("Not acting", f"process {self.lease.holder()} has the lease of {self.sender.address}")
        if self.lease.trouble is not None:
            now.trouble("Another agent with this key may act at the same time", self.lease.trouble)
        now.troubles += [f"Not acting: {reason}" for reason in agreement.objections]
        now.troubles += [f"An endpoint does not answer: {reason}" for reason in agreement.silent]
        now.troubles += [f"An endpoint lags: {reason}" for reason in agreement.lagging]
        if (doubt := old_head(head)) is not None:
            now.trouble("The latest block of the node", doubt)
        before = self.discovery.reorganisations + self.game_cache.reorganisations
        self.discovery.refresh(head)
        running, over = self._games(now)
        if self.discovery.reorganisations + self.game_cache.reorganisations > before:
            now.trouble("The chain was reorganised", "games and requests are read anew")
            self._settler.forget()
            self._server.forget()
            self.requests.forget()
            self._refuter.forget()
            running, over = self._games(now)
        roots = self._player.roots(now, running)
        self._player.play(now, running, roots, is_stopped)
        self._settler.settle(now, [now.games[address] for address in running], over, is_stopped)
        if self.config.roles & {"challenger", "proposer", "finalizer", "refuter"}:
            open_ = self.requests.read(head, self.discovery.requests)
            if "refuter" in self.config.roles:
                self._refuter.refute(now, open_)
            to_answer = self._server.to_answer(now, open_)
            self.prefetcher.prefetch(now, open_, to_answer=to_answer, patience_s=self.prefetch_patience_s)
            self._server.serve(now, open_, over, self.prefetcher.at_hand, is_stopped)
        if self.memory.trouble is not None:
            now.trouble("The memory is not kept", self.memory.trouble)
        self._measure(now, running, over, roots, agreement, time.monotonic() - started)
        self._tell(now.troubles)
        return now.sent > 0

    @property
    def declined(self) -> Mapping[str, int]:
        """How many open requests the last pass left to others, by the reason in the policy."""
        return self._server.declined

    # ---- looking ----

    def _games(self, now: Pass) -> tuple[list[Address], list[Game]]:
        """The games in progress and the finished games that concern this agent, oldest first."""
        oldest = now.head.timestamp - self.config.max_age_s
        wanted = [
            entry.address
            for entry in self.discovery.games
            if entry.created_at_s >= oldest
            and entry.address not in self._settler.ended
            and (self.config.games is None or entry.address in self.config.games)
        ]
        running, over = [], []
        self.game_cache.keep_only(wanted)
        for address, game in self.game_cache.refresh(wanted, now.head, closely=self._player.closely).items():
            if isinstance(game, OpmlError):
                now.trouble(f"Game {address} cannot be read", game)
            elif game.in_progress:
                now.games[address] = game
                running.append(address)
            else:
                over.append(game)
        return running, over

    # ---- telling

    def _measure(
        self,
        now: Pass,
        running: Sequence[Address],
        over: Sequence[Game],
        roots: dict[RequestId, StateRoot],
        agreement: Agreement,
        seconds: float,
    ) -> None:
        metrics, games = self.metrics, [now.games[address] for address in running]
        metrics.may_act = now.may_act
        metrics.acting.set(int(now.may_act))
        metrics.tracked_games.labels("in_progress").set(len(running))
        metrics.tracked_games.labels("settling").set(len(over))
        metrics.tracked_games.labels("ended").set(len(self._settler.ended))
        metrics.games_unjudged.set(now.unjudged)
        metrics.disagreements.set(
            sum(bytes(game.root.value) != roots.get(game.request_id, game.root.value) for game in games)
        )
        metrics.bonds_pending.set(sum(staked_wei(game, self.sender.address) for game in games))
        deadlines = [
            self._player.deadline_s(game, now.head.timestamp)
            for game in games
            if self._player.concerns(game, roots.get(game.request_id))
        ]
        metrics.next_deadline.set(min(deadlines, default=float("inf")))
        metrics.endpoint_lag.set(agreement.lag_blocks)
        try:
            metrics.balance.set(self.system.rpc.balance_wei(self.sender.address))
        except OpmlError as error:
            now.trouble("The balance cannot be read", error)
        metrics.pass_seconds.observe(seconds)
        metrics.passes.labels("ended").inc()
        metrics.highest_acted_l1_block.set(now.head.number)
        metrics.last_pass_ended = time.monotonic()

    def _tell(self, sentences: Sequence[str]) -> None:
        """Report new problems; a problem that has ended is reported again if it returns."""
        for sentence in dict.fromkeys(sentences):
            if sentence not in self._told:
                self.log.warning("trouble", what=sentence)
        self._told = set(sentences)
