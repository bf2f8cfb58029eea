"""
The defenders' shares of fees: what is kept and paid in each game, and whether that is right and the money there.

`ShareAudit.look` reads the shares of the games whose root claim stands and in which a claim fell. What is kept and not
paid is the least that the contract has to hold; a share is at most half of what the claims that fell have forfeited,
and no account is paid more than its part (docs/game.md, "Shares of the defenders").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opml_dispute.agent.open_requests import RoundRobin
from opml_dispute.chain.amounts import ether
from opml_dispute.chain.answers import Head
from opml_dispute.chain.system import System
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.resolve import forecast
from opml_dispute.game.shares import most_share_wei, rewards_wei, won_wei
from opml_dispute.primitives import Address

GAMES_A_LOOK: Final = 200
_READS: Final = 3
"""How often all is read again if the contract seems to hold too little: shares are paid while they are read."""


@dataclass(frozen=True, slots=True)
class GameShares:
    """Of one game, in wei."""

    kept_wei: int
    """At its deliveries."""
    credited_wei: Mapping[Address, int]
    """What the claims forfeited that were counted for each account."""
    paid_wei: Mapping[Address, int]

    @property
    def owed_wei(self) -> int:
        """Kept and not paid, what rounding leaves included."""
        return self.kept_wei - sum(self.paid_wei.values())


@dataclass(frozen=True, slots=True)
class KeptShares:
    """Of one deployment."""

    contract: Address
    kept_wei: int
    """In the games that were looked at."""
    paid_wei: int
    """Of that."""
    available_wei: int
    """What the contract holds."""
    wrong: tuple[tuple[Address, str], ...]
    """Games whose shares are not what their claims say, and how so."""

    @property
    def required_wei(self) -> int:
        """The least that the contract has to hold."""
        return self.kept_wei - self.paid_wei


class ShareAudit:
    """Of one deployment."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._rotation = RoundRobin()
        self._found: dict[Address, GameShares] = {}
        """By games, as last read."""
        self._won: dict[Address, dict[Address, int]] = {}
        """By games that are over: what each account's lost opponents forfeited."""
        self._snapshots: dict[Address, Game] = {}
        """The games that this was computed of: a node may have erred about one, which is then read as another."""

    def forget(self) -> None:
        """After a reorganisation: a delivery, a payment or the end of a game may have been undone."""
        self._found.clear()
        self._won.clear()
        self._snapshots.clear()

    def look(self, finished: Sequence[Game], head: Head) -> KeptShares:
        """
        What is kept and paid, as last seen: new games are read, and some of the others anew in each look.

        Raises an `RpcError` if the node gives no answers.
        """
        games = [game.address for game in finished if self._has_defenders(game)]
        self._found = {game: found for game, found in self._found.items() if game in set(games)}
        self._won = {game.address: self._won[game.address] for game in finished}
        self._snapshots = {game.address: game for game in finished}
        due = [game for game in games if game not in self._found]
        others = [game for game in games if game in self._found]
        self._read([*due, *self._rotation.take(others, GAMES_A_LOOK)], head)
        kept = self._sum()
        for _ in range(_READS):
            if kept.available_wei >= kept.required_wei:
                break
            self._read(games, self._system.rpc.head())
            kept = self._sum()
        return kept

    def _has_defenders(self, game: Game) -> bool:
        """Whether the root claim of a game that is over stands, and a claim that fell forfeited something."""
        if self._snapshots.get(game.address) != game:
            self._snapshots[game.address] = game
            stands = game.status == GameStatus.DEFENDER_WINS
            self._won[game.address] = won_wei(game, forecast(game).countered_by) if stands else {}
        return bool(self._won[game.address])

    def _read(self, games: Sequence[Address], head: Head) -> None:
        rpc, contract = self._system.rpc, self._system.defender_shares
        kept = rpc.read_each([contract.share_wei(game) for game in games], at=head)
        asked = [(game, defender) for game, wei in zip(games, kept, strict=True) if wei for defender in self._won[game]]
        answers = rpc.read_each([contract.credit_wei(*pair) for pair in asked], at=head)
        credits_ = dict(zip(asked, answers, strict=True))
        for game, wei in zip(games, kept, strict=True):
            own = {defender: found for (about, defender), found in credits_.items() if about == game}
            self._found[game] = GameShares(
                wei,
                {defender: credited for defender, (credited, _) in own.items()},
                {defender: paid for defender, (_, paid) in own.items()},
            )

    def _sum(self) -> KeptShares:
        contract = self._system.defender_shares.address
        found = self._found.values()
        return KeptShares(
            contract,
            kept_wei=sum(one.kept_wei for one in found),
            paid_wei=sum(one.kept_wei - one.owed_wei for one in found),
            available_wei=self._system.rpc.balance_wei(contract) if any(one.kept_wei for one in found) else 0,
            wrong=tuple(
                (game, what) for game, one in self._found.items() if (what := _wrong(one, self._won[game])) is not None
            ),
        )


def _wrong(found: GameShares, won: Mapping[Address, int]) -> str | None:
    """What is wrong with the shares of a game whose claims won so much for each account; None if nothing is."""
    most_wei = most_share_wei(won)
    if found.kept_wei > most_wei:
        return f"{ether(found.kept_wei)} are kept, and its claims allow {ether(most_wei)}"
    parts = rewards_wei(won, found.kept_wei)
    for account, paid_wei in found.paid_wei.items():
        credited_wei = found.credited_wei[account]
        if credited_wei > won[account]:
            return f"{ether(credited_wei)} are counted for {account}, and its claims won {ether(won[account])}"
        if paid_wei > parts[account]:
            return f"{ether(paid_wei)} were paid to {account}, whose part is {ether(parts[account])}"
    return None
