"""
Sentence encoders that were exported to ONNX: from a text's tokens to one vector.

The graph gives a vector for each token, and a pooling makes one of them: which one is said by the files of
sentence-transformers (`1_Pooling/config.json`, `modules.json`), and is the mean where they say nothing. A graph that
pools by itself is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from opml_dispute.engine.folding import float_mode
from opml_dispute.generation.names import EMBEDDING, PROMPT
from opml_dispute.generation.onnx_graph import ExportedGraph, FrontPrompt, fitted
from opml_dispute.generation.refusals import BadPrompt, UnsupportedLanguageModel
from opml_dispute.generation.settings import folder_vocabulary, is_there, json_object
from opml_dispute.generation.vocabulary import Vocabulary
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_operations
from opml_dispute.model.graph_ends import graph_ends
from opml_dispute.model.importer import Importer
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.mapped_weights import Parts
from opml_dispute.model.onnx_file import load
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program
from opml_dispute.model.recorder import Origin
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor
from opml_dispute.reading import Unreadable, read_json
from opml_dispute.working import under_way

_IN_FOLDER: Final = ("model.onnx", "onnx/model.onnx")
_POOLED: Final = ("sentence_embedding", "pooler_output", "logits")
"""Outputs that are one vector already, the first that there is."""
_BY_TOKEN: Final = ("last_hidden_state", "token_embeddings")
_POOLINGS: Final = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "greatest",
}
_MOST_ROWS: Final = 1 << 24
"""Of an embedding that the files say nothing of."""
_SMALLEST: Final = 1e-12
"""A vector of less length is divided by this."""


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder's graph, and where the files lie that say more of it."""

    graph: Path

    @property
    def folder(self) -> Path:
        """Where its tokenizer lies."""
        near, above = self.graph.parent, self.graph.parent.parent
        return above if not is_there(near / "tokenizer.json") and is_there(above / "tokenizer.json") else near


def find_encoder(path: Path) -> EncoderFiles | None:
    """The encoder of text that `path`, a file or a folder, is or holds; None if there is none."""
    try:
        names = [path / name for name in _IN_FOLDER] if path.is_dir() else [path]
    except (OSError, ValueError):
        return None
    for name in names:
        ends = graph_ends(name)
        if ends is None or "input_ids" not in ends.inputs:
            continue
        if set(ends.inputs) <= {"input_ids", "attention_mask", "token_type_ids", "position_ids"}:
            return EncoderFiles(name)
    return None


