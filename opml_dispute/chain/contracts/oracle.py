"""The contracts of contracts/src/oracle: models by content; requests and the delivery of their outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opml_dispute.chain.answers import Log
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS, Contract, as_it_is
from opml_dispute.chain.rpc import Call
from opml_dispute.engine.batch_tree import MOST_ITEMS
from opml_dispute.primitives import (
    LEAST_LOG2_STEPS,
    MOST_LOG2_STEPS,
    Address,
    Hash32,
    ModelId,
    RequestId,
    StateRoot,
)

MOST_NODES: Final = (1 << 28) - 1
"""More records do not fit into a program."""
MOST_IMAGE_BYTES: Final = 1 << 36
"""The room for the input, and for the output."""


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
    """The URI from which the model file can be fetched."""

    @property
    def as_tuple(self) -> tuple[Any, ...]:
        """For the ABI."""
        return (self.model_root, self.inputs, self.outputs, self.uri)


@dataclass(frozen=True)
class RegisteredModel:
    """A model in the registry."""

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

    @classmethod
    def from_values(cls, values: Sequence[Any]) -> RegisteredModel:
        """From the registry's answer. Raises `ValueError` for a size that the registry admits to no model."""
        found = cls(*values)
        if not (1 <= found.node_count <= MOST_NODES and LEAST_LOG2_STEPS <= found.log2_steps <= MOST_LOG2_STEPS):
            raise ValueError(f"a model of {found.node_count} nodes of 2^{found.log2_steps} steps at most")
        if max(found.input_bytes, found.output_bytes) > MOST_IMAGE_BYTES:
            raise ValueError(f"a model with {found.input_bytes} bytes of input and {found.output_bytes} of output")
        return found


class ModelRegistry(Contract):
    """Models by content."""

    artifact_name = "ModelRegistry"

    def register(self, model: Model, header_leaves: list[bytes], header_proof: list[bytes]) -> Call[ModelId]:
        """Register; the program header (two leaves) is proven against the model root (33 siblings, lowest first)."""
        return self._call(ModelId, "register", model.as_tuple, header_leaves, header_proof)

    def model(self, model_id: bytes) -> Call[RegisteredModel]:
        """A registered model; reverts with UnknownModel."""
        return self._call(RegisteredModel.from_values, "models", model_id)

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
class RequestTerms:
    """What a requester asks for beside the inference."""

    callback: Address = ZERO_ADDRESS
    """The consumer that is called with the output; the zero address for none."""
    callback_gas: int = 0
    output_by_root: bool = False
    """Whether the output is delivered as the root of its section, for parts to be proven later."""
    min_bond_wei: int = 0
    """What a proposer has to lock on its answer beside the root claim's bond."""
    defenders_bps: int = 0
    """The part of the fee, in ten-thousandths, that those who defended the answer get at most."""

    @property
    def as_tuple(self) -> tuple[Any, ...]:
        """For the ABI."""
        return (self.callback, self.callback_gas, self.output_by_root, self.min_bond_wei, self.defenders_bps)


NO_TERMS: Final = RequestTerms()
"""No consumer to call, the output whole, no bond beside the root claim's, the fee for the proposer alone."""


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
    output_by_root: bool
    """Whether the output is delivered as the root of its section."""
    defenders_bps: int
    """The part of the fee, in ten-thousandths, that those who defended the answer get at most."""
    fee_wei: int
    min_bond_wei: int
    """What a proposer has to lock on its answer beside the root claim's bond."""
    first_game_index: int
    item_count: int
    """1, or the number of items of a batch."""
    items_left: int
    """Of a batch: items without output."""
    delivered_by: Address
    """The game that delivered, of a batch the last item; the zero address before."""
    output_root: Hash32
    """Root of the OUTPUT section delivered; zeros before, and for a batch."""

    @classmethod
    def from_values(cls, values: Sequence[Any]) -> RequestRecord:
        """From the oracle's answer. Raises `ValueError` for a number of items that no request has."""
        found = cls(*values)
        if not (1 <= found.item_count <= MOST_ITEMS and found.items_left <= found.item_count):
            raise ValueError(f"a request of {found.item_count} items, {found.items_left} of them without an output")
        return found


