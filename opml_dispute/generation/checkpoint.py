"""
A language model as read from its file: sizes, named weights, tokenizer.

The readers of files (`gguf_model`, `huggingface`) return a `Checkpoint`, which `decoder` takes. Weights have the
names that GGUF gives them, whatever file they come from, and stay in the file until they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from opml_dispute.generation.language_model import LanguageSizes, by_count
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.rope_scaling import NO_SCALING, RopeScaling
from opml_dispute.generation.vocabulary import Vocabulary
from opml_dispute.model.files import BadDimension
from opml_dispute.model.tensor import Array

if TYPE_CHECKING:
    from opml_dispute.generation.answer import AnswerShape
    from opml_dispute.model.program import Program

Activation = Literal["silu", "gelu", "gelu_erf", "relu", "relu2"]
"""Of the feed-forward part: `gelu` is the approximation by tanh, `relu2` is the square of relu."""
RopePairs = Literal["neighbours", "halves"]
"""Which elements of a head a rotary embedding turns together: 2i and 2i + 1, or i and i + half."""


@dataclass(frozen=True)
class Architecture:
    """The parameters of a decoder; sizes in elements."""

    name: str
    layers: int
    width: int
    """Of the embedding, and of what goes from layer to layer."""
    heads: int
    kv_heads: int
    """Key and value heads; each serves `heads / kv_heads` query heads."""
    head_size: int
    hidden: int
    """Of the feed-forward part."""
    vocabulary: int
    context: int
    """Positions that the model was made for."""
    epsilon: float
    """Added to the mean square of a normalisation."""
    rope_base: float
    rope_pairs: RopePairs
    rope_size: int | None = None
    """How many of a head's first elements are turned; by default all."""
    rope_scaling: RopeScaling = NO_SCALING
    """Of layers that see all positions, and of local ones without a base of their own."""
    unturned: frozenset[int] = frozenset()
    """Layers that turn nothing: they know no positions."""
    learns_positions: bool = False
    """Whether a row for each position, `position_embd.weight`, is added to those of tokens."""
    alibi: float = 0.0
    """Of ALiBi: scores of the heads fall by 2^(-alibi (i + 1) / heads) a position; 0: they do not."""
    activation: Activation = "silu"
    has_gate: bool = True
    """Whether the feed-forward part multiplies by a second product, whose values are not activated."""
    norm: Literal["rms", "layer"] = "rms"
    """What a row is divided by: its root mean square, or the same of its elements less their mean, which remain."""
    has_norm_weights: bool = True
    """Whether norms of layers have weights."""
    has_norms_before: bool = True
    """Whether each part of a layer takes normalised rows."""
    is_parallel: bool = False
    """Whether both parts of a layer take the same rows, and their sums are added; else the second takes the first's."""
    has_one_norm: bool = False
    """Whether a parallel layer normalises its rows once for both parts."""
    has_wide_norms: bool = False
    """Whether the norms of queries and keys, if there are any, go over all heads together."""
    embedding_scale: float = 1.0
    query_scale: float | None = None
    """Of the products of queries and keys; by default 1 / sqrt(head_size)."""
    attention_cap: float = 0.0
    """A product q k becomes cap * tanh(q k / cap); 0: it stays as it is."""
    logit_cap: float = 0.0
    logit_divisor: float = 1.0
    logit_scale: float = 1.0
    projection_cap: float = 0.0
    """Queries, keys and values are cut off beyond this; 0: they are not."""
    residual_scale: float = 1.0
    """Of what each part of a layer adds."""
    window: int = 0
    """A local layer sees so many positions, its own included; 0: there are no local layers."""
    local: frozenset[int] = frozenset()
    """The local layers."""
    local_rope_base: float | None = None
    """Of local layers, if not `rope_base`; their rotations are not scaled then."""

    def is_local(self, layer: int) -> bool:
        """Whether `layer` sees a window only."""
        return self.window > 0 and layer in self.local

    @property
    def turned_size(self) -> int:
        """Elements of each head that are turned."""
        return self.head_size if self.rope_size is None else self.rope_size

    @property
    def score_scale(self) -> float:
        return self.head_size**-0.5 if self.query_scale is None else self.query_scale


