"""Games to look at: one that two parties play on the chain, and a made-up one of thousands of claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from opml_dispute.actors.player import play_round
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.clock import Clock
from opml_dispute.operator.intents import perform
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.primitives import Address, Hash32
from opml_dispute.trace.split import NodeFault, SplitTrace
from tests.agent.test_agent import lie
from tests.conftest import Chain


class Players:
    """A liar that proposed, and an honest challenger; `turn` lets each make its moves once."""

    def __init__(self, chain: Chain, tmp_path: Path, seed: int = 3) -> None:
        self.liar, self.case = lie(chain, tmp_path, seed)
        sender = chain.sender("challenger")
        table = Table(chain.system(), self.liar.table.address, self.case.trace())
        self.challenger = Seat(table, one_by_one(lambda intent: perform(intent, sender)))

    @property
    def address(self) -> Address:
        return self.liar.table.address

    @property
    def fault(self) -> NodeFault:
        """The fault of the liar's trace."""
        trace = self.liar.table.trace
        assert isinstance(trace, SplitTrace)
        assert trace._fault is not None
        return trace._fault

    def challenge(self) -> None:
        """One move by the challenger."""
        assert play_round(self.challenger, self.challenger.table.trace).done

    def turn(self) -> bool:
        """Let both play in turn, and answer whether one of them moved."""
        rounds = [play_round(seat, seat.table.trace) for seat in (self.challenger, self.liar)]
        return any(round_.done for round_ in rounds)

    def to_the_leaf(self) -> Game:
        """Until a claim stands at the greatest depth; the game then."""
        while True:
            for seat in (self.challenger, self.liar):
                game, _ = seat.snapshot()
                if max(claim.position.depth for claim in game.claims) == game.depths.max:
                    return game
                play_round(seat, seat.table.trace)


def crowded(game: Game, count: int) -> Game:
    """The same game with `count` claims: thousands of answers to the root claim, and long lines below some of them."""
    claims = [game.root]
    players = [Address("0x" + f"{number:040x}") for number in range(1, 41)]
    while len(claims) < count:
        index = len(claims)
        parent = claims[index - 1 if index % 10 else 0]
        if parent.position.depth >= game.depths.split:
            parent = claims[0]
        position = parent.position.attack()
        value = Hash32(index.to_bytes(32, "big"))
        clock = Clock(0, game.created_at_s + index % 600)
        claims.append(Claim(index, parent.index, None, players[index % 40], 10**15, value, position, clock))
    return replace(game, claims=tuple(claims))
