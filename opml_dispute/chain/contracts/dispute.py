"""The contracts of contracts/src/dispute: games, the factory that makes them, the vault of their bonds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opml_dispute.chain.abi import Undecodable, decode
from opml_dispute.chain.contracts.contract import Contract, as_it_is
from opml_dispute.chain.rpc import Call
from opml_dispute.chain.transactions import Receipt
from opml_dispute.game.bond import MAX_FORFEITED_BPS, BondTerms
from opml_dispute.game.claim import GameStatus
from opml_dispute.game.position import Position
from opml_dispute.game.resolve import MAX_ANSWERS
from opml_dispute.primitives import Address, Hash32, RequestId, StateHash, StateRoot

GAME_TYPE = 0
"""The number our game goes by in the factory; one that existing clients know."""

NO_NONCE = bytes(32)
"""The nonce of a game whose extra data are the request id alone."""


def extra_data(request_id: RequestId, nonce: bytes) -> bytes:
    """A game's extra data: the request id, and a nonce (32 bytes) that distinguishes games with the same root claim."""
    return bytes(request_id) if nonce == NO_NONCE else bytes(request_id) + nonce


@dataclass(frozen=True)
class GameEntry:
    """A game as the factory lists it."""

    game_type: int
    created_at_s: int
    address: Address


