"""
Watching a deployment without a key: the state of every game, and alerts.

`Monitor.look` reads everything at one block and gives a `Report`: a `Standing` for each game in progress (its result if
no further move is made, and whether that is right by this computer) and `Alert`s, the most urgent first. A result that
this computer cannot compute is an alert too, never a guess. Alerts have stable kinds, for scripts and for alert rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opml_dispute.agent.credits import CreditAudit, OwedCredit
from opml_dispute.agent.demanded_bonds import DemandedBondAudit, DemandedBonds
from opml_dispute.agent.discovery import Discovery
from opml_dispute.agent.endpoints import Agreement, compare_endpoints
from opml_dispute.agent.honest_bonds import BondTally, falling, lost_claims, tally
from opml_dispute.agent.input_watch import InputReport, InputWatch
from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.agent.share_audit import KeptShares, ShareAudit
from opml_dispute.chain.amounts import duration, ether
from opml_dispute.chain.answers import Head
from opml_dispute.chain.deploy import other_games
from opml_dispute.chain.game_cache import GameCache
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.resolve import forecast
from opml_dispute.primitives import Address, RequestId, StateRoot

KINDS: Final = {
    "endpoints_disagree": "the nodes do not see the same chain",
    "paused": "the guardian has paused the system",
    "owner_changed": "a contract has another owner or guardian than the deployment's file says",
    "implementation_changed": "the factory makes other games than the deployment's file says",
    "wrong_result_stands": "a game will end with the wrong result if no move is made",
    "clock_running_out": "little time is left to change the result of a game",
    "honest_bond_falls": "a claim of an honest account falls if no move is made",
    "honest_bond_lost": "a claim of an honest account fell within the last day",
    "collateral_short": "a contract holds less than the bonds, credits, deposits and shares in it",
    "credit_wrong": "a game that is over does not owe what its claims award",
    "share_wrong": "more is kept for defenders, or paid to one, than the claims of a game allow",
    "demanded_bond_missing": "a game has locked less than its request demands of the proposer",
    "input_wrong": "an input in blobs is not what it is said to be",
    "input_missing": "an input in blobs cannot be fetched",
    "not_computed": "a request cannot be computed on this computer",
    "unreadable": "a game cannot be read",
    "endpoint_lags": "a node is many blocks behind another one",
    "endpoint_silent": "a node does not answer",
}
"""Kinds of alerts, the most urgent first, and what each means. docs/agent.md has a paragraph for each."""

LOST_LATELY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Alert:
    """One problem that an operator should look at."""

    kind: str
    """One of `KINDS`."""
    what: str
    """A sentence without its full stop."""
    game: Address | None = None
    seconds_left: int | None = None
    """The seconds that a player has left to act."""

    @property
    def facts(self) -> dict[str, Any]:
        """The same for scripts."""
        return {"alert": self.kind, "what": self.what, "game": self.game, "seconds_left": self.seconds_left}


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one game in progress."""

    game: Game
    forecast: GameStatus
    """The result if no player makes a further move."""
    right: GameStatus | None
    """The right result by this computer; None if it cannot compute it."""
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
class Collateral:
    """
    What one vault and its games hold, beside what they owe: bonds of games in progress, and credits of those that are
    over. A game keeps its bonds until it is closed.
    """

    vault: Address
    required_wei: int
    available_wei: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one look."""

    head: Head
    standings: tuple[Standing, ...]
    alerts: tuple[Alert, ...]
    finished: tuple[Game, ...]
    """Games that are over, as old as the window allows."""
    games: int
    """All games of the factory, those that are over included."""
    failed: int
    """Games that could not be read."""
    ignored: int
    """Games older than the window."""
    collateral: tuple[Collateral, ...]
    credits: tuple[OwedCredit, ...]
    """What games that are over have not paid yet."""
    demanded: DemandedBonds
    """What requests demand of their proposers."""
    shares: KeptShares
    """What is kept of fees for those who defended the answers."""
    inputs: InputReport
    """Inputs in blobs, of open requests and of games in progress."""
    honest: Mapping[Address, BondTally]
    """By the accounts that should be right."""
    roots: Mapping[RequestId, StateRoot]
    """The right S_n, as far as computed here."""
    lag_blocks: int
    is_paused: bool

    def count(self, kind: str) -> int:
        """How many alerts of a kind there are."""
        return sum(alert.kind == kind for alert in self.alerts)


class Monitor:
    """Looks at one deployment again and again; remembers games, and computed roots."""

    def __init__(
        self,
        system: System,
        cases: LocalCases,
        *,
        others: Sequence[Rpc] = (),
        honest: Sequence[Address] = (),
        warn_before_s: int = 3_600,
        max_age_s: int = 28 * 86_400,
        max_lag_blocks: int = 10,
        computes: bool = True,
        blobs: Sequence[str] = (),
        waits_for_blobs: bool = False,
    ) -> None:
        """
        `others` are compared with the system's own node; the claims of `honest` accounts should never fall; games
        older than `max_age_s` are left out; `computes` says whether to recompute results; `blobs` are the sources of
        inputs in blobs, and `waits_for_blobs` whether each look waits until all were looked at.
        """
        self.system, self.cases = system, cases
        self._others, self._warn_before_s, self._max_lag_blocks = others, warn_before_s, max_lag_blocks
        self._honest, self._max_age_s, self._computes = tuple(honest), max_age_s, computes
        self._discovery, self.game_cache = Discovery(system), GameCache(system.games)
        self._credits, self._demanded = CreditAudit(system), DemandedBondAudit(system)
        self._shares = ShareAudit(system)
        self._inputs = InputWatch(system, blobs, max_age_s=max_age_s, waits=waits_for_blobs)
        self._roots: dict[RequestId, StateRoot] = {}
        self._closely: set[Address] = set()
        """Games about to end wrongly."""

    def close(self) -> None:
        """Ends what is on its way."""
        self._inputs.close()

    def look(self) -> Report:
        """Report on the deployment at the latest block. Raises only errors that keep it from reading the chain."""
        head = self.system.head()
        known = self._reorganisations
        self._discovery.refresh(head)
        agreement = compare_endpoints(
            head, self._others, chain_id=self.system.deployment.chain_id, max_lag_blocks=self._max_lag_blocks
        )
        alerts = self._about_endpoints(agreement)
        is_paused, about_contracts = self._about_contracts(head)
        games, finished, unreadable, ignored = self._games(head)
        if self._reorganisations > known:
            self._credits.forget()
            self._demanded.forget()
            self._shares.forget()
            self._inputs.forget()
        alerts += [*about_contracts, *unreadable, *self._compute(games)]
        standings = [self._standing(game, head.timestamp) for game in games]
        for standing in standings:
            alerts += self._about_game(standing)
        self._closely = {one.game.address for one in standings if one.right is not None and one.forecast != one.right}
        credits_ = self._credits.look(finished, head)
        collateral = self._collateral(games, credits_)
        demanded = self._demanded.look(games, finished, head)
        shares = self._shares.look(finished, head)
        alerts += [
            *self._about_collateral(collateral),
            *self._about_credits(credits_),
            *self._about_demanded(demanded),
            *self._about_shares(shares),
        ]
        alerts += self._about_honest([*games, *finished], head.timestamp)
        inputs = self._inputs.look(head, self._discovery.requests, games)
        alerts += [
            Alert("input_missing" if one.is_missing else "input_wrong", one.what, one.game) for one in inputs.findings
        ]
        order = list(KINDS)
        alerts.sort(key=lambda alert: (order.index(alert.kind), alert.seconds_left or 0))
        return Report(
            head=head,
            standings=tuple(standings),
            alerts=tuple(alerts),
            finished=tuple(finished),
            games=len(self._discovery.games),
            failed=len(unreadable),
            ignored=ignored,
            collateral=collateral,
            credits=tuple(credits_),
            demanded=demanded,
            shares=shares,
            inputs=inputs,
            honest={account: tally([*games, *finished], account) for account in self._honest},
            roots=self._roots,
            lag_blocks=agreement.lag_blocks,
            is_paused=is_paused,
        )

    # ---- reading ----

    @property
    def _reorganisations(self) -> int:
        return self._discovery.reorganisations + self.game_cache.reorganisations

    def _games(self, head: Head) -> tuple[list[Game], list[Game], list[Alert], int]:
        """Games in progress, games that are over, alerts about those that cannot be read, and how many are too old."""
        oldest = head.timestamp - self._max_age_s
        wanted = [entry.address for entry in self._discovery.games if entry.created_at_s >= oldest]
        games: list[Game] = []
        finished: list[Game] = []
        alerts = []
        self.game_cache.keep_only(wanted)
        for address, game in self.game_cache.refresh(wanted, head, closely=self._closely).items():
            if isinstance(game, OpmlError):
                alerts.append(Alert("unreadable", f"game {address} cannot be read: {game}", address))
            else:
                (games if game.in_progress else finished).append(game)
        return games, finished, alerts, len(self._discovery.games) - len(wanted)

    def _compute(self, games: Sequence[Game]) -> list[Alert]:
        if not self._computes:
            return []
        missing = [id_ for id_ in dict.fromkeys(game.request_id for game in games) if id_ not in self._roots]
        outcomes = self.cases.each(self.cases.final_root, [(request_id,) for request_id in missing])
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
        what = f"game {address} ends with the wrong result ({standing.forecast.name}) if no move is made"
        found = [Alert("wrong_result_stands", f"{what}; {duration(left)} are left", address, left)]
        if left <= self._warn_before_s:
            found.append(
                Alert("clock_running_out", f"{duration(left)} are left to move in game {address}", address, left)
            )
        return found

    def _about_endpoints(self, agreement: Agreement) -> list[Alert]:
        own_lag = [] if agreement.own_lag is None else [agreement.own_lag]
        return [
            *(Alert("endpoints_disagree", reason) for reason in agreement.disagreements),
            *(Alert("endpoint_lags", reason) for reason in (*own_lag, *agreement.lagging)),
            *(Alert("endpoint_silent", reason) for reason in agreement.silent),
        ]

    def _about_contracts(self, head: Head) -> tuple[bool, list[Alert]]:
        """Whether the system is paused, and what is not as the deployment's file says."""
        system, deployment = self.system, self.system.deployment
        factory, oracle, timelock = system.factory, system.oracle, deployment.addresses["timelock"]
        paused, oracle_owner, factory_owner, guardian, implementation, arguments = system.rpc.read_all(
            [
                *(oracle.is_paused(), oracle.owner(), factory.owner(), oracle.guardian()),
                *(factory.game_implementation(), factory.game_arguments()),
            ],
            at=head,
        )
        alerts = [Alert("paused", "the guardian has paused the system")] if paused else []
        owners = (
            ("the oracle's owner", oracle_owner, timelock),
            ("the factory's owner", factory_owner, timelock),
            ("the guardian", guardian, deployment.guardian),
        )
        for name, found, expected in owners:
            if found.lower() != expected.lower():
                alerts.append(Alert("owner_changed", f"{name} is {found}, not {expected}"))
        difference = other_games(deployment, implementation, arguments)
        if difference is not None:
            alerts.append(Alert("implementation_changed", difference))
        return bool(paused), alerts

    def _collateral(self, games: Sequence[Game], credits_: Sequence[OwedCredit]) -> tuple[Collateral, ...]:
        """Compare what each vault and its games hold with the bonds of open games, and with what games that are over
        owe."""
        owed: dict[Address, int] = {self.system.deployment.addresses["weth"]: 0}
        vaults: dict[Address, Address] = {}
        for game in games:
            vault = vaults[game.address] = self.system.games.constants(game.address).weth
            owed[vault] = owed.get(vault, 0) + sum(claim.bond_wei for claim in game.claims)
        for credit in credits_:
            vaults[credit.game] = credit.vault
            owed[credit.vault] = owed.get(credit.vault, 0) + credit.owed_wei
        held = dict(zip([*owed, *vaults], self.system.rpc.balances_wei([*owed, *vaults]), strict=True))
        for address, vault in vaults.items():
            held[vault] += held[address]
        return tuple(Collateral(vault, required_wei, held[vault]) for vault, required_wei in owed.items())

    def _about_collateral(self, collateral: Sequence[Collateral]) -> list[Alert]:
        return [
            Alert(
                "collateral_short",
                f"the vault {one.vault} and its games hold {ether(one.available_wei)}, less than the "
                f"{ether(one.required_wei)} of open bonds and unpaid credits",
            )
            for one in collateral
            if one.available_wei < one.required_wei
        ]

    def _about_credits(self, credits_: Sequence[OwedCredit]) -> list[Alert]:
        return [
            Alert(
                "credit_wrong",
                f"game {one.game} owes {ether(one.owed_wei)} to {one.recipient}, its claims award "
                f"{ether(one.expected_wei)}, and {ether(one.unlocked_wei)} are unlocked",
                one.game,
            )
            for one in credits_
            if one.comparison != "expected" or not one.matches
        ]

    def _about_demanded(self, demanded: DemandedBonds) -> list[Alert]:
        alerts = [
            Alert(
                "demanded_bond_missing",
                f"game {game} has locked {ether(locked_wei)}, and its request demands {ether(demanded_wei)}",
                game,
            )
            for game, locked_wei, demanded_wei in demanded.missing
        ]
        if demanded.available_wei < demanded.required_wei:
            what = f"the contract {demanded.contract} holds {ether(demanded.available_wei)}, less than the "
            what += f"{ether(demanded.required_wei)} of demanded bonds and deposits in it"
            alerts.append(Alert("collateral_short", what))
        return alerts

    def _about_shares(self, shares: KeptShares) -> list[Alert]:
        alerts = [
            Alert("share_wrong", f"of the fee shared in game {game}, {what}", game) for game, what in shares.wrong
        ]
        if shares.available_wei < shares.required_wei:
            what = f"the contract {shares.contract} holds {ether(shares.available_wei)}, less than the "
            what += f"{ether(shares.required_wei)} that it keeps for defenders"
            alerts.append(Alert("collateral_short", what))
        return alerts

    def _about_honest(self, games: Sequence[Game], now_s: int) -> list[Alert]:
        alerts = []
        for account in self._honest:
            for game in games:
                claims, left = falling(game, account, now_s)
                if claims:
                    what = f"{_claims(claims)} of {account} falls in game {game.address} if no move is made"
                    what += f"; {duration(left)} are left to answer"
                    alerts.append(Alert("honest_bond_falls", what, game.address, left))
                lost = lost_claims(game, account)
                if lost and (game.in_progress or now_s - game.resolved_at_s < LOST_LATELY_S):
                    what = f"{_claims(lost)} of {account} fell in game {game.address}"
                    alerts.append(Alert("honest_bond_lost", what, game.address))
        return alerts


def _claims(claims: Sequence[Claim]) -> str:
    total = ether(sum(claim.bond_wei for claim in claims))
    names = f"claim {claims[0].index}" if len(claims) == 1 else f"{len(claims)} claims, the first {claims[0].index},"
    return f"{names} ({total})"
