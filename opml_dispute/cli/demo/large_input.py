"""
A dispute about an input that no transaction can carry, under a public chain's limits, from publishing to the last bond.

`dispute_a_large_input` has the input published in parts or in blobs, and asked about by a consumer that takes the
output by its root. A liar flips one bit in a middle node; an honest challenger, which has model and input from where
the chain says that they are, takes it down to that instruction, and proposes the right answer itself. That is
delivered, and parts of it are proven to the consumer. The local chain refuses what a public one refuses: above 2^24 gas
a transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from opml_dispute.actors.liars import FaultyInference, NoFaultFound, Outputs
from opml_dispute.availability.fetching import Fetcher, FetchPolicy
from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.blob_places import blob_uri_of
from opml_dispute.chain.contracts.examples import ValueReader
from opml_dispute.chain.input_blobs import publications_of
from opml_dispute.chain.quoting import TRANSACTION_GAS_CAP
from opml_dispute.chain.transactions import Creation
from opml_dispute.cli.demo.measured import DisputeBroken, MeasuredDispute, MeasuredTransaction, Measuring
from opml_dispute.cli.demo.stage import TIMES, Stage
from opml_dispute.devnet.blob_tables import make_blob_tables
from opml_dispute.engine.output_part import output_part
from opml_dispute.engine.segment import INPUT, input_image, section_root
from opml_dispute.generation.files import open_model
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.operator.blob_publishing import blob_publication, bond_intents
from opml_dispute.operator.case import Case, open_case
from opml_dispute.operator.inference import (
    deliverable_game,
    delivery_intents,
    new_request_id,
    request_intent,
)
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.proposing import proposal_intents
from opml_dispute.operator.publishing import publication_intents
from opml_dispute.primitives import Address, ModelId, RequestId

WAYS: Final = ("parts", "blobs")
FEE_WEI: Final = 10**16
ATTEMPTS: Final = 40
"""Faults tried in one node: an attempt runs it once more, and what follows it natively."""
NODES_TRIED: Final = 5
PROVEN_BYTES: Final = 64
"""Of each part of the output that is proven."""


@dataclass(frozen=True)
class KindOfTransaction:
    """What the transactions of one kind took."""

    kind: str
    count: int
    most_calldata_bytes: int
    most_gas: int
    gas: int


@dataclass
class LargeInputDispute(MeasuredDispute):
    """The result of a dispute about a large input."""

    input_bytes: int = 0
    output_bytes: int = 0
    published: str = ""
    """One of `WAYS`."""
    blobs: int = 0
    liar_changes: str = ""
    """What the lie does to the answer."""
    largest_gas: int = 0
    """Of a single transaction; a chain takes 2^24 at most."""
    largest_kind: str = ""
    all_gas: int = 0
    transactions: list[KindOfTransaction] = field(default_factory=list)
    parts_proven: int = 0
    """Of the output, to the consumer."""


@dataclass(frozen=True)
class _Road:
    """What the parts of the way have in common."""

    stage: Stage
    measuring: Measuring
    result: LargeInputDispute
    folder: Path
    """Where each party has a store of its own."""
    tell: Callable[[str], None]

    def case(self, role: str, request_id: RequestId) -> Case:
        """A party's own view of the request: it is given nothing, and fetches what the chain names."""
        policy = FetchPolicy(allow="local", blobs=(self.stage.system.rpc.url,))
        return open_case(self.stage.system, request_id, store=ModelStore(self.folder / role, Fetcher(policy)))

    def address(self, role: str) -> Address:
        """A party's account."""
        return self.stage.parties[role].address


