"""
The facts of each page, gathered from a chain at one block.

`Explorer` has a method for each page; each gives the facts that a template of that name takes. Only the newest games
and requests are read for a page (`PAGE`), whatever the deployment holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from opml_dispute.actors.disputed_range import DisputedRange
from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.requests import read_request
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.resolve import Forecast, forecast
from opml_dispute.operator.inference import games_of
from opml_dispute.operator.settle import STATUS_WORDS
from opml_dispute.operator.shares import read_share
from opml_dispute.primitives import Address, ModelId, RequestId
from opml_dispute.web.claim_list import Reading, claim_row, nested_rows, numbered_rows, running_clocks
from opml_dispute.web.claim_map import draw_map
from opml_dispute.web.disputed import question_of
from opml_dispute.web.feed import GameFeed
from opml_dispute.web.graph_view import draw_arcs, draw_bracket, graph_rows
from opml_dispute.web.judging import Findings, Judge

PAGE: Final = 50
"""Entries of a list on one page."""
CLAIMS_PAGE: Final = 200
MAX_CLOCKS: Final = 10


class UnknownModel(OpmlError):
    """No model has this id."""

    hint = "list the models"


@dataclass(frozen=True)
class AddressStake:
    """The bonds of one address in a game."""

    address: Address
    sides: str
    claims: int
    staked_wei: int
    gets_wei: int
    """What it gets if no player moves any more, or got."""

    @property
    def change_wei(self) -> int:
        """What it wins, or loses if it is less than 0."""
        return self.gets_wei - self.staked_wei


class Explorer:
    """One deployment, read for pages. May be used by many threads."""

    def __init__(self, system: System, cases: LocalCases | None) -> None:
        """Without `cases` nothing is recomputed."""
        self.system = system
        self.feed = GameFeed(system)
        self.judge = None if cases is None else Judge(cases)

    def close(self) -> None:
        """Ends the recomputing."""
        if self.judge is not None:
            self.judge.close()

    # ---- lists ----

    def deployment(self) -> Mapping[str, Any]:
        """The start page: what is deployed, and the newest of everything."""
        system, rpc = self.system, self.system.rpc
        head = rpc.head()
        oracle, factory = system.oracle, system.factory
        paused, oracle_owner, factory_owner, guardian, games, requests, models = rpc.read_all(
            [
                oracle.is_paused(),
                oracle.owner(),
                factory.owner(),
                oracle.guardian(),
                factory.game_count(),
                oracle.request_count(),
                system.registry.model_count(),
            ],
            at=head,
        )
        return {
            "head": head,
            "deployment": system.deployment,
            "paused": paused,
            "owners": {"oracle": oracle_owner, "factory": factory_owner, "guardian": guardian},
            "counts": {"games": games, "requests": requests, "models": models},
            "games": self._games(head, games, 0, 8),
            "requests": self._requests(head, requests, 0, 8),
        }

    def games(self, page: int) -> Mapping[str, Any]:
        """Games, newest first."""
        head = self.system.head()
        count = self.system.rpc.read(self.system.factory.game_count(), at=head)
        return {
            "head": head,
            "count": count,
            "games": self._games(head, count, page * PAGE, PAGE),
            **_paging(page, count),
        }

    def requests(self, page: int) -> Mapping[str, Any]:
        """Requests, newest first."""
        head = self.system.head()
        count = self.system.rpc.read(self.system.oracle.request_count(), at=head)
        rows = self._requests(head, count, page * PAGE, PAGE)
        return {"head": head, "count": count, "requests": rows, **_paging(page, count)}

    def models(self, page: int) -> Mapping[str, Any]:
        """Registered models, newest first."""
        rpc, registry = self.system.rpc, self.system.registry
        head = rpc.head()
        count = rpc.read(registry.model_count(), at=head)
        ids = rpc.read_each([registry.model_id_at(index) for index in _newest(count, page * PAGE, PAGE)], at=head)
        models = rpc.read_each([registry.model(model_id) for model_id in ids], at=head)
        rows = [(bytes(model_id), model) for model_id, model in zip(ids, models, strict=True)]
        return {"head": head, "count": count, "models": rows, **_paging(page, count)}

    def _games(self, head: Head, count: int, skip: int, most: int) -> list[dict[str, Any]]:
        rpc = self.system.rpc
        entries = rpc.read_each([self.system.factory.game_at(index) for index in _newest(count, skip, most)], at=head)
        contracts = [FaultDisputeGame(entry.address) for entry in entries]
        answers = rpc.read_all(
            [
                call
                for game in contracts
                for call in (game.status(), game.created_at_s(), game.request_id(), game.creator(), game.claim_count())
            ],
            at=head,
        )
        names = ("status", "created_at_s", "request_id", "creator", "claims")
        rows = []
        for index, entry in enumerate(entries):
            facts = dict(zip(names, answers[len(names) * index : len(names) * (index + 1)], strict=True))
            rows.append({"address": entry.address, **facts, "status_words": STATUS_WORDS[facts["status"]]})
        return rows

    def _requests(self, head: Head, count: int, skip: int, most: int) -> list[dict[str, Any]]:
        rpc, oracle = self.system.rpc, self.system.oracle
        ids = rpc.read_each([oracle.request_id_at(index) for index in _newest(count, skip, most)], at=head)
        records = rpc.read_each([oracle.request_of(request_id) for request_id in ids], at=head)
        return [
            {"id": bytes(request_id), "record": record, "is_delivered": record.delivered_by != ZERO_ADDRESS}
            for request_id, record in zip(ids, records, strict=True)
        ]

    # ---- one of each ----

    def model(self, model_id: bytes) -> Mapping[str, Any]:
        """One model. Raises `UnknownModel`."""
        head = self.system.head()
        try:
            model = self.system.rpc.read(self.system.registry.model(model_id), at=head)
        except Reverted:
            raise UnknownModel(f"the registry has no model 0x{model_id.hex()}") from None
        return {"head": head, "model_id": ModelId(model_id), "model": model}

    def request(self, request_id: RequestId) -> Mapping[str, Any]:
        """One request. Raises `UnknownRequest`."""
        system = self.system
        head = system.head()
        record = read_request(system, request_id)
        model = system.rpc.read(system.registry.model(record.model_id), at=head)
        asked = None if self.judge is None else self.judge.asked(request_id)
        return {
            "head": head,
            "request_id": request_id,
            "record": record,
            "model": model,
            "is_delivered": record.delivered_by != ZERO_ADDRESS,
            "games": list(reversed(games_of(system, request_id)))[:PAGE],
            "asked": None if isinstance(asked, str) else asked,
            "problem": asked if isinstance(asked, str) else None,
            "computes": self.judge is not None,
        }

    def game(self, address: Address, *, wait: bool = False) -> Mapping[str, Any]:
        """One game; with `wait`, when everything about it is computed. Raises `UnknownGame`."""
        head, game = self.feed.game(address)
        findings = self._findings(game, wait=wait)
        reading, outcome = self._reading(game, head, findings)
        question = question_of(game)
        operations = findings.operations
        rows = [] if operations is None else graph_rows(operations, *question.nodes_of_an_item(game))
        clocks = running_clocks(reading)
        creator = self.system.games.constants(address).creator
        return {
            "head": head,
            "game": game,
            "creator": creator,
            "share": read_share(self.system, game, at=head),
            "status_words": STATUS_WORDS[game.status],
            "outcome": outcome,
            "winner": STATUS_WORDS[outcome.winner],
            "findings": findings,
            "computes": self.judge is not None,
            "agrees": _agrees(findings.root_is_right, outcome),
            "map": draw_map(game, findings.right),
            "rows": nested_rows(reading),
            "clocks": [claim_row(reading, claim) for claim in clocks[:MAX_CLOCKS]],
            "clock_count": len(clocks),
            "purses": stakes_by_address(game, outcome),
            "bonds_wei": sum(claim.bond_wei for claim in game.claims),
            "question": question,
            "items": _items_in_words(game, question),
            "node_bracket": draw_bracket(
                question.node_low,
                question.node_high,
                game.node_count,
                f"Nodes {question.node_low} to {question.node_high - 1} of {game.node_count} are in question.",
            ),
            "step_bracket": _step_bracket(game, findings),
            "graph_rows": rows,
            "arcs": draw_arcs(rows),
        }

    def claims(self, address: Address, page: int) -> Mapping[str, Any]:
        """All claims of a game, a part at a time."""
        head, game = self.feed.game(address)
        findings = self._findings(game, wait=False)
        reading, _ = self._reading(game, head, findings)
        return {
            "head": head,
            "game": game,
            "rows": numbered_rows(reading, page * CLAIMS_PAGE, CLAIMS_PAGE),
            **_paging(page, len(game.claims), CLAIMS_PAGE),
        }

    def version(self, address: Address | None) -> tuple[bytes, int]:
        """Changes when a page would look different: a new block, or more known about the game."""
        known = 0 if address is None or self.judge is None else self.judge.version(address)
        return self.system.head().hash, known

    def _findings(self, game: Game, *, wait: bool) -> Findings:
        if self.judge is None:
            return Findings(is_done=True)
        return self.judge.wait_for(game) if wait else self.judge.findings(game)

    def _reading(self, game: Game, head: Head, findings: Findings) -> tuple[Reading, Forecast]:
        outcome = forecast(game)
        now_s = head.timestamp
        return Reading(game, now_s, outcome, findings.right, findings.expected, findings.problems), outcome


def stakes_by_address(game: Game, outcome: Forecast) -> list[AddressStake]:
    """Every player's bonds and payments, and the forfeited part; the greatest winner first."""
    staked: dict[Address, int] = {}
    claims: dict[Address, int] = {}
    sides: dict[Address, set[str]] = {}
    for claim in game.claims:
        staked[claim.claimant] = staked.get(claim.claimant, 0) + claim.bond_wei
        claims[claim.claimant] = claims.get(claim.claimant, 0) + 1
        sides.setdefault(claim.claimant, set()).add("defender" if claim.position.depth % 2 == 0 else "challenger")
    purses = [
        AddressStake(
            address,
            " and ".join(sorted(sides[address])) if address in sides else "",
            claims.get(address, 0),
            staked.get(address, 0),
            outcome.payouts_wei.get(address, 0),
        )
        for address in {**staked, **outcome.payouts_wei}
    ]
    return sorted(purses, key=lambda purse: (-purse.change_wei, purse.address))


