"""
Steps that come after the claim was settled: `forecast` says what the contract then pays, and `GameReader` sees them.

A late step counters a claim whose bond went back to its claimant, so the claim above stands or falls by it, and no
bond does. `claimData` shows such a claim as any other that a step countered.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from opml_dispute.actors.actions import Step
from opml_dispute.actors.honest import consider
from opml_dispute.chain.contracts.dispute import DisputeGameFactory
from opml_dispute.chain.games import GameReader
from opml_dispute.chain.rpc import Call, Rpc
from opml_dispute.game.claim import Game, GameStatus, ResolvedPages
from opml_dispute.game.resolve import forecast
from opml_dispute.primitives import Address
from tests.support.builders import HONEST, MALLORY, SPAMMER, ToyTable, send, snapshot
from tests.support.contract_game import ContractGame
from tests.support.on_contract import OnContract
from tests.support.reference_game import Reverted

SEEDS = 24


def duel(chance: random.Random) -> tuple[ToyTable, OnContract]:
    """A liar's game played down to its leaves by both sides, with leaves of a third account beside the liar's."""
    table = ToyTable()
    reference = table.reference = OnContract(table.rules, table.vm, MALLORY, table.faulty.root_claim())
    while True:
        before = len(reference.claims)
        for trace, who in ((table.truth, HONEST), (table.faulty, MALLORY)):
            for action in consider(snapshot(reference), trace, reference.now).actions:
                if not isinstance(action, Step):
                    send(reference, who, action)
        if len(reference.claims) == before:
            break
    parents = {claim.parent_index for claim in leaves(table.game())}
    for parent in parents:
        for number in range(chance.randint(1, 3)):
            value, claim = bytes([number + 1]) * 32, reference.claims[parent]
            is_attack = chance.random() < 0.5
            position = claim.position << 1 if is_attack else (claim.position | 1) << 1
            who = chance.choice([SPAMMER, MALLORY])
            reference.move(who, claim.claim, parent, value, is_attack, reference.required_bond(position))
    return table, reference


def leaves(game: Game) -> list[Any]:
    return [claim for claim in game.claims if claim.position.depth == game.depths.max]


def step_on(table: ToyTable, index: int, who: Address) -> bool:
    """Whether one of the two steps there is against a leaf was taken."""
    game = table.game()
    for is_attack in (True, False):
        try:
            data = table.truth.step_at(game, game.claims[index], is_attack=is_attack)
            send(table.reference, who, Step(index, is_attack, data, ""))
        except (Reverted, ValueError, LookupError):
            continue
        return True
    return False


def late_game(seed: int) -> tuple[ToyTable, OnContract, int]:
    """A game whose clocks are over, with steps before and after leaves were settled; and how many were late."""
    chance = random.Random(seed)
    table, reference = duel(chance)
    reference.now += table.rules.max_clock
    late = 0
    for leaf in leaves(table.game()):
        is_settled = chance.random() < 0.6
        if is_settled:
            reference.resolve_claim(leaf.index, 0)
        if leaf.parent_index is not None and chance.random() < 0.7:
            with suppress(Reverted):  # of its answers, one is not settled yet, or all are resolved
                reference.resolve_claim(leaf.parent_index, 1)
        if chance.random() < 0.8:
            late += step_on(table, leaf.index, chance.choice([HONEST, SPAMMER])) and is_settled
    return table, reference, late


def test_a_forecast_is_what_the_contract_pays_however_late_the_steps_were() -> None:
    late = decided = turned = 0
    for seed in range(SEEDS):
        _, reference, steps = late_game(seed)
        late += steps
        game = snapshot(reference)
        foretold, seen = forecast(snapshot(reference)), forecast(read_again(reference))
        assert foretold == seen, seed
        for index in reversed(range(len(reference.claims))):
            if not reference.claims[index].resolved:
                reference.resolve_claim(index, 512)
        reference.resolve()
        assert {str(who): wei for who, wei in foretold.payouts_wei.items() if wei} == reference.contract.credits, seed
        assert foretold.winner == GameStatus(reference.contract.status), seed
        assert forecast(read_again(reference)).payouts_wei == foretold.payouts_wei, "and afterwards"
        decided += sum(claim.checkpoint is not None for claim in game.claims)
        turned += foretold != forecast(without_checkpoints(game))
    assert late >= SEEDS
    assert decided >= SEEDS // 3
    assert turned, "of these games, one is resolved in pages between which a step came"


def without_checkpoints(game: Game) -> Game:
    return replace(game, claims=tuple(replace(claim, checkpoint=None) for claim in game.claims))


def read_again(reference: OnContract) -> Game:
    """The contract's game, late steps and checkpoints as the reader finds them."""
    reader = GameReader(EvmRpc(reference.contract), DisputeGameFactory(Address(reference.rules.address)))
    (read,) = reader._with_checkpoints(reader._with_late_steps([snapshot(reference.contract)], None), None)
    assert isinstance(read, Game)
    return replace(read, claims=tuple(replace(claim, checkpoint=as_spelt(claim.checkpoint)) for claim in read.claims))


def as_spelt(found: ResolvedPages | None) -> ResolvedPages | None:
    """With the players' addresses as the game in memory writes them."""
    names = {name.lower(): name for name in (HONEST, MALLORY, SPAMMER)}
    return found and replace(found, countered_by=found.countered_by and names[found.countered_by.lower()])


class EvmRpc(Rpc):
    """The contract of a game inside this process, in a node's place."""

    def __init__(self, game: ContractGame) -> None:
        super().__init__(patience_s=0)
        self._game = game
        self.asked_about: list[int] = []

    def _call_all(self, calls: Any, at: Any, sender: Any) -> list[Any]:
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call[Any]) -> bytes:
        self.asked_about.append(*call.arguments)
        taken, answer = self._game.answer_to(call.data)
        assert taken
        return answer


@pytest.mark.parametrize("seed", range(4))
def test_a_reader_knows_which_bonds_went_back(seed: int) -> None:
    _, reference, late = late_game(seed)
    game, rpc = snapshot(reference), EvmRpc(reference.contract)
    unmarked = replace(game, claims=tuple(replace(claim, paid_back=False) for claim in game.claims))
    (read,) = GameReader(rpc, DisputeGameFactory(game.address))._with_late_steps([unmarked], None)
    assert isinstance(read, Game)
    assert [claim.paid_back for claim in read.claims] == [claim.paid_back for claim in game.claims]
    assert sum(claim.paid_back for claim in read.claims) == late
    settled = [claim.index for claim in leaves(game) if claim.is_resolved and claim.countered_by is not None]
    assert rpc.asked_about == settled, "no other claim costs a call"
