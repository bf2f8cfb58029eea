"""
Language models that were exported to ONNX: one program for a whole answer, from graphs that make one token.

Such a graph takes tokens and what earlier tokens left (`past_key_values`), and gives logits and what these tokens leave
(`present`). `OnnxLoop` lowers it again and again into one program: for the prompt with nothing before it, then once for
each further token, with what came out as what goes in. All times share the same constants. So no dimension has to be
named by hand: tokens, positions, masks and lengths are known to the loop, and other sizes stand in the file.

**Padding.** A graph's mask says what may be seen, and positions go on behind the prompt. Where a graph takes its
positions from the size of what came before, padding would move them; a program of it takes prompts of one length only
(`is_exact`).

**Embeddings.** Where a graph takes rows in place of tokens, another one makes them of the tokens in each call.

**Encoders.** Where a graph before the decoder reads the source, text or sound, it is lowered once. A text is the
program's prompt, and sound an input of its own; the decoder begins with the tokens that the model's files name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from opml_dispute.engine.folding import float_mode
from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.choice import Choices
from opml_dispute.generation.language_model import LanguageSizes, by_count
from opml_dispute.generation.names import ANSWER, PROMPT, SOURCES, WHOLE_PROMPT
from opml_dispute.generation.onnx_files import EMBEDDED, IDS, DecoderFiles, renamed_states
from opml_dispute.generation.onnx_graph import ExportedGraph, FrontPrompt, fitted
from opml_dispute.generation.program import check_shape
from opml_dispute.generation.refusals import UnsupportedLanguageModel
from opml_dispute.generation.settings import Speech, folder_vocabulary, speech_of
from opml_dispute.generation.vocabulary import Vocabulary
from opml_dispute.model import elements
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_operations
from opml_dispute.model.importer import Importer
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.mapped_weights import Parts
from opml_dispute.model.onnx_file import load
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program
from opml_dispute.model.recorder import Origin
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor

_FORBIDDEN = -1e30
"""Added to the logit of a token that the model's files exclude."""
_LOGITS_KEPT = ("num_logits_to_keep", "logits_to_keep")
"""Inputs that say for how many of the last tokens logits are wanted; 0: for all."""
_ENCODED = ("encoder_hidden_states", "encoder_outputs")
_SENSED = re.compile("(image|vision|video|audio|speech)[a-z_]*_(features|embeds|hidden_states)")
"""Inputs of an embedding for rows that a picture or a sound has in the place of tokens; a text has none of them."""


@dataclass(frozen=True)
class OnnxDecoder:
    """A decoder's graphs, its encoder's if it has one, and its vocabulary (`language_model.LanguageModel`)."""

    files: DecoderFiles
    prompt: ExportedGraph
    step: ExportedGraph
    encoder: ExportedGraph | None
    embedding: ExportedGraph | None
    vocabulary: Vocabulary | None
    speech: Speech

    @property
    def label(self) -> str:
        return self.files.folder.name

    @property
    def hears(self) -> onnx.ValueInfoProto | None:
        """The encoder's input for sound; None if the model reads text."""
        found = [value for value in (self.encoder.inputs if self.encoder else ()) if value.name in SOURCES]
        return found[0] if found else None

    def is_exact(self, slots: int) -> bool:
        """Whether a program of so many slots takes prompts of one length only, without padding."""
        if self.encoder is not None:
            return "attention_mask" not in self.encoder.takes
        # Behind padding, what is seen through a window would be other tokens.
        windowed = self.files.window is not None and slots > self.files.window
        return windowed or not (self.prompt.bears_padding and self.step.bears_padding)

    def sizes(self) -> LanguageSizes:
        """As `LanguageModel.sizes`."""
        settings, encodings = self.files.settings, dict[str, int]()
        for graph in (self.step, *filter(None, (self.encoder, self.embedding))):
            for tensor in graph.model.graph.initializer:
                name = elements.name_of(tensor.data_type)
                encodings[name] = encodings.get(name, 0) + int(np.prod(tensor.dims, dtype=np.int64))
        width = settings.get("hidden_size", settings.get("d_model", settings.get("n_embd")))
        layers = {name.split(".")[1] for name in self.step.states if name.count(".") > 1} or set(self.step.states)
        return LanguageSizes(
            architecture=str(settings.get("model_type", settings.get("type", "ONNX"))),
            layers=len(layers),
            width=width if type(width) is int else None,
            vocabulary=_rows(self.step),
            context=self.files.context,
            parameters=sum(encodings.values()),
            encodings=by_count(encodings),
        )

    def compiled(self, shape: AnswerShape, dims: Mapping[str, int], limits: Limits | None = None) -> Program:
        """As `LanguageModel.compiled`."""
        begins = len(self.speech.start) if self.encoder else shape.prompt_tokens
        slots = begins + shape.tokens - 1
        check_shape(AnswerShape(begins, shape.tokens) if self.encoder else shape, self.files.context)
        with float_mode():
            builder = Builder(Meter(limits or Limits.of_environment()))
            builder.expect_repetition()
            is_exact = self.is_exact(slots)
            try:
                loop = OnnxLoop(builder, self, shape, dims, is_exact=is_exact)
                loop.run()
            except Refuse as refusal:
                raise UnsupportedLanguageModel(f"the graph of {self.label} does not fit the loop: {refusal}") from None
            sampler, sound = loop.choices.sampler, self.hears
            name = sound.name if sound is not None else WHOLE_PROMPT if is_exact else PROMPT
            inputs = [(name, loop.source), *(sampler.inputs.items() if sampler else ())]
            return compile_operations(builder, inputs, [(ANSWER, loop.choices.answer)])


