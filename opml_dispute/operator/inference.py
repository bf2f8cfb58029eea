"""
A request's way to its delivered answer, as intents: request, proposal, delivery.

`request_intent` makes a request, directly or through a consumer contract; `proposal_intent` creates a game with a root
claim and a bond; `delivery_intents` give the oracle the outputs of a game that survived, and the oracle calls the
consumer. `deliverable_game` finds that game. `restoring_intents` gives proposals back a place that they lost to others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from opml_dispute.actors.words import short_hex
from opml_dispute.chain.amounts import duration
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.dispute import NO_NONCE, FaultDisputeGame, extra_data
from opml_dispute.chain.contracts.examples import DigitReader
from opml_dispute.chain.contracts.oracle import NO_TERMS, ItemOutput, RegisteredModel, RequestRecord, RequestTerms
from opml_dispute.chain.rpc import Call
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import ENVELOPE_BYTES, MAX_OUTPUT_BYTES, Receipt, TransactionTooLarge
from opml_dispute.engine.batch_tree import siblings_of
from opml_dispute.engine.item_result import ItemResult
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address, Hash32, ModelId, RequestId, StateRoot

ITEM_GAS = 100_000
"""What delivering one output of a batch takes at most, without its calldata and the consumer's own gas."""
ITEM_BYTES = 640
"""What an output of a batch takes in a transaction beside its own bytes, at most: its proof, and padding."""
CALLDATA_GAS = 40
"""Of a byte that is not zero, at most (EIP-7623)."""
MAX_DELIVERY_GAS = 12_000_000
"""Of one transaction, which no chain takes above 2^24."""

SCAN = 500
"""Games that one call of `gamesOf` reads."""


class NothingToDeliver(OpmlError):
    """No game of the request has survived yet."""

    hint = "see how its games stand: opml-dispute list"


class FailedInference(OpmlError):
    """The inference ends in an error, so it has no output to deliver."""


def request_intent(
    system: System,
    model_id: ModelId,
    image: bytes,
    *,
    fee_wei: int,
    terms: RequestTerms = NO_TERMS,
    reader: Address | None = None,
    input_uri: str | None = None,
    item_count: int = 1,
) -> Intent:
    """
    Ask for an inference. `reader` is a consumer that asks for itself; `input_uri` sends the input's root only.

    With an `item_count` above 1, ask for a batch: `image` holds the items' images, one behind the other.
    """
    call: Call[RequestId]
    if input_uri is not None:
        from opml_dispute.engine.segment import INPUT, section_root  # arrays: listing games does without

        root = section_root(image, INPUT)
        call = system.oracle.request_by_root(model_id, root, input_uri, terms)
    elif item_count > 1:
        call = system.oracle.request_batch(model_id, image, item_count, terms)
    elif reader is None:
        call = system.oracle.request(model_id, image, terms)
    else:
        call = DigitReader(reader).read(image)
    return Intent(
        kind="request",
        call=call,
        value_wei=fee_wei,
        will=f"Will ask model {short_hex(model_id)} about {_inputs(len(image), item_count)}",
        did=lambda receipt: f"Requested as 0x{new_request_id(system, receipt).hex()}",
        facts={"model_id": model_id, "input_bytes": len(image), "reader": reader, "items": item_count},
        once=True,
    )


def _inputs(size_bytes: int, item_count: int) -> str:
    size = f"{size_bytes:,} bytes"
    return f"an input of {size}" if item_count == 1 else f"a batch of {item_count} inputs, {size}"


def new_request_id(system: System, receipt: Receipt) -> RequestId:
    """The id of the request that a transaction made."""
    event = system.oracle.event("InferenceRequested", receipt.logs)
    return RequestId(event["requestId"])


def proposal_intent(
    system: System, request_id: RequestId, root_claim: StateRoot, state_index: int, *, nonce: bytes = NO_NONCE
) -> Intent:
    """Create a game. Whether a game is needed is decided in `operator.proposing`."""
    return Intent(
        kind="propose",
        call=system.factory.create(root_claim, extra_data(request_id, nonce)),
        value_wei=system.rpc.read(system.factory.init_bond_wei()),
        will=f"Will propose S_{state_index} = {short_hex(root_claim)} for request {short_hex(request_id)}",
        did=lambda receipt: f"Proposed as game {system.factory.created_game(receipt)}",
        facts={"request_id": request_id, "root_claim": root_claim, "nonce": nonce},
        makes_game=True,
    )


def games_of(system: System, request_id: RequestId) -> list[Address]:
    """Every game made for a request, oldest first."""
    games: list[Address] = []
    start, count = 0, system.rpc.read(system.factory.game_count())
    while start < count:
        found, following = system.rpc.read(system.oracle.games_of(request_id, start, SCAN))
        games += found
        if following <= start:
            break
        start = following
    return games


