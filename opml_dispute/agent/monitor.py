"""
Watching a deployment without a key: how every game stands, and what is about to go wrong.

`Monitor.look` reads everything at one block and gives a `Report`: a `Standing` for each game in progress (who wins if
nobody moves, and whether that is right by this computer) and `Alert`s, the most urgent first. What cannot be computed
here is an alert too, never a guess. Alerts have stable kinds, for scripts and for alert rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from opml_dispute.agent.desk import Desk
from opml_dispute.agent.discovery import Discovery
from opml_dispute.agent.endpoints import compare_endpoints
from opml_dispute.chain.amounts import duration, ether
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.resolve import forecast
from opml_dispute.primitives import Address, RequestId, StateRoot

KINDS: Final = {
    "endpoints_disagree": "the nodes do not see the same chain",
    "paused": "the guardian has paused the system",
    "owner_changed": "a contract has another owner than at the first look",
    "wrong_result_stands": "a game will end with the wrong result if nobody moves",
    "clock_running_out": "little time is left to change how a game will end",
    "collateral_short": "the vault holds less than the bonds of open games",
    "not_computed": "a request cannot be computed on this computer",
    "unreadable": "a game cannot be read",
    "endpoint_silent": "a node does not answer",
}
"""Kinds of alerts, the most urgent first, and what each means. docs/agent.md has a paragraph for each."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that a person should look at."""

    kind: str
    """One of `KINDS`."""
    what: str
    """A sentence without its end."""
    game: Address | None = None
    seconds_left: int | None = None
    """How long a player still has to do something about it."""

    @property
    def facts(self) -> dict[str, Any]:
        """The same for scripts."""
        return {"alert": self.kind, "what": self.what, "game": self.game, "seconds_left": self.seconds_left}


