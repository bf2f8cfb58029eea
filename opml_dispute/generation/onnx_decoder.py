"""
Language models that were exported to ONNX: one program for a whole answer, from graphs that make one token.

Such a graph takes tokens and what earlier tokens left (`past_key_values`), and gives logits and what these tokens leave
(`present`). `OnnxLoop` lowers it again and again into one program: for the prompt with nothing before it, then once for
each further token, with what came out as what goes in. All times share the same constants. So no dimension has to be
named by hand: tokens, positions, masks and lengths are known to the loop, and other sizes stand in the file.

**Padding.** Graphs expect a prompt from its start. So a prompt is moved there, and the padding behind it is masked:
the graph's mask says what may be seen, and positions go on behind the prompt. Where a graph takes its positions from
the size of what came before, padding would move them; a program of it takes prompts of one length only (`is_exact`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx

from opml_dispute.engine.folding import float_mode
from opml_dispute.generation.answer import ANSWER, PROMPT, WHOLE_PROMPT, AnswerShape
from opml_dispute.generation.choice import Choices
from opml_dispute.generation.language_model import LanguageSizes, by_count
from opml_dispute.generation.onnx_files import IDS, DecoderFiles, states_of
from opml_dispute.generation.program import check_shape
from opml_dispute.generation.refusals import UnsupportedLanguageModel
from opml_dispute.generation.settings import end_tokens, folder_vocabulary
from opml_dispute.generation.vocabulary import Vocabulary
from opml_dispute.model import elements
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_operations
from opml_dispute.model.graph_ends import GraphEnds
from opml_dispute.model.graph_inputs import held_type
from opml_dispute.model.importer import Importer
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.onnx_file import load
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program
from opml_dispute.model.recorder import Origin
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor

LOGITS = "logits"
_LOGITS_KEPT = ("num_logits_to_keep", "logits_to_keep")
"""Inputs that say for how many of the last tokens logits are wanted; 0: for all."""


@dataclass(frozen=True)
class DecoderGraph:
    """One graph of a decoder, by what the loop needs to know of it."""

    model: onnx.ModelProto
    name: str
    """Its file's, for people."""

    @cached_property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        given = {tensor.name for tensor in self.model.graph.initializer}
        return [value for value in self.model.graph.input if value.name not in given]

    @cached_property
    def states(self) -> dict[str, str | None]:
        """As `states_of`."""
        return states_of(GraphEnds(tuple(v.name for v in self.inputs), tuple(v.name for v in self.model.graph.output)))

    @cached_property
    def operators(self) -> frozenset[str]:
        return frozenset(_operators(self.model.graph))

    @property
    def packs_cache(self) -> bool:
        """Whether new keys follow the last true one, in the place of padding; otherwise they follow the padding."""
        return "GroupQueryAttention" in self.operators

    @property
    def bears_padding(self) -> bool:
        """Whether positions do not depend on how much padding is between prompt and answer."""
        names = {value.name for value in self.inputs}
        if not names.intersection(("attention_mask", "seqlens_k")):
            return False
        # A mask's running sum gives positions to models that take none, and distances to those without positions.
        return self.packs_cache or "position_ids" in names or "CumSum" in self.operators

    def logits(self) -> str:
        names = [value.name for value in self.model.graph.output]
        return LOGITS if LOGITS in names else names[0]


def _operators(graph: onnx.GraphProto) -> set[str]:
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= _operators(attribute.g)
    return found


