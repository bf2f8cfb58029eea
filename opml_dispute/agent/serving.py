"""Serving requests: the answers that an agent proposes, and the outputs that it delivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opml_dispute.actors.exposure import line_wei
from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.agent.treasury import refusal, staked_wei
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.errors import OpmlError
from opml_dispute.game.depths import Depths
from opml_dispute.operator.inference import (
    NothingToDeliver,
    deliverable_game,
    delivery_intent,
    games_of,
    restoring_intents,
)
from opml_dispute.operator.preflight import Prospect
from opml_dispute.operator.proposing import ProposalExists, proposal_intents
from opml_dispute.primitives import RequestId


class RequestServer:
    """Proposes answers to requests and delivers outputs, as the agent's roles say."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context

    def serve(self, now: Pass, ids: Sequence[RequestId], is_stopped: Callable[[], bool]) -> None:
        """Propose answers and deliver outputs."""
        if not self._context.config.roles & {"proposer", "finalizer"}:
            return
        system = self._context.system
        records = system.rpc.read_each([system.oracle.request_of(id_) for id_ in ids], at=now.head)
        oldest = now.head.timestamp - self._context.config.max_age_s
        waiting_ = [
            (id_, record)
            for id_, record in zip(ids, records, strict=True)
            if record.delivered_by == ZERO_ADDRESS and record.requested_at_s >= oldest
        ]
        for request_id, record in waiting_:
            if is_stopped():
                return
            try:
                if "finalizer" in self._context.config.roles and self._deliver(now, request_id):
                    continue
                if "proposer" in self._context.config.roles and self._accepts(record):
                    self._propose(now, request_id)
            except OpmlError as error:
                now.trouble(f"Request 0x{request_id.hex()}", error)

    def _accepts(self, record: RequestRecord) -> bool:
        config, models = self._context.config, self._context.config.models
        return record.fee_wei >= config.min_fee_wei and (models is None or bytes(record.model_id) in models)

    def _deliver(self, now: Pass, request_id: RequestId) -> bool:
        """Deliver the request's output if a game of it allows that, and say whether one does."""
        try:
            game = deliverable_game(self._context.system, request_id)
        except NothingToDeliver:
            return False
        work, system = self._context.casework.work(request_id), self._context.system
        for intent in restoring_intents(system, games_of(system, request_id), self._context.payees):
            self._context.act(now, None, [intent])
        self._context.act(now, game, [delivery_intent(system, work, game)])
        return True

    def _propose(self, now: Pass, request_id: RequestId) -> None:
        root = self._context.right_roots(now, [request_id]).get(request_id)
        kept = self._context.memory.root(request_id)
        if root is None or kept is None:
            return
        if kept[1] != 0:
            why = f"its inference fails with status {kept[1]}: nothing could be delivered"
            now.trouble(f"Request 0x{request_id.hex()}", why)
            return
        own = self._context.sender.address
        registered = self._context.casework.work(request_id).registered
        try:
            intents = proposal_intents(self._context.system, request_id, root, registered.node_count, proposer=own)
        except ProposalExists:
            return
        depths = Depths(registered.split_depth, registered.max_depth)
        work = self._context.prepare({request_id: depths.execution})[request_id]
        if isinstance(work, OpmlError):
            raise work
        if not self._context.config.answer_unavailable:
            self._context.casework.expect_others_could(request_id)
        self._context.confirm(work)
        self._context.expect_defensible(
            Prospect(
                registered,
                work,
                depths,
                defends=True,
                must_succeed=True,
                system=self._context.system,
                account=own,
            )
        )
        to_the_end_wei = line_wei(2, registered.max_depth, self._context.system.deployment.bonds.terms)
        reason = refusal(
            self._context.limits,
            balance_wei=self._context.system.rpc.balance_wei(own),
            at_risk_wei=sum(staked_wei(game, own) for game in now.games.values()),
            in_game_wei=0,
            committed_wei=sum(self._context.committed_wei.values()),
            need_wei=sum(intent.value_wei for intent in intents) + to_the_end_wei,
        )
        if reason is not None:
            raise OpmlError(f"it is not answered: {reason}", hint="add funds, or raise the limits in [treasury]")
        for intent in intents:  # the proposal needs its commitment
            if isinstance(self._context.act(now, None, [intent])[0], OpmlError):
                return
        self._context.committed_wei[f"request {request_id.hex()}"] = (
            to_the_end_wei  # until the game is found by a later pass
        )