def deliverable_game(system: System, request_id: RequestId, answer: StateRoot | None = None) -> Address:
    """
    The first game that survived; with an `answer`, of those that claim it.

    A claim that no party disputed survives, whatever it says. If no output belongs to it, nothing is delivered by it,
    and it must not stand in the way of the right one.
    Raises `NothingToDeliver`, which says what the games still wait for.
    """
    games = games_of(system, request_id)
    if answer is not None and games:
        roots = system.rpc.read_each([FaultDisputeGame(game).root_claim() for game in games])
        games, others = [game for game, root in zip(games, roots, strict=True) if root == answer], len(games)
        if not games:
            raise NothingToDeliver(
                f"none of the {others} games of request 0x{request_id.hex()} claims {short_hex(answer)}, which is "
                "computed here",
                hint=f"propose it: opml-dispute propose 0x{request_id.hex()}",
            )
    valid = system.rpc.read_each([system.oracle.is_claim_valid(game) for game in games])
    for game, is_valid in zip(games, valid, strict=True):
        if is_valid:
            return game
    if not games:
        raise NothingToDeliver(
            f"no proposer has answered request 0x{request_id.hex()}",
            hint=f"propose an answer: opml-dispute propose 0x{request_id.hex()}",
        )
    statuses = system.rpc.read_each([FaultDisputeGame(game).status() for game in games])
    won = [game for game, status in zip(games, statuses, strict=True) if status == GameStatus.DEFENDER_WINS]
    if won:
        raise _nothing_final(system, request_id, won)
    running = sum(status == GameStatus.IN_PROGRESS for status in statuses)
    raise NothingToDeliver(
        f"no game of request 0x{request_id.hex()} has survived; {running} of {len(games)} in progress",
        hint="see how its games stand with: opml-dispute list; without one in progress it can be answered again, with: "
        f"opml-dispute propose 0x{request_id.hex()}",
    )


def _nothing_final(system: System, request_id: RequestId, won: Sequence[Address]) -> NothingToDeliver:
    """Why none of these games, which survived, can deliver now."""
    oracle, head = system.oracle, system.rpc.head()
    paused, delay_s = system.rpc.read_all([oracle.is_paused(), oracle.finality_delay_s()], at=head)
    if paused:
        return NothingToDeliver(
            "the guardian has paused the system: no output is delivered until that ends",
            hint="see until when: opml-dispute admin status",
        )
    marks = system.rpc.read_each([mark(game) for game in won for mark in (oracle.is_blacklisted, oracle.is_retired)])
    standing = [game for game, *discarded in zip(won, marks[::2], marks[1::2], strict=True) if not any(discarded)]
    ends = system.rpc.read_each([FaultDisputeGame(game).resolved_at_s() for game in standing], at=head)
    # Strictly more than the delay.
    left_s = {game: end_s + delay_s + 1 - head.timestamp for game, end_s in zip(standing, ends, strict=True)}
    waiting = {game: seconds for game, seconds in left_s.items() if seconds > 0}
    if not waiting:
        return NothingToDeliver(
            f"game {(standing or won)[0]} survived, but does not count: "
            + ("its type did not when it was made" if standing else "the guardian discarded it"),
            hint=f"propose the answer again: opml-dispute propose 0x{request_id.hex()}",
        )
    soonest = min(waiting, key=lambda game: waiting[game])
    return NothingToDeliver(
        f"game {soonest} survived, but is not final yet: the finality delay ends in {duration(waiting[soonest])}",
        hint=f"run the same command again in {duration(waiting[soonest])}",
    )


def restoring_intents(
    system: System, games: Sequence[Address], proposers: Collection[Address], *, at: Head | None = None
) -> list[Intent]:
    """
    Record again those of `games` which `proposers` made, which were passed over, and which have the best right now.

    Sent before a delivery, whichever game delivers: what is recorded then decides who gets the fee (docs/game.md,
    "Requests").
    """
    may = system.rpc.read_each([system.oracle.may_be_restored(game) for game in games], at=at)
    fallen_behind = [game for game, is_due in zip(games, may, strict=True) if is_due]
    creators = system.rpc.read_each([FaultDisputeGame(game).creator() for game in fallen_behind], at=at)
    return [
        Intent(
            kind="restore-proposal",
            call=system.oracle.restore_proposal(game),
            will=f"Will have the proposal {game} recorded as the first again, since the one before it fell",
            did=lambda receipt: "Recorded: the fee is its proposer's, whichever game delivers",
            facts={"game": game},
            done_already=frozenset({"NotRestorable"}),
        )
        for game, creator in zip(fallen_behind, creators, strict=True)
        if creator in proposers
    ]


class Deliverable(Protocol):
    """A request with its computed output: `operator.case.Case`, or what workers computed."""

    @property
    def request_id(self) -> RequestId: ...
    @property
    def record(self) -> RequestRecord: ...
    @property
    def status(self) -> int: ...
    @property
    def fault_node(self) -> int: ...
    @property
    def output_image(self) -> bytes: ...
    @property
    def arena_root(self) -> Hash32: ...
    @property
    def registered(self) -> RegisteredModel: ...
    @property
    def results(self) -> Sequence[ItemResult]: ...