def dispute_a_large_input(
    stage: Stage,
    file: Path,
    folder: Path,
    *,
    way: str,
    seed: int,
    tell: Callable[[str], None] = lambda sentence: None,
) -> LargeInputDispute:
    """
    Play it all about random values for the inputs of a model; `folder` takes what the parties fetch.

    Raises `NoFaultFound` if no bit changes the answer, `DisputeBroken` if the dispute or the delivery does not end as
    it must, and the errors of reading the model.
    """
    result = LargeInputDispute(published=way)
    measuring = Measuring(stage, result)
    road, system = _Road(stage, measuring, result, folder, tell), stage.system
    with measuring.timed("compile"):
        program = open_model(file, Binding())
        rng = np.random.default_rng(seed)
        values = {spec.name: rng.standard_normal(spec.shape).astype(spec.dtype.numpy) for spec in program.inputs}
        image = input_image(program.inputs, values)
    result.nodes, result.log2_steps, result.input_bytes = program.node_count, program.log2_steps, len(image)
    tell(f"{file.name}: {program.node_count:,} nodes of at most 2^{program.log2_steps} VM steps")
    with measuring.timed("register"):
        model_id = measuring.register(program, file.name, file.resolve().as_uri())
        deployed = stage.parties["requester"].sender.send(
            Creation(load_artifact("ValueReader"), (system.oracle.address, model_id))
        )
        assert deployed.created is not None
        consumer = ValueReader(Address(deployed.created))
    request_id = _ask(road, consumer, model_id, image)
    with measuring.timed("answer"):
        case = road.case("challenger", request_id)
        assert case.image == image, "the image that was found has the input's root"
        right = case.outputs
        result.output_bytes = len(case.output_image)
    with measuring.timed("lie"):
        faulty = _lie(road.case("proposer", request_id), seed, tell)
    result.fault, result.liar_changes = str(faulty), _difference(right, faulty.outputs())
    tell(f"{faulty}: {result.liar_changes}")
    lie = measuring.dispute(case, faulty, tell)
    truth = _propose(road, case)
    with measuring.timed("settle"):
        measuring.settle(lie, "challenger", "proposer")
        measuring.settle(truth, "challenger")
    _deliver(road, case, consumer, truth)
    if way == "blobs":
        _take_bond(road, case)
    measuring.finish(lie)
    _sum_up(result, measuring.sent)
    return result


def _ask(road: _Road, consumer: ValueReader, model_id: ModelId, image: bytes) -> RequestId:
    """Publishes the input, and has the consumer ask about it."""
    system, requester, way = road.stage.system, road.address("requester"), road.result.published
    root = section_root(image, INPUT)
    if way == "blobs":
        make_blob_tables(system.rpc.url)
    with road.measuring.timed("publish and ask"):
        if way == "blobs":
            intents = blob_publication(system, requester, image).intents
        else:
            intents = publication_intents(system, requester, image)
        for intent in intents:
            road.measuring.act("requester", intent)
        uri = f"ethereum:{system.input_parts.address}@{system.deployment.chain_id}"
        if way == "blobs":
            found = blob_uri_of(system.rpc, system.input_blobs, bytes(root))
            assert found is not None, "the blobs were published"
            uri = found
        asking = request_intent(system, model_id, image, fee_wei=FEE_WEI, input_uri=uri)
        done = road.measuring.act("requester", replace(asking, call=consumer.ask_about(root, uri)))
        assert done.receipt is not None
    published = [sent for sent in road.measuring.sent if sent.kind == "publish"]
    road.tell(
        f"{len(image):,} bytes of input in {way}: {len(published)} transactions, {sum(p.gas for p in published):,} gas"
    )
    return new_request_id(system, done.receipt)


def _lie(case: Case, seed: int, tell: Callable[[str], None]) -> FaultyInference:
    """A faulty inference that changes the answer, from a node as near to the middle as one is found. Raises
    `NoFaultFound`."""
    tell("the liar looks for one bit whose flip changes the answer …")
    liar = case.liar()
    nodes = _from_middle(case.program)[:NODES_TRIED]
    for node in nodes:
        try:
            return liar.find(seed, goal=_changes_answer, node_index=node, attempts=ATTEMPTS)
        except NoFaultFound:
            continue
    raise NoFaultFound(f"no bit in {len(nodes)} nodes of the model changes its answer")


