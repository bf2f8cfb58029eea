"""
The legal moves, and the state roots that a claim below the split depth is about.

1. `check_move` raises the error with which the contract would refuse a move, in the contract's order of checks.
2. `subgame_roots_of` finds the two state roots that an execution subgame is about: where the VM starts (agreed) and
   what it must find (disputed).
3. `local_context` is the hash that keeps the local pre-images of one subgame apart from another's;
   `local_data` is what the game puts there.
4. `step_claims` finds the two claims that decide a step against a leaf claim, `step_refutes` decides.

The choice of moves is in `actors`, the result in `resolve`.
Source: docs/game.md, "Moves", "Execution subgames", "Steps".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import required_bond_wei
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.clock import challenger_duration_s
from opml_dispute.game.depths import ceil_log2
from opml_dispute.game.position import Position
from opml_dispute.primitives import Hash32, LocalIdent, StateHash, StateRoot, VmStatus, item_data


class IllegalMove(OpmlError):
    """The contract would refuse this move; `contract_error` is the name of the error it would raise."""

    contract_error: ClassVar[str]


class GameNotInProgress(IllegalMove):
    """The game is over."""

    contract_error = "GameNotInProgress"


class DisputedClaimChanged(IllegalMove):
    """The claim at the index is not the one that the mover saw, for instance after a chain reorganisation."""

    contract_error = "InvalidDisputedClaimIndex"
    hint = "read the game again and decide anew"


class CannotDefendRootClaim(IllegalMove):
    """Nothing lies to the right of the root of a trace."""

    contract_error = "CannotDefendRootClaim"


class GameDepthExceeded(IllegalMove):
    """A leaf claim is answered by a step only."""

    contract_error = "GameDepthExceeded"


class WrongVmStatus(IllegalMove):
    """An execution root has a VM status that its mover's side cannot assert."""

    contract_error = "UnexpectedRootClaim"


class WrongBond(IllegalMove):
    """The stake is not exactly the bond of the depth."""

    contract_error = "IncorrectBondAmount"


class ClockTimeExceeded(IllegalMove):
    """The mover's side has used up its time against this claim."""

    contract_error = "ClockTimeExceeded"


class ClaimAlreadyExists(IllegalMove):
    """The same value already stands at the same position under the same claim."""

    contract_error = "ClaimAlreadyExists"


class ClaimAboveSplit(OpmlError):
    """A function about VM execution was called for a claim in the ML phase."""

    def __init__(self, index: int, depth: int, split_depth: int) -> None:
        super().__init__(f"claim {index} stands at depth {depth}, expected one below the split depth {split_depth}")
        self.index, self.depth, self.split_depth = index, depth, split_depth


def check_move(
    game: Game, index: int, value: bytes, *, is_attack: bool, now_s: int, bond_wei: int | None = None
) -> Position:
    """
    The position of the new claim. Raises the `IllegalMove` of the contract's first failing check.

    `bond_wei` None means that exactly the required bond is sent. Raises `UnknownClaim` if there is no such claim.
    """
    if not game.in_progress:
        raise GameNotInProgress(f"the game is over ({game.status.name}), expected one in progress")
    claim = game.claim(index)
    depth = claim.position.depth + 1
    # At depth split + 2 a defence would answer an execution root, the last state of its trace.
    if not is_attack and (index == 0 or depth == game.depths.split + 2):
        raise CannotDefendRootClaim(f"claim {index} is the root of its trace: it can be attacked, not defended")
    if depth > game.depths.max:
        raise GameDepthExceeded(f"a move against claim {index} would stand at depth {depth}, above {game.depths.max}")
    if depth == game.depths.execution_root:
        _check_vm_status(game, claim, value, is_attack=is_attack)
    position = claim.position.move(is_attack=is_attack)
    required_wei = required_bond_wei(depth, game.depths.max, game.terms)
    if bond_wei is not None and bond_wei != required_wei:
        raise WrongBond(f"bond of {bond_wei} wei found, expected {required_wei} wei at depth {depth}")
    if challenger_duration_s(game, index, now_s) == game.clocks.max_clock_s:
        raise ClockTimeExceeded(f"the time to answer claim {index} is over ({game.clocks.max_clock_s} s used)")
    if (duplicate := game.find(index, position, value)) is not None:
        raise ClaimAlreadyExists(f"claim {duplicate.index} already says this at position {position}")
    return position


