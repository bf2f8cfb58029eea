"""
Each contract, typed: what can be asked, what can be sent, what its events say.

A method makes a `Call` and talks to nobody: `rpc.Rpc.read` reads it, `sender.Sender.send` sends it. So reads can be
gathered into batches, and a transaction can be simulated, shown or sent as the same object. ABIs come from
`artifacts`: a function that the contract does not have fails here, not on the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address

from opml_dispute.chain.answers import Log
from opml_dispute.chain.artifacts import Artifact, load_artifact
from opml_dispute.chain.rpc import Call
from opml_dispute.chain.transactions import Receipt
from opml_dispute.game.bond import BondTerms
from opml_dispute.game.position import Position
from opml_dispute.game.resolve import MAX_ANSWERS
from opml_dispute.primitives import Address, Hash32, ModelId, RequestId, StateHash, StateRoot

GAME_TYPE = 0
"""The number our game goes by in the factory; one that existing clients know."""

ZERO_ADDRESS = Address("0x" + "00" * 20)

T = TypeVar("T")


class Contract:
    """One deployed contract; subclasses name its artifact."""

    artifact_name: ClassVar[str]

    def __init__(self, address: Address) -> None:
        self.address = address

    @classmethod
    def artifact(cls) -> Artifact:
        """Its ABI and code."""
        return load_artifact(cls.artifact_name)

    def _call(self, parse: Callable[[Any], T], function: str, *arguments: Any) -> Call[T]:
        artifact = self.artifact()
        return Call(self.address, artifact.functions[function], arguments, artifact.name, parse)

    def events(self, name: str, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """The arguments of every event `name` that this contract emitted, by name."""
        event = self.artifact().events[name]
        found = []
        for log in logs:
            if log.address != self.address or not log.topics or log.topics[0] != event.topic:
                continue
            plain = [kind for kind, indexed in zip(event.inputs, event.indexed, strict=True) if not indexed]
            values = iter(decode(plain, log.data))
            topics = iter(log.topics[1:])
            arguments = {}
            for kind, label, indexed in zip(event.inputs, event.input_names, event.indexed, strict=True):
                arguments[label] = decode([kind], next(topics))[0] if indexed else next(values)
            found.append(arguments)
        return found


def _is(value: Any) -> Any:
    return value


def _checksummed(address: str) -> Address:
    return Address(to_checksum_address(address))


NO_NONCE = bytes(32)
"""The nonce of a game whose extra data are the request id alone."""


def extra_data(request_id: RequestId, nonce: bytes) -> bytes:
    """What a game is about: the request, and a nonce that tells games with one root claim for it apart (32 bytes)."""
    return bytes(request_id) if nonce == NO_NONCE else bytes(request_id) + nonce


# ---- the dispute game ----


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
        """Who may say what games are made of: a timelock."""
        return self._call(_checksummed, "owner")

    def transfer_ownership(self, owner: Address) -> Call[None]:
        """Owner: hand the factory over."""
        return self._call(_is, "transferOwnership", owner)

    def game_of(self, root_claim: bytes, extra_data: bytes) -> Call[Address]:
        """The game with this root claim and these extra data; the zero address if there is none."""
        return self._call(lambda v: Address(v[0]), "games", GAME_TYPE, root_claim, extra_data)

    def init_bond_wei(self) -> Call[int]:
        """What a root claim must stake."""
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

    def set_implementation(self, implementation: Address, arguments: bytes) -> Call[None]:
        """Owner: what games of our type are clones of."""
        return self._call(_is, "setImplementation(uint32,address,bytes)", GAME_TYPE, implementation, arguments)

    def set_init_bond(self, bond_wei: int) -> Call[None]:
        """Owner: what a root claim must stake."""
        return self._call(_is, "setInitBond", GAME_TYPE, bond_wei)

    def created_game(self, receipt: Receipt) -> Address:
        """The game that a `create` transaction made."""
        (event,) = self.events("DisputeGameCreated", receipt.logs)
        return Address(to_checksum_address(event["disputeProxy"]))


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

    def status(self) -> Call[int]:
        """As `game.claim.GameStatus`."""
        return self._call(int, "status")

    def created_at_s(self) -> Call[int]:
        """When it was created."""
        return self._call(int, "createdAt")

    def resolved_at_s(self) -> Call[int]:
        """When it was resolved; 0 while in progress."""
        return self._call(int, "resolvedAt")

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
        """What its claims cost, and what part of a lost bond no winner gets."""
        return self._call(lambda v: BondTerms(v[0], v[1], v[2], v[3], _checksummed(v[4])), "bondTerms")

    def l1_head(self) -> Call[Hash32]:
        """Hash of the block before creation."""
        return self._call(Hash32, "l1Head")

    def node_count(self) -> Call[int]:
        """n of S_n."""
        return self._call(int, "l2BlockNumber")

    def starting_root(self) -> Call[StateRoot]:
        """S_0."""
        return self._call(StateRoot, "startingRootHash")

    def absolute_prestate(self) -> Call[StateHash]:
        """Where every VM trace starts."""
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
        """The chain the game says it is on."""
        return self._call(int, "l2ChainId")

    def vm(self) -> Call[Address]:
        """The verifier."""
        return self._call(_checksummed, "vm")

    def weth(self) -> Call[Address]:
        """Where the bonds lie."""
        return self._call(_checksummed, "weth")

    def oracle(self) -> Call[Address]:
        """The InferenceOracle, in the anchor state registry's place."""
        return self._call(_checksummed, "anchorStateRegistry")

    def claim_count(self) -> Call[int]:
        """How many claims there are."""
        return self._call(int, "claimDataLen")

    def claim(self, index: int) -> Call[ClaimRecord]:
        """One claim."""
        return self._call(lambda v: ClaimRecord(*v), "claimData", index)

    def is_resolved(self, index: int) -> Call[bool]:
        """Whether a claim's subgame is settled."""
        return self._call(bool, "resolvedSubgames", index)

    def required_bond_wei(self, position: Position) -> Call[int]:
        """What a claim at the position must stake, exactly."""
        return self._call(int, "getRequiredBond", position.gindex)

    def credit_wei(self, recipient: Address) -> Call[int]:
        """What the game owes to someone."""
        return self._call(int, "credit", recipient)

    def bond_distribution_mode(self) -> Call[int]:
        """0 undecided, 1 normal, 2 refund."""
        return self._call(int, "bondDistributionMode")

    def has_unlocked_credit(self, recipient: Address) -> Call[bool]:
        """Whether the first of the two `claimCredit` was done."""
        return self._call(bool, "hasUnlockedCredit", recipient)

    def refund_credit_wei(self, recipient: Address) -> Call[int]:
        """What someone staked, refunded if the game closes in refund mode."""
        return self._call(int, "refundModeCredit", recipient)

    def move(self, disputed: bytes, index: int, value: bytes, *, is_attack: bool) -> Call[None]:
        """Attack or defend claim `index`, which must hold `disputed`; value: the required bond."""
        return self._call(_is, "attack" if is_attack else "defend", disputed, index, value)

    def step(self, index: int, *, is_attack: bool, state_data: bytes, proof: bytes) -> Call[None]:
        """Run the one instruction that leaf `index` is about."""
        return self._call(_is, "step", index, is_attack, state_data, proof)

    def add_local_data(self, ident: int, index: int, part_offset: int) -> Call[None]:
        """Load a local pre-image for claim `index`'s subgame into the oracle."""
        return self._call(_is, "addLocalData", ident, index, part_offset)

    def resolve_claim(self, index: int) -> Call[None]:
        """Settle a claim's subgame."""
        return self._call(_is, "resolveClaim", index, MAX_ANSWERS)

    def settle(self, indices: Sequence[int]) -> Call[int]:
        """Settle several claims' subgames, and the game if that settles its root; answers how many claims."""
        return self._call(int, "settle", list(indices), MAX_ANSWERS)

    def resolve(self) -> Call[int]:
        """Settle the game; answers its status."""
        return self._call(int, "resolve")

    def close(self) -> Call[None]:
        """Decide how bonds are distributed."""
        return self._call(_is, "closeGame")

    def claim_credit(self, recipient: Address) -> Call[None]:
        """Pay out, in two calls: unlock, and after the delay withdraw."""
        return self._call(_is, "claimCredit", recipient)


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
        return self._call(_checksummed, "config")

    def delay_s(self) -> Call[int]:
        """Seconds between unlock and withdrawal."""
        return self._call(int, "delay")

    def withdrawal(self, game: Address, recipient: Address) -> Call[Withdrawal]:
        """What a game unlocked for someone, and when."""
        return self._call(lambda v: Withdrawal(*v), "withdrawals", game, recipient)


