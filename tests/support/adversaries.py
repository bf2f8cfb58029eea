"""
Dispute games by their rules alone, thousands a minute: the honest player against everything that may meet it at once.

`play(seed)` draws a game (its size, who proposes, whether the root claim is right), a handful of `ADVERSARIES` with
accounts and stories of their own, and troubles of the honest player: stale views, transactions that fail or of which
nothing is heard, an empty purse, no memory for a VM run, polls up to `POLL_S` apart. The honest player is the
shipped one (`actors.player`); the rules are `reference_game`'s, written apart from it. Nothing is broken if the truth
won, every honest bond came back, every wei is accounted for, and no honest action was refused that was not made by
another before.

The honest player gets what docs/game.md asks for: it looks at least once within the extension of the clocks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from opml_dispute.actors.actions import Action, Move, Step
from opml_dispute.actors.honest import consider, resolution_actions
from opml_dispute.actors.player import ActionRefused, play_round
from opml_dispute.chain.rpc_errors import RpcUnreachable
from opml_dispute.chain.transactions import NotEnoughFunds
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.position import DepthError
from opml_dispute.game.rules import IllegalMove, allowed_vm_statuses, check_move
from opml_dispute.primitives import Address, Hash32, LocalIdent
from opml_dispute.trace.phases import NodeRun
from opml_dispute.trace.provider import GameTrace, TraceError
from opml_dispute.trace.split import GuestMachine, SplitTrace
from opml_dispute.trace.vm import VmTrace
from tests.support.alphabet import TOY_PRESTATE, ToyInference, ToyMachine, first_root
from tests.support.builders import faulty_trace, send, snapshot, toy_vm
from tests.support.reference_game import ZERO, ReferenceGame, Reverted, Rules
from tests.support.remembered import Remembered

HONEST = Address("0x" + "A1".rjust(40, "0"))

POLL_S = 2_500
"""At most so long between two looks; four of them fit into the extension."""

TROUBLES_IN_A_ROW = 2
"""Looks in a row in which something fails; after that one goes well."""

SIZES = ((3, 8), (4, 10), (3, 10), (2, 8))
"""Split and maximum depths."""

SEEDS = 4
"""Different toy inferences."""

FORESTALLED = {"ClaimAlreadyExists", "DuplicateStep", "ClaimAlreadyResolved", "GameNotInProgress", "ClockNotExpired"}
"""Refusals that mean that another account was first, or that the view was stale."""


class Shortsighted(SplitTrace):
    """The truth, on a machine that at times has no memory for the runs that `decoy` asks for."""

    is_short_of_memory = False

    def _make_trace(self, run: NodeRun) -> VmTrace[GuestMachine]:
        if self.is_short_of_memory and run.local[LocalIdent.DISPUTED_ROOT].endswith(DECOY):
            raise MemoryError
        return super()._make_trace(run)


DECOY = b"no run leads here"


@lru_cache(maxsize=256)
def truth_of(seed: int, node_count: int) -> Shortsighted:
    """Shared by all games about one inference: what was computed once is remembered."""
    return Shortsighted(ToyInference(seed, node_count), ToyMachine(node_count), node_count=node_count)


@lru_cache(maxsize=1024)
def story_of(seed: int, node_count: int, node_index: int, scramble: int, bit: int) -> SplitTrace:
    """A liar's trace, consistent down to one step."""
    return faulty_trace(seed, node_count, node_index, scramble, bit)