def allowed_vm_statuses(game: Game, split_claim: Claim, *, is_attack: bool) -> frozenset[VmStatus]:
    """
    The VM statuses that an execution root answering `split_claim`, a claim at the split depth, may have.

    By its move the mover asserts that the program, run on this disputed root, fails (it exits with 1 or panics); if the
    disputed root is its own side's, it asserts that the program succeeds.
    """
    failing = frozenset((VmStatus.INVALID, VmStatus.PANIC))
    if is_attack:
        return failing
    disputed = game.ancestor(split_claim.position.right_neighbour(), split_claim.index, bounded=False)
    same_side = disputed.position.depth % 2 == game.depths.split % 2
    return failing if same_side else frozenset((VmStatus.VALID,))


def _check_vm_status(game: Game, split_claim: Claim, value: bytes, *, is_attack: bool) -> None:
    allowed = allowed_vm_statuses(game, split_claim, is_attack=is_attack)
    if value[0] not in allowed:
        expected = " or ".join(str(int(status)) for status in sorted(allowed))
        raise WrongVmStatus(f"execution root with status byte {value[0]} found, expected {expected}")


@dataclass(frozen=True, slots=True)
class AssertedRoot:
    """A state root that a claim asserts."""

    root: StateRoot
    position: Position | None
    """The position of that claim; None for S_0, which the chain computed and no player claims."""

    def state_index(self, game: Game) -> int:
        """The index t of the state S_t that it is claimed to be, at most the node count."""
        if self.position is None:
            return 0
        return min(self.position.trace_index(game.depths.split) + 1, game.node_count)


@dataclass(frozen=True)
class SubgameRoots:
    """The two state roots of an execution subgame, which disputes whether a node leads from `starting` to
    `disputed`."""

    starting: AssertedRoot
    """The root from which the VM starts; both sides of an honest dispute agree on it. Local pre-image 2."""

    disputed: AssertedRoot
    """The asserted root after the node. Local pre-image 3."""

    def node_index(self, game: Game) -> int:
        """The node that the VM runs: 0 is the first. Equal to the node count past the program's end."""
        return self.starting.state_index(game)

    @cached_property
    def local_context(self) -> Hash32:
        """The hash that separates this subgame's local pre-images from others: of 128 bytes, or of 64 when it starts at
        S_0."""
        words = [] if self.starting.position is None else [self.starting]
        words.append(self.disputed)
        return Hash32(keccak256(b"".join(each.root + _word(each.position) for each in words)))


def subgame_roots_of(game: Game, index: int) -> SubgameRoots:
    """
    The starting and the disputed root of the execution subgame that claim `index` belongs to.

    Raises `ClaimAboveSplit` if it belongs to none.
    """
    known: dict[int, SubgameRoots] = game.memory.setdefault(subgame_roots_of, {})
    if index not in known:
        child = game.claim(index)
        if child.position.depth <= game.depths.split:
            raise ClaimAboveSplit(index, child.position.depth, game.depths.split)
        while child.position.depth > game.depths.execution_root:
            child = game.claims[_parent_index(child)]
        known[index] = subgame_roots_below(game, _parent_index(child), is_attack=game.is_attack(child))
    return known[index]


def subgame_roots_below(game: Game, split_index: int, *, is_attack: bool) -> SubgameRoots:
    """The two roots of the subgame that an attack on, or a defence of, a claim at the split depth opens."""
    known: dict[tuple[int, bool], SubgameRoots] = game.memory.setdefault(subgame_roots_below, {})
    if (split_index, is_attack) not in known:
        known[split_index, is_attack] = _roots_below(game, split_index, is_attack=is_attack)
    return known[split_index, is_attack]