@dataclass(frozen=True)
class OnnxEncoder:
    """An encoder's graph, its vocabulary and its pooling."""

    files: EncoderFiles
    graph: ExportedGraph
    vocabulary: Vocabulary | None
    pooling: str
    """first, mean or greatest: of the vectors of the tokens."""
    is_normalised: bool
    """Whether the vector is divided by its length."""
    padding: int
    """The token that stands where there is none."""
    context: int | None
    """Positions that the model was made for; None if no file says so."""

    def compiled(self, tokens: int, dims: Mapping[str, int], limits: Limits | None = None) -> Program:
        """
        The program from a text of up to `tokens` tokens to its vector.

        Raises `BadPrompt`, `UnsupportedLanguageModel`, and what compiling a model raises.
        """
        if self.context is not None and tokens > self.context:
            raise BadPrompt(f"{tokens:,} tokens of text; the model's context has {self.context:,}")
        with float_mode(), under_way():
            builder = Builder(Meter(limits or Limits.of_environment()))
            builder.expect_repetition()
            source = builder.new(DType.I64, (tokens,))
            try:
                vector = self._vector(builder, source)
            except Refuse as refusal:
                raise UnsupportedLanguageModel(f"{self.graph.name} is no encoder of text: {refusal}") from None
            return compile_operations(builder, [(PROMPT, source)], [(EMBEDDING, vector)])

    def _vector(self, g: Builder, source: Tensor) -> Tensor:
        g.origin = Origin("prompt", "padding")
        # Without a mask nothing can be hidden from the graph.
        is_exact = "attention_mask" not in self.graph.takes
        prompt = FrontPrompt.of(g, source, is_exact=is_exact, padding=self.padding)
        seen = prompt.seen(g)
        given = {
            "input_ids": prompt.ids,
            "attention_mask": g.cast(seen, DType.I64),
            "token_type_ids": g.filled((prompt.room,), 0, DType.I64),
            "position_ids": g.arange(prompt.room),
        }
        inputs = {value.name: fitted(g, value, given[value.name].with_axis(0)) for value in self.graph.inputs}
        results = Importer(Parts(self.graph.model), g).repeated(inputs, "encoder")
        g.origin = Origin("pooling", self.pooling)
        pooled = next((results[name] for name in _POOLED[:1] if name in results), None)
        rows = next((results[name] for name in _BY_TOKEN if name in results), None)
        if pooled is None and rows is None:
            pooled = next((results[name] for name in _POOLED if name in results), None)
        if pooled is not None:
            g.notes.append("the vector is the graph's own, without a pooling here")
            return self._told(g, g.cast(g.reshape(pooled, (pooled.size,)), DType.F32))
        rows = results[self.graph.gives[0]] if rows is None else rows
        if rows.rank != 3 or rows.shape[:2] != (1, prompt.room):
            raise Refuse(f"an output {list(rows.shape)}; expected [1][{prompt.room}][size]")
        g.notes.append(f"pooled: the {self.pooling} of the tokens' vectors")
        return self._told(g, self._pooled(g, g.cast(g.reshape(rows, rows.shape[1:]), DType.F32), prompt, seen))

    def _pooled(self, g: Builder, rows: Tensor, prompt: FrontPrompt, seen: Tensor) -> Tensor:
        """One vector of rows[room][size]; padding counts for nothing."""
        if self.pooling == "first":
            return rows.picked(0, 0)
        shown = seen.with_axis(1)
        if self.pooling == "greatest":
            return g.reduce_max(g.choose(shown, rows, float(np.finfo(np.float32).min)), (0,), keepdims=False)
        total = g.reduce_sum(g.choose(shown, rows, 0), (0,), keepdims=False)
        count = prompt.length if prompt.length is not None else g.scalar(prompt.room, DType.I64)
        return g.div(total, g.cast(g.maximum(count, 1), DType.F32))

    def _told(self, g: Builder, vector: Tensor) -> Tensor:
        """The vector, divided by its length if the model's files say so."""
        if not self.is_normalised:
            return vector
        g.notes.append("the vector is divided by its length")
        length = g.sqrt(g.reduce_sum(g.square(vector), (0,), keepdims=True))
        return g.div(vector, g.maximum(length, _SMALLEST))


def read_encoder(files: EncoderFiles) -> OnnxEncoder:
    """The encoder in these files. Raises as `files.read_language_model`."""
    graph, folder = ExportedGraph(load(files.graph), files.graph.name), files.folder
    config = json_object(folder / "config.json") if is_there(folder / "config.json") else {}
    context, padding = config.get("max_position_embeddings"), config.get("pad_token_id")
    rows = config.get("vocab_size")
    return OnnxEncoder(
        files,
        graph,
        folder_vocabulary(folder, config, rows if type(rows) is int and rows > 0 else _MOST_ROWS, surrounds=True),
        _pooling(folder),
        _normalises(folder),
        padding if type(padding) is int and padding >= 0 else 0,
        context if type(context) is int and context > 0 else None,
    )


def _pooling(folder: Path) -> str:
    """Raises `UnsupportedLanguageModel` for one that is not known."""
    path = folder / "1_Pooling" / "config.json"
    if not is_there(path):
        return "mean"
    asked = [name for name, value in json_object(path).items() if name.startswith("pooling_mode_") and value is True]
    if len(asked) != 1 or asked[0] not in _POOLINGS:
        raise UnsupportedLanguageModel(f"{path} asks for the pooling {asked}; known are one of {', '.join(_POOLINGS)}")
    return _POOLINGS[asked[0]]


def _normalises(folder: Path) -> bool:
    """Whether modules.json has a module that divides by the length."""
    path = folder / "modules.json"
    if not is_there(path):
        return False
    try:
        modules: Any = read_json(path)
    except Unreadable as error:
        raise UnsupportedLanguageModel(str(error)) from None
    listed = modules if isinstance(modules, list) else []
    return any(isinstance(module, dict) and str(module.get("type")).endswith(".Normalize") for module in listed)
