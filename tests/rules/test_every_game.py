"""
Random games against the honest actor: liars with a consistent faulty trace, freeloaders, spammers, late movers.

Hypothesis plays the others. Between two rounds of the honest actor they may make several moves, in its place, beside
it, under each other, true ones too. After each round, and at the end, the rules of `every_game` hold.
"""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from opml_dispute.actors.actions import Move, Step
from opml_dispute.actors.honest import consider, resolution_actions
from opml_dispute.game.rules import allowed_vm_statuses
from opml_dispute.trace.provider import TraceError
from opml_dispute.trace.split import SplitTrace
from tests.rules import every_game as rules
from tests.support.builders import HONEST, MALLORY, SPAMMER, ToyTable, a_lie, faulty_trace, send
from tests.support.reference_game import Reverted

FAULTY_TRACES = 3


class HonestAgainstTheWorld(RuleBasedStateMachine):
    """One game; the honest actor is a challenger, or proposer and defender."""

    @initialize(
        node_count=st.integers(1, 8),
        faults=st.lists(
            st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 191)),
            min_size=FAULTY_TRACES,
            max_size=FAULTY_TRACES,
        ),
        root=st.integers(-1, FAULTY_TRACES),
    )
    def start(self, node_count: int, faults: list[tuple[int, int, int]], root: int) -> None:
        """The root claim is the truth (-1), one of the stories, or noise."""
        self.table = ToyTable(node_count=node_count)
        self.truth = self.table.truth
        self.faulty_traces = [faulty_trace(0, node_count, node % node_count, step, bit) for node, step, bit in faults]
        if root == -1:
            self.table.root(self.truth.root_claim(), by=HONEST)
        elif root < FAULTY_TRACES:
            self.table.root(self.faulty_traces[root].root_claim(), by=MALLORY)
        else:
            self.table.root(b"\x5a" * 32, by=MALLORY)
        self.salt = 0

    def pick(self, choice: int) -> int:
        """A claim, mostly one of the latest: so games get deep."""
        claims = len(self.table.reference.claims)
        return max(0, claims - 1 - choice) if choice < 12 else choice % claims

    @rule(
        choice=st.integers(0, 40),
        is_attack=st.booleans(),
        source=st.integers(0, FAULTY_TRACES + 1),
        by_spammer=st.booleans(),
    )
    def others_move(self, choice: int, is_attack: bool, source: int, by_spammer: bool) -> None:
        """One move of another account: from a faulty trace, from the true one, or random. The contract may refuse
        it."""
        game = self.table.game()
        claim = game.claims[self.pick(choice)]
        if claim.position.depth == game.depths.max or (not is_attack and claim.position.is_rightmost):
            return
        trace: SplitTrace | None = [*self.faulty_traces, self.truth, None][source]
        self.salt += 1
        value = a_lie(game, claim, bytes(32), is_attack=is_attack, salt=self.salt.to_bytes(4, "big"))
        if trace is not None:
            try:
                value = bytes(trace.reply_at(game, claim, is_attack=is_attack))
            except TraceError:
                return  # a faulty trace has no answer after a start that it does not know
            if claim.position.depth == game.depths.split:
                allowed = allowed_vm_statuses(game, claim, is_attack=is_attack)
                if value[0] not in allowed:
                    value = bytes([min(allowed)]) + value[1:]
        reference = self.table.reference
        position = claim.position.move(is_attack=is_attack)
        try:
            reference.move(
                SPAMMER if by_spammer else MALLORY,
                claim.value,
                claim.index,
                value,
                is_attack,
                reference.required_bond(position.gindex),
            )
        except Reverted as error:
            if str(error) not in {"CannotDefendRootClaim", "ClaimAlreadyExists", "ClockTimeExceeded"}:
                raise

    @rule(faulty=st.integers(0, FAULTY_TRACES - 1))
    def a_liar_plays_its_round(self, faulty: int) -> None:
        """The honest function over a faulty trace: the liar that is hardest to catch."""
        trace = self.faulty_traces[faulty]
        for action in consider(self.table.game(), trace, self.table.reference.now).actions:
            try:
                send(self.table.reference, MALLORY, action)
            except Reverted as error:
                if str(error) not in {"ValidStep", "UnexpectedRootClaim", "InvalidPrestate", "DuplicateStep"}:
                    raise

    @rule(choice=st.integers(0, 40), is_attack=st.booleans(), faulty=st.integers(0, FAULTY_TRACES))
    def others_step(self, choice: int, is_attack: bool, faulty: int) -> None:
        """Another account runs a step where the contract accepts it."""
        game = self.table.game()
        leaves = [claim for claim in game.claims if claim.position.depth == game.depths.max]
        if not leaves:
            return
        trace = [*self.faulty_traces, self.truth][faulty]
        claim = leaves[choice % len(leaves)]
        try:
            data = trace.step_at(game, claim, is_attack=is_attack)
        except TraceError:
            return
        try:
            send(self.table.reference, SPAMMER, Step(claim.index, is_attack, data, ""))
        except Reverted as error:
            if str(error) not in {"ValidStep", "InvalidPrestate", "DuplicateStep"}:
                raise

    @rule(wait_s=st.sampled_from([1, 600, 9_000]))
    def honest_plays_its_round(self, wait_s: int) -> None:
        """Everything at once, after a while, with the whole game answered at the end."""
        reference = self.table.reference
        reference.now += wait_s
        for _ in range(3):
            game = self.table.game()
            plan = consider(game, self.truth, reference.now)
            assert plan.unjudged == ()
            assert plan.missed == ()
            rules.rule_actions_are_legal(game, plan.actions, reference.now)
            rules.rule_never_counters_itself(game, plan.actions)
            rules.rule_prestates_are_right(game, plan.actions)
            for action in plan.actions:
                send(reference, HONEST, action)
            if not any(isinstance(action, Move) for action in plan.actions):
                break
        game = self.table.game()
        rules.rule_nothing_left_to_say(game, self.truth, reference.now)
        rules.rule_winner_is_right_already(game, self.truth)
        rules.rule_no_poisoned_start(game, self.truth)

    @precondition(lambda self: hasattr(self, "table"))
    @invariant()
    def honest_claims_are_true(self) -> None:
        """Whatever the others do, the honest actor makes no wrong claim."""
        game = self.table.game()
        for claim in game.claims:
            if claim.claimant == HONEST:
                assert self.truth.claim_at(game, claim) == claim.value

    def teardown(self) -> None:
        """The others fall silent; the clocks run out; everything is settled."""
        if not hasattr(self, "table"):
            return
        self.honest_plays_its_round(1)
        reference = self.table.reference
        before = self.table.game()
        reference.now += reference.rules.max_clock
        while reference.status == 0:
            actions = resolution_actions(self.table.game(), reference.now)
            assert actions, "nothing can be settled, and the game is not over"
            for action in actions:
                send(reference, SPAMMER, action)
        game = self.table.game()
        rules.rule_truth_won(game, self.truth)
        rules.rule_honest_keeps_every_bond(game)
        rules.rule_honest_earns_what_it_counters(game, reference)
        rules.rule_no_money_is_made_or_lost(reference)
        rules.rule_every_lost_bond_pays_its_part(game, reference)
        rules.rule_forecast_was_right(before, game, reference)


TestHonestAgainstTheWorld = HonestAgainstTheWorld.TestCase
TestHonestAgainstTheWorld.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