def read_decoder(files: DecoderFiles) -> OnnxDecoder:
    """The decoder in these files. Raises `ModelFileError`, `InvalidModel`, `BadModelFile`."""
    prompt = ExportedGraph(load(files.prompt), files.prompt.name)
    step = prompt if files.step == files.prompt else ExportedGraph(load(files.step), files.step.name)
    encoder = None if files.encoder is None else ExportedGraph(load(files.encoder), files.encoder.name)
    embedding = None if files.embedding is None else ExportedGraph(load(files.embedding), files.embedding.name)
    reads_text = encoder is not None and not encoder.takes.intersection(SOURCES)
    vocabulary = folder_vocabulary(files.folder, files.settings, _rows(step) or 1 << 24, surrounds=reads_text)
    return OnnxDecoder(files, prompt, step, encoder, embedding, vocabulary, speech_of(files.folder, files.settings))


def _rows(graph: ExportedGraph) -> int:
    """Tokens that logits are given for; 0 if the graph does not say."""
    (value,) = (value for value in graph.model.graph.output if value.name == graph.first_of("logits"))
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
        self.choices = Choices(builder, shape.tokens, model.speech.end_tokens, sampled=shape.sampled)
        self.source = self._sound(model.hears) if model.hears else builder.new(DType.I64, (shape.prompt_tokens,))
        """The prompt, or the sound: the first input of the program."""
        self._is_exact = is_exact
        self._states: dict[str, Tensor] = {}
        self._rows: dict[str, Tensor] = {}
        """What the embedding made of the tokens of the present call, by the names of inputs that take it."""
        self._encoded: Tensor | None = None
        self._encoder_mask: Tensor | None = None
        graphs = (model.prompt, model.step, *filter(None, (model.encoder, model.embedding)))
        self._importers = {id(graph): Importer(Parts(graph.model), builder) for graph in graphs}

    def run(self) -> None:
        """Everything from the prompt to the last token."""
        g, model = self.g, self.model
        if self.choices.sampler:
            self.choices.sampler.prepare()
        g.origin = Origin("prompt", "padding and positions")
        if model.encoder is None:
            self.prompt = FrontPrompt.of(g, self.source, is_exact=self._is_exact)
        else:
            self._encode(model.encoder)
            self.prompt = FrontPrompt.constant(g, model.speech.start)
        room = self.prompt.room
        logits = self._called(model.prompt, _Call(g.reshape(self.prompt.ids, (1, room)), 0, 0, "prompt"))
        self._choose(logits, 0)
        for token in range(1, self.shape.tokens):
            ids = g.reshape(self.choices.last, (1, 1))
            logits = self._called(model.step, _Call(ids, room + token - 1, token, f"token {token}"))
            self._choose(logits, token)

    def _choose(self, logits: Tensor, token: int) -> None:
        """Chooses a token by logits f32[1][1][vocabulary], but none that the model's files exclude."""
        self.g.origin = Origin("choice", f"token {token}")
        logits = self.g.reshape(logits, (1, logits.size))
        excluded = sorted({*self.model.speech.excluded, *(self.model.speech.excluded_first if token == 0 else ())})
        if excluded:
            bias = np.zeros(logits.shape, np.float32)
            bias[0, [i for i in excluded if i < bias.size]] = _FORBIDDEN
            logits = self.g.add(logits, self.g.constant(bias))
        self.choices.put(logits, token)

    def _last_row(self, rows: Tensor) -> Tensor:
        """Of f32[1][rows][size] the prompt's last one, [1][1][size]."""
        count = rows.shape[1]
        if self.prompt.length is None:
            return rows.sliced(1, count - 1, 1)
        if count != self.prompt.room:
            raise Refuse(f"logits of {count} tokens for a prompt of {self.prompt.room}; expected those of each")
        return self.g.take(rows, self.g.sub(self.prompt.length, 1), 1)

    def _called(self, graph: ExportedGraph, call: _Call) -> Tensor:
        """The logits f32[1][1][vocabulary] of the last token; what all tokens leave is kept."""
        self._embed(call.ids, call.place)
        self.g.origin = Origin("prompt", f"{call.place}, positions and masks")
        given = {value.name: fitted(self.g, value, self._given(graph, value, call)) for value in graph.inputs}
        narrowed: list[Tensor] = []

        def last(rows: Tensor) -> Tensor:
            """Of a prompt the last row is wanted alone, and logits of all rows are a large part of the work."""
            if rows.rank != 3 or rows.shape[:2] != (1, call.rows):
                return rows
            narrowed.append(self._last_row(rows))
            return narrowed[-1]

        replaced = dict.fromkeys(graph.scoring, last) if call.past == 0 else {}
        results = self._importers[id(graph)].repeated(given, call.place, replaced)
        for output, state in renamed_states(graph.gives, self.model.step.takes).items():
            # An encoder's keys and values stay what the first call made of them, whatever later ones give.
            if ".encoder." not in state or call.past == 0:
                self._states[state] = results[output]
        logits = results[graph.first_of("logits")]
        if logits.rank == 2 and logits.shape[0] == 1:
            logits = logits.with_axis(1)
        if logits.rank != 3 or logits.shape[0] != 1 or not logits.dtype.is_float:
            raise Refuse(f"logits {list(logits.shape)}; expected [1][tokens][vocabulary]")
        if call.past == 0 and not narrowed:
            self.g.origin = Origin("prompt", "the last token")
            logits = self._last_row(logits)
        return self.g.cast(logits.sliced(1, logits.shape[1] - 1, 1), DType.F32)

    # The source

    def _sound(self, value: onnx.ValueInfoProto) -> Tensor:
        """The input for sound, in the shape that the encoder's graph has, or `dims` give it."""
        told = self.model.files.settings
        sizes = {1: told.get("num_mel_bins"), 2: 2 * (told.get("max_source_positions") or 0)}
        open_ones = {i for i, dim in enumerate(value.type.tensor_type.shape.dim) if not dim.HasField("dim_value")}
        given = {i for i in open_ones if f"{value.name}.{i}" in self.dims}
        shape = self._shape(value, -1, {i: n for i, n in sizes.items() if n and i in open_ones - given})
        made = self.g.new(DType.F32, shape)
        made.buffer.input_name = value.name
        return made

    def _encode(self, encoder: ExportedGraph) -> None:
        """What the decoder attends to, and which of it may be seen."""
        g = self.g
        given: dict[str, Tensor] = {}
        prompt = None
        if self.model.hears is None:
            padding = self.model.files.padding
            prompt = FrontPrompt.of(g, self.source, is_exact=self._is_exact, padding=padding)
            self._embed(g.reshape(prompt.ids, (1, prompt.room)), "encoder")
        for value in encoder.inputs:
            if value.name in SOURCES:
                made = self.source
            elif value.name in self._rows:
                made = self._rows[value.name]
            elif value.name == "input_ids" and prompt is not None:
                made = g.reshape(prompt.ids, (1, prompt.room))
            elif value.name == "attention_mask" and prompt is not None:
                made = g.cast(prompt.seen(g), DType.I64).with_axis(0)
            else:
                raise UnsupportedLanguageModel(f"{encoder.name} takes an input {value.name!r}, which is not known here")
            given[value.name] = fitted(g, value, made)
        results = self._importers[id(encoder)].repeated(given, "encoder")
        self._encoded = results[encoder.first_of("last_hidden_state")]
        self._encoder_mask = (
            g.constant(np.ones((1, self._encoded.shape[1]), np.int64))
            if prompt is None
            else g.cast(prompt.seen(g), DType.I64).with_axis(0)
        )

    # What a graph takes

    def _embed(self, ids: Tensor, place: str) -> None:
        """Keeps what the embedding makes of tokens i64[1][rows]."""
        graph = self.model.embedding
        if graph is None:
            return
        given, replaced = {}, {}
        for value in graph.inputs:
            dims = value.type.tensor_type.shape.dim
            if value.name in IDS:
                given[value.name] = fitted(self.g, value, ids)
            elif _SENSED.fullmatch(value.name) and any(not dim.HasField("dim_value") for dim in dims):
                none = np.zeros([dim.dim_value for dim in dims], np.float32)
                given[value.name] = fitted(self.g, value, self.g.constant(none))
                replaced = dict.fromkeys(graph.searching, self._unfound)
            else:
                raise UnsupportedLanguageModel(f"{graph.name} takes an input {value.name!r}, which is not known here")
        results = self._importers[id(graph)].repeated(given, f"{place}, embedding", replaced)
        self._rows = results | dict.fromkeys(EMBEDDED, results[graph.first_of(*EMBEDDED)])

    def _unfound(self, where: Tensor) -> Tensor:
        """Of the places of tokens that stand for pictures or sounds: a text has none."""
        return where if where.is_constant else self.g.filled(where.shape, 0, where.dtype)

    def _given(self, graph: ExportedGraph, value: onnx.ValueInfoProto, call: _Call) -> Tensor:
        """The tensor for one input. Raises `UnsupportedLanguageModel` for one that the loop does not know."""
        g, name = self.g, value.name
        if name in graph.states:
            return self._states[name] if name in self._states else self._nothing(value)
        total, length = call.past + call.rows, self.prompt.length
        if name in IDS:
            return call.ids
        if name == "attention_mask" or name == "decoder_attention_mask":
            return self._mask(graph, call)
        if name in self._rows:
            return self._rows[name]
        if name in ("position_ids", "cache_position"):
            places, dims = self._positions(call), value.type.tensor_type.shape.dim
            # Time, height and width, where pictures have places; of a text all are the same.
            return places.broadcast((dims[0].dim_value or 3, *places.shape)) if len(dims) == 3 else places
        if name in _ENCODED and self._encoded is not None:
            return self._encoded
        if name == "encoder_attention_mask" and self._encoder_mask is not None:
            return self._encoder_mask
        if name == "seqlens_k" and length is not None:
            return g.add(length, call.token - 1)
        known = {
            "token_type_ids": np.zeros((1, call.rows), np.int64),
            "use_cache_branch": np.array([call.past > 0]),
            "total_sequence_length": np.array([total]),
            "seqlens_k": np.array([total - 1]),
            **dict.fromkeys(_LOGITS_KEPT, np.array([1 if length is None else 0])),
        }
        if name not in known:
            raise UnsupportedLanguageModel(
                f"{graph.name} takes an input {name!r}, which the loop of an answer does not know"
            )
        return g.constant(known[name])

    def _nothing(self, value: onnx.ValueInfoProto) -> Tensor:
        """What came before the prompt: no slots. Sizes that the graph leaves open are those that its files tell of."""
        dims = value.type.tensor_type.shape.dim
        grows = next((i for i, dim in enumerate(dims) if "past" in dim.dim_param), len(dims) - 2)
        sizes = {grows: 0}
        for i, dim in enumerate(dims):
            told = self.model.files.size_of_state(i) if len(dims) == 4 else None
            is_open = not dim.HasField("dim_value") and not {dim.dim_param, f"{value.name}.{i}"} & self.dims.keys()
            if told and is_open and i != grows:
                sizes[i] = told
        return self.g.constant(np.zeros(self._shape(value, grows, sizes), np.float32))

    def _shape(self, value: onnx.ValueInfoProto, grows: int, sizes: Mapping[int, int]) -> Shape:
        """The shape of an input, for one text. Raises `UnsupportedLanguageModel` if a dimension is open."""
        shape = []
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            size = dim.dim_value if dim.HasField("dim_value") else self.dims.get(dim.dim_param)
            size = sizes.get(i, self.dims.get(f"{value.name}.{i}", size))
            if size is None and i != grows and (i == 0 or "batch" in dim.dim_param):
                size = 1
            if size is None:
                raise UnsupportedLanguageModel(
                    f"the input {value.name!r} leaves dimension {i} open",
                    hint=f"say what it is: --dim {dim.dim_param or f'{value.name}.{i}'}=N",
                )
            shape.append(int(size))
        return tuple(shape)

    def _mask(self, graph: ExportedGraph, call: _Call) -> Tensor:
        """i64[1][slots]: 1 for what may be seen. The prompt is in the first slots, then padding, then the answer."""
        g, total, length = self.g, call.past + call.rows, self.prompt.length
        if length is None:
            return g.constant(np.ones((1, total), np.int64))
        slots = np.arange(total)
        if graph.packs_cache:
            return g.cast(g.less(g.constant(slots), g.add(length, call.token)), DType.I64).with_axis(0)
        order = g.constant(np.where(slots < self.prompt.room, slots, -1))
        return g.cast(g.less(order, length), DType.I64).with_axis(0)

    def _positions(self, call: _Call) -> Tensor:
        """i64[1][rows]."""
        if call.past == 0 or self.prompt.length is None:
            return self.g.constant(np.arange(call.past, call.past + call.rows)[None])
        return self.g.reshape(self.g.add(self.prompt.length, call.token - 1), (1, 1))