def _from_middle(program: Program) -> list[int]:
    """Nodes from the middle one on towards the end, in strides: the later a fault, the less washes it out."""
    middle = program.node_count // 2
    return list(range(middle, program.node_count, max(1, (program.node_count - middle) // NODES_TRIED)))


def _changes_answer(right: Outputs, wrong: Outputs) -> bool:
    return any(array.tobytes() != wrong[name].tobytes() for name, array in right.items())


def _difference(right: Outputs, wrong: Outputs) -> str:
    """What a lie does to the answer, as a clause."""
    count = sum(int((array != wrong[name]).sum()) for name, array in right.items())
    size = sum(array.size for array in right.values())
    tops = [
        (int(array.argmax()), int(wrong[name].argmax()))
        for name, array in right.items()
        if array.size > 1 and array.argmax() != wrong[name].argmax()
    ]
    largest = "" if not tops else f", and the largest is number {tops[0][1]} instead of {tops[0][0]}"
    return f"{count:,} of {size:,} numbers of the answer are others{largest}"


def _propose(road: _Road, case: Case) -> Address:
    """The challenger's own proposal of the right answer, with the commitment that the fee takes."""
    system = road.stage.system
    with road.measuring.timed("propose"):
        intents = proposal_intents(
            system, case.request_id, case.final_root, case.node_count, proposer=road.address("challenger")
        )
        receipts = [road.measuring.act("challenger", intent).receipt for intent in intents]
    assert receipts[-1] is not None
    return system.factory.created_game(receipts[-1])


def _deliver(road: _Road, case: Case, consumer: ValueReader, truth: Address) -> None:
    """Delivers the answer by its root, and proves its first and its last bytes to the consumer."""
    system = road.stage.system
    with road.measuring.timed("deliver"):
        game = deliverable_game(system, case.request_id)
        if game != truth:
            raise DisputeBroken(f"game {game} delivers, expected the honest one, {truth}")
        for intent in delivery_intents(system, case, game):
            road.measuring.act("challenger", intent)
        image = case.output_image
        size = min(PROVEN_BYTES, len(image))
        for offset in sorted({0, len(image) - size}):
            part = output_part(image, offset, size)
            call = consumer.values_at(case.request_id, part.content, part.offset, part.siblings)
            found = system.rpc.read(call)
            if found != np.frombuffer(part.content, ">u4").tolist():
                raise DisputeBroken(f"the consumer reads other numbers at {part.offset} than were proven to it")
            did = f"Proven: {len(found)} numbers"
            proving = Intent(kind="prove-part", call=call, will="Will prove a part", did=lambda _, did=did: did)  # type: ignore[misc]
            road.measuring.act("requester", proving)
            road.result.parts_proven += 1
    road.tell(
        f"delivered by game {game}; {road.result.parts_proven} parts of {len(image):,} bytes proven to the consumer"
    )


def _take_bond(road: _Road, case: Case) -> None:
    """The requester takes back what it staked on its blobs: the window is over since the games are. Raises
    `DisputeBroken`."""
    system, requester = road.stage.system, road.address("requester")
    publications = publications_of(system.rpc, system.input_blobs, bytes(case.record.input_root))
    intents = bond_intents(system, publications, requester)
    if not intents:
        raise DisputeBroken(f"the blobs' bond is not free after {TIMES.max_clock_s:,} s")
    for intent in intents:
        road.measuring.act("requester", intent)


def _sum_up(result: LargeInputDispute, sent: list[MeasuredTransaction]) -> None:
    """Raises `DisputeBroken` if a transaction took more than a chain allows."""
    largest = max(sent, key=lambda one: one.gas)
    result.largest_gas, result.largest_kind = largest.gas, largest.kind
    result.all_gas, result.blobs = sum(one.gas for one in sent), sum(one.blobs for one in sent)
    in_order = sorted(sent, key=lambda one: one.kind)
    for kind, group in groupby(in_order, key=lambda one: one.kind):
        found = list(group)
        most_bytes, most_gas = max(one.calldata_bytes for one in found), max(one.gas for one in found)
        result.transactions.append(
            KindOfTransaction(kind, len(found), most_bytes, most_gas, sum(one.gas for one in found))
        )
    if result.largest_gas > TRANSACTION_GAS_CAP:
        raise DisputeBroken(f"a transaction ({largest.kind}) took {largest.gas:,} gas, more than 2^24")
