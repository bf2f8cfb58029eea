"""
The snapshot of a game: its claims, and the parameters it was created with.

`Game` is a snapshot, read whole from one block; everything else in this package, and every actor, is a function of
such snapshots. The lookups here are the ones that the contract makes by walking parent chains: `ancestor` finds the
claim at a position above another claim, `replies` the answers to a claim.
Source: docs/game.md, "Claims".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import OP_STACK, BondTerms
from opml_dispute.game.clock import Clock, ClockSettings
from opml_dispute.game.depths import Depths
from opml_dispute.game.position import Position
from opml_dispute.primitives import Address, Hash32, RequestId, StateHash, StateRoot

NO_PARENT = 0xFFFF_FFFF
"""The chain's parent index of the root claim."""


class GameStatus(IntEnum):
    """The status of a game, in the chain's numbers."""

    IN_PROGRESS = 0
    CHALLENGER_WINS = 1
    DEFENDER_WINS = 2


class UnknownClaim(OpmlError):
    """A claim was looked up that the game does not hold."""

    hint = "the snapshot may be older than the claim: read the game again"


@dataclass(frozen=True, slots=True)
class ResolvedPages:
    """What the resolution of a claim has come to that takes several calls, a page of answers each."""

    last_index: int
    """The claim that was the last of the answers looked at: what becomes of those until then counts no more."""
    leftmost: int
    """The place (gindex) of the leftmost of those that stood; beyond all places if none did."""
    countered_by: Address | None
    """The account that posted it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Thirty-two bytes asserted at a position, by an account, with a bond."""

    index: int
    """Its place in the contract's list; parents come before children."""

    parent_index: int | None
    """The claim it counters; None for the root claim."""

    countered_by: Address | None
    """The account that defeated it; set by a step or by resolution, never by an answer alone."""

    claimant: Address
    """The account that posted it."""

    bond_wei: int
    """The bond that was staked on it."""

    value: Hash32
    """A state root down to the split depth, a state hash below."""

    position: Position
    """Its position in the tree."""

    clock: Clock
    """The time that its side had used when it was posted."""

    is_resolved: bool = False
    """Whether its subgame is settled."""

    paid_back: bool = False
    """Whether it was settled for its claimant before a step countered it: it fell, and its bond did not."""

    checkpoint: ResolvedPages | None = None
    """Where it is resolved in part, and an answer may have fallen since; None elsewhere."""

    @property
    def bond_falls_to(self) -> Address | None:
        """The account that gets its bond, as far as a step or resolution has decided; None if no account does."""
        return None if self.paid_back else self.countered_by


@dataclass(frozen=True)
class Game:
    """One game at one block. Lookups are cached, since a snapshot never changes."""

    address: Address
    request_id: RequestId
    status: GameStatus
    created_at_s: int
    depths: Depths
    clocks: ClockSettings
    node_count: int
    """Nodes of the model: the ML phase is over S_1 to S_node_count."""

    starting_root: StateRoot
    """S_0, computed by the chain from the request."""

    absolute_prestate: StateHash
    """Where every VM trace starts."""

    chain_id: int
    l1_head: Hash32
    """The hash of the block before the game's creation; existing clients read it, nothing here depends on it."""

    claims: tuple[Claim, ...]
    resolved_at_s: int
    """0 while it is in progress."""
    item_count: int = 1
    """Items of a batch, whose nodes come one item after the other; `node_count` is that of all."""
    terms: BondTerms = OP_STACK
    """The bonds of its claims, and the forfeited part of a lost bond."""

    def __post_init__(self) -> None:
        for index, claim in enumerate(self.claims):
            # INVARIANT: indices are list places and parents come first; every walk below relies on both.
            if claim.index != index or (claim.parent_index is None) != (index == 0):
                raise ValueError(f"claim {index} of {self.address} carries index {claim.index}")
            if claim.parent_index is not None and not 0 <= claim.parent_index < index:
                raise ValueError(f"claim {index} of {self.address} has parent {claim.parent_index}")

    @property
    def root(self) -> Claim:
        """The root claim: the proposer's S_n."""
        return self.claims[0]

    @property
    def in_progress(self) -> bool:
        """Whether moves, steps and resolutions are still possible."""
        return self.status == GameStatus.IN_PROGRESS

    def claim(self, index: int) -> Claim:
        """The claim at `index`; raises `UnknownClaim`."""
        if not 0 <= index < len(self.claims):
            raise UnknownClaim(f"the game has no claim {index}; it holds {len(self.claims)}, from 0")
        return self.claims[index]

    def parent(self, claim: Claim) -> Claim | None:
        """The claim that `claim` counters; None for the root claim."""
        return None if claim.parent_index is None else self.claims[claim.parent_index]

    def replies(self, index: int) -> Sequence[Claim]:
        """The direct answers to claim `index`, in the order they came."""
        return self._replies_by_parent.get(index, ())

    def find(self, parent_index: int, position: Position, value: bytes) -> Claim | None:
        """The claim of this value at this position under this parent, if it exists; there is at most one."""
        return self._by_identity.get((parent_index, position.gindex, value))

    def is_attack(self, claim: Claim) -> bool:
        """Whether `claim` attacks its parent; otherwise it defends it. Raises `ValueError` for the root claim."""
        parent = self.parent(claim)
        if parent is None:
            raise ValueError("the root claim answers nothing")
        return claim.position == parent.position.attack()

    def ancestor(self, position: Position, from_index: int, *, bounded: bool) -> Claim:
        """
        The claim at `position` among claim `from_index` and its ancestors, by trace ancestor.

        `bounded` keeps the search below the split depth, that is, inside one execution subgame. Raises
        `UnknownClaim` if there is none, which no legal game can show.
        """
        target = position.trace_ancestor_bounded(self.depths.split) if bounded else position.trace_ancestor()
        claim: Claim | None = self.claim(from_index)
        while claim is not None:
            if claim.position == target:
                return claim
            claim = self.parent(claim)
        raise UnknownClaim(f"no claim at position {target} stands above claim {from_index}")

    @cached_property
    def memory(self) -> dict[object, Any]:
        """The cache in which functions of this snapshot keep their results."""
        return {}

    @cached_property
    def _replies_by_parent(self) -> Mapping[int, Sequence[Claim]]:
        replies: dict[int, list[Claim]] = {}
        for claim in self.claims[1:]:
            assert claim.parent_index is not None  # __post_init__
            replies.setdefault(claim.parent_index, []).append(claim)
        return replies

    @cached_property
    def _by_identity(self) -> Mapping[tuple[int, int, bytes], Claim]:
        return {
            (claim.parent_index, claim.position.gindex, bytes(claim.value)): claim
            for claim in self.claims[1:]
            if claim.parent_index is not None
        }