def _roots_below(game: Game, split_index: int, *, is_attack: bool) -> SubgameRoots:
    split_claim = game.claim(split_index)
    if split_claim.position.depth != game.depths.split:
        raise ValueError(f"claim {split_index} has depth {split_claim.position.depth}, not the split depth")
    if not is_attack:
        disputed = game.ancestor(split_claim.position.right_neighbour(), split_index, bounded=False)
        return SubgameRoots(starting=_asserted(split_claim), disputed=_asserted(disputed))
    if split_claim.position.index_at_depth == 0:
        return SubgameRoots(starting=AssertedRoot(game.starting_root, None), disputed=_asserted(split_claim))
    starting = game.ancestor(split_claim.position.left_neighbour(), split_index, bounded=False)
    return SubgameRoots(starting=_asserted(starting), disputed=_asserted(split_claim))


def _asserted(claim: Claim) -> AssertedRoot:
    return AssertedRoot(StateRoot(bytes(claim.value)), claim.position)


def _parent_index(claim: Claim) -> int:
    if claim.parent_index is None:
        raise ValueError("the root claim has no parent")
    return claim.parent_index


def _word(position: Position | None) -> bytes:
    """A position as the EVM's 32-byte word."""
    return (0 if position is None else position.gindex).to_bytes(32, "big")


def local_data(game: Game, outputs: SubgameRoots) -> dict[LocalIdent, bytes]:
    """The local pre-images that the game fixes for one subgame, by ident: what `addLocalData` loads."""
    return {
        LocalIdent.STARTING_ROOT: bytes(outputs.starting.root),
        LocalIdent.DISPUTED_ROOT: bytes(outputs.disputed.root),
        LocalIdent.DISPUTED_INDEX: outputs.disputed.state_index(game).to_bytes(8, "big"),
        LocalIdent.CHAIN_ID: game.chain_id.to_bytes(8, "big"),
        LocalIdent.ITEM: _item_of(game, outputs.disputed.state_index(game)),
    }


def _item_of(game: Game, t: int) -> bytes:
    """Which item has the node that leads to state t, 1 to the node count."""
    item = (t - 1) // (game.node_count // game.item_count)
    return item_data(item, ceil_log2(game.item_count))


@dataclass(frozen=True, slots=True)
class StepClaims:
    """The two claims that decide a step."""

    pre: Claim | None
    """The state before the instruction; None for the absolute prestate."""

    post: Claim
    """The state after it."""

    def pre_value(self, game: Game) -> bytes:
        """The state hash before the instruction."""
        return game.absolute_prestate if self.pre is None else self.pre.value


def step_claims(game: Game, index: int, *, is_attack: bool) -> StepClaims:
    """The claims of the state before and after a step against the leaf claim `index`."""
    claim = game.claim(index)
    if claim.position.depth != game.depths.max:
        raise GameDepthExceeded(
            f"claim {index} has depth {claim.position.depth}; only depth {game.depths.max} is stepped"
        )
    if not is_attack:
        post = game.ancestor(claim.position.right_neighbour(), _parent_index(claim), bounded=True)
        return StepClaims(pre=claim, post=post)
    if claim.position.within_subtree(game.depths.execution_root).index_at_depth == 0:
        return StepClaims(pre=None, post=claim)
    pre = game.ancestor(claim.position.left_neighbour(), _parent_index(claim), bounded=True)
    return StepClaims(pre=pre, post=claim)


def prestate_matches(claimed: bytes, state_hash: StateHash) -> bool:
    """Whether a presented state is the claimed one; the status byte is not compared."""
    return claimed[1:] == state_hash[1:]


def step_refutes(game: Game, index: int, outcome: bytes, *, is_attack: bool) -> bool:
    """Whether a step against the leaf claim `index` whose instruction ends in `outcome` defeats the claim."""
    post = step_claims(game, index, is_attack=is_attack).post
    same_side = (game.claim(index).position.depth - post.position.depth) % 2 == 0
    return (outcome == post.value) != same_side


def duplicate_key(value: bytes, position: Position, parent_index: int) -> Hash32:
    """The contract's key for "this value at this position under this claim": its guard against duplicates."""
    return Hash32(keccak256(value + position.gindex.to_bytes(16, "big") + parent_index.to_bytes(16, "big")))
