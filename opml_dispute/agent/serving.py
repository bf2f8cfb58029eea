"""Serving requests: the answers that an agent proposes, and the outputs that it delivers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from opml_dispute.actors.exposure import line_wei
from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.agent.open_requests import RoundRobin
from opml_dispute.agent.remote_cases import RemoteCase
from opml_dispute.agent.treasury import refusal
from opml_dispute.agent.waiting import LOOK_AGAIN_S, is_waiting
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.reverts import Reverted
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.operator.inference import (
    NothingToDeliver,
    deliverable_game,
    delivery_intents,
    games_of,
    most_output_bytes,
    restoring_intents,
    undelivered,
)
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.preflight import Prospect
from opml_dispute.operator.proposing import ProposalExists, proposal_intents
from opml_dispute.operator.shares import proposers_fee_wei
from opml_dispute.primitives import Address, RequestId, StateRoot

AT_ONCE: Final = 16
"""Answers that are computed in one pass, if they are not known."""


def declined_sentence(reason: str, count: int) -> str:
    """For people: `count` open requests are not this agent's, for `reason`."""
    return f"{count:,} open request{'s are' if count != 1 else ' is'} left to others: {reason}"


class RequestServer:
    """Proposes answers to requests and delivers outputs, as the agent's roles say."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._rotation = RoundRobin.anywhere()
        self._survivors: dict[Address, RequestId] = {}
        """Games in which the root claim stood."""
        self._propose_at_s: dict[RequestId, int] = {}
        self._deliver_at_s: dict[RequestId, int] = {}
        """The chain's time before which a request is not looked at again."""
        self._proposed_until: dict[RequestId, float] = {}
        """
        Requests that this agent has proposed for, or may have, and until when, by this computer's clock, none that says
        otherwise is believed: behind one address there may be nodes that do not have the game yet.
        """
        self._exhausted_until_s: dict[RequestId, int] = {}
        """Batches that stay open though all outputs are delivered, as other items failed: as the times before."""
        self._doubted: dict[RequestId, int] = {}
        """Requests whose right answer stood in a game in progress that does not count, and when that was first said."""
        self.declined: Mapping[str, int] = {}
        """How many open requests the policy does not let this agent answer, by the reason."""

    def forget(self) -> None:
        """After a reorganisation: what was done may have been undone."""
        self._survivors.clear()
        self._propose_at_s.clear()
        self._deliver_at_s.clear()
        self._exhausted_until_s.clear()
        self._doubted.clear()

    def to_answer(self, now: Pass, requests: Mapping[RequestId, RequestRecord]) -> set[RequestId]:
        """Those of the requests that this agent answers, by its policy."""
        if "proposer" not in self._context.config.roles:
            return set()
        reasons = {id_: self._objection(record, now.head.timestamp) for id_, record in requests.items()}
        declined = Counter(reason for reason in reasons.values() if reason is not None)
        for reason in declined.keys() - self.declined.keys():
            self._context.log.info("declined", what=declined_sentence(reason, declined[reason]))
        self.declined = declined
        return {id_ for id_, reason in reasons.items() if reason is None}

    def serve(
        self,
        now: Pass,
        requests: Mapping[RequestId, RequestRecord],
        over: Sequence[Game],
        at_hand: Container[RequestId],
        is_stopped: Callable[[], bool],
    ) -> None:
        """Delivers outputs of open requests, and proposes answers to those that everything is `at_hand` for."""
        roles, delivered = self._context.config.roles, set[RequestId]()
        now_s = now.head.timestamp
        notes: tuple[dict[RequestId, Any], ...] = (self._propose_at_s, self._deliver_at_s, self._exhausted_until_s)
        for due in (*notes, self._doubted, self._proposed_until):
            for request_id in due.keys() - requests.keys():
                del due[request_id]
        requests = {
            id_: record
            for id_, record in requests.items()
            if not is_waiting(self._exhausted_until_s.get(id_, 0), now_s)
        }
        if "finalizer" in roles:
            for request_id in self._deliverable(now, requests, over):
                if is_stopped():
                    return
                delivered.add(request_id)
                with self._telling(now, request_id):
                    if not self._deliver(now, request_id):
                        delivered.remove(request_id)
        if "proposer" in roles:
            wanted = [
                id_
                for id_, record in requests.items()
                if id_ in at_hand
                and id_ not in delivered
                and self._objection(record, now_s) is None
                and not is_waiting(self._propose_at_s.get(id_, 0), now_s)
                and self._proposed_until.get(id_, 0.0) < time.monotonic()
            ]
            self._answer(now, self._rotation.take(wanted, AT_ONCE), is_stopped)

    @contextmanager
    def _telling(self, now: Pass, request_id: RequestId) -> Iterator[None]:
        """An error about one request keeps nothing else from being done."""
        try:
            yield
        except OpmlError as error:
            now.trouble(f"Request 0x{request_id.hex()}", error)

    def _objection(self, record: RequestRecord, now_s: int) -> str | None:
        """Why the policy does not let this agent answer a request; None if it does."""
        config = self._context.config
        if config.models is not None and bytes(record.model_id) not in config.models:
            return "policy.models does not name its model"
        if config.max_bond_wei is not None and record.min_bond_wei > config.max_bond_wei:
            return "it demands a bond above policy.max_bond"
        if proposers_fee_wei(record) < config.min_fee_wei:
            return "its fee, without the part for defenders, is below policy.min_fee"
        is_sure = self._context.system.deployment.times.fee_is_sure(record.requested_at_s, now_s)
        if config.min_fee_wei > 0 and not is_sure:
            return "its fee, which can be taken back before a disputed answer is delivered, counts as none"
        return None

    def _deliverable(
        self, now: Pass, requests: Mapping[RequestId, RequestRecord], over: Sequence[Game]
    ) -> Iterator[RequestId]:
        """Open requests with a game that survived: of games that are known, or found in a look now and then."""
        system, found = self._context.system, dict[RequestId, Address]()
        survived = {game.address: game.request_id for game in over if game.status == GameStatus.DEFENDER_WINS}
        known = self._survivors | survived
        self._survivors = {game: id_ for game, id_ in known.items() if id_ in requests}
        valid = system.rpc.try_each([system.oracle.is_claim_valid(game) for game in self._survivors], at=now.head)
        for (game, request_id), is_valid in zip(self._survivors.items(), valid, strict=True):
            if is_valid is True:
                found.setdefault(request_id, game)
        now_s = now.head.timestamp
        due = [id_ for id_ in requests if id_ not in found and not is_waiting(self._deliver_at_s.get(id_, 0), now_s)]
        for request_id in due[:AT_ONCE]:
            self._deliver_at_s[request_id] = now_s + LOOK_AGAIN_S
            with self._telling(now, request_id), suppress(NothingToDeliver):
                found[request_id] = deliverable_game(system, request_id)
        yield from found

    def _deliver(self, now: Pass, request_id: RequestId) -> bool:
        """Delivers the outputs; False if no game that claims the right answer is there, or is final, for that."""
        system = self._context.system
        root = self._context.right_roots(now, [request_id]).get(request_id)
        if root is None:
            return True  # there is nothing else to be done about it here; why was told
        try:
            game = deliverable_game(system, request_id, root)
        except NothingToDeliver:  # only another answer survived, which no output belongs to
            return False
        case = self._context.cases.case(request_id)
        size_bytes = case.registered.output_bytes
        if size_bytes > most_output_bytes(case.item_count) and not case.record.output_by_root:
            raise OpmlError(f"its output has {size_bytes:,} bytes, and no transaction can deliver that", hint=None)
        for intent in restoring_intents(system, games_of(system, request_id), self._context.payees):
            self._context.act(now, None, [intent])
        try:
            self._context.act(now, game, delivery_intents(system, case, game))
        except NothingToDeliver:  # what is left of a batch failed
            self._exhausted_until_s[request_id] = now.head.timestamp + LOOK_AGAIN_S
        return True

    def _answer(self, now: Pass, wanted: Sequence[RequestId], is_stopped: Callable[[], bool]) -> None:
        """Proposes answers to those of these requests that no right one stands for."""
        cases = self._context.cases
        prospects = dict[RequestId, tuple[RemoteCase, list[Intent]]]()
        for request_id, root in self._context.right_roots(now, wanted).items():
            with self._telling(now, request_id):
                found = self._intents(now, request_id, root)
                if found is not None:
                    prospects[request_id] = found
        prepared = self._context.prepare({id_: asked.depths.execution for id_, (asked, _) in prospects.items()})
        doubtful = () if self._context.config.answer_unavailable else prospects
        others = cases.each(cases.expect_others_could, {id_: (id_,) for id_ in doubtful})
        for request_id, (_, intents) in prospects.items():
            if is_stopped():
                return
            with self._telling(now, request_id):
                case, checked = prepared[request_id], others.get(request_id)
                if isinstance(case, OpmlError):
                    raise case
                if isinstance(checked, OpmlError):
                    raise checked
                self._propose(now, case, intents)

    def _intents(self, now: Pass, request_id: RequestId, root: StateRoot) -> tuple[RemoteCase, list[Intent]] | None:
        """What proposes an answer; None if one stands, or the inference fails."""
        kept = self._context.memory.root(request_id)
        if kept is None:
            return None
        if kept[1] != 0:
            why = f"its inference fails with status {kept[1]}: nothing could be delivered"
            now.trouble(f"Request 0x{request_id.hex()}", why)
            return None
        system, own = self._context.system, self._context.sender.address
        case = self._context.cases.case(request_id)
        now_s = now.head.timestamp
        try:
            # Not waited for: games have clocks, and the next pass asks again.
            intents = proposal_intents(system, request_id, root, case.node_count, proposer=own, patience_s=0)
        except ProposalExists:
            self._propose_at_s[request_id] = now_s + LOOK_AGAIN_S
            self._doubted.pop(request_id, None)
            return None
        if self._is_in_doubt(now, request_id, root):
            self._propose_at_s[request_id] = now_s + LOOK_AGAIN_S
            return None
        return case, intents

    def _is_in_doubt(self, now: Pass, request_id: RequestId, root: StateRoot) -> bool:
        """
        Whether the right answer stands in a game in progress of which the node says only now that it does not count.

        Another bond is locked only if it still says so some minutes later.
        """
        same = [game for game in now.games.values() if game.request_id == request_id]
        if not any(bytes(game.root.value) == bytes(root) for game in same):
            return False
        now_s = now.head.timestamp
        first_s = self._doubted.setdefault(request_id, now_s)
        if not 0 <= now_s - first_s < LOOK_AGAIN_S:
            return False
        now.trouble(f"Request 0x{request_id.hex()}", "its right answer stands in a game that is said not to count")
        return True

    def _expect_enough_left(self, case: RemoteCase, now_s: int) -> None:
        """Raises if what a batch pays for items that have an output, and none yet, is less than an answer is for."""
        if case.item_count == 1:
            return
        left = undelivered(self._context.system, case)
        if not left:
            self._exhausted_until_s[case.request_id] = now_s + LOOK_AGAIN_S
            raise OpmlError("it is not answered: all outputs of this batch are delivered", hint=None)
        record = self._context.system.rpc.read(self._context.system.oracle.request_of(case.request_id))
        share_wei = proposers_fee_wei(record) // max(1, record.items_left)
        least_wei = self._context.config.min_fee_wei
        earned_wei = share_wei * len(left)
        if earned_wei < least_wei:
            raise OpmlError(
                f"it is not answered: {len(left)} of its {case.item_count} items have an output to deliver, for "
                f"{earned_wei} wei, and policy.min_fee is {least_wei}",
                hint=None,
            )

    def _propose(self, now: Pass, case: RemoteCase, intents: Sequence[Intent]) -> None:
        own = self._context.sender.address
        self._context.confirm(case)
        self._expect_enough_left(case, now.head.timestamp)
        self._context.expect_defensible(
            Prospect(
                case.registered,
                case,
                case.depths,
                defends=True,
                item_count=case.item_count,
                min_bond_wei=case.record.min_bond_wei,
                output_by_root=case.record.output_by_root,
                must_succeed=True,
                system=self._context.system,
                account=own,
            )
        )
        to_the_end_wei = line_wei(2, case.depths.max, self._context.system.deployment.bonds.terms)
        missing_wei = sum(intent.value_wei for intent in intents if intent.kind == "deposit")
        deposited_wei = case.record.min_bond_wei - missing_wei
        reason = refusal(
            self._context.limits,
            balance_wei=self._context.system.rpc.balance_wei(own),
            at_risk_wei=self._context.at_risk_wei(now.games.values()),
            in_game_wei=0,
            committed_wei=sum(self._context.committed_wei.values()),
            need_wei=sum(intent.value_wei for intent in intents) + deposited_wei + to_the_end_wei,
            deposited_wei=deposited_wei,
        )
        if reason is not None:
            raise OpmlError(f"it is not answered: {reason}", hint="add funds, or raise the limits in [treasury]")
        for intent in intents:  # the proposal needs its deposit and its commitment
            (outcome,) = self._context.act(now, None, [intent])
            if intent.kind == "propose" and outcome is not None and not isinstance(outcome, Reverted):
                self._proposed_until[case.request_id] = time.monotonic() + LOOK_AGAIN_S
            if isinstance(outcome, OpmlError):
                return
        # Until the game is found by a later pass.
        self._context.committed_wei[f"request {case.request_id.hex()}"] = to_the_end_wei