@dataclass
class Arena:
    """One game and what is drawn for it."""

    chance: random.Random
    reference: ReferenceGame
    truth: Shortsighted
    answers: Remembered
    """Those of `truth`, about this game."""
    node_count: int
    seed: int
    steps: int = 0
    _seen: tuple[tuple[int, int, int], Game] | None = None
    _planned: tuple[Game, int, tuple[Move | Step, ...]] | None = None

    @property
    def is_over(self) -> bool:
        return self.reference.status != 0

    def look(self) -> Game:
        """A snapshot; the same one as long as nothing happens."""
        claims = self.reference.claims
        marked = sum(claim.resolved + 2 * (claim.countered_by != ZERO) for claim in claims)
        state = len(claims), marked, self.reference.status
        if self._seen is None or self._seen[0] != state:
            self._seen = state, snapshot(self.reference, None if self._seen is None else self._seen[1])
        return self._seen[1]

    def honest_plan(self) -> tuple[Move | Step, ...]:
        """What the honest player would do now."""
        game, now = self.look(), self.reference.now
        if self._planned is None or self._planned[0] is not game or self._planned[1] != now:
            self._planned = game, now, consider(game, self.answers, now).actions
        return self._planned[2]

    def act(self, who: Address, action: Action) -> bool:
        """Whether the game took it."""
        try:
            send(self.reference, who, action)
        except Reverted:
            return False
        return True

    def move(self, who: Address, index: int, value: bytes, *, is_attack: bool) -> bool:
        """A move with its exact bond; whether the game took it."""
        claim = self.reference.claims[index]
        position = claim.position << 1 if is_attack else (claim.position | 1) << 1
        try:
            bond = self.reference.required_bond(position)
            self.reference.move(who, claim.claim, index, value, is_attack, bond)
        except Reverted:
            return False
        return True

    def faulty(self) -> SplitTrace:
        """Some lie about this inference."""
        return story_of(
            self.seed,
            self.node_count,
            self.chance.randrange(self.node_count),
            self.chance.randrange(6),
            self.chance.randrange(128),
        )


Adversary = Callable[[Arena, Address, GameTrace], object]
"""One account's actions in one turn; each account has its own faulty trace."""


