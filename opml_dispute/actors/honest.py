"""
The honest actor: a pure function from a game, a trace and a time to the actions that are due now.

1. `consider` walks the claims in the contract's order and decides which to answer. It keeps the set of claims that an
   honest player makes, on chain or not yet, and for each claim the honest answer to it.
2. A claim is answered if it is a wrong root claim, if it counters an honest claim, or if it stands beside the honest
   answer to the same claim, left of it, or in its place and older: from there it could take the bond. A claim to the
   right of the honest answer, or a later one in its place, can never outrank it and gets no answer.
3. A right claim is defended, a wrong one attacked, each with the right value; against a leaf claim a step is made.
4. The actions are sorted by importance (`priority`). A claim that cannot be judged is left out, with the claims below
   it; the others are answered all the same.
5. `resolution_actions` settles the claims whose clocks have run out.

Nothing is remembered between calls: the chain is the only state. A liar is this same function over a faulty trace.
Source: docs/game.md, "The honest actor".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opml_dispute.actors.actions import Move, Resolution, ResolveClaim, ResolveGame, Settle, Step
from opml_dispute.actors.exposure import Line
from opml_dispute.actors.priority import in_order, lost_with_wei, protected_wei
from opml_dispute.actors.words import short_hex, state_name, subject, vm_state_name
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import required_bond_wei
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.position import Position
from opml_dispute.game.resolve import forecast, resolvable, settlement_batches
from opml_dispute.game.rules import subgame_roots_below, subgame_roots_of
from opml_dispute.primitives import Hash32
from opml_dispute.trace.provider import GameTrace, RunsAhead, TraceError


class OutOfMemory(TraceError):
    """A VM run does not fit into this machine's memory."""

    hint = "free memory, or play from a larger machine; the other claims are answered all the same"

    def __init__(self, claim_index: int) -> None:
        super().__init__(f"claim {claim_index} cannot be judged: there is not enough memory for its VM run")
        self.claim_index = claim_index