class FPVM(Contract):
    """The verifier: runs one instruction."""

    artifact_name = "FPVM"

    def oracle(self) -> Call[Address]:
        """The pre-image oracle it reads."""
        return self._call(_checksummed, "oracle")

    def state_version(self) -> Call[int]:
        """Which machine it runs."""
        return self._call(int, "stateVersion")

    def step(self, state_data: bytes, proof: bytes, local_context: bytes) -> Call[bytes]:
        """One instruction from its witness: the hash of the state after it."""
        return self._call(bytes, "step", state_data, proof, local_context)


class PreimageOracle(Contract):
    """Data the VM asks for, by its hash."""

    artifact_name = "PreimageOracle"

    def challenge_period_s(self) -> Call[int]:
        """How long a large pre-image lies open."""
        return self._call(int, "challengePeriod")

    def part_ok(self, key: bytes, offset: int) -> Call[bool]:
        """Whether that part of a pre-image is loaded."""
        return self._call(bool, "preimagePartOk", key, offset)

    def load_keccak_part(self, offset: int, data: bytes) -> Call[None]:
        """Load one part of a small keccak pre-image."""
        return self._call(_is, "loadKeccak256PreimagePart", offset, data)


# ---- models and requests ----


@dataclass(frozen=True)
class Model:
    """A model as its registrant describes it; its id is the hash of all of this."""

    model_root: Hash32
    """Root of program and weights, 2^39 bytes."""
    inputs: str
    """The inputs' names, types, shapes and places, as JSON."""
    outputs: str
    """The outputs', likewise."""
    uri: str
    """Where the model file can be fetched."""

    @property
    def as_tuple(self) -> tuple[Any, ...]:
        """For the ABI."""
        return (self.model_root, self.inputs, self.outputs, self.uri)