def most_output_bytes(item_count: int) -> int:
    """Of an output that can be delivered: by itself, or as an item of a batch, with its proof."""
    return MAX_OUTPUT_BYTES if item_count == 1 else MAX_OUTPUT_BYTES - ITEM_BYTES


def undelivered(system: System, case: Deliverable) -> list[ItemResult]:
    """The items of a batch that have an output which was not delivered yet."""
    roots = system.rpc.read_each([system.oracle.item_output_root(case.request_id, r.item) for r in case.results])
    return [
        result for result, known in zip(case.results, roots, strict=True) if result.status == 0 and known == bytes(32)
    ]


def delivery_intents(system: System, case: Deliverable, game: Address) -> list[Intent]:
    """
    Deliver the output of a surviving game; of a batch, those outputs that were not delivered yet.

    Raises `FailedInference` if the inference has no output, `NothingToDeliver` if all that a batch has is delivered,
    `TransactionTooLarge` if a batch's outputs are too large for any transaction.
    """
    if not case.results:
        return [delivery_intent(system, case, game)]
    from opml_dispute.engine.segment import OUTPUT, SEGMENT_LOG2, section_root  # arrays: listing games does without

    by_root, size_bytes = case.record.output_by_root, case.registered.output_bytes
    if size_bytes > most_output_bytes(len(case.results)) and not by_root:
        raise TransactionTooLarge("delivering an item of the batch", size_bytes + ITEM_BYTES + ENVELOPE_BYTES)
    roots = [result.root for result in case.results]
    outputs = [
        ItemOutput(
            result.item,
            b"" if by_root else result.output_image,
            section_root(result.output_image, OUTPUT) if by_root else Hash32(bytes(32)),
            result.input_root,
            result.arena_root,
            siblings_of(result.item, roots, SEGMENT_LOG2),
        )
        for result in undelivered(system, case)
    ]
    if not outputs:
        failed = sum(result.status != 0 for result in case.results)
        raise NothingToDeliver(
            f"all outputs of batch 0x{case.request_id.hex()} are delivered; {failed} of its {len(case.results)} items "
            "failed and have none",
            hint=None,
        )
    return [_items_intent(system, case, game, part) for part in delivery_parts(outputs, case.record.callback_gas)]


def delivery_parts(outputs: Sequence[ItemOutput], callback_gas: int) -> list[list[ItemOutput]]:
    """Outputs of a batch, as many together as a transaction may deliver."""
    parts: list[list[ItemOutput]] = []
    gas = size = 0
    for output in outputs:
        item_bytes = len(output.image) + ITEM_BYTES
        item_gas = ITEM_GAS + callback_gas * 64 // 63 + CALLDATA_GAS * item_bytes
        if not parts or gas + item_gas > MAX_DELIVERY_GAS or size + item_bytes > MAX_OUTPUT_BYTES:
            parts.append([])
            gas = size = 0
        parts[-1].append(output)
        gas, size = gas + item_gas, size + item_bytes
    return parts


def _items_intent(system: System, case: Deliverable, game: Address, outputs: list[ItemOutput]) -> Intent:
    what = f"{sum(len(output.image) for output in outputs):,} bytes"
    if case.record.output_by_root:
        what = "each by its root"
    return Intent(
        kind="finalize",
        call=system.oracle.finalize_items(case.request_id, game, outputs),
        will=f"Will deliver {len(outputs)} outputs, {what}, proven against the root claim of game {game}",
        did=lambda receipt: f"Delivered {len(system.oracle.delivered_items(receipt.logs))} outputs",
        facts={
            "request_id": case.request_id,
            "game": game,
            "outputs": {
                str(output.item): output.output_root if case.record.output_by_root else output.image
                for output in outputs
            },
        },
    )


def delivery_intent(system: System, case: Deliverable, game: Address) -> Intent:
    """Deliver the output of a surviving game. Raises `FailedInference` if the inference has no output."""
    if case.status != 0:
        raise FailedInference(
            f"the inference failed at node {case.fault_node} with status {case.status}: it has no output",
            hint="nothing can be delivered; the requester can take the fee back after a while",
        )
    output = case.output_image

    def did(receipt: Receipt) -> str:
        called = system.oracle.callbacks(receipt.logs)
        if not called:
            return "Delivered"
        return "Delivered, and the consumer took it" if called[0]["success"] else "Delivered, but the consumer reverted"

    if case.record.output_by_root:
        from opml_dispute.engine.segment import OUTPUT, section_root  # arrays: listing games does without

        root = section_root(output, OUTPUT)
        return Intent(
            kind="finalize",
            call=system.oracle.finalize_by_root(case.request_id, game, root, case.arena_root),
            will=f"Will deliver {len(output):,} bytes of output by their root {short_hex(root)}, proven against the "
            f"root claim of game {game}",
            did=did,
            facts={"request_id": case.request_id, "game": game, "output_root": root},
        )
    return Intent(
        kind="finalize",
        call=system.oracle.finalize(case.request_id, game, output, case.arena_root),
        will=f"Will deliver {len(output):,} bytes of output, proven against the root claim of game {game}",
        did=did,
        facts={"request_id": case.request_id, "game": game, "output": output},
    )
