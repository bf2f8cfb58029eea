"""
The game in memory is the contract: the same answers, claims, clocks, payouts and events for the same random play.

All that the other tests show about games in memory holds on chain because of this. Both sides are played about the
digit reader, with the real VM: natively there, by the verifier contract here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import given, settings

from opml_dispute.actors.actions import Step
from opml_dispute.actors.honest import consider
from opml_dispute.game.bond import required_bond_wei
from opml_dispute.game.position import Position
from opml_dispute.primitives import Address
from opml_dispute.trace.provider import TraceError
from opml_dispute.trace.split import SplitTrace
from tests.support.builders import HONEST, MALLORY, SPAMMER, AnyGame, a_lie, send, snapshot
from tests.support.contract_game import ContractGame
from tests.support.digits import digits_liar, digits_rules, digits_truth, guest, real_vm
from tests.support.on_contract import ExactReference, assert_same_outcome
from tests.support.reference_game import ZERO, Record, Reverted, Rules

COMPARED = (
    "parent_index",
    "countered_by",
    "claimant",
    "bond",
    "claim",
    "position",
    "duration",
    "timestamp",
    "resolved",
    "paid_back",
)
assert set(COMPARED) < {field.name for field in fields(Record)}


class Both:
    """One game twice. What is done is done to both, and must come to the same."""

    def __init__(self, root_claim: bytes, kind: type[ContractGame] = ContractGame, rules: Rules | None = None) -> None:
        self.contract = kind(rules or digits_rules(), MALLORY, root_claim)
        self.memory = ExactReference(self.contract.rules, real_vm, MALLORY, root_claim)

    def do(self, act: Callable[[AnyGame], object]) -> str:
        """The name of the refusal, or nothing."""
        outcomes = []
        for game in (self.memory, self.contract):
            try:
                act(game)
            except Reverted as error:
                outcomes.append(str(error))
            else:
                outcomes.append("")
        in_memory, on_chain = outcomes
        assert_same_outcome(in_memory, on_chain)
        return on_chain

    def wait(self, seconds: int) -> None:
        self.memory.now += seconds
        self.contract.now += seconds

    def compare(self) -> None:
        ours, theirs = self.memory.claims, self.contract.claims
        assert [{name: getattr(record, name) for name in COMPARED} for record in ours] == [
            {name: getattr(record, name) for name in COMPARED} for record in theirs
        ]
        assert self.memory.credits == self.contract.credits
        assert self.memory.status == self.contract.status
        self.compare_events()

    def compare_events(self) -> None:
        """The contract has logged what happened in memory, each thing once, claims in their order."""
        logged: dict[str, list[dict[str, Any]]] = {}
        for name, arguments in self.contract.events:
            logged.setdefault(name, []).append(arguments)
        claims = list(enumerate(self.memory.claims))
        in_lower_case = [
            (record.parent_index, record.claim, record.claimant.lower()) for index, record in claims if index
        ]
        assert [tuple(move.values()) for move in logged.get("Move", [])] == in_lower_case
        assert [
            (added["claimIndex"], added["position"], added["bond"], added["clock"])
            for added in logged.get("ClaimAdded", [])
        ] == [
            (index, record.position, record.bond, record.duration << 64 | record.timestamp) for index, record in claims
        ]
        stepped = {event["claimIndex"]: event["stepper"] for event in logged.get("Stepped", [])}
        deepest = 1 << self.memory.rules.max_depth
        assert stepped == {
            index: record.countered_by.lower()
            for index, record in claims
            if record.position >= deepest and record.countered_by != ZERO
        }
        assert sorted((event["claimIndex"], event["counteredBy"]) for event in logged.get("ClaimResolved", [])) == [
            (index, ZERO if record.paid_back else record.countered_by.lower())
            for index, record in claims
            if record.resolved
        ]
        paid: Counter[str] = Counter()
        for event in logged.get("BondPaid", []):
            paid[event["recipient"]] += event["amount"]
            # Of a lost bond, what the winner did not get is told by the difference.
            if lost := self.memory.claims[event["claimIndex"]].bond - event["amount"]:
                paid[self.memory.rules.forfeited_to.lower()] += lost
        assert paid == {name.lower(): amount for name, amount in self.memory.credits.items()}
        assert [event["status"] for event in logged.get("Resolved", [])] == [
            self.memory.status for _ in range(self.memory.status != 0)
        ]
        assert len(logged.get("LocalDataAdded", [])) == self.memory.loaded


AnyBoth = TypeVar("AnyBoth", bound=Both)

turns = st.tuples(
    st.sampled_from(["round", "duel", "move", "move", "step", "step", "load", "settle", "settle all", "wait"]),
    st.integers(0, 2**16),
    st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3), st.lists(turns, min_size=4, max_size=60))
def test_random_play_comes_to_the_same(root_seed: int, played: list[tuple[str, int, bool]]) -> None:
    assert play_turns(Both, root_seed, played).memory.status != 0


def play_turns(make: Callable[[bytes], AnyBoth], root_seed: int, played: Sequence[tuple[str, int, bool]]) -> AnyBoth:
    """An honest player against two liars, noise between their rounds, late and double steps, early settling."""
    faulty_traces = [digits_liar().find(seed) for seed in (root_seed, root_seed + 1)]
    traces = [digits_truth(), *(faulty.trace(guest()) for faulty in faulty_traces)]
    names = [HONEST, MALLORY, SPAMMER]
    both = make(faulty_traces[0].root_claim)
    for kind, number, is_attack in played:
        who = number % 3
        claims = len(both.memory.claims)
        index = max(0, claims - 1 - number // 3 % 4)
        if kind == "round":
            play(both, traces[who], names[who])
        elif kind == "duel":
            for turn in range(number % 32):  # deep enough for a step, or cut short
                play(both, traces[turn % 2], names[turn % 2])
        elif kind == "move":
            move(both, index, names[who], is_attack=is_attack, variety=number)
        elif kind == "step":
            step(both, traces[who], names[who], index, is_attack=is_attack)
        elif kind == "load":
            both.do(partial(load, index=index, ident=number % 7, offset=number % 50))
        elif kind == "settle":
            both.do(partial(settle, index=index + number % 2, count=number % 3))
            both.do(lambda game: game.resolve())
        elif kind == "settle all":
            both.do(partial(settle_all, indices=in_some_order(claims, number), count=number % 3))
        else:
            both.wait([1, 5_000, 100_000, 302_400][number % 4])
    both.compare()
    both.wait(302_400)
    newest_first = list(reversed(range(len(both.memory.claims))))
    if root_seed % 2:
        both.do(partial(settle_all, indices=newest_first, count=512))
    else:
        for index in newest_first:
            both.do(partial(settle, index=index, count=512))
        both.do(lambda game: game.resolve())
    both.compare()
    return both


def load(game: AnyGame, *, index: int, ident: int, offset: int) -> None:
    game.add_local_data(ident, index, offset)


def settle(game: AnyGame, *, index: int, count: int) -> None:
    game.resolve_claim(index, count)


def settle_all(game: AnyGame, *, indices: list[int], count: int) -> None:
    game.settle(indices, count)


def in_some_order(claims: int, number: int) -> list[int]:
    """All claims from the newest; or only some, some of them twice; once in a while one that does not exist."""
    newest_first = list(reversed(range(claims)))
    if number % 2:
        return newest_first
    some = newest_first[:: 1 + number // 2 % 3]
    return some + some[:2] + [claims] * (number % 12 == 0)


def play(both: Both, trace: SplitTrace, name: Address) -> None:
    """One round, as decided over the game in memory."""
    if both.memory.status != 0:
        return
    for action in consider(snapshot(both.memory), trace, both.memory.now).actions:
        both.do(partial(send, sender=name, action=action))


def move(both: Both, index: int, name: Address, *, is_attack: bool, variety: int) -> None:
    """Noise, mostly acceptable: now and then a wrong bond, status byte or disputed value."""
    game = snapshot(both.memory)
    claim = game.claims[index]
    value, disputed = b"\x01" + bytes(30) + bytes([variety % 4]), bytes(claim.value)
    if claim.position.depth == game.depths.split and (is_attack or not claim.position.is_rightmost):
        value = a_lie(game, claim, bytes(32), is_attack=is_attack)
    if variety % 11 == 0:
        value = b"\x03" + value[1:]
    if variety % 13 == 0:
        disputed = bytes(32)
    depth = claim.position.depth + 1
    bond = required_bond_wei(min(depth, game.depths.max), game.depths.max, game.terms) + (variety % 17 == 0)
    both.do(lambda any_game: any_game.move(name, disputed, index, value, is_attack, bond))
    if depth <= game.depths.max:
        assert both.contract.required_bond(Position(depth, 0).gindex) == required_bond_wei(
            depth, game.depths.max, game.terms
        )


def step(both: Both, trace: SplitTrace, name: Address, index: int, *, is_attack: bool) -> None:
    """A random step, whether or not it is due."""
    game = snapshot(both.memory)
    leaves = [claim for claim in game.claims if claim.position.depth == game.depths.max]
    if not leaves:
        both.do(lambda any_game: any_game.step(name, index, is_attack, bytes(188), b""))
        return
    claim = leaves[index % len(leaves)]
    try:
        data = trace.step_at(game, claim, is_attack=is_attack)
    except TraceError:
        return
    both.do(partial(send, sender=name, action=Step(claim.index, is_attack, data, "")))