@dataclass(frozen=True, slots=True)
class Standing:
    """How one game in progress stands."""

    game: Game
    forecast: GameStatus
    """Which side wins if no player moves any more."""
    right: GameStatus | None
    """Who should win by this computer; None if it cannot tell."""
    seconds_left: int
    """Least time left on a clock whose claim is unanswered; 0 if none runs."""

    @property
    def facts(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "game": self.game.address,
            "request_id": self.game.request_id,
            "claims": len(self.game.claims),
            "bonds_wei": sum(claim.bond_wei for claim in self.game.claims),
            "forecast": self.forecast.name,
            "right": None if self.right is None else self.right.name,
            "seconds_left": self.seconds_left,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one look found."""

    head: Head
    standings: tuple[Standing, ...]
    alerts: tuple[Alert, ...]
    games: int
    """All games of the factory, those that are over included."""


class Monitor:
    """Looks at one deployment again and again; remembers computed roots, and who owned what at the first look."""

    def __init__(
        self,
        system: System,
        desk: Desk,
        *,
        others: Sequence[Rpc] = (),
        warn_before_s: int = 3_600,
        max_lag_blocks: int = 10,
        computes: bool = True,
    ) -> None:
        """`others` are compared with the system's own node; `computes` says whether to recompute results."""
        self.system, self.desk = system, desk
        self._others, self._warn_before_s, self._max_lag_blocks = others, warn_before_s, max_lag_blocks
        self._computes = computes
        self._discovery = Discovery(system)
        self._roots: dict[RequestId, StateRoot] = {}
        self._over: set[Address] = set()
        self._owners: dict[str, str] | None = None

    def look(self) -> Report:
        """The deployment at the latest block. Raises only what keeps it from looking at all."""
        head = self.system.rpc.head()
        before = self._discovery.reorganisations
        self._discovery.refresh(head)
        if self._discovery.reorganisations > before:
            self._over = set()
        alerts = [*self._about_endpoints(head), *self._about_contracts(head)]
        games, unreadable = self._games(head)
        alerts += unreadable
        alerts += self._compute(games)
        standings = [self._standing(game, head.timestamp) for game in games]
        for standing in standings:
            alerts += self._about_game(standing)
        alerts += self._about_collateral(games, head)
        order = list(KINDS)
        alerts.sort(key=lambda alert: (order.index(alert.kind), alert.seconds_left or 0))
        return Report(head, tuple(standings), tuple(alerts), len(self._discovery.games))

    # ---- reading ----

    def _games(self, head: Head) -> tuple[list[Game], list[Alert]]:
        open_ = [address for address in self._discovery.addresses if address not in self._over]
        statuses = self.system.rpc.read_each([FaultDisputeGame(address).status() for address in open_], at=head)
        games, alerts = [], []
        for address, status in zip(open_, statuses, strict=True):
            if status != GameStatus.IN_PROGRESS:
                self._over.add(address)
                continue
            try:
                games.append(self.system.games.read(address, at=head))
            except OpmlError as error:
                alerts.append(Alert("unreadable", f"game {address} cannot be read: {error}", address))
        return games, alerts

    def _compute(self, games: Sequence[Game]) -> list[Alert]:
        if not self._computes:
            return []
        missing = [id_ for id_ in dict.fromkeys(game.request_id for game in games) if id_ not in self._roots]
        outcomes = self.desk.each(self.desk.final_root, [(request_id,) for request_id in missing])
        alerts = []
        for request_id, outcome in zip(missing, outcomes, strict=True):
            if isinstance(outcome, OpmlError):
                alerts.append(Alert("not_computed", f"request 0x{request_id.hex()} cannot be computed here: {outcome}"))
            else:
                self._roots[request_id] = outcome[0]
        return alerts

    # ---- judging ----

    def _standing(self, game: Game, now_s: int) -> Standing:
        root = self._roots.get(game.request_id)
        right = None
        if root is not None:
            is_right = bytes(game.root.value) == bytes(root)
            right = GameStatus.DEFENDER_WINS if is_right else GameStatus.CHALLENGER_WINS
        left = [
            time_left_s(game, claim.index, now_s)
            for claim in game.claims
            if not claim.is_resolved and not game.replies(claim.index)
        ]
        return Standing(game, forecast(game).winner, right, min((s for s in left if s > 0), default=0))

    def _about_game(self, standing: Standing) -> list[Alert]:
        if standing.right is None or standing.forecast == standing.right:
            return []
        address, left = standing.game.address, standing.seconds_left
        what = f"game {address} ends with the wrong result ({standing.forecast.name}) if nobody moves"
        found = [Alert("wrong_result_stands", f"{what}; {duration(left)} are left", address, left)]
        if left <= self._warn_before_s:
            found.append(
                Alert("clock_running_out", f"{duration(left)} are left to move in game {address}", address, left)
            )
        return found

    def _about_endpoints(self, head: Head) -> list[Alert]:
        agreement = compare_endpoints(head, self._others, max_lag_blocks=self._max_lag_blocks)
        return [
            *(Alert("endpoints_disagree", reason) for reason in agreement.disagreements),
            *(Alert("endpoint_silent", reason) for reason in agreement.silent),
        ]

    def _about_contracts(self, head: Head) -> list[Alert]:
        system = self.system
        paused, oracle_owner, factory_owner, guardian = system.rpc.read_all(
            [system.oracle.is_paused(), system.oracle.owner(), system.factory.owner(), system.oracle.guardian()],
            at=head,
        )
        owners = {"the oracle's owner": oracle_owner, "the factory's owner": factory_owner, "the guardian": guardian}
        alerts = [Alert("paused", "the guardian has paused the system")] if paused else []
        if self._owners is None:
            self._owners = owners
        for name, owner in owners.items():
            if owner != self._owners[name]:
                alerts.append(Alert("owner_changed", f"{name} was {self._owners[name]} and is {owner}"))
        return alerts

    def _about_collateral(self, games: Sequence[Game], head: Head) -> list[Alert]:
        """What each vault holds, beside the bonds of the open games that it keeps."""
        owed: dict[Address, int] = {}
        for game in games:
            vault = self.system.games.constants(game.address).weth
            owed[vault] = owed.get(vault, 0) + sum(claim.bond_wei for claim in game.claims if not claim.is_resolved)
        alerts = []
        for vault, bonds_wei in owed.items():
            held_wei = self.system.rpc.balance_wei(vault)
            if held_wei < bonds_wei:
                what = f"the vault {vault} holds {ether(held_wei)}, less than the {ether(bonds_wei)} of open bonds"
                alerts.append(Alert("collateral_short", what))
        return alerts
