"""
The honest actor: a pure function from a game, a trace and a time to what should be done now.

1. `consider` walks the claims in the contract's order and decides which to answer. It keeps the set of claims that
   an honest player would make, on chain or not yet, and for each claim the honest answer to it.
2. A claim is answered if it is a wrong root claim, if it counters an honest claim, or if it stands beside the honest
   answer to the same claim, left of it, or in its place and older: from there it could take the bond. What stands to
   the right of the honest answer, or came after it in its place, can never outrank it, and is left alone.
3. A right claim is defended, a wrong one attacked, each with the right value; a leaf is stepped.
4. What is to be done is put in the order of its importance (`priority`). A claim that cannot be judged is left out,
   with what stands below it, and keeps no other from being answered.
5. `resolution_actions` settles what the clocks allow.

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
from opml_dispute.game.resolve import forecast, game_resolvable, resolvable, settlement_batches
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
    """What the actor thinks of one claim that it looked at."""

    claim_index: int
    expected: Hash32
    """The right value there."""

    agrees: bool
    """Whether the claim has it."""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A claim about which nothing can be said here, and why."""

    claim_index: int
    error: OpmlError


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and why."""

    actions: tuple[Move | Step, ...]
    """The most important first."""

    opinions: tuple[Opinion, ...]
    """Of the claims that had to be judged; the others make no difference."""

    missed: tuple[str, ...]
    """Answers that came too late: sentences."""

    unjudged: tuple[Unjudged, ...]
    """Claims that should have been judged and could not be. All others are not affected."""

    lines: tuple[Line, ...] = ()
    """Where the game can go on, the most important first: what it may still cost (`exposure`)."""

    def expect_something(self) -> None:
        """Raises the first reason for an unjudged claim, if nothing could be planned because of such."""
        if self.unjudged and not self.actions:
            raise self.unjudged[0].error


@dataclass(frozen=True, slots=True)
class _Reply:
    """The honest answer to a claim."""

    position: Position
    value: Hash32
    is_attack: bool


def honest_actions(game: Game, trace: GameTrace, now_s: int) -> list[Move | Step]:
    """The moves and steps that an honest player makes now. Raises `TraceError` if it knows too little to make any."""
    plan = consider(game, trace, now_s)
    plan.expect_something()
    return list(plan.actions)


def consider(game: Game, trace: GameTrace, now_s: int) -> Decision:
    """The whole train of thought behind `honest_actions`. Empty for a game that is over."""

    def judge() -> Decision:
        return _Deliberation(game, trace, now_s).run()

    return trace.ahead(judge) if isinstance(trace, RunsAhead) else judge()


class _Deliberation:
    """One walk over the claims of one snapshot."""

    def __init__(self, game: Game, trace: GameTrace, now_s: int) -> None:
        self.game, self.trace, self.now_s = game, trace, now_s
        self.honest: set[tuple[int, int | None, bytes]] = set()
        """Claims an honest player makes, as (position, parent index, value)."""
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
        """The moves that are owed, and the honest claims that nothing stands against, by what they protect."""
        lines = [
            Line(action.position.depth, action, protected_wei(self.game, disputed, self._is_honest))
            for action in actions
            if isinstance(action, Move) and (disputed := self.game.claims[action.parent_index])
        ]
        for claim in self.game.claims:
            depth = claim.position.depth + 2
            if depth > self.game.depths.max or claim.is_resolved or not self._is_honest(claim):
                continue
            if time_left_s(self.game, claim.index, self.now_s) == 0:
                continue
            if not any(reply.index in self.replies for reply in self.game.replies(claim.index)):
                lines.append(Line(depth, None, lost_with_wei(self.game, claim, self._is_honest)))
        return sorted(lines, key=lambda line: -line.protected_wei)

    def _look_at(self, claim: Claim) -> None:
        if claim.parent_index is None and self._judge(claim).agrees:
            self._add_honest(claim.position, None, claim.value)
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

    def _add_honest(self, position: Position, parent_index: int | None, value: bytes) -> None:
        self.honest.add((position.gindex, parent_index, bytes(value)))

    def _should_counter(self, claim: Claim) -> bool:
        if self._is_honest(claim):
            return False  # the actor's own, or as good as its own, whichever account posted it
        parent = self.game.parent(claim)
        if parent is None or self._is_honest(parent):
            return True
        reply = self.replies.get(parent.index)
        if reply is None:
            return False  # the parent was left alone, and so is all below it
        if claim.position == reply.position:
            honest = self.game.find(parent.index, reply.position, reply.value)
            return honest is None or claim.index < honest.index
        # WHY NOT <=: of two claims at one place the older one takes the bond.
        return claim.position.gindex < reply.position.gindex

    def _is_honest(self, claim: Claim) -> bool:
        return (claim.position.gindex, claim.parent_index, bytes(claim.value)) in self.honest

    def _reply(self, claim: Claim) -> None:
        # The root is judged before anything else; it is only looked at again if it is wrong.
        is_wrong = claim.parent_index is None or not self._judge(claim).agrees
        if not is_wrong and claim.position.depth == self.game.depths.execution_root:
            # WHY NOT defend: nothing lies right of an execution root. It cannot be right where the actor looks:
            # the status byte that the contract demands of it contradicts the true one.
            return
        value = self.trace.reply_at(self.game, claim, is_attack=is_wrong)
        reply = _Reply(claim.position.move(is_attack=is_wrong), value, is_wrong)
        self.replies[claim.index] = reply
        self._add_honest(reply.position, claim.index, value)
        if self.game.find(claim.index, reply.position, value) is not None:
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
    Everything that can be settled now, as few at a time as gas demands; the game too, if its root can be settled.

    `owed` are leaves that a step is still to be made against: they, and what stands above them, are left open.
    """
    outcome = forecast(game)
    side = "challenger" if outcome.winner == GameStatus.CHALLENGER_WINS else "defender"
    ending = f"The root claim is settled: the {side} wins."
    held = _with_ancestors(game, owed)
    ends = game_resolvable(game, now_s) and 0 not in held
    actions: list[Resolution] = []
    for batch in settlement_batches(game, [index for index in resolvable(game, now_s) if index not in held]):
        expected = outcome.winner if ends and 0 in batch else None
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