@dataclass(frozen=True, slots=True)
class Opinion:
    """The actor's result for one claim that it examined."""

    claim_index: int
    expected: Hash32
    """The right value at the claim's position."""

    agrees: bool
    """Whether the claim has it."""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A claim that this computer cannot judge, and the reason."""

    claim_index: int
    error: OpmlError


@dataclass(frozen=True, slots=True)
class Decision:
    """The actions that are due now, and the reasons."""

    actions: tuple[Move | Step, ...]
    """The most important first."""

    opinions: tuple[Opinion, ...]
    """The opinions about the claims that had to be judged; the others make no difference."""

    missed: tuple[str, ...]
    """Sentences about answers that came too late."""

    unjudged: tuple[Unjudged, ...]
    """Claims that should have been judged and could not be; the others are not affected."""

    lines: tuple[Line, ...] = ()
    """The lines of the game, the most important first, from which its possible cost follows (`exposure`)."""

    def expect_something(self) -> None:
        """Raises the first reason for an unjudged claim, if there is one and no action was planned."""
        if self.unjudged and not self.actions:
            raise self.unjudged[0].error


@dataclass(frozen=True, slots=True)
class _Reply:
    """The honest answer to a claim."""

    position: Position
    value: Hash32
    is_attack: bool
    made: Claim | None
    """The claim that gives it, if it is on chain, whichever account posted it."""


def honest_actions(game: Game, trace: GameTrace, now_s: int) -> list[Move | Step]:
    """The moves and steps that an honest player makes now. Raises `TraceError` if it knows too little to make any."""
    plan = consider(game, trace, now_s)
    plan.expect_something()
    return list(plan.actions)


def consider(game: Game, trace: GameTrace, now_s: int) -> Decision:
    """The decision behind `honest_actions`, with opinions and reasons. Empty for a game that is over."""

    def judge() -> Decision:
        return _Deliberation(game, trace, now_s).run()

    return trace.ahead(judge) if isinstance(trace, RunsAhead) else judge()


class _Deliberation:
    """One pass over the claims of one snapshot."""

    def __init__(self, game: Game, trace: GameTrace, now_s: int) -> None:
        self.game, self.trace, self.now_s = game, trace, now_s
        self.honest: set[int] = set()
        """Indices of the claims that an honest player makes, whichever account posted them."""
        self.replies: dict[int, _Reply] = {}
        """The honest answer to each claim that gets one."""
        self.actions: list[Move | Step] = []
        self.opinions: list[Opinion] = []
        self.missed: list[str] = []
        self.unjudged: list[Unjudged] = []

    def run(self) -> Decision:
        if self.game.in_progress:
            for claim in self.game.claims:
                try:
                    self._look_at(claim)
                except OpmlError as error:
                    self.unjudged.append(Unjudged(claim.index, error))
                except MemoryError:
                    self.unjudged.append(Unjudged(claim.index, OutOfMemory(claim.index)))
        actions = in_order(self.game, self.actions, self.now_s, self._is_honest)
        return Decision(
            actions, tuple(self.opinions), tuple(self.missed), tuple(self.unjudged), tuple(self._lines(actions))
        )

    def _lines(self, actions: Sequence[Move | Step]) -> list[Line]:
        """The moves that are due and the honest claims without an answer, sorted by what they protect."""
        lines = [
            Line(action.position.depth, action, protected_wei(self.game, disputed, self._is_honest))
            for action in actions
            if isinstance(action, Move) and (disputed := self.game.claims[action.parent_index])
        ]
        for claim in (self.game.claims[index] for index in sorted(self.honest)):
            depth = claim.position.depth + 2
            if depth > self.game.depths.max or claim.is_resolved:
                continue
            if time_left_s(self.game, claim.index, self.now_s) == 0:
                continue
            if not any(reply.index in self.replies for reply in self.game.replies(claim.index)):
                lines.append(Line(depth, None, lost_with_wei(self.game, claim, self._is_honest)))
        return sorted(lines, key=lambda line: -line.protected_wei)

    def _look_at(self, claim: Claim) -> None:
        if claim.parent_index is None and self._judge(claim).agrees:
            self.honest.add(claim.index)
        if not self._should_counter(claim):
            return
        if claim.position.depth == self.game.depths.max:
            self._step(claim)
        else:
            self._reply(claim)

    def _judge(self, claim: Claim) -> Opinion:
        expected = self.trace.claim_at(self.game, claim)
        opinion = Opinion(claim.index, expected, agrees=expected == claim.value)
        self.opinions.append(opinion)
        return opinion

    def _should_counter(self, claim: Claim) -> bool:
        if self._is_honest(claim):
            return False  # the claim that the honest actor would make, whichever account posted it
        parent = self.game.parent(claim)
        if parent is None or self._is_honest(parent):
            return True
        reply = self.replies.get(parent.index)
        if reply is None:
            return False  # the parent got no answer, so nothing below it needs one
        if claim.position == reply.position:
            return reply.made is None or claim.index < reply.made.index
        # WHY NOT <=: of two claims at one place the older one takes the bond.
        return claim.position.gindex < reply.position.gindex

    def _is_honest(self, claim: Claim) -> bool:
        return claim.index in self.honest

    def _reply(self, claim: Claim) -> None:
        # The root was judged first; it comes here only if it is wrong.
        is_wrong = claim.parent_index is None or not self._judge(claim).agrees
        if not is_wrong and claim.position.depth == self.game.depths.execution_root:
            # WHY NOT defend: nothing lies right of an execution root. It cannot be right where the actor looks:
            # the status byte that the contract demands of it contradicts the true one.
            return
        value = self.trace.reply_at(self.game, claim, is_attack=is_wrong)
        position = claim.position.move(is_attack=is_wrong)
        made = self.game.find(claim.index, position, value)
        reply = self.replies[claim.index] = _Reply(position, value, is_wrong, made)
        if made is not None:
            self.honest.add(made.index)
            return
        if time_left_s(self.game, claim.index, self.now_s) == 0:
            self.missed.append(f"Too late to answer claim {claim.index}: the clock has run out.")
            return
        bond_wei = required_bond_wei(reply.position.depth, self.game.depths.max, self.game.terms)
        reason = self._reason(claim, reply)
        self.actions.append(Move(claim.index, claim.value, reply.is_attack, value, reply.position, bond_wei, reason))

    def _reason(self, claim: Claim, reply: _Reply) -> str:
        there = subject(self.game, claim)
        if reply.is_attack:
            expected = self.opinions[-1].expected
            judged = (
                f"Claim {claim.index} says {there} is {short_hex(claim.value)}. "
                f"Here it is {short_hex(expected)}, so the claim is wrong"
            )
        else:
            judged = f"Claim {claim.index} is right: {there} is {short_hex(claim.value)}"
        if reply.position.depth <= self.game.depths.split:
            about = state_name(self.game, reply.position)
        elif claim.position.depth == self.game.depths.split:
            outputs = subgame_roots_below(self.game, claim.index, is_attack=reply.is_attack)
            about = vm_state_name(self.game, outputs, reply.position)
        else:
            about = vm_state_name(self.game, subgame_roots_of(self.game, claim.index), reply.position)
        return f"{judged}. {'Attack' if reply.is_attack else 'Defend'}: {about} is {short_hex(reply.value)}."

    def _step(self, claim: Claim) -> None:
        if claim.countered_by is not None:
            return
        parent = self.game.parent(claim)
        if parent is not None and parent.is_resolved:
            self.missed.append(f"Too late to step on claim {claim.index}: the claim above it is settled.")
            return
        opinion = self._judge(claim)
        data = self.trace.step_at(self.game, claim, is_attack=not opinion.agrees)
        there = subject(self.game, claim)
        judged = (
            f"is right: {there} is {short_hex(claim.value)}; the instruction after it shows that the next claim is not"
            if opinion.agrees
            else f"says {there} is {short_hex(claim.value)}; the instruction before it ends in "
            f"{short_hex(opinion.expected)}"
        )
        reason = f"Claim {claim.index} {judged}. Step: the chain runs that one instruction."
        self.actions.append(Step(claim.index, not opinion.agrees, data, reason))


def resolution_actions(game: Game, now_s: int, *, owed: frozenset[int] = frozenset()) -> list[Resolution]:
    """
    The settlements that are possible now, in batches that fit into a transaction; the game too, if its root can be
    settled.

    `owed` are leaf claims against which a step is still due: they, and the claims above them, are not settled.
    """
    held = _with_ancestors(game, owed)
    due = [index for index in resolvable(game, now_s) if index not in held]
    if not due and not (game.in_progress and game.root.is_resolved):
        return []
    outcome = forecast(game)
    side = "challenger" if outcome.winner == GameStatus.CHALLENGER_WINS else "defender"
    ending = f"The root claim is settled: the {side} wins."
    actions: list[Resolution] = []
    for batch in settlement_batches(game, due):
        expected = outcome.winner if 0 in batch else None
        if len(batch) == 1:
            winner = outcome.countered_by[batch[0]]
            verdict = "stands" if winner is None else f"falls to {winner}"
            reason = f"The time to answer claim {batch[0]} is over: it {verdict}."
        else:
            reason = f"The time to answer {len(batch)} claims is over."
        if expected is not None:
            actions.append(Settle(tuple(batch), expected, f"{reason} {ending}"))
        elif len(batch) == 1:
            actions.append(ResolveClaim(batch[0], reason))
        else:
            actions.append(Settle(tuple(batch), None, reason))
    if game.in_progress and game.root.is_resolved:
        actions.append(ResolveGame(outcome.winner, ending))
    return actions


def _with_ancestors(game: Game, indices: frozenset[int]) -> set[int]:
    found: set[int] = set()
    for index in indices:
        place: int | None = index
        while place is not None and place not in found:
            found.add(place)
            place = game.claims[place].parent_index
    return found
