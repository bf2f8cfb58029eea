"""
A batch of inferences by one program, run natively: the states T_0 ... T_N of all items together, N = items * nodes.

T_t is the root of the items' segments side by side, item i's at i * 2^40 (docs/segment.md, "Batches"). With n nodes,
t = i * n + k says that the items before i are at their ends, item i has run k nodes, and those behind it wait at their
starts. `BatchInference` answers about any T_t as `Inference` does about S_t; one item at a time is in memory, the
others are known by their roots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opml_dispute.engine.analysis import ProgramLike
from opml_dispute.engine.batch_tree import batch_root, item_images, room_log2
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.item_result import ItemResult
from opml_dispute.engine.overrides import StateOutOfRange
from opml_dispute.engine.segment import SEGMENT_LOG2, initial_root, section_root
from opml_dispute.engine.vm import Block
from opml_dispute.primitives import StateRoot

Subtree = tuple[bytes, int, Sequence[Block]]
"""A root, the log2 of its bytes, and its content."""


class BatchInference:
    """A native run of one program on several inputs, one after the other."""

    def __init__(
        self, program: ProgramLike, images: Sequence[bytes], *, runs: Mapping[int, Inference] | None = None
    ) -> None:
        """`runs` are inferences to use for some items, by their index: those with a fault."""
        self.program, self.images = program, list(images)
        self.item_count = len(self.images)
        self.node_count = program.node_count * self.item_count
        self.log2_size = SEGMENT_LOG2 + room_log2(self.item_count)
        self._runs = dict(runs or {})
        self._open: tuple[int, Inference] | None = None
        self._starts = [initial_root(program.model_root, section_root(image)) for image in self.images]
        self._results: dict[int, ItemResult] = {}
        self._goes_through = False

    def expect_questions(self) -> None:
        """As `Inference.expect_questions`."""
        self._goes_through = True

    def item(self, item: int) -> Inference:
        """The run of one item. What it holds is given up when another item's is asked for."""
        if item in self._runs:
            return self._runs[item]
        if self._open is None or self._open[0] != item:
            self._open = None  # its memory goes before the next one's comes
            self._open = (item, Inference(self.program, self.images[item]))
            if self._goes_through:
                self._open[1].expect_questions()
        return self._open[1]

    def result(self, item: int) -> ItemResult:
        """What became of one item."""
        if item not in self._results:
            run = self.item(item)
            root = run.state_root(self.program.node_count)
            proof = run.output_proof()
            self._results[item] = ItemResult(
                item, root, run.status, run.fault_node, proof.input_root, proof.arena_root, run.output_image()
            )
        return self._results[item]

    def results(self) -> list[ItemResult]:
        """What became of each item."""
        return [self.result(item) for item in range(self.item_count)]

    def item_roots(self, t: int) -> list[StateRoot]:
        """The states of the items in T_t. Raises `StateOutOfRange`."""
        if not 0 <= t <= self.node_count:
            raise StateOutOfRange(f"T_{t} found, expected T_0 to T_{self.node_count}")
        at, node = divmod(t, self.program.node_count)
        roots = [self.result(item).root for item in range(at)]
        if node:
            roots.append(self.item(at).state_root(node))
        return roots + self._starts[len(roots) :]

    def state_root(self, t: int) -> StateRoot:
        """T_t."""
        return StateRoot(batch_root(self.item_roots(t), SEGMENT_LOG2))

    def subtrees_at(self, t: int) -> list[Subtree]:
        """What the guest may map in T_t: the batch, with all items by their roots, and the item whose turn it is."""
        roots = self.item_roots(t)
        item = min(t // self.program.node_count, self.item_count - 1)
        blocks = [Block(i << SEGMENT_LOG2, SEGMENT_LOG2, b"", 1, root) for i, root in enumerate(roots)]
        inside = self.item(item).blocks_at(t - item * self.program.node_count)
        return [(roots[item], SEGMENT_LOG2, inside), (self.state_root(t), self.log2_size, blocks)]

    @property
    def status(self) -> int:
        """0 if any item has an output; else why the first failed."""
        return 0 if any(result.status == 0 for result in self.results()) else self.result(0).status

    @property
    def fault_node(self) -> int:
        """If every item failed: where the first did, in its own nodes."""
        return self.result(0).fault_node


def native_run(program: ProgramLike, image: bytes, item_count: int) -> Inference | BatchInference:
    """The native run of a request: of one input image, or of a batch's, one behind the other."""
    if item_count == 1:
        return Inference(program, image)
    return BatchInference(program, item_images(image, item_count))


def fullest_run(run: Inference | BatchInference) -> Inference:
    """
    The run of a batch's item that comes furthest, the first of those without a fault if there is one; or the single
    run.

    WHY NOT the first item's: behind a fault nodes do nothing, so a requester who puts an item that fails in front would
    have all others taken for as cheap.
    """
    if isinstance(run, Inference):
        return run
    return run.item(max(run.results(), key=lambda result: (result.status == 0, result.fault_node)).item)
