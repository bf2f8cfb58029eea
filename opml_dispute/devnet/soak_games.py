"""
The requests and games of a soak test, and the liars who play in them.

`Arena.open` makes the requests, and the proposals that are not the agents' to make: wrong ones by liars, right ones by
others. `Arena.look` reads what has changed in all games, also in those that the agents made; `Arena.move_liars` lets
every liar answer, all of them together; `Arena.owed` counts what the agents still have to do.
"""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final

from opml_dispute.actors.actions import Action
from opml_dispute.actors.faults import Fault
from opml_dispute.actors.honest import consider
from opml_dispute.actors.player import play_round
from opml_dispute.chain.amounts import parse_wei
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.game_cache import GameCache
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.devnet.soak_agents import PROPOSES_FROM
from opml_dispute.devnet.soak_disturbances import bury
from opml_dispute.devnet.soak_plan import SoakOutcome, SoakPlan
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.operator.case import Case, open_case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import Done, Intent, perform, perform_all
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.primitives import Address, RequestId, StateRoot
from opml_dispute.trace.guest import guest_machine
from opml_dispute.trace.split import SplitTrace

TRACE_BYTES: Final = 8 << 20
"""What the machines of one trace may keep here."""

TRACES_KEPT: Final = 40
"""
Requests whose traces are kept. An inference reserves 2^40 bytes of the 2^47 that a process can address, so there are
not two for each of hundreds of requests at once.
"""

_LOOKS: Final = 40
"""How often the games are read again if the chain was reorganised meanwhile."""


class Kind(Enum):
    """Who answers a request."""

    LIAR = "a liar proposes, and plays the game"
    OTHER = "another account proposes what is right"
    AGENT = "the agent has to answer, and a liar attacks"


@dataclass
class Asked:
    """One request."""

    case: Case
    """Without its inference, which is computed again where it is needed."""
    kind: Kind
    final_root: StateRoot
    fault: Fault | None = None
    """The liar's."""
    lie_root: StateRoot | None = None

    @property
    def request_id(self) -> RequestId:
        """Its id."""
        return self.case.request_id


