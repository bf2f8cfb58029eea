"""
A whole dispute on a local chain with the OP Stack's fee rules, and what each of its transactions costs there.

The story is the demo's lying proposer. The chain charges for the data of each transaction, and pays what it charges to
an account of its own, so the fees are read there and not computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from opml_dispute.chain.data_fee import data_fees_wei, dispute_data_fee_wei
from opml_dispute.chain.rpc import Rpc
from opml_dispute.cli.demo.stage import Party, Stage
from opml_dispute.cli.demo.stories import DecidedStep, DemoPlayer, StoryResult
from opml_dispute.game.claim import Game
from opml_dispute.operator.intents import Done, Intent

FEE_VAULT: Final = "0x420000000000000000000000000000000000001A"
"""Where the chain puts what it charges for data."""


@dataclass(frozen=True)
class SentOnRollup:
    """One transaction."""

    kind: str
    calldata_bytes: int
    gas: int
    data_fee_wei: int
    """Charged for its data."""
    most_data_fee_wei: int
    """What `data_fee` said before that it may cost."""


@dataclass
class RollupDispute:
    """The dispute, as it was charged."""

    deploy_gas: int
    deploy_data_fee_wei: int
    sent: list[SentOnRollup] = field(default_factory=list)
    most_data_fee_wei: int = 0
    """What the preflight sets aside for the data of both sides."""
    moves_took_s: int = 0
    """From the game's creation to the last move, by the chain's clock."""
    winner: str = ""


class _Cashier:
    """Listens to a story, and notes what each transaction was charged."""

    def __init__(self, rpc: Rpc, dispute: RollupDispute) -> None:
        self._rpc, self._dispute = rpc, dispute
        self._most_wei = 0
        self.game: Game | None = None

    def transaction_announced(self, party: Party, intent: Intent) -> None:
        (self._most_wei,) = data_fees_wei(self._rpc, [intent.call.data])
        self._before_wei = self._rpc.balance_wei(FEE_VAULT)

    def transaction_mined(self, party: Party, done: Done) -> None:
        if done.receipt is None:
            return
        charged_wei = self._rpc.balance_wei(FEE_VAULT) - self._before_wei
        size, gas = len(done.intent.call.data), done.receipt.gas_used
        self._dispute.sent.append(SentOnRollup(done.intent.kind, size, gas, charged_wei, self._most_wei))

    def game_changed(self, game: Game, node_steps: int) -> None:
        if self.game is None or len(game.claims) > len(self.game.claims):
            self.game = game

    def story_began(self, title: str, image: Any, label: int) -> None: ...
    def message(self, sentence: str) -> None: ...
    def answers_known(self, right: Any, told: Any, liar: str) -> None: ...
    def instruction_found(self, judged: DecidedStep) -> None: ...
    def story_ended(self, result: StoryResult) -> None: ...


@contextmanager
def rollup_dispute(sample: int = 7) -> Iterator[tuple[Stage, RollupDispute]]:
    """A deployment and a whole dispute about one digit, and the stage that they were played on."""
    with Stage.open(on_rollup=True) as stage:
        rpc = stage.system.rpc
        dispute = RollupDispute(stage.deploy_gas, rpc.balance_wei(FEE_VAULT))
        cashier = _Cashier(rpc, dispute)
        result = DemoPlayer(stage, cashier).lying_proposer(sample)
        game = cashier.game
        assert game is not None, "a story has a game"
        dispute.winner = result.winner
        dispute.moves_took_s = max(claim.clock.timestamp_s for claim in game.claims) - game.created_at_s
        dispute.most_data_fee_wei = dispute_data_fee_wei(rpc, game.depths)
        yield stage, dispute