@dataclass(frozen=True)
class Weight:
    """A tensor of a checkpoint, in its file's encoding."""

    name: str
    encoding: str
    """F32, F16, BF16, or one of GGUF's block formats: Q4_1."""
    shape: tuple[int, ...]
    """Row-major; a matrix is [outputs][inputs]."""
    data: Array
    """F32, F16 and BF16: the elements in `shape`. Block formats: u8[outputs][bytes of a row], as the file has them."""

    def rows(self, name: str, first: int, count: int) -> Weight:
        """A view of `count` rows from `first` on, as a weight of its own."""
        return Weight(name, self.encoding, (count, *self.shape[1:]), self.data[first : first + count])

    def float32(self) -> Array:
        """All elements in binary32: exact for every encoding but the block formats, which say how they round."""
        if self.encoding in ("F32", "F16", "BF16"):
            return np.ascontiguousarray(self.data, np.float32).reshape(self.shape)
        from gguf import GGMLQuantizationType, quants

        kind = GGMLQuantizationType[self.encoding]
        return np.ascontiguousarray(quants.dequantize(self.data, kind), np.float32).reshape(self.shape)

    def finite(self) -> Array:
        """
        As `float32`. Raises `BadModelFile` if an element is no finite number: every answer would be the same token.

        A matrix in F32 is not looked through, nor are blocks: they stay in the file until a run reads them.
        """
        values = self.float32()
        if (self.encoding != "F32" or len(self.shape) == 1) and not np.isfinite(values).all():
            raise BadModelFile(f"tensor {self.name!r} has elements that are no finite numbers")
        return values


@dataclass(frozen=True)
class Checkpoint:
    """A decoder's weights and its vocabulary."""

    architecture: Architecture
    weights: Mapping[str, Weight]
    vocabulary: Vocabulary | None
    """None if the files have no tokenizer."""
    label: str = ""
    """What the file calls the model."""
    notes: tuple[str, ...] = field(default=())

    def weight(self, name: str, *shape: int) -> Weight:
        """A tensor that must be there in this shape. Raises `UnsupportedLanguageModel`."""
        found = self.weights.get(name)
        if found is None:
            raise UnsupportedLanguageModel(
                f"the model has no tensor {name!r}; a decoder of the family {self.architecture.name!r} needs it"
            )
        if found.shape != shape:
            raise UnsupportedLanguageModel(
                f"tensor {name!r} has the shape {list(found.shape)}; expected {list(shape)} of the model's sizes"
            )
        return found

    def vector(self, name: str, size: int) -> Array:
        """A tensor of one dimension, in binary32. Raises `UnsupportedLanguageModel`, `BadModelFile`."""
        return self.weight(name, size).finite()

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(int(np.prod(weight.shape, dtype=np.int64)) for weight in self.weights.values())

    def sizes(self) -> LanguageSizes:
        """As `LanguageModel.sizes`."""
        shape, encodings = self.architecture, dict[str, int]()
        for weight in self.weights.values():
            count = int(np.prod(weight.shape, dtype=np.int64))
            encodings[weight.encoding] = encodings.get(weight.encoding, 0) + count
        return LanguageSizes(
            shape.name, shape.layers, shape.width, shape.vocabulary, shape.context, self.parameters, by_count(encodings)
        )

    def compiled(self, shape: AnswerShape, dims: Mapping[str, int]) -> Program:
        """As `LanguageModel.compiled`. Raises `BadDimension` too: nothing is open here."""
        from opml_dispute.generation.program import compile_answer

        if dims:
            raise BadDimension(
                f"{self.label} is a language model, which has no dimensions or inputs to fix",
                hint="say how long prompt and answer may be: --prompt-tokens N --tokens N",
            )
        return compile_answer(self, shape)
