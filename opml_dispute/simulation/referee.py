"""
One game at the rules level: which actions the contract accepts, and the payments.

`Referee` stands in the contract's place: `move`, `step` and `settle` check by the pure rules of `game`, change the game
and say what was paid. A refusal is the `IllegalMove` or `Refused` that the contract would answer with an error.
The journal of what was accepted is enough to build the game again without its last entries, which is what a chain
reorganisation does. At the contract level the chain does that (`contract_referee`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from opml_dispute.actors.actions import Action, Move, ResolveClaim, ResolveGame, Settle, Step
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.clock import Clock, clock_of_answer, time_left_s
from opml_dispute.game.position import DepthError
from opml_dispute.game.resolve import winning_reply
from opml_dispute.game.rules import (
    DisputedClaimChanged,
    GameNotInProgress,
    check_move,
    prestate_matches,
    step_claims,
    step_refutes,
    subgame_roots_of,
)
from opml_dispute.primitives import Address, StateHash
from opml_dispute.simulation.bonds import BondRule
from opml_dispute.simulation.live_game import LiveGame
from opml_dispute.simulation.symbolic import Inference, execute_step


class Refused(OpmlError):
    """The contract would refuse this action for another reason than that of an illegal move."""


@dataclass(frozen=True, slots=True)
class Applied:
    """An action that was accepted."""

    time_s: int
    sender: Address
    action: Action


@dataclass(slots=True)
class Money:
    """What a game has done with its bonds so far."""

    staked_wei: dict[Address, int] = field(default_factory=dict)
    """What each account has put in."""
    awarded_wei: dict[Address, int] = field(default_factory=dict)
    """What resolution has awarded to each account."""
    burnt_wei: int = 0

    def locked_wei(self, account: Address) -> int:
        """What an account has in the game; bonds that it lost count until the game is over."""
        return self.staked_wei.get(account, 0)


class Referee:
    """The contract's place in one simulated game."""

    def __init__(self, first: Game, inference: Inference, bonds: BondRule) -> None:
        self._first, self._inference, self._bonds = first, inference, bonds
        self.journal: list[Applied] = []
        self._begin()

    def _begin(self) -> None:
        self.game = LiveGame.start(self._first)
        self.money = Money({self.game.root.claimant: self.game.root.bond_wei})
        self.claim_times: list[int] = [self.game.created_at_s]
        self.marks: list[tuple[int, int, Address | None, bool]] = []
        """(time, claim index, countered by, resolved) as they were before each mark on a claim."""

    def bond_wei(self, depth: int) -> int:
        """The stake of a claim at `depth`."""
        return self._bonds.required_wei(depth, self.game.depths.max)

    def apply(self, sender: Address, action: Action, now_s: int) -> None:
        """Does `action`. Raises `IllegalMove` or `Refused`, and changes nothing then."""
        match action:
            case Move():
                self._move(sender, action, now_s)
            case Step():
                self._step(sender, action, now_s)
            case Settle():
                self._settle(action.claim_indices, now_s)
            case ResolveClaim():
                self._resolve_claim(action.claim_index, now_s)
            case ResolveGame():
                self._resolve_game(now_s)
        self.journal.append(Applied(now_s, sender, action))

    def view(self, time_s: float) -> Game:
        """The game as a reader sees it whose view is of `time_s`."""
        last = max(self.claim_times[-1], self.marks[-1][0] if self.marks else 0, self.game.resolved_at_s)
        if last <= time_s:
            return self.game
        count = next((n for n, added in enumerate(self.claim_times) if added > time_s), len(self.claim_times))
        marked: dict[int, tuple[Address | None, bool]] = {}
        for marked_at, index, countered_by, resolved in self.marks:
            if marked_at > time_s and index not in marked:
                marked[index] = (countered_by, resolved)
        return self.game.as_of(max(1, count), marked=marked)

    def undo_after(self, time_s: float) -> list[Applied]:
        """Forgets everything accepted after `time_s`; what was forgotten, in order."""
        kept = [entry for entry in self.journal if entry.time_s <= time_s]
        undone = [entry for entry in self.journal if entry.time_s > time_s]
        if undone:
            self.journal = []
            self._begin()
            for entry in kept:
                self.apply(entry.sender, entry.action, entry.time_s)
        return undone

    def _move(self, sender: Address, action: Move, now_s: int) -> None:
        game = self.game
        if action.parent_index >= len(game.claims):
            raise DisputedClaimChanged(f"claim {action.parent_index} is not there: the game holds {len(game.claims)}")
        if game.claims[action.parent_index].value != action.disputed:
            raise DisputedClaimChanged(f"claim {action.parent_index} has another value than the one answered")
        # The bond was paid for the depth that the move was decided at: after a reorganisation its parent can be another
        # claim of the same value.
        paid_wei = self.bond_wei(action.position.depth)
        try:
            position = check_move(
                game, action.parent_index, action.value, is_attack=action.is_attack, now_s=now_s, bond_wei=paid_wei
            )
        except DepthError as error:
            raise Refused(str(error)) from error
        bond_wei = self.bond_wei(position.depth)
        clock = clock_of_answer(game, action.parent_index, now_s)
        index = len(game.claims)
        claim = Claim(index, action.parent_index, None, sender, bond_wei, action.value, position, clock)
        game.append(claim)
        self.claim_times.append(now_s)
        self.money.staked_wei[sender] = self.money.staked_wei.get(sender, 0) + bond_wei

    def _step(self, sender: Address, action: Step, now_s: int) -> None:
        game = self.game
        if not game.in_progress:
            raise GameNotInProgress(f"the game is over ({game.status.name})")
        if action.claim_index >= len(game.claims):
            raise Refused(f"claim {action.claim_index} is not there")
        claims = step_claims(game, action.claim_index, is_attack=action.is_attack)
        data = action.data.witness.state_data
        presented = StateHash(self._inference.digest(data))
        if not prestate_matches(claims.pre_value(game), presented):
            raise Refused("the presented state is not the claimed one")
        outputs = subgame_roots_of(game, action.claim_index)
        local = {2: bytes(outputs.starting.root), 3: bytes(outputs.disputed.root)}
        outcome = execute_step(self._inference, data, local.__getitem__)
        if not step_refutes(game, action.claim_index, outcome, is_attack=action.is_attack):
            raise Refused("the step agrees with the claim")
        leaf = game.claims[action.claim_index]
        if leaf.countered_by is not None:
            raise Refused("the claim was countered by a step before")
        self._mark(leaf, sender, leaf.is_resolved, now_s)

    def _mark(self, claim: Claim, countered_by: Address | None, is_resolved: bool, now_s: int) -> None:
        self.marks.append((now_s, claim.index, claim.countered_by, claim.is_resolved))
        self.game.put(replace(claim, countered_by=countered_by, is_resolved=is_resolved))

    def _settle(self, indices: Sequence[int], now_s: int) -> None:
        if not self.game.in_progress:
            raise GameNotInProgress(f"the game is over ({self.game.status.name})")
        for index in indices:
            try:
                self._resolve_claim(index, now_s)
            except Refused:
                continue
        if self.game.root.is_resolved:
            self._resolve_game(now_s)

    def _resolve_claim(self, index: int, now_s: int) -> None:
        game = self.game
        if not game.in_progress:
            raise GameNotInProgress(f"the game is over ({game.status.name})")
        if index >= len(game.claims):
            raise Refused(f"claim {index} is not there")
        claim = game.claims[index]
        if time_left_s(game, index, now_s) > 0:
            raise Refused(f"claim {index} can still be answered")
        if claim.is_resolved:
            raise Refused(f"claim {index} is resolved already")
        replies = list(game.replies(index))
        if any(not reply.is_resolved for reply in replies):
            raise Refused(f"an answer to claim {index} is not resolved")
        if replies or index == 0:
            best = winning_reply([reply for reply in replies if reply.countered_by is None])
            countered_by = None if best is None else best.claimant
        else:
            countered_by = claim.countered_by
        self._mark(claim, countered_by, True, now_s)
        self._pay(claim, countered_by)

    def _pay(self, claim: Claim, countered_by: Address | None) -> None:
        burnt_wei = 0 if countered_by is None else self._bonds.burnt_wei(claim.bond_wei)
        receiver = countered_by or claim.claimant
        awarded = self.money.awarded_wei
        awarded[receiver] = awarded.get(receiver, 0) + claim.bond_wei - burnt_wei
        self.money.burnt_wei += burnt_wei

    def _resolve_game(self, now_s: int) -> None:
        if not self.game.in_progress:
            raise GameNotInProgress(f"the game is over ({self.game.status.name})")
        if not self.game.root.is_resolved:
            raise Refused("the root claim is not resolved")
        won = self.game.root.countered_by is None
        self.game.end(GameStatus.DEFENDER_WINS if won else GameStatus.CHALLENGER_WINS, now_s)


def first_clock(now_s: int) -> Clock:
    """The clock of a root claim made now."""
    return Clock(0, now_s)


def net_wei(money: Money, account: Address) -> int:
    """What an account has gained by a finished game's bonds; negative if it lost."""
    return money.awarded_wei.get(account, 0) - money.staked_wei.get(account, 0)
