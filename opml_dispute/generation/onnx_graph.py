"""
One graph that was exported to ONNX, by what a loop or an encoder needs to know of it; and the prompt as it takes it.

Graphs expect a prompt from its start, and a program's prompt stands at its end: `FrontPrompt` moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx

from opml_dispute.generation.onnx_files import states_of
from opml_dispute.model.builder import Builder
from opml_dispute.model.graph_ends import GraphEnds
from opml_dispute.model.graph_inputs import held_type, names_of_constants
from opml_dispute.model.opcodes import DType
from opml_dispute.model.tensor import Tensor


@dataclass(frozen=True)
class ExportedGraph:
    """A graph and its ends."""

    model: onnx.ModelProto
    name: str
    """Its file's, for people."""

    @cached_property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        given = names_of_constants(self.model.graph)
        return [value for value in self.model.graph.input if value.name not in given]

    @cached_property
    def takes(self) -> frozenset[str]:
        """The names of its inputs."""
        return frozenset(value.name for value in self.inputs)

    @cached_property
    def gives(self) -> tuple[str, ...]:
        """The names of its outputs."""
        return tuple(value.name for value in self.model.graph.output)

    @cached_property
    def states(self) -> dict[str, str | None]:
        """As `states_of`."""
        return states_of(GraphEnds(tuple(value.name for value in self.inputs), self.gives))

    @cached_property
    def operators(self) -> frozenset[str]:
        """All that it uses, in branches too."""
        return frozenset(_operators(self.model.graph))

    @cached_property
    def searching(self) -> frozenset[str]:
        """The outputs of nodes that find places by what they hold."""
        return frozenset(_outputs_of(self.model.graph, "NonZero"))

    @property
    def packs_cache(self) -> bool:
        """Whether new keys follow the last true one, in the place of padding; otherwise they follow the padding."""
        return "GroupQueryAttention" in self.operators

    @property
    def bears_padding(self) -> bool:
        """Whether positions do not depend on how much padding is between prompt and answer."""
        if not self.takes.intersection(("attention_mask", "seqlens_k")):
            return False
        # A mask's running sum gives positions to models that take none, and distances to those without positions.
        return self.packs_cache or "position_ids" in self.takes or "CumSum" in self.operators

    @cached_property
    def scoring(self) -> frozenset[str]:
        """
        The outputs of nodes that make logits of rows, each by itself: one, or one in each branch of a merged graph.

        What follows such a node changes neither rows nor their order. Other graphs have none that is known to be one.
        """
        graph, logits = self.model.graph, self.first_of("logits")
        parts = [(graph, logits)]
        if [node.op_type for node in graph.node] == ["If"]:
            place = list(graph.node[0].output).index(logits)
            branches = [attribute.g for attribute in graph.node[0].attribute if attribute.HasField("g")]
            parts = [(branch, branch.output[place].name) for branch in branches]
        return frozenset(found for part, name in parts if (found := _scoring(part, name)) is not None)

    def first_of(self, *names: str) -> str:
        """The output with the first of these names that there is, else the first output."""
        return next((name for name in names if name in self.gives), self.gives[0])


_OF_ROWS = frozenset({"MatMul", "MatMulNBits", "FusedMatMul"})
_BEHIND = frozenset({"Identity", "Cast", "Add", "Mul", "Div", "Tanh"})
"""Operators between that product and the logits: biases, scales and caps."""


def _scoring(graph: onnx.GraphProto, logits: str) -> str | None:
    makers = {name: node for node in graph.node for name in node.output}
    known = names_of_constants(graph)
    for _ in graph.node:
        node = makers.get(logits)
        if node is None or node.op_type not in _OF_ROWS | _BEHIND:
            return None
        if node.op_type in _OF_ROWS:
            # Of a vector for each row, the same matrix for all: what is computed could not be another operand.
            plain = not any(attribute.name in ("transA", "transBatchA") and attribute.i for attribute in node.attribute)
            return str(logits) if plain and node.input[0] not in known else None
        computed = [name for name in node.input if name in makers and makers[name].op_type != "Constant"]
        if len(computed) != 1:
            return None
        logits = computed[0]
    return None


def _outputs_of(graph: onnx.GraphProto, op_type: str) -> set[str]:
    """The first outputs of all nodes of an operator, in branches too."""
    found = {node.output[0] for node in graph.node if node.op_type == op_type and node.output}
    for branch in (attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")):
        found |= _outputs_of(branch, op_type)
    return found


def _operators(graph: onnx.GraphProto) -> set[str]:
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= _operators(attribute.g)
    return found


def fitted(g: Builder, value: onnx.ValueInfoProto, made: Tensor) -> Tensor:
    """A tensor in the type and the rank of the input that takes it; leading dimensions have one element."""
    dtype, _ = held_type(value.name, value.type.tensor_type.elem_type)
    rank, made = len(value.type.tensor_type.shape.dim), g.cast(made, dtype)
    if made.rank == rank:
        return made
    return g.reshape(made, (1,) * (rank - 1) + made.shape[-1:] if rank else ())


@dataclass(frozen=True)
class FrontPrompt:
    """A prompt whose tokens stand from the first place on, with padding behind them."""

    ids: Tensor
    """i64[room]."""
    length: Tensor | None
    """i64[1]: how many tokens there are; None if there is no padding."""

    @property
    def room(self) -> int:
        return self.ids.shape[0]

    @classmethod
    def of(cls, g: Builder, tokens: Tensor, *, is_exact: bool, padding: int | None = None) -> FrontPrompt:
        """
        The prompt in `tokens`, where padding stands first.

        What stands behind it is `padding`, or some token of the prompt. With `is_exact` there is no padding.
        """
        room = tokens.shape[0]
        named = g.maximum(tokens, 0)
        if is_exact:
            return cls(named, None)
        there = g.cast(g.less_equal(0, tokens), DType.I64)
        length = g.reshape(g.reduce_sum(there, (0,)), (1,))
        places = g.arange(room)
        ids = g.take(named, g.minimum(g.add(places, g.sub(room, length)), room - 1), 0)
        return cls(ids if padding is None else g.choose(g.less(places, length), ids, padding), length)

    @classmethod
    def constant(cls, g: Builder, tokens: Sequence[int]) -> FrontPrompt:
        """A prompt that is known."""
        return cls(g.constant(np.array(tokens, np.int64)), None)

    def seen(self, g: Builder) -> Tensor:
        """bool[room]: which places have a token."""
        if self.length is None:
            return g.constant(np.ones(self.room, np.bool_))
        return g.less(g.arange(self.room), self.length)
