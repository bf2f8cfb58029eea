"""
A case: one request, with everything that is needed to compute its answer.

`open_case` reads the request, finds its model's program and its input, and gives a `Case`. `Case.trace` is then the
honest trace of every game of the request, and `Case.liar` makes faulty ones. Nothing is computed before it is needed.
A batch is a case too: its states are those of all items, `Case.results` says what became of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opml_dispute.actors.liars import Liar
from opml_dispute.chain.contracts.oracle import RegisteredModel, RequestRecord
from opml_dispute.chain.requests import InputByRoot, InputUnavailable, read_request, request_image
from opml_dispute.chain.system import System
from opml_dispute.engine.batch import BatchInference, fullest_run, native_run
from opml_dispute.engine.batch_tree import input_root_of
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.item_result import ItemResult
from opml_dispute.engine.vm import Machine
from opml_dispute.errors import OpmlError
from opml_dispute.game.depths import Depths
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.operator.model_store import InputMissing, ModelStore
from opml_dispute.primitives import Hash32, ModelId, RequestId, StateRoot
from opml_dispute.reading import Unreadable, read_bytes
from opml_dispute.trace.guest import guest_machine, node_start
from opml_dispute.trace.longest import NodeMeasure, measure_longest
from opml_dispute.trace.split import SplitTrace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class IsBatch(OpmlError):
    """Something that single inferences have was asked of a batch."""

    hint = "a batch can be proposed, challenged, defended and delivered like any request; this is shown for single ones"


class WrongStart(OpmlError):
    """A request's model and input, as the node gives them, begin in another state than the request itself."""

    is_told_by_node = True
    hint = "nothing was staked on it; the RPC endpoint names another model or input: use another --rpc-url"


def expect_start(request_id: RequestId, record: RequestRecord, computed: StateRoot) -> None:
    """
    Raises `WrongStart` unless S_0 as computed is the request's own.

    The chain made it of the model and the input, so a node that gives a wrong one of these, or another number of items,
    is noticed before a root is believed.
    """
    if computed != record.starting_root:
        raise WrongStart(
            f"request 0x{request_id.hex()} starts at 0x{record.starting_root.hex()}, and the model and the input that "
            f"belong to it at 0x{computed.hex()}"
        )


@dataclass(frozen=True)
class Case:
    """One request with its program and its input."""

    request_id: RequestId
    record: RequestRecord
    registered: RegisteredModel
    program: Program
    image: bytes
    """The INPUT section's content from offset 0; of a batch the items', one behind the other."""

    @property
    def item_count(self) -> int:
        """1, or the items of a batch."""
        return self.record.item_count

    @property
    def node_count(self) -> int:
        """Of the program, once for each item: n of the root claim S_n."""
        return self.program.node_count * self.item_count

    @cached_property
    def states(self) -> Inference | BatchInference:
        """The honest native run."""
        return native_run(self.program, self.image, self.item_count)

    def item(self, index: int) -> Inference:
        """The honest native run of one item; of a single inference, item 0 is all."""
        return self.states.item(index) if isinstance(self.states, BatchInference) else self.inference

    @property
    def inference(self) -> Inference:
        """The honest native run of a single inference. Raises `IsBatch`."""
        if not isinstance(self.states, Inference):
            raise IsBatch(f"request 0x{self.request_id.hex()} is a batch of {self.item_count} items")
        return self.states

    def trace(self) -> SplitTrace:
        """The honest trace: the correct claim at every position."""
        self.states.expect_questions()
        return SplitTrace(
            self.states,
            guest_machine(),
            node_count=self.node_count,
            depths=Depths.for_model(self.node_count, self.program.log2_steps),
            spawn=guest_machine,
        )

    def liar(self) -> Liar:
        """A fault injector for this inference."""
        return Liar(self.program, self.image, self.inference, guest_machine())

    def node_machine(self, node_index: int, steps: int) -> Machine:
        """The VM after `steps` instructions of a node's honest run."""
        machine = node_start(self.inference, node_index)
        machine.run(steps)
        return machine

    @property
    def final_root(self) -> StateRoot:
        """S_n: the right root claim. Raises `WrongStart`."""
        expect_start(self.request_id, self.record, self.states.state_root(0))
        return self.states.state_root(self.node_count)

    @property
    def status(self) -> int:
        """Of the whole inference: 0, or what it failed with; of a batch 0 if any item has an output."""
        return self.states.status

    @property
    def fault_node(self) -> int:
        """Where it failed."""
        return self.states.fault_node

    def longest(self, count: int, depth: int) -> Sequence[NodeMeasure]:
        """The nodes that may take most steps, run in the VM; of a batch an item's that has no fault."""
        return measure_longest(self.program, fullest_run(self.states), count=count, depth=depth)

    @property
    def results(self) -> list[ItemResult]:
        """What became of each item of a batch; empty for a single inference."""
        return self.states.results() if isinstance(self.states, BatchInference) else []

    @property
    def depths(self) -> Depths:
        """Of the games of this request."""
        return Depths.for_model(self.node_count, self.registered.log2_steps)

    @property
    def output_image(self) -> bytes:
        """The OUTPUT section's content in S_n."""
        return self.inference.output_image()

    @property
    def arena_root(self) -> Hash32:
        """Root of the ARENA section in S_n: part of an output's proof."""
        return self.inference.output_proof().arena_root

    @property
    def outputs(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """The honest run's outputs, by name."""
        return self.inference.outputs()


def open_case(
    system: System,
    request_id: RequestId,
    *,
    store: ModelStore,
    model_file: Path | None = None,
    binding: Binding | None = None,
    image_file: Path | None = None,
) -> Case:
    """
    Read a request and find its program and its input.

    What is not on this computer is fetched, as the store allows. Raises `UnknownRequest`, `InputUnavailable`, and what
    `ModelStore.program` raises.
    """
    record = read_request(system, request_id)
    model_id = ModelId(bytes(record.model_id))
    registered = system.rpc.read(system.registry.model(model_id))
    program = store.program(model_id, registered, file=model_file, binding=binding or Binding())
    image = (
        input_image_of(system, request_id, record, registered, store)
        if image_file is None
        else read_image(image_file, record, registered.input_bytes)
    )
    return Case(request_id, record, registered, program, image)


def input_image_of(
    system: System, request_id: RequestId, record: RequestRecord, registered: RegisteredModel, store: ModelStore
) -> bytes:
    """A request's input: from the chain, or where the requester says that it is. Raises `InputUnavailable`."""
    try:
        return request_image(system, request_id, record)
    except InputByRoot as by_root:
        try:
            return store.image(bytes(record.input_root), by_root.uri, registered.input_bytes)
        except InputMissing as error:
            raise InputUnavailable(f"{by_root}: {error}", hint=by_root.hint) from None


def read_image(path: Path, record: RequestRecord, input_bytes: int) -> bytes:
    """An input image of at most `input_bytes` an item, held against the request's root. Raises `InputUnavailable`."""
    try:
        image = read_bytes(path, max_bytes=input_bytes * record.item_count)
    except Unreadable as error:
        raise InputUnavailable(f"cannot read the input image {path}: {error.reason}", hint="check the path") from None
    if input_root_of(image, record.item_count) != record.input_root:
        raise InputUnavailable(f"{path} does not match the request's input root", hint="give the requester's image")
    return image