@dataclass(frozen=True)
class RegisteredModel:
    """What the chain knows of a model."""

    model_root: Hash32
    node_count: int
    log2_steps: int
    """No node takes more than 2**log2_steps VM steps."""
    input_bytes: int
    output_bytes: int
    split_depth: int
    max_depth: int
    inputs: str
    outputs: str
    uri: str


class ModelRegistry(Contract):
    """Models by content."""

    artifact_name = "ModelRegistry"

    def register(self, model: Model, header_leaves: list[bytes], header_proof: list[bytes]) -> Call[ModelId]:
        """Register; the program header (two leaves) is proven against the model root (33 siblings, lowest first)."""
        return self._call(ModelId, "register", model.as_tuple, header_leaves, header_proof)

    def model(self, model_id: bytes) -> Call[RegisteredModel]:
        """A registered model; reverts with UnknownModel."""
        return self._call(lambda v: RegisteredModel(*v), "models", model_id)

    def is_registered(self, model_id: bytes) -> Call[bool]:
        """Whether the model is there."""
        return self._call(bool, "isRegistered", model_id)

    def model_id_of(self, model: Model) -> Call[ModelId]:
        """The id that a model has or would have."""
        return self._call(ModelId, "modelIdOf", model.as_tuple)

    def model_count(self) -> Call[int]:
        """How many models there are."""
        return self._call(int, "modelCount")

    def model_id_at(self, index: int) -> Call[ModelId]:
        """The id of the index-th model."""
        return self._call(ModelId, "modelIdAtIndex", index)


@dataclass(frozen=True)
class RequestRecord:
    """A request as the chain keeps it."""

    model_id: ModelId
    input_root: Hash32
    starting_root: StateRoot
    requester: Address
    requested_at_s: int
    callback: Address
    callback_gas: int
    fee_wei: int
    first_game_index: int
    delivered_by: Address
    """The game that delivered; the zero address before."""
    output_hash: Hash32