class DisputeGameFactory(Contract):
    """Creates games and keeps their list."""

    artifact_name = "DisputeGameFactory"

    def version(self) -> Call[str]:
        """The interface's version."""
        return self._call(str, "version")

    def game_count(self) -> Call[int]:
        """How many games there are."""
        return self._call(int, "gameCount")

    def game_at(self, index: int) -> Call[GameEntry]:
        """The index-th game, oldest first."""
        return self._call(lambda v: GameEntry(v[0], v[1], v[2]), "gameAtIndex", index)

    def owner(self) -> Call[Address]:
        """The account that sets the game implementation: a timelock."""
        return self._call(Address, "owner")

    def transfer_ownership(self, owner: Address) -> Call[None]:
        """Owner: hand the factory over."""
        return self._call(as_it_is, "transferOwnership", owner)

    def game_of(self, root_claim: bytes, extra_data: bytes) -> Call[Address]:
        """The game with this root claim and these extra data; the zero address if there is none."""
        return self._call(lambda v: Address(v[0]), "games", GAME_TYPE, root_claim, extra_data)

    def init_bond_wei(self) -> Call[int]:
        """The bond of a root claim."""
        return self._call(int, "initBonds", GAME_TYPE)

    def game_implementation(self) -> Call[Address]:
        """The implementation behind our game type; the zero address if none is set."""
        return self._call(Address, "gameImpls", GAME_TYPE)

    def game_arguments(self) -> Call[bytes]:
        """Prestate, VM, registry, WETH and chain id, packed: 124 bytes."""
        return self._call(bytes, "gameArgs", GAME_TYPE)

    def create(self, root_claim: bytes, extra_data: bytes) -> Call[Address]:
        """Create a game; value: the init bond. `extra_data`: see the function of that name."""
        return self._call(Address, "create", GAME_TYPE, root_claim, extra_data)

    def created_with(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Root claim and extra data of a transaction with these data; None if it creates no game of our type."""
        if data[:4] != self.create(bytes(32), b"").data[:4]:
            return None
        try:
            game_type, root_claim, extra = decode(("uint32", "bytes32", "bytes"), data[4:])
        except Undecodable:
            return None
        return (root_claim, extra) if game_type == GAME_TYPE else None

    def set_implementation(self, implementation: Address, arguments: bytes) -> Call[None]:
        """Owner: set the implementation that games of our type are clones of."""
        return self._call(as_it_is, "setImplementation(uint32,address,bytes)", GAME_TYPE, implementation, arguments)

    def set_init_bond(self, bond_wei: int) -> Call[None]:
        """Owner: set the bond of a root claim."""
        return self._call(as_it_is, "setInitBond", GAME_TYPE, bond_wei)

    def created_game(self, receipt: Receipt) -> Address:
        """The game that a `create` transaction made."""
        event = self.event("DisputeGameCreated", receipt.logs)
        return Address(event["disputeProxy"])


@dataclass(frozen=True)
class ClaimRecord:
    """A claim as the contract stores it."""

    parent_index: int
    countered_by: Address
    claimant: Address
    bond_wei: int
    value: Hash32
    gindex: int
    packed_clock: int


class FaultDisputeGame(Contract):
    """One dispute over one root claim."""

    artifact_name = "FaultDisputeGame"

    def version(self) -> Call[str]:
        """The interface's version."""
        return self._call(str, "version")

    def game_type(self) -> Call[int]:
        """Our game type."""
        return self._call(int, "gameType")

    def status(self) -> Call[GameStatus]:
        """Whether it goes on, and else which side has won."""
        return self._call(GameStatus, "status")

    def created_at_s(self) -> Call[int]:
        """When it was created."""
        return self._call(int, "createdAt")

    def resolved_at_s(self) -> Call[int]:
        """When it was resolved; 0 while in progress."""
        return self._call(int, "resolvedAt")

    def was_respected(self) -> Call[bool]:
        """Whether games of its type counted when it was made, as the game itself has it."""
        return self._call(bool, "wasRespectedGameTypeWhenCreated")

    def creator(self) -> Call[Address]:
        """The proposer."""
        return self._call(Address, "gameCreator")

    def root_claim(self) -> Call[StateRoot]:
        """The proposed S_n."""
        return self._call(StateRoot, "rootClaim")

    def request_id(self) -> Call[RequestId]:
        """The request it is a proposal for."""
        return self._call(RequestId, "requestId")

    def extra_data(self) -> Call[bytes]:
        """The request id, and the proposal's nonce unless it is 0."""
        return self._call(bytes, "extraData")

    def bond_terms(self) -> Call[BondTerms]:
        """The bonds of its claims, and the forfeited part of a lost bond."""
        return self._call(_bond_terms, "bondTerms")

    def l1_head(self) -> Call[Hash32]:
        """Hash of the block before creation."""
        return self._call(Hash32, "l1Head")

    def node_count(self) -> Call[int]:
        """n of S_n."""
        return self._call(int, "l2BlockNumber")

    def item_count(self) -> Call[int]:
        """Items of a batch; 1 for a single inference."""
        return self._call(int, "itemCount")

    def starting_root(self) -> Call[StateRoot]:
        """S_0."""
        return self._call(StateRoot, "startingRootHash")

    def absolute_prestate(self) -> Call[StateHash]:
        """The state hash at which every VM trace starts."""
        return self._call(StateHash, "absolutePrestate")

    def split_depth(self) -> Call[int]:
        """Deepest level of the ML phase."""
        return self._call(int, "splitDepth")

    def max_depth(self) -> Call[int]:
        """Deepest level of all."""
        return self._call(int, "maxGameDepth")

    def max_clock_s(self) -> Call[int]:
        """Each side's time."""
        return self._call(int, "maxClockDuration")

    def clock_extension_s(self) -> Call[int]:
        """The least time left to answer an answer."""
        return self._call(int, "clockExtension")

    def chain_id(self) -> Call[int]:
        """The chain id that the game names."""
        return self._call(int, "l2ChainId")

    def vm(self) -> Call[Address]:
        """The verifier."""
        return self._call(Address, "vm")

    def weth(self) -> Call[Address]:
        """The vault, which holds the bonds once the game is closed."""
        return self._call(Address, "weth")

    def oracle(self) -> Call[Address]:
        """The InferenceOracle, in the anchor state registry's place."""
        return self._call(Address, "anchorStateRegistry")

    def claim_count(self) -> Call[int]:
        """How many claims there are."""
        return self._call(int, "claimDataLen")

    def claim(self, index: int) -> Call[ClaimRecord]:
        """One claim."""
        return self._call(lambda v: ClaimRecord(*v), "claimData", index)

    def is_resolved(self, index: int) -> Call[bool]:
        """Whether a claim's subgame is settled."""
        return self._call(bool, "resolvedSubgames", index)

    def checkpoint(self, index: int) -> Call[tuple[bool, int, int, Address]]:
        """
        What the resolution of a claim in pages has come to: whether it has begun, how many answers it has looked at,
        the place (gindex) of the leftmost of them that stood, and who posted that (the zero address if none stood).
        """
        return self._call(lambda v: (bool(v[0]), int(v[1]), int(v[2]), Address(v[3])), "resolutionCheckpoints", index)

    def bond_fell_to(self, index: int) -> Call[Address]:
        """The account that a claim's bond went to when the claim was settled; the zero address if back, or not yet."""
        return self._call(lambda v: Address(v[0]), "forfeitOf", index)

    def required_bond_wei(self, position: Position) -> Call[int]:
        """The exact bond of a claim at the position."""
        return self._call(int, "getRequiredBond", position.gindex)

    def credit_wei(self, recipient: Address) -> Call[int]:
        """The amount that the game owes to an account."""
        return self._call(int, "credit", recipient)

    def bond_distribution_mode(self) -> Call[int]:
        """0 undecided, 1 normal, 2 refund."""
        return self._call(int, "bondDistributionMode")

    def has_unlocked_credit(self, recipient: Address) -> Call[bool]:
        """Whether the first of the two calls of `claimCredit` was made."""
        return self._call(bool, "hasUnlockedCredit", recipient)

    def move(self, disputed: bytes, index: int, value: bytes, *, is_attack: bool) -> Call[None]:
        """Attack or defend claim `index`, which must hold `disputed`; value: the required bond."""
        return self._call(as_it_is, "attack" if is_attack else "defend", disputed, index, value)

    def step(self, index: int, *, is_attack: bool, state_data: bytes, proof: bytes) -> Call[None]:
        """Run the one instruction that leaf `index` is about."""
        return self._call(as_it_is, "step", index, is_attack, state_data, proof)

    def add_local_data(self, ident: int, index: int, part_offset: int) -> Call[None]:
        """Load a local pre-image for claim `index`'s subgame into the oracle."""
        return self._call(as_it_is, "addLocalData", ident, index, part_offset)

    def resolve_claim(self, index: int) -> Call[None]:
        """Settle a claim's subgame."""
        return self._call(as_it_is, "resolveClaim", index, MAX_ANSWERS)

    def settle(self, indices: Sequence[int]) -> Call[int]:
        """Settle several claims' subgames, and the game if that settles its root; answers how many claims."""
        return self._call(int, "settle", list(indices), MAX_ANSWERS)

    def resolve(self) -> Call[int]:
        """Settle the game; answers its status."""
        return self._call(int, "resolve")

    def deposit_bonds(self) -> Call[None]:
        """Put the bonds that the game keeps into the vault; `close` does so too."""
        return self._call(as_it_is, "depositBonds")

    def close(self) -> Call[None]:
        """Decide how bonds are distributed."""
        return self._call(as_it_is, "closeGame")

    def claim_credit(self, recipient: Address) -> Call[None]:
        """Pay out, in two calls: unlock, and after the delay withdraw."""
        return self._call(as_it_is, "claimCredit", recipient)


def _bond_terms(values: Sequence[Any]) -> BondTerms:
    """Raises `ValueError` for terms with which no game can be deployed."""
    terms = BondTerms(*values)
    if not (1 <= terms.gas_at_root <= terms.gas_at_max_depth and terms.forfeited_bps <= MAX_FORFEITED_BPS):
        raise ValueError(
            f"bonds for {terms.gas_at_root} to {terms.gas_at_max_depth} gas, {terms.forfeited_bps} bps lost"
        )
    return terms


@dataclass(frozen=True)
class Withdrawal:
    """An unlocked credit on its way out."""

    amount_wei: int
    unlocked_at_s: int


class DelayedWETH(Contract):
    """Holds the bonds; pays them out after a delay."""

    artifact_name = "DelayedWETH"

    def config(self) -> Call[Address]:
        """The oracle, which says whether the system is paused."""
        return self._call(Address, "config")

    def delay_s(self) -> Call[int]:
        """Seconds between unlock and withdrawal."""
        return self._call(int, "delay")

    def withdrawal(self, game: Address, recipient: Address) -> Call[Withdrawal]:
        """The amount that a game unlocked for an account, and the time."""
        return self._call(lambda v: Withdrawal(*v), "withdrawals", game, recipient)