class _Traces:
    """The honest trace of each request, and the liar's if there is one: those that were used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[RequestId, tuple[SplitTrace, SplitTrace | None]] = OrderedDict()

    def of(self, asked: Asked) -> tuple[SplitTrace, SplitTrace | None]:
        found = self._kept.get(asked.request_id)
        if found is None:
            if len(self._kept) >= TRACES_KEPT:
                while len(self._kept) > TRACES_KEPT // 2:
                    self._kept.popitem(last=False)
                gc.collect()  # traces and machines name each other
            case = replace(asked.case)
            truth = case.trace()
            truth.runs.budget_bytes = TRACE_BYTES
            lie = None
            if asked.fault is not None:
                lie = case.liar().inject(asked.fault).trace(guest_machine())
                lie.runs.budget_bytes = TRACE_BYTES
            found = self._kept[asked.request_id] = truth, lie
        self._kept.move_to_end(asked.request_id)
        return found


@dataclass
class Match:
    """One game."""

    address: Address
    asked: Asked
    liar_saw: Game | None = None
    """The game in which the liar had nothing to do."""
    judged: Game | None = None
    owed: Sequence[Action] = ()
    """What the agent had to do in the game `judged`."""


@dataclass
class Arena:
    """All requests and games of a soak."""

    system: System
    plan: SoakPlan
    outcome: SoakOutcome
    folder: Path
    account: Address
    """The agents'."""
    broken: Callable[[str], None]
    """Notes a broken rule."""
    asked: dict[RequestId, Asked] = field(default_factory=dict)
    matches: dict[Address, Match] = field(default_factory=dict)
    games: Mapping[Address, Game] = field(default_factory=dict)
    """As they were in the last look."""

    def __post_init__(self) -> None:
        self.senders = {role: Sender(self.system.rpc, devnet.account(role)) for role in devnet.ROLES}
        self.head: Head = self.system.rpc.head()
        self._cache = GameCache(self.system.games)
        self._made: list[Address] = []
        self._traces = _Traces()

    # ---- opening ----

    def open(self) -> None:
        """Make the requests, and the proposals of liars and others."""
        plan, store = self.plan, ModelStore(self.folder / "models")
        kinds = [Kind.LIAR] * plan.liars + [Kind.OTHER] * plan.honest + [Kind.AGENT] * plan.answered
        fee_wei = parse_wei(PROPOSES_FROM)
        for number, kind in enumerate(kinds):
            request_id = ask_sample(
                self.system,
                self.senders["requester"],
                (plan.seed * 31 + number) % 300,
                store,
                fee_wei=fee_wei if kind is Kind.AGENT else 0,
            )
            case = open_case(self.system, request_id, store=store)
            asked = self.asked[request_id] = self._asked(case, kind, plan.seed + number)
            if kind is not Kind.AGENT:
                self._open_game(case, asked)
        bury(self.system.rpc)

    def _asked(self, case: Case, kind: Kind, seed: int) -> Asked:
        computed = replace(case)
        if kind is Kind.OTHER:
            return Asked(case, kind, computed.final_root)
        faulty = computed.liar().find(seed)
        return Asked(case, kind, computed.final_root, faulty.fault, faulty.root_claim)

    def truth(self, asked: Asked) -> SplitTrace:
        """The honest trace of a request."""
        return self._traces.of(asked)[0]

    def _open_game(self, case: Case, asked: Asked) -> None:
        liar, root = self.senders["proposer"], asked.lie_root or asked.final_root
        done = perform(proposal_intent(self.system, asked.request_id, root, case.node_count), liar)
        assert done.receipt is not None
        truth, lie = self._traces.of(asked)
        if lie is None or not self.plan.head_start:
            return
        address, challenger = self.system.factory.created_game(done.receipt), self.senders["challenger"]
        lying, agent = self._seat(address, lie, liar), self._seat(address, truth, challenger)
        while len(play_round(lying, lie).game.claims) < self.plan.head_start:
            play_round(agent, truth)

    def _seat(self, address: Address, trace: SplitTrace, sender: Sender) -> Seat:
        return Seat(Table(self.system, address, trace), one_by_one(lambda intent: perform(intent, sender)))

    # ---- looking ----

    def look(self) -> None:
        """Reads what has changed in the games, and finds new ones."""
        for left in range(_LOOKS, -1, -1):
            head = self.system.rpc.head()
            try:
                found = self._cache.refresh(self._addresses(head), head)
                failed = [game for game in found.values() if isinstance(game, OpmlError)]
                if failed:
                    raise failed[0]
            except OpmlError:
                if not left:
                    raise
                time.sleep(0.1)  # the chain was reorganised while it was read
                continue
            self.games = {address: game for address, game in found.items() if not isinstance(game, OpmlError)}
            self.head = head
            break
        for address in self.matches.keys() - self.games.keys():
            del self.matches[address]  # taken back by a reorganisation
        for address, game in self.games.items():
            if address not in self.matches:
                self.matches[address] = Match(address, self.asked[game.request_id])

    def _addresses(self, head: Head) -> list[Address]:
        """All games, as the factory lists them."""
        rpc, factory = self.system.rpc, self.system.factory
        count, known = rpc.read(factory.game_count(), at=head), self._made
        if len(known) > count or (known and rpc.read(factory.game_at(len(known) - 1), at=head).address != known[-1]):
            known = []  # the chain was reorganised
        new = rpc.read_each([factory.game_at(index) for index in range(len(known), count)], at=head)
        self._made = [*known, *(entry.address for entry in new)]
        return self._made

    @property
    def own_work(self) -> int:
        """What the agents have done, as far as the chain shows it in the games."""
        claims = [claim for game in self.games.values() for claim in game.claims]
        over = sum(not game.in_progress for game in self.games.values())
        return sum(claim.claimant == self.account for claim in claims) + sum(c.is_resolved for c in claims) + over

    @property
    def unanswered(self) -> int:
        """Requests that the agents have not answered yet."""
        answered = {game.request_id for game in self.games.values()}
        return len(self.asked.keys() - answered)

    def undelivered(self) -> int:
        """Requests with a right proposal whose output is not delivered."""
        wanted = [asked.request_id for asked in self.asked.values() if asked.kind is not Kind.LIAR]
        records = self.system.rpc.read_each([self.system.oracle.request_of(id_) for id_ in wanted])
        return sum(record.delivered_by == ZERO_ADDRESS for record in records)

    # ---- the liars ----

    def move_liars(self) -> bool:
        """Every liar answers what was said since it looked last, all of them together; whether anything was done."""
        turns: list[tuple[Match, Game, list[list[Intent]]]] = []
        for match in self.matches.values():
            game = self.games[match.address]
            if match.asked.fault is None or match.liar_saw == game or not game.in_progress:
                continue
            _, lie = self._traces.of(match.asked)
            assert lie is not None
            actions = consider(game, lie, self.head.timestamp).actions
            match.liar_saw = game
            table = Table(self.system, match.address, lie)
            with suppress(OpmlError):  # the game was taken back meanwhile
                turns.append(
                    (match, game, [list(each) for each in table.intents_of(game, self.head.timestamp, actions)])
                )
        moved = False
        for match, outcomes in self._send(turns):
            if any(isinstance(outcome, Done) for outcome in outcomes):
                match.liar_saw, moved = None, True
        return moved

    def _send(
        self, turns: Sequence[tuple[Match, Game, list[list[Intent]]]]
    ) -> Iterator[tuple[Match, Sequence[Done | OpmlError]]]:
        """The transactions of one action follow one another; all others go out together."""
        waiting = [(match, intents) for match, _, actions in turns for intents in actions if intents]
        while waiting:
            outcomes = perform_all([intents[0] for _, intents in waiting], self.senders["proposer"])
            yield from ((match, [outcome]) for (match, _), outcome in zip(waiting, outcomes, strict=True))
            waiting = [
                (match, intents[1:])
                for (match, intents), outcome in zip(waiting, outcomes, strict=True)
                if isinstance(outcome, Done) and len(intents) > 1
            ]

    # ---- the agents ----

    def owed(self) -> int:
        """The moves that the agents have to make; the time left for them, and missed moves, are noted."""
        return sum(self._owed_in(match) for match in self.matches.values())

    def _owed_in(self, match: Match) -> int:
        game = self.games[match.address]
        plays = match.asked.kind is Kind.LIAR or any(claim.claimant == self.account for claim in game.claims)
        if not plays or not game.in_progress:
            return 0
        if match.owed or match.judged != game:
            plan = consider(game, self.truth(match.asked), self.head.timestamp)
            match.judged, match.owed = game, plan.actions
            if plan.missed:
                self.broken(f"{match.address}: {plan.missed[0]}")
        for action in match.owed:
            index = getattr(action, "parent_index", getattr(action, "claim_index", 0))
            left_s = time_left_s(game, index, self.head.timestamp)
            self.outcome.least_left_s = min(self.outcome.least_left_s, left_s)
        return len(match.owed)