@dataclass(frozen=True)
class ItemOutput:
    """The output of one item of a batch, with its proof."""

    item: int
    image: bytes
    """Empty if the request asked for the output by root."""
    output_root: Hash32
    """Zeros if it did not."""
    input_root: Hash32
    arena_root: Hash32
    siblings: list[bytes]
    """What stands beside the item's final state in the tree of the batch, lowest first."""

    @property
    def as_tuple(self) -> tuple[Any, ...]:
        """For the ABI."""
        return (self.item, self.image, self.output_root, self.input_root, self.arena_root, self.siblings)


class InferenceOracle(Contract):
    """Requests and the delivery of their outputs; also decides which games count."""

    artifact_name = "InferenceOracle"

    def request(self, model_id: bytes, image: bytes, terms: RequestTerms) -> Call[RequestId]:
        """Request an inference on an input image; value: the fee."""
        return self._call(RequestId, "request", model_id, image, terms.as_tuple)

    def request_by_root(
        self, model_id: bytes, input_root: bytes, input_uri: str, terms: RequestTerms
    ) -> Call[RequestId]:
        """Request an inference on an input that is given by its root, with the URI of its image; value: the fee."""
        return self._call(RequestId, "requestByRoot", model_id, input_root, input_uri, terms.as_tuple)

    def request_batch(self, model_id: bytes, images: bytes, item_count: int, terms: RequestTerms) -> Call[RequestId]:
        """Request a batch of inferences on input images, one behind the other; value: the fee of all."""
        return self._call(RequestId, "requestBatch", model_id, images, item_count, terms.as_tuple)

    def request_of(self, request_id: bytes) -> Call[RequestRecord]:
        """A request; reverts with UnknownRequest."""
        return self._call(RequestRecord.from_values, "requests", request_id)

    def request_count(self) -> Call[int]:
        """How many requests there are."""
        return self._call(int, "requestCount")

    def request_id_at(self, index: int) -> Call[RequestId]:
        """The id of the index-th request."""
        return self._call(RequestId, "requestIdAtIndex", index)

    def games_of(self, request_id: bytes, start: int, max_scan: int) -> Call[tuple[list[Address], int]]:
        """A page of the games for a request, and the index in the factory's list at which the next page begins."""
        return self._call(
            lambda v: (list(v[0]), int(v[1])),
            "gamesOf",
            request_id,
            start,
            max_scan,
        )

    def finalize(self, request_id: bytes, game: Address, output: bytes, arena_root: bytes) -> Call[None]:
        """Deliver the output of a request, from a game that the defender won."""
        return self._call(as_it_is, "finalize", request_id, game, output, arena_root)

    def finalize_by_root(self, request_id: bytes, game: Address, output_root: bytes, arena_root: bytes) -> Call[None]:
        """Deliver the root of a request's output, from a game that the defender won."""
        return self._call(as_it_is, "finalizeByRoot", request_id, game, output_root, arena_root)

    def finalize_items(self, request_id: bytes, game: Address, outputs: Sequence[ItemOutput]) -> Call[None]:
        """Deliver outputs of a batch's items, from a game that the defender won."""
        return self._call(as_it_is, "finalizeItems", request_id, game, [output.as_tuple for output in outputs])

    def item_output_root(self, request_id: bytes, item: int) -> Call[Hash32]:
        """The root of the OUTPUT section delivered for an item; zeros before."""
        return self._call(Hash32, "itemOutputRoot", request_id, item)

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

    def is_proper(self, game: Address) -> Call[bool]:
        """Whether the factory made the game, it was not discarded, and nothing is paused."""
        return self._call(bool, "isGameProper", game)

    def first_proposal(self, request_id: bytes, root_claim: bytes) -> Call[Address]:
        """The game recorded as the first with this root claim; the zero address if none, as where there is no fee."""
        return self._call(lambda values: Address(values[0]), "firstProposal", request_id, root_claim)

    def commit(self, commitment: bytes) -> Call[None]:
        """Commit to an answer without revealing it."""
        return self._call(as_it_is, "commit", commitment)

    def commitment_of(self, request_id: bytes, root_claim: bytes, nonce: bytes, proposer: Address) -> Call[Hash32]:
        """The commitment to send before proposing."""
        return self._call(Hash32, "commitmentOf", request_id, root_claim, nonce, proposer)

    def committed_at(self, commitment: bytes) -> Call[int]:
        """The number of the block in which a commitment was made; 0 if it was not."""
        return self._call(int, "committedAt", commitment)

    def guardian(self) -> Call[Address]:
        """The account that may discard games and pause the system."""
        return self._call(Address, "guardian")

    def owner(self) -> Call[Address]:
        """The account that sets the guardian and the respected game type: a timelock."""
        return self._call(Address, "owner")

    def is_finalized(self, game: Address) -> Call[bool]:
        """Whether the game is resolved and the finality delay is over."""
        return self._call(bool, "isGameFinalized", game)

    def may_be_restored(self, game: Address) -> Call[bool]:
        """Whether a proposal that was passed over can be recorded again as its root claim's first."""
        return self._call(bool, "mayBeRestored", game)

    def restore_proposal(self, game: Address) -> Call[None]:
        """Record it again: the one that came before it fell."""
        return self._call(as_it_is, "restoreProposal", game)

    def finality_delay_s(self) -> Call[int]:
        """Seconds between a game's resolution and its finality."""
        return self._call(int, "disputeGameFinalityDelaySeconds")

    def is_paused(self) -> Call[bool]:
        """Whether the guardian paused the system."""
        return self._call(bool, "paused")

    def registry(self) -> Call[Address]:
        """The model registry."""
        return self._call(Address, "modelRegistry")

    def factory(self) -> Call[Address]:
        """The game factory."""
        return self._call(Address, "disputeGameFactory")

    def segment_roots(self) -> Call[Address]:
        """The contract that computes roots of segments, and those that parts of outputs lead to."""
        return self._call(Address, "segmentRoots")

    def proposer_bonds(self) -> Call[Address]:
        """The contract that holds the bonds which requests demand of their proposers."""
        return self._call(Address, "proposerBonds")

    def defender_shares(self) -> Call[Address]:
        """The contract that holds the parts of fees which are for defenders."""
        return self._call(Address, "defenderShares")

    def requested(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every InferenceRequested event."""
        return self.events("InferenceRequested", logs)

    def delivered(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every InferenceDelivered event."""
        return self.events("InferenceDelivered", logs)

    def delivered_items(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every ItemDelivered and ItemDeliveredByRoot event."""
        found = list(logs)
        return self.events("ItemDelivered", found) + self.events("ItemDeliveredByRoot", found)

    def callbacks(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every CallbackCalled event."""
        return self.events("CallbackCalled", logs)


class SegmentRoots(Contract):
    """Roots of segments, computed on the chain."""

    artifact_name = "SegmentRoots"

    def output_root_with(self, part: bytes, offset: int, siblings: Sequence[bytes]) -> Call[Hash32]:
        """The root of an OUTPUT section that has `part` at `offset`; siblings lowest first."""
        return self._call(Hash32, "outputRootWith", part, offset, siblings)


class ProposerBonds(Contract):
    """The bonds that requests demand of their proposers, and what proposers deposited for them."""

    artifact_name = "ProposerBonds"

    def deposit(self) -> Call[None]:
        """Add to the sender's deposit; value: how much."""
        return self._call(as_it_is, "deposit")

    def withdraw(self, amount_wei: int) -> Call[None]:
        """Take a part of the sender's deposit back."""
        return self._call(as_it_is, "withdraw", amount_wei)

    def release(self, game: Address) -> Call[None]:
        """Pay out the bond of a game that pays out its own."""
        return self._call(as_it_is, "release", game)

    def deposit_wei(self, proposer: Address) -> Call[int]:
        """What the account can lock or withdraw."""
        return self._call(int, "depositOf", proposer)

    def bond_wei(self, game: Address) -> Call[int]:
        """What is locked for a game."""
        return self._call(int, "bondOf", game)

    def released(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every BondReleased event."""
        return self.events("BondReleased", logs)


class DefenderShares(Contract):
    """The parts of fees that are for those who defended the answers."""

    artifact_name = "DefenderShares"

    def pay(self, game: Address, recipient: Address, claim_indices: Sequence[int]) -> Call[int]:
        """Pay an account for those of these claims that it countered, and what it is owed besides; answers how much."""
        return self._call(int, "pay", game, recipient, list(claim_indices))

    def share_wei(self, game: Address) -> Call[int]:
        """What was kept for those who countered claims of the game, whether it was paid or not."""
        return self._call(int, "shareOf", game)

    def credit_wei(self, game: Address, recipient: Address) -> Call[tuple[int, int]]:
        """What the claims forfeited for which the account was credited, and what it was paid."""
        return self._call(lambda v: (int(v[0]), int(v[1])), "creditOf", game, recipient)

    def paid(self, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """Every SharePaid event."""
        return self.events("SharePaid", logs)