class InferenceOracle(Contract):
    """Inferences asked for, and delivered; also says which games count."""

    artifact_name = "InferenceOracle"

    def request(self, model_id: bytes, image: bytes, callback: Address, callback_gas: int) -> Call[RequestId]:
        """Ask for an inference on an input image; value: the fee."""
        return self._call(RequestId, "request", model_id, image, callback, callback_gas)

    def request_by_root(
        self, model_id: bytes, input_root: bytes, input_uri: str, callback: Address, callback_gas: int
    ) -> Call[RequestId]:
        """The same for an input too large to send: its root, and where its image can be fetched."""
        return self._call(RequestId, "requestByRoot", model_id, input_root, input_uri, callback, callback_gas)

    def request_of(self, request_id: bytes) -> Call[RequestRecord]:
        """A request; reverts with UnknownRequest."""
        return self._call(lambda v: RequestRecord(*v), "requests", request_id)

    def request_count(self) -> Call[int]:
        """How many requests there are."""
        return self._call(int, "requestCount")

    def request_id_at(self, index: int) -> Call[RequestId]:
        """The id of the index-th request."""
        return self._call(RequestId, "requestIdAtIndex", index)

    def games_of(self, request_id: bytes, start: int, max_scan: int) -> Call[tuple[list[Address], int]]:
        """Games made for a request, and where to go on in the factory's list."""
        return self._call(
            lambda v: ([Address(to_checksum_address(game)) for game in v[0]], int(v[1])),
            "gamesOf",
            request_id,
            start,
            max_scan,
        )

    def finalize(self, request_id: bytes, game: Address, output: bytes, arena_root: bytes) -> Call[None]:
        """Deliver the output of a request, out of a game that its defender won."""
        return self._call(_is, "finalize", request_id, game, output, arena_root)

    def is_claim_valid(self, game: Address) -> Call[bool]:
        """Whether the game is proper, respected, finalized and its defender won."""
        return self._call(bool, "isGameClaimValid", game)

    def is_blacklisted(self, game: Address) -> Call[bool]:
        """Whether the guardian discarded the game."""
        return self._call(bool, "isGameBlacklisted", game)

    def is_retired(self, game: Address) -> Call[bool]:
        """Whether the guardian discarded all games of its time."""
        return self._call(bool, "isGameRetired", game)

    def is_respected(self, game: Address) -> Call[bool]:
        """Whether games of its type counted when it was made."""
        return self._call(bool, "isGameRespected", game)

    def commit(self, commitment: bytes) -> Call[None]:
        """Say that an answer is known, without saying which."""
        return self._call(_is, "commit", commitment)

    def commitment_of(self, request_id: bytes, root_claim: bytes, nonce: bytes, proposer: Address) -> Call[Hash32]:
        """What to commit to before proposing."""
        return self._call(Hash32, "commitmentOf", request_id, root_claim, nonce, proposer)

    def guardian(self) -> Call[Address]:
        """Who may discard games and pause."""
        return self._call(_checksummed, "guardian")

    def owner(self) -> Call[Address]:
        """Who names the guardian and the game type that counts: a timelock."""
        return self._call(_checksummed, "owner")

    def is_finalized(self, game: Address) -> Call[bool]:
        """Whether the game is resolved and the finality delay is over."""
        return self._call(bool, "isGameFinalized", game)

    def finality_delay_s(self) -> Call[int]:
        """Seconds between a game's resolution and its finality."""
        return self._call(int, "disputeGameFinalityDelaySeconds")

    def is_paused(self) -> Call[bool]:
        """Whether the guardian paused the system."""
        return self._call(bool, "paused")

    def registry(self) -> Call[Address]:
        """The model registry."""
        return self._call(_checksummed, "modelRegistry")

    def factory(self) -> Call[Address]:
        """The game factory."""
        return self._call(_checksummed, "disputeGameFactory")

    def requested(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every InferenceRequested event."""
        return self.events("InferenceRequested", logs)

    def delivered(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every InferenceDelivered event."""
        return self.events("InferenceDelivered", logs)

    def callbacks(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every CallbackCalled event."""
        return self.events("CallbackCalled", logs)


class DigitReader(Contract):
    """The example consumer: keeps the digit that a delivered inference found."""

    artifact_name = "DigitReader"

    def read(self, image: bytes) -> Call[RequestId]:
        """Ask what digit an image shows; value: the fee."""
        return self._call(RequestId, "read", image)

    def model_id(self) -> Call[ModelId]:
        """The model it asks."""
        return self._call(ModelId, "modelId")

    def digit_of(self, request_id: bytes) -> Call[int]:
        """The digit that was read; reverts with NotRead before."""
        return self._call(int, "digitOf", request_id)
