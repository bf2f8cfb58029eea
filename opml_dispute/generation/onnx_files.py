"""
The files of a language model that was exported to ONNX: which graph does what, and what lies beside them.

Exports differ. One graph may do all; or one is for the prompt (decoder_model.onnx) and another for what follows
(decoder_with_past_model.onnx); or both are one, and an input says which is meant (decoder_model_merged.onnx,
`use_cache_branch`). A decoder that takes rows of an embedding instead of tokens has a graph that makes them beside it
(embed_tokens.onnx, embedding.onnx), as models that also see or hear are exported. `find_decoder` tells graphs by the
names of their inputs and outputs, whatever the files' names. Tokenizer and settings lie in the same folder, or in the
one above (`onnx/model.onnx`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from opml_dispute.generation.refusals import UnsupportedLanguageModel
from opml_dispute.generation.settings import MAX_CONFIG_BYTES, is_there, json_object
from opml_dispute.model.graph_ends import GraphEnds, graph_ends

IDS: Final = ("input_ids", "decoder_input_ids")
"""The names that exporters give to the tokens of a decoder."""
EMBEDDED: Final = ("inputs_embeds", "decoder_inputs_embeds")
"""The names that exporters give to rows of an embedding in the place of tokens."""
_IN_FOLDER: Final = (
    "decoder_model_merged.onnx", "decoder_model.onnx", "model.onnx", "decoder_with_past_model.onnx", "text.onnx",
    "decoder.onnx", "language_model.onnx",
)  # fmt: skip
"""What is looked for in a folder, in this order, behind what genai_config.json names."""
_DECODER_NAMES: Final = ("decoder_model_merged", "decoder_with_past_model", "decoder_model", "model", "text", "decoder")
_EMBEDDING_NAMES: Final = ("embed_tokens", "embedding", "embeddings", "text_embedding")
_MOST_NEIGHBOURS: Final = 64
"""Files of a folder that are looked into for an embedding."""
_PRESENT: Final = (("past_key_values", "present"), ("past_key_values", "present_key_values"), ("past", "present"))
"""How the name of a state that goes in becomes that of one that comes out."""
_MOST_TOKENS: Final = 1 << 24


@dataclass(frozen=True)
class DecoderFiles:
    """The graphs of one decoder."""

    prompt: Path
    """For the prompt."""
    step: Path
    """For every further token; the same as `prompt` if one graph does both."""
    encoder: Path | None = None
    """For what the decoder attends to, text or sound; None if it goes on with the prompt itself."""
    embedding: Path | None = None
    """For the rows of tokens that the other graphs take; None if they take tokens."""

    @cached_property
    def folder(self) -> Path:
        """Where the model's settings and its tokenizer lie."""
        for folder in (self.prompt.parent, self.prompt.parent.parent):
            if any(is_there(folder / name) for name in ("config.json", "genai_config.json", "tokenizer.json")):
                return folder
        return self.prompt.parent

    @cached_property
    def settings(self) -> dict[str, Any]:
        """
        config.json, and over it what genai_config.json says of the model. Raises `BadModelFile`.

        A model of several parts says most in the part that speaks; what is said of the whole model goes first.
        """
        found: dict[str, Any] = {}
        for name in ("config.json", "genai_config.json"):
            if is_there(self.folder / name):
                values = json_object(self.folder / name, MAX_CONFIG_BYTES)
                own = values.get("model") if name == "genai_config.json" else values
                own = own if isinstance(own, dict) else {}
                for part in (*(own.get(key) for key in ("text_config", "llm_config", "decoder")), own):
                    found |= part if isinstance(part, dict) else {}
        return found

    @property
    def context(self) -> int | None:
        """Positions that the model was made for; None if no file says so."""
        for key in ("context_length", "max_target_positions", "max_position_embeddings", "n_positions", "n_ctx"):
            value = self.settings.get(key)
            if type(value) is int and 1 <= value <= _MOST_TOKENS:
                return value
        return None

    @property
    def padding(self) -> int:
        """The token that stands where there is none."""
        value = self.settings.get("pad_token_id")
        return value if type(value) is int and 0 <= value < _MOST_TOKENS else 0

    def size_of_state(self, dimension: int) -> int | None:
        """Of keys and values of four dimensions: how many key heads (1) or elements of a head (3) the files tell of."""
        heads = self._count("num_attention_heads")
        if dimension == 1:
            return self._count("num_key_value_heads") or heads
        if dimension != 3:
            return None
        width, told = self._count("hidden_size"), self._count("head_size") or self._count("head_dim")
        return told or (width // heads if width and heads else None)

    def _count(self, key: str) -> int | None:
        value = self.settings.get(key)
        return value if type(value) is int and 1 <= value <= _MOST_TOKENS else None

    @property
    def window(self) -> int | None:
        """A token sees so many positions at most; None if no file says so."""
        value = self.settings.get("sliding_window")
        value = value.get("window_size") if isinstance(value, dict) else value
        return value if type(value) is int and value > 0 and self.settings.get("use_sliding_window", True) else None


def find_decoder(path: Path) -> DecoderFiles | None:
    """The graphs of the decoder that `path`, a file or a folder, is or holds; None if there is none."""
    try:
        folders = (path, path / "onnx") if path.is_dir() else ()
    except (OSError, ValueError):
        return None
    for candidate in (folder / name for folder in folders for name in (*_named(folder, "decoder"), *_IN_FOLDER)):
        found = _decoder(candidate)
        if found is not None:
            return found
    return None if folders else _decoder(path)


def _decoder(path: Path) -> DecoderFiles | None:
    ends = graph_ends(path)
    if ends is None or not _takes_words(ends):
        return None
    takes = bool(states_of(ends))
    gives = any(re.match("present", name) for name in ends.outputs)
    if not takes and not gives:
        return None
    first, later = "decoder_model", "decoder_with_past_model"
    prompt, step = path, path
    if later in path.name or not takes:
        partner = path.with_name(path.name.replace(later, first) if takes else path.name.replace(first, later))
        other = None if partner == path else graph_ends(partner)
        if other is not None and _takes_words(other):
            prompt, step = (partner, path) if takes else (path, partner)
        elif not takes:
            return None  # it cannot go on from what came before; one that can is given nothing for it at first
    graphs = [prompt, step]
    encoder = _encoder(path) if any(_attends(ends) for ends in map(graph_ends, graphs) if ends is not None) else None
    graphs += [encoder] if encoder is not None else []
    asked = {name for ends in map(graph_ends, graphs) if ends is not None for name in ends.inputs if name in EMBEDDED}
    return DecoderFiles(prompt, step, encoder, _embedding(path) if asked else None)


def _takes_words(ends: GraphEnds) -> bool:
    return not {*IDS, *EMBEDDED}.isdisjoint(ends.inputs)


def _attends(ends: GraphEnds) -> bool:
    """Whether a decoder attends to what an encoder makes."""
    return any("encoder_" in name or ".encoder." in name for name in ends.inputs)


def _encoder(path: Path) -> Path:
    """The encoder beside a decoder's file. Raises `UnsupportedLanguageModel`."""
    found = next((name for name in _DECODER_NAMES[:3] if name in path.name), "")
    names = [path.name.replace(found, "encoder_model")] * bool(found) + ["encoder_model.onnx"]
    encoder = next((path.with_name(name) for name in names if graph_ends(path.with_name(name)) is not None), None)
    if encoder is None:
        raise UnsupportedLanguageModel(
            f"{path.name} attends to what an encoder makes, and there is no {names[0]} beside it",
            hint="put the encoder's file into the same folder, under this name",
        )
    return encoder


def _embedding(path: Path) -> Path:
    """
    The graph beside a decoder's file that makes rows of tokens. Raises `UnsupportedLanguageModel`.

    It has the decoder's name with another word in it, or one of the usual names, or is the only one of the folder.
    """
    found = next((name for name in _DECODER_NAMES if name in path.name), "")
    told = [path.name.replace(found, name) for name in _EMBEDDING_NAMES] * bool(found)
    usual = [*_named(path.parent, "embedding"), *told, *(f"{name}.onnx" for name in _EMBEDDING_NAMES)]
    for name in usual:
        if _embeds(path.with_name(name)):
            return path.with_name(name)
    neighbours = [one for one in sorted(path.parent.glob("*.onnx"))[:_MOST_NEIGHBOURS] if one != path and _embeds(one)]
    if len(neighbours) == 1:
        return neighbours[0]
    names = ", ".join(one.name for one in neighbours[:4])
    found_ones = f"there are {len(neighbours)} graphs that make them: {names}"
    raise UnsupportedLanguageModel(
        f"{path.name} takes rows of an embedding in place of tokens, and beside it "
        f"{found_ones if neighbours else 'there is no graph that makes them'}",
        hint=f"put the one that belongs to it into the same folder, as {told[0] if told else 'embed_tokens.onnx'}",
    )


def _embeds(path: Path) -> bool:
    ends = graph_ends(path)
    return ends is not None and not set(IDS).isdisjoint(ends.inputs) and not set(EMBEDDED).isdisjoint(ends.outputs)


def _named(folder: Path, part: str) -> list[str]:
    """The file of a model's part in `folder`, as genai_config.json names it; none if it does not."""
    if not is_there(folder / "genai_config.json"):
        return []
    values: Any = json_object(folder / "genai_config.json", MAX_CONFIG_BYTES)
    for key in ("model", part, "filename"):
        values = values.get(key, {}) if isinstance(values, dict) else {}
    is_name = isinstance(values, str) and values not in ("", ".", "..") and "/" not in values and "\0" not in values
    return [values] if is_name else []


def renamed_states(outputs: Sequence[str], inputs: Collection[str]) -> dict[str, str]:
    """
    The outputs that become inputs of the next call, and which.

    >>> renamed_states(("logits", "present.0.key"), {"input_ids", "past_key_values.0.key"})
    {'present.0.key': 'past_key_values.0.key'}
    """
    states = {}
    for output in outputs:
        names = (output.replace(after, before, 1) for before, after in _PRESENT if output.startswith(after))
        name = next((name for name in names if name in inputs), None)
        if name is not None:
            states[output] = name
    return states


def states_of(ends: GraphEnds) -> dict[str, str | None]:
    """
    The inputs that carry what earlier tokens left, and the output that each becomes; None if it stays as it is.

    >>> states_of(GraphEnds(("input_ids", "past_key_values.0.key"), ("logits", "present.0.key")))
    {'past_key_values.0.key': 'present.0.key'}
    """
    states: dict[str, str | None] = {}
    for name in ends.inputs:
        if not re.match(r"(past|past_key_values?)[._]", name):
            continue
        outs = [name.replace(before, after, 1) for before, after in _PRESENT if before in name]
        states[name] = next((out for out in outs if out in ends.outputs), None)
    if states and all(out is None for out in states.values()):
        raise UnsupportedLanguageModel(
            f"the graph takes {next(iter(states))!r}, but gives nothing that could become it; its outputs are "
            f"{', '.join(ends.outputs[:6])}"
        )
    return states