def liar(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Plays as honestly as it can, over a wrong trace."""
    game = arena.look()
    for action in consider(game, faulty, arena.reference.now).actions[: arena.chance.randrange(1, 4)]:
        arena.act(who, action)


def front_runner(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Sees what the honest player is about to send, and sends some of it first, steps before all."""
    for action in arena.honest_plan():
        if isinstance(action, Step) or arena.chance.random() < 0.6:
            arena.act(who, action)


def freeloader(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Stands beside honest answers: in their place with another value, left of them, right of them."""
    game = arena.look()
    claims = [claim for claim in game.claims if claim.claimant == HONEST and claim.parent_index is not None]
    if not claims:
        return
    claim = arena.chance.choice(claims)
    assert claim.parent_index is not None
    arena.move(
        who, claim.parent_index, _value(arena, game, claim.parent_index, True), is_attack=arena.chance.random() < 0.7
    )


def before_the_honest(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Takes the place of an answer that the honest player owes, with a wrong value, before it can."""
    game = arena.look()
    for action in arena.honest_plan():
        if isinstance(action, Move):
            value = _value(arena, game, action.parent_index, action.is_attack)
            arena.move(who, action.parent_index, value, is_attack=action.is_attack)


def duplicator(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Says again what was said: the same claim, refused, and the same value under another claim."""
    game = arena.look()
    claim = arena.chance.choice(game.claims)
    parent = arena.chance.choice(game.claims)
    if claim.parent_index is not None:
        arena.move(who, claim.parent_index, claim.value, is_attack=game.is_attack(claim))
    arena.move(who, parent.index, claim.value, is_attack=arena.chance.random() < 0.5)


def decoy(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Leaves of the ML phase about made-up roots, each of which takes a VM run, and something below them."""
    game = arena.look()
    above = [claim for claim in game.claims if claim.position.depth == game.depths.split - 1]
    if above:
        claim = arena.chance.choice(above)
        arena.move(who, claim.index, arena.chance.randbytes(32 - len(DECOY)) + DECOY, is_attack=True)
    decoys = [claim for claim in game.claims if bytes(claim.value).endswith(DECOY)]
    if decoys:
        leaf = arena.chance.choice(decoys)
        arena.move(who, leaf.index, _value(arena, game, leaf.index, True), is_attack=True)


def random_attacker(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Any move that the rules allow."""
    game = arena.look()
    claim = arena.chance.choice(game.claims)
    is_attack = arena.chance.random() < 0.6
    value = bytes([arena.chance.choice([0, 1, 2, 3])]) + arena.chance.randbytes(31)
    try:
        check_move(game, claim.index, value, is_attack=is_attack, now_s=arena.reference.now)
    except (IllegalMove, DepthError):
        return
    arena.move(who, claim.index, value, is_attack=is_attack)


def self_stepper(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Steps against leaves, its own included, as soon as it can, to get the deepest bonds back."""
    for action in arena.honest_plan():
        if isinstance(action, Step):
            arena.act(who, action)


def clock_edge(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Lets the time of an answer run down to its last second, and answers then; settles what it can at once."""
    game, now = arena.look(), arena.reference.now
    plan = [action for action in consider(game, faulty, now).actions if isinstance(action, Move)]
    late = [action for action in plan if time_left_s(game, action.parent_index, now) <= POLL_S]
    for action in late:
        arena.reference.now += max(0, time_left_s(game, action.parent_index, arena.reference.now) - 1)
        arena.act(who, action)
        return
    for resolution in resolution_actions(game, now):
        arena.act(who, resolution)


def right_by_accident(arena: Arena, who: Address, faulty: GameTrace) -> None:
    """Moves by the truth now and then: claims that the honest player then has to defend as its own."""
    actions = arena.honest_plan()
    if actions:
        arena.act(who, arena.chance.choice(actions))


ADVERSARIES: dict[str, Adversary] = {
    adversary.__name__: adversary
    for adversary in (
        *(liar, front_runner, freeloader, before_the_honest, duplicator, decoy),
        *(random_attacker, self_stepper, clock_edge, right_by_accident),
    )
}


def _value(arena: Arena, game: Game, index: int, is_attack: bool) -> bytes:
    """Something wrong that the contract accepts as an answer to a claim."""
    value = arena.chance.randbytes(32)
    claim = game.claims[index]
    if claim.position.depth == game.depths.split:
        value = bytes([min(allowed_vm_statuses(game, claim, is_attack=is_attack))]) + value[1:]
    return value


class TroubledSeat:
    """The honest player's place, in a world where things fail."""

    def __init__(self, arena: Arena, *, troubles: float) -> None:
        self.arena, self._troubles = arena, troubles
        self.refused: list[tuple[Action, str]] = []
        self.in_trouble = False
        self._in_a_row = 0
        self._past: list[tuple[Game, int]] = []

    def begin(self) -> None:
        """Another look: whether anything fails in it is drawn here."""
        self.in_trouble = self._in_a_row < TROUBLES_IN_A_ROW and self.arena.chance.random() < self._troubles
        self._in_a_row = self._in_a_row + 1 if self.in_trouble else 0
        self.arena.truth.is_short_of_memory = self.in_trouble

    def snapshot(self) -> tuple[Game, int]:
        chance = self.arena.chance
        if self.in_trouble and chance.random() < 0.2:
            raise RpcUnreachable("http://node", "it did not answer in time")
        now = (self.arena.look(), self.arena.reference.now)
        if self.in_trouble and self._past and chance.random() < 0.3:
            return self._past[-1]
        self._past = [*self._past[-2:], now]
        return now

    def send_all(self, actions: Sequence[Action]) -> list[OpmlError | None]:
        return [self._send(action) for action in actions]

    def _send(self, action: Action) -> OpmlError | None:
        chance = self.arena.chance
        if self.in_trouble and isinstance(action, Move) and chance.random() < 0.3:
            return NotEnoughFunds(HONEST, 0, action.bond_wei, "a move")
        if self.in_trouble and chance.random() < 0.2:
            return RpcUnreachable("http://node", "the connection failed")
        try:
            send(self.arena.reference, HONEST, action)
        except Reverted as error:
            self.refused.append((action, str(error)))
            return ActionRefused(str(error))
        if self.in_trouble and chance.random() < 0.2:
            return RpcUnreachable("http://node", "sent, but nothing was heard of it")
        return None


@dataclass(frozen=True)
class Result:
    """What became of one game."""

    seed: int
    adversaries: tuple[str, ...]
    claims: int
    steps: int
    broken: tuple[str, ...]
    """Empty if all is well."""


def play(seed: int, kind: type[ReferenceGame] = ReferenceGame) -> Result:
    """One game, the same for the same seed; `kind` may play it on the contract as well (`on_contract`)."""
    chance = random.Random(seed)
    split, deepest = chance.choice(SIZES)
    node_count, inference = chance.randint(1, 1 << split), chance.randrange(SEEDS)
    truth = truth_of(inference, node_count)
    rules = Rules(
        max_depth=deepest,
        split_depth=split,
        node_count=node_count,
        starting_root=first_root(inference),
        absolute_prestate=TOY_PRESTATE,
        address=f"0x{split:02x}{deepest:02x}{node_count:04x}{inference:032x}",
    )
    kinds = [chance.choice(list(ADVERSARIES)) for _ in range(chance.randint(1, 4))]
    if chance.random() < 0.7:
        kinds.insert(0, "liar")
    accounts = [Address("0x" + f"{0xB0 + index % 3:x}".rjust(40, "0")) for index in range(len(kinds))]
    arena = Arena(chance, ReferenceGame.__new__(ReferenceGame), truth, Remembered(truth), node_count, inference)
    faulty_traces = [Remembered(arena.faulty()) for _ in kinds]
    is_right = chance.random() < 0.5
    root = truth.root_claim() if is_right else chance.choice([faulty_traces[0].root_claim(), Hash32(keccak256(b"lie"))])
    arena.reference = kind(rules, toy_vm(node_count), HONEST if is_right else accounts[0], root)
    seat = TroubledSeat(arena, troubles=chance.choice([0.0, 0.2, 0.5]))
    _play_out(arena, seat, kinds, accounts, faulty_traces)
    return Result(
        seed=seed,
        adversaries=tuple(kinds),
        claims=len(arena.reference.claims),
        steps=arena.steps,
        broken=tuple(_broken(arena, seat, is_right=is_right)),
    )


def _play_out(
    arena: Arena,
    seat: TroubledSeat,
    kinds: Sequence[str],
    accounts: Sequence[Address],
    faulty_traces: Sequence[GameTrace],
) -> None:
    chance, reference = arena.chance, arena.reference
    turns_left = chance.randint(4, 24)
    while not arena.is_over:
        if turns_left > 0:
            turns_left -= 1
            for kind, who, faulty in zip(kinds, accounts, faulty_traces, strict=True):
                if chance.random() < 0.7 and not arena.is_over:
                    ADVERSARIES[kind](arena, who, faulty)
        elif "clock_edge" in kinds and not arena.is_over:
            place = kinds.index("clock_edge")
            clock_edge(arena, accounts[place], faulty_traces[place])
        reference.now += chance.randint(1, POLL_S)
        seat.begin()
        try:
            round_ = play_round(seat, arena.answers)
        except (RpcUnreachable, TraceError):
            continue
        arena.steps += sum(isinstance(action, Step) for action in round_.done)
        if turns_left == 0 and round_.is_idle and not seat.in_trouble and not arena.is_over:
            _let_time_pass(arena)


def _let_time_pass(arena: Arena) -> None:
    """Up to where the next claim can be settled, less what a late mover may still use."""
    game, now = arena.look(), arena.reference.now
    left = [
        time_left_s(game, claim.index, now)
        for claim in game.claims
        if not claim.is_resolved and all(reply.is_resolved for reply in game.replies(claim.index))
    ]
    soonest = min((seconds for seconds in left if seconds > 0), default=0)
    arena.reference.now += max(1, soonest - POLL_S // 2 if soonest > POLL_S else soonest)


def _broken(arena: Arena, seat: TroubledSeat, *, is_right: bool) -> list[str]:
    reference, broken = arena.reference, []
    if (reference.status == 2) != is_right:
        broken.append("the truth lost")
    if reference.credits.get(HONEST, 0) < reference.deposits.get(HONEST, 0):
        broken.append("an honest bond was lost")
    if sum(reference.credits.values()) != sum(reference.deposits.values()):
        broken.append("bonds do not add up")
    if not all(claim.resolved for claim in reference.claims if claim.parent_index != 0xFFFFFFFF):
        broken.append("a claim was left open")
    broken += [
        f"refused: {error} {type(action).__name__}" for action, error in seat.refused if error not in FORESTALLED
    ]
    return broken
