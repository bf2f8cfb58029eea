"""The objects that the parts of an agent share: configuration, connections, computed results, and the sender."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.log import Log
from opml_dispute.agent.memory import Memory
from opml_dispute.agent.metrics import Metrics
from opml_dispute.agent.remote_cases import RemoteCase
from opml_dispute.agent.treasury import StakeLimits, staked_wei
from opml_dispute.agent.worker_setup import open_remote_cases
from opml_dispute.chain.answers import Head
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.operator.intents import Done, Intent, perform_all
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.preflight import Prospect, expect_defensible, preflight
from opml_dispute.operator.shares import SHARE_KIND
from opml_dispute.primitives import Address, RequestId, StateRoot


class WrongEngine(OpmlError):
    """Two builds of the engine compute different results on this computer."""

    hint = "nothing was staked; check the memory and the processor of this computer, and run `opml-dispute doctor`"


@dataclass
class Pass:
    """The data and the actions of one pass."""

    head: Head
    may_act: bool
    games: dict[Address, Game] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    unjudged: int = 0
    sent: int = 0
    played: set[Address] = field(default_factory=set)
    """Games that were played in this pass, or that could not be judged: their snapshot says too little to settle."""

    def trouble(self, what: str, error: OpmlError | str) -> None:
        """Note a problem and continue."""
        self.troubles.append(f"{what}: {error}")


class AgentContext:
    """One agent's deployment, key, memory and cases."""

    def __init__(
        self,
        config: AgentConfig,
        system: System,
        sender: Sender,
        memory: Memory,
        store: ModelStore,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self.config, self.system, self.sender = config, system, sender
        self.memory, self.log, self.metrics = memory, log, metrics
        self.cases = open_remote_cases(config, system, store, log)
        self.payees = (sender.address, *config.claim_for)
        """The accounts whose bonds and rights the agent looks after."""
        self.limits = StakeLimits(config.max_at_risk_wei, config.max_per_game_wei, config.reserve_wei)
        self.committed_wei: dict[str, int] = {}
        """The cost that each game being played may still have to its end, in wei."""
        self._would: set[tuple[object, ...]] = set()
        """What was told while nothing is sent."""

    def at_risk_wei(self, games: Iterable[Game]) -> int:
        """The agent's own bonds in games that are not resolved, with those that requests demand of their proposers."""
        own = self.sender.address
        running = [game for game in games if game.in_progress]
        proposed = [game.address for game in running if game.root.claimant == own]
        locked = self.system.rpc.read_each([self.system.proposer_bonds.bond_wei(game) for game in proposed])
        return sum(locked) + sum(staked_wei(game, own) for game in running)

    def right_roots(self, now: Pass, wanted: Sequence[RequestId]) -> dict[RequestId, StateRoot]:
        """The right S_n of requests, where this computer can compute it."""
        known = {request_id: kept[0] for request_id in wanted if (kept := self.memory.root(request_id)) is not None}
        missing = [request_id for request_id in wanted if request_id not in known]
        outcomes = self.cases.each(self.cases.final_root, {id_: (id_,) for id_ in missing})
        for request_id in missing:
            outcome = outcomes[request_id]
            if isinstance(outcome, OpmlError):
                now.unjudged += 1
                now.trouble(f"Request 0x{request_id.hex()} cannot be computed here", outcome)
                continue
            root, status = outcome
            model = self.cases.case(request_id).record.model_id
            self.memory.keep_root(request_id, bytes(model), root, status)
            known[request_id] = root
        return known

    def expect_defensible(self, prospect: Prospect) -> None:
        """Raises `NotDefensible` if a game could not be played to its end from this computer (`operator.preflight`)."""
        if self.config.preflight:
            expect_defensible(list(preflight(prospect)))

    def prepare(self, wanted: Mapping[RequestId, int]) -> dict[RequestId, RemoteCase | OpmlError]:
        """
        What is computed before the first bond on each of these requests, in games of these execution depths.

        The second opinion and the longest nodes; `confirm` and `expect_defensible` then judge without computing.
        """
        wanted_cases = {
            request_id: (request_id, depth, self.wants_opinion(request_id), self.config.preflight)
            for request_id, depth in wanted.items()
        }
        return self.cases.each(self.cases.prepare, wanted_cases)

    def wants_opinion(self, request_id: RequestId) -> bool:
        """Whether another build of the engine has to agree about a request first."""
        kept = self.memory.root(request_id)
        return self.config.second_opinion and not (kept is not None and kept[2])

    def confirm(self, case: RemoteCase) -> None:
        """Two builds of the engine agree about a prepared request. Raises `WrongEngine`."""
        request_id = case.request_id
        if not self.wants_opinion(request_id):
            return
        kept, first = self.memory.root(request_id), case.final_root
        (second,) = case.opinions
        if first != second or (kept is not None and kept[0] != first):
            raise WrongEngine(
                f"request 0x{request_id.hex()}: one build of the engine computes 0x{first.hex()}, "
                f"another 0x{second.hex()}"
            )
        self.memory.confirm_root(request_id)

    def act(self, now: Pass, game: Address | None, intents: Sequence[Intent]) -> list[Done | OpmlError | None]:
        """As `act_all`, about one game."""
        return self.act_all(now, [(game, intent) for intent in intents])

    def act_all(self, now: Pass, intents: Sequence[tuple[Address | None, Intent]]) -> list[Done | OpmlError | None]:
        """
        Sends intents, each with its game, that do not depend on each other, and answers each one's result.

        Nothing is sent while the agent may not act; the results are None then. For one thread at a time.
        """
        if not now.may_act or self.config.dry_run:
            for game, intent in intents:
                told = (game or intent.facts.get("game"), intent.kind, intent.will)
                if told not in self._would:
                    self._would.add(told)
                    self.log.info(
                        "would send", what=intent.will, kind=intent.kind, game=told[0], value_wei=intent.value_wei
                    )
            return [None for _ in intents]
        self._would.clear()
        outcomes: list[Done | OpmlError | None] = list(perform_all([intent for _, intent in intents], self.sender))
        for (game, intent), outcome in zip(intents, outcomes, strict=True):
            about = game or intent.facts.get("game")
            if not isinstance(outcome, Done):
                self.log.warning("not done", what=intent.will, kind=intent.kind, game=about, error=str(outcome))
                self.metrics.count(intent.kind, succeeded=False)
                continue
            receipt = outcome.receipt
            now.sent += 1
            try:
                sentence = outcome.sentence
            except OpmlError as error:  # its receipt says something else: no reason to leave the others untold
                sentence = str(error)
                now.trouble(intent.will, error)
            self.log.info("done", what=sentence, reason=intent.reason, **outcome.facts)
            self.metrics.count(intent.kind, succeeded=True)
            if intent.kind == "withdraw-credit" and receipt is not None:
                self.metrics.bond_paid.inc(int(intent.facts.get("credit_wei", 0)))
            if intent.kind == SHARE_KIND and receipt is not None:
                self.metrics.share_paid.inc(int(intent.facts.get("share_wei", 0)))
            self.memory.note_sent(
                intent.kind,
                about,
                intent.value_wei,
                None if receipt is None else "0x" + receipt.hash.hex(),
                None if receipt is None else receipt.gas_used,
            )
        return outcomes