def _agrees(root_is_right: bool | None, outcome: Forecast) -> bool | None:
    """Whether the game ends as it should if no player moves; None if that is not known."""
    return None if root_is_right is None else root_is_right == (outcome.winner == GameStatus.DEFENDER_WINS)


def _items_in_words(game: Game, question: DisputedRange) -> str | None:
    """Which items of a batch are in question; None for a single inference."""
    items = question.items(game)
    if game.item_count == 1:
        return None
    which = f"item {items[0]}" if len(items) == 1 else f"items {items[0]} to {items[-1]}"
    return f"A batch of {game.item_count} items with {game.node_count // game.item_count:,} nodes each: {which}"


def _step_bracket(game: Game, findings: Findings) -> Any:
    question = question_of(game)
    if question.step_low is None or question.step_high is None:
        return None
    node = findings.node
    whole = node.steps if node is not None and question.step_high <= node.steps else game.depths.steps
    label = f"Instructions {question.step_low:,} to {question.step_high - 1:,} are in question."
    return draw_bracket(question.step_low, question.step_high, whole, label)


def _newest(count: int, skip: int, most: int) -> range:
    first = count - 1 - skip
    return range(first, max(-1, first - most), -1)


def _paging(page: int, count: int, size: int = PAGE) -> dict[str, int | None]:
    return {
        "page": page,
        "earlier": page - 1 if page > 0 else None,
        "later": page + 1 if (page + 1) * size < count else None,
    }