@dataclass(frozen=True)
class OnnxDecoder:
    """A decoder's graphs and its vocabulary (`language_model.LanguageModel`)."""

    files: DecoderFiles
    prompt: DecoderGraph
    step: DecoderGraph
    vocabulary: Vocabulary | None
    end_tokens: tuple[int, ...]

    @property
    def label(self) -> str:
        return self.files.folder.name

    @property
    def is_exact(self) -> bool:
        """Whether its programs take prompts of one length only, without padding."""
        return not (self.prompt.bears_padding and self.step.bears_padding)

    def sizes(self) -> LanguageSizes:
        settings, encodings = self.files.settings, dict[str, int]()
        for tensor in self.step.model.graph.initializer:
            name = elements.name_of(tensor.data_type)
            encodings[name] = encodings.get(name, 0) + int(np.prod(tensor.dims, dtype=np.int64))
        width = settings.get("hidden_size", settings.get("n_embd"))
        return LanguageSizes(
            architecture=str(settings.get("model_type", settings.get("type", "ONNX"))),
            layers=-(-len(self.step.states) // 2),
            width=width if type(width) is int else None,
            vocabulary=_rows(self.step),
            context=self.files.context,
            parameters=sum(encodings.values()),
            encodings=by_count(encodings),
        )

    def compiled(self, shape: AnswerShape, dims: Mapping[str, int], limits: Limits | None = None) -> Program:
        """As `LanguageModel.compiled`."""
        check_shape(shape, self.files.context)
        with float_mode():
            builder = Builder(Meter(limits or Limits.of_environment()))
            builder.expect_repetition()
            # Behind padding, what is seen through a window would be other tokens.
            windowed = self.files.window is not None and shape.slots > self.files.window
            is_exact = self.is_exact or windowed
            try:
                loop = OnnxLoop(builder, self, shape, dims, is_exact=is_exact)
                loop.run()
            except Refuse as refusal:
                raise UnsupportedLanguageModel(f"the graph of {self.label} does not fit the loop: {refusal}") from None
            sampler = loop.choices.sampler
            inputs = [(WHOLE_PROMPT if is_exact else PROMPT, loop.tokens), *(sampler.inputs.items() if sampler else ())]
            return compile_operations(builder, inputs, [(ANSWER, loop.choices.answer)])


def read_decoder(files: DecoderFiles) -> OnnxDecoder:
    """The decoder in these files. Raises `ModelFileError`, `InvalidModel`, `BadModelFile`."""
    prompt = DecoderGraph(load(files.prompt), files.prompt.name)
    step = prompt if files.step == files.prompt else DecoderGraph(load(files.step), files.step.name)
    vocabulary = folder_vocabulary(files.folder, files.settings, _rows(step) or 1 << 24)
    ends = tuple(end_tokens(files.folder, files.settings))
    return OnnxDecoder(files, prompt, step, vocabulary, ends)


def _rows(graph: DecoderGraph) -> int:
    """Tokens that logits are given for; 0 if the graph does not say."""
    (value,) = (value for value in graph.model.graph.output if value.name == graph.logits())
    dims = value.type.tensor_type.shape.dim
    return int(dims[-1].dim_value) if dims else 0


@dataclass(frozen=True)
class _Call:
    """One time that a graph is lowered."""

    ids: Tensor
    """i64[1][rows]."""
    past: int
    """Slots of what came before."""
    token: int
    """The answer's token whose logits it makes."""
    place: str
    """For people."""

    @property
    def rows(self) -> int:
        return self.ids.shape[1]


class OnnxLoop:
    """The operations of one answer."""

    def __init__(
        self, builder: Builder, model: OnnxDecoder, shape: AnswerShape, dims: Mapping[str, int], *, is_exact: bool
    ) -> None:
        self.g, self.model, self.shape, self.dims = builder, model, shape, dims
        self.choices = Choices(builder, shape.tokens, model.end_tokens, sampled=shape.sampled)
        self.tokens = builder.new(DType.I64, (shape.prompt_tokens,))
        """The prompt: an input of the program."""
        self._length: Tensor | None = None
        self._is_exact = is_exact
        self._states: dict[str, Tensor] = {}
        self._graphs = {id(graph): Importer(graph.model, builder) for graph in (model.prompt, model.step)}

    def run(self) -> None:
        """Everything from the prompt to the last token."""
        g, room = self.g, self.shape.prompt_tokens
        if self.choices.sampler:
            self.choices.sampler.prepare()
        g.origin = Origin("prompt", "padding and positions")
        ids = self._prompt_ids()
        logits = self._called(self.model.prompt, _Call(g.reshape(ids, (1, room)), 0, 0, "prompt"))
        g.origin = Origin("prompt", "the last token")
        self.choices.put(self._last_row(logits), 0)
        for token in range(1, self.shape.tokens):
            ids = g.reshape(self.choices.last, (1, 1))
            logits = self._called(self.model.step, _Call(ids, room + token - 1, token, f"token {token}"))
            g.origin = Origin("choice", f"token {token}")
            self.choices.put(g.reshape(logits.sliced(1, logits.shape[1] - 1, 1), (1, logits.shape[2])), token)

    def _prompt_ids(self) -> Tensor:
        """The prompt's tokens from the first place on; behind them stands one that is masked."""
        g, room = self.g, self.shape.prompt_tokens
        tokens = g.maximum(self.tokens, 0)
        if self._is_exact:
            return tokens
        there = g.cast(g.less_equal(0, self.tokens), DType.I64)
        self._length = g.reshape(g.reduce_sum(there, (0,)), (1,))
        places = g.minimum(g.add(g.arange(room), g.sub(room, self._length)), room - 1)
        return g.take(tokens, places, 0)

    def _last_row(self, logits: Tensor) -> Tensor:
        """f32[1][vocabulary] of the prompt's last token."""
        rows, size = logits.shape[1:]
        if self._length is None:
            return self.g.reshape(logits.sliced(1, rows - 1, 1), (1, size))
        if rows != self.shape.prompt_tokens:
            raise Refuse(f"logits of {rows} tokens for a prompt of {self.shape.prompt_tokens}; expected those of each")
        return self.g.take(self.g.reshape(logits, (rows, size)), self.g.sub(self._length, 1), 0)

    def _called(self, graph: DecoderGraph, call: _Call) -> Tensor:
        """The logits f32[1][rows][vocabulary]; what its tokens leave is kept."""
        self.g.origin = Origin("prompt", f"{call.place}, positions and masks")
        given = {value.name: self._given(graph, value, call) for value in graph.inputs}
        results = self._graphs[id(graph)].repeated(given, call.place)
        names = {output: name for name, output in self.model.step.states.items() if output is not None}
        for output, result in results.items():
            # What a graph that takes a state does not give back stays as it is: an encoder's keys and values.
            if output in names and (call.past == 0 or result.size):
                self._states[names[output]] = result
        logits = results[graph.logits()]
        if logits.rank != 3 or logits.shape[0] != 1 or not logits.dtype.is_float:
            raise Refuse(f"logits {list(logits.shape)}; expected [1][tokens][vocabulary]")
        return self.g.cast(logits, DType.F32)

    # What a graph takes

    def _given(self, graph: DecoderGraph, value: onnx.ValueInfoProto, call: _Call) -> Tensor:
        """The tensor for one input. Raises `UnsupportedLanguageModel` for one that the loop does not know."""
        g, name = self.g, value.name
        dtype, _ = held_type(name, value.type.tensor_type.elem_type)
        rank = len(value.type.tensor_type.shape.dim)
        if name in graph.states:
            return self._states[name] if name in self._states else self._nothing(value, dtype)
        total = call.past + call.rows
        if name in IDS:
            made = call.ids
        elif name == "attention_mask":
            made = self._mask(graph, call)
        elif name in ("position_ids", "cache_position"):
            made = self._positions(call)
        elif name == "token_type_ids":
            made = g.filled((1, call.rows), 0, dtype)
        elif name == "use_cache_branch":
            made = g.constant(np.array([call.past > 0]))
        elif name in ("total_sequence_length", "total_seq_len"):
            made = g.constant(np.array([total]))
        elif name == "seqlens_k":
            made = g.constant(np.array([total - 1])) if self._length is None else g.add(self._length, call.token - 1)
        elif name in _LOGITS_KEPT:
            made = g.constant(np.array([1 if self._is_exact else 0]))
        else:
            raise UnsupportedLanguageModel(
                f"{graph.name} takes an input {name!r}, which the loop of an answer does not know"
            )
        made = g.cast(made, dtype)
        return made if made.rank == rank else g.reshape(made, (1,) * (rank - 1) + made.shape[-1:] if rank else ())

    def _nothing(self, value: onnx.ValueInfoProto, dtype: DType) -> Tensor:
        """What came before the prompt: no slots."""
        return self.g.constant(np.zeros(self._empty(value), dtype.numpy))

    def _empty(self, value: onnx.ValueInfoProto) -> Shape:
        dims = value.type.tensor_type.shape.dim
        grows = next((i for i, dim in enumerate(dims) if "past" in dim.dim_param), len(dims) - 2)
        shape = []
        for i, dim in enumerate(dims):
            size = 0 if i == grows else dim.dim_value if dim.HasField("dim_value") else self.dims.get(dim.dim_param)
            if size is None and (i == 0 or "batch" in dim.dim_param):
                size = 1
            if size is None:
                raise UnsupportedLanguageModel(
                    f"the input {value.name!r} leaves dimension {i} open",
                    hint=f"say what it is: --dim {dim.dim_param or f'{value.name}.{i}'}=N",
                )
            shape.append(int(size))
        return tuple(shape)

    def _mask(self, graph: DecoderGraph, call: _Call) -> Tensor:
        """i64[1][slots]: 1 for what may be seen. The prompt is in the first slots, then padding, then the answer."""
        g, total, room = self.g, call.past + call.rows, self.shape.prompt_tokens
        if self._length is None:
            return g.constant(np.ones((1, total), np.int64))
        slots = np.arange(total)
        if graph.packs_cache:
            return g.cast(g.less(g.constant(slots), g.add(self._length, call.token)), DType.I64).with_axis(0)
        order = g.constant(np.where(slots < room, slots, -1))
        return g.cast(g.less(order, self._length), DType.I64).with_axis(0)

    def _positions(self, call: _Call) -> Tensor:
        """i64[1][rows]."""
        if call.past == 0 or self._length is None:
            return self.g.constant(np.arange(call.past, call.past + call.rows)[None])
        return self.g.reshape(self.g.add(self._length, call.token - 1), (1, 1))
