"""Small random encoders before decoders, of text and of sound, as Optimum writes them; and their greedy answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from opml_dispute.model.tensor import Array
from tests.generation.models import LETTERS
from tests.generation.onnx_models import INT64, DecoderWriter, OnnxMade, merged


@dataclass(frozen=True)
class Heard:
    """An encoder before a decoder: of text, or of a spectrogram."""

    text: bool = False
    merged: bool = False
    seed: int = 0
    bands: int = 6
    frames: int = 10

    @property
    def decoder(self) -> OnnxMade:
        return OnnxMade("positions of the past", seed=self.seed, kv_heads=4, vocabulary=len(LETTERS))


class EncoderWriter(DecoderWriter):
    """The graph of an encoder, and its decoder's graphs, which attend to what it makes."""

    def __init__(self, heard: Heard, *, past: bool = True) -> None:
        super().__init__(heard.decoder, past=past)
        self.heard, self.middle = heard, "decoder."
        self.hidden = self.mask = ""
        self.encoded: list[list[str]] = []

    def encoder(self) -> onnx.ModelProto:
        """last_hidden_state of input_ids and attention_mask, or of input_features."""
        made, heard = self.made, self.heard
        if not heard.text:
            x = self.input("input_features", ["batch_size", "feature_size", "encoder_sequence_length"])
            x = self.node("Transpose", x, perm=[0, 2, 1])
            x = self.node("Relu", self.linear(x, "sound", heard.bands, made.width))
            return self.model([self.call(self.norm(x, "heard"), "last_hidden_state")])
        ids = self.input("input_ids", ["batch_size", "encoder_sequence_length"], INT64)
        mask = self.input("attention_mask", ["batch_size", "encoder_sequence_length"], INT64)
        x = self.node("Gather", self.named("words", made.vocabulary, made.width, scale=1.0), ids)
        place = self.range(self.integers(0), self.size(ids, 1))
        x = self.node("Add", x, self.node("Gather", self.named("places", made.context, made.width, scale=1.0), place))
        q, k, v = (
            self.split(self.linear(x, f"read.{part}", made.width, made.width), ids, made.heads) for part in "qkv"
        )
        x = self.node("Add", x, self.linear(self.crossed(q, k, v, ids, mask), "read.o", made.width, made.width))
        return self.model([self.call(self.norm(x, "read"), "last_hidden_state")])

    def write(self) -> onnx.ModelProto:
        """A decoder's graph; the encoder's keys and values are made in the first call."""
        made, width = self.made, self.made.width
        if self.heard.text:
            self.mask = self.input("encoder_attention_mask", ["batch_size", "encoder_sequence_length"], INT64)
        ids = self.input("input_ids", ["batch_size", "decoder_sequence_length"], INT64)
        if not self.past or self.heard.merged:
            self.hidden = self.input("encoder_hidden_states", ["batch_size", "encoder_sequence_length", width])
        states: list[list[str]] = []
        for layer in range(made.layers if self.past else 0):
            for kind, into in (("decoder", states), ("encoder", self.encoded)):
                grows = f"past_{kind}_sequence_length" if kind == "decoder" else "encoder_sequence_length_out"
                shape: list[int | str] = ["batch_size", made.kv_heads, grows, made.head_size]
                names = [f"past_key_values.{layer}.{kind}.{part}" for part in ("key", "value")]
                into.append([self.input(name, shape) for name in names])
        before = self.size(states[0][0], 2) if self.past else self.integers(0)
        place = self.range(before, self.node("Add", before, self.size(ids, 1)))
        x = self.node("Gather", self.named("embedding", made.vocabulary, width, scale=1.0), ids)
        x = self.node("Add", x, self.node("Gather", self.named("positions", made.context, width, scale=1.0), place))
        for layer in range(made.layers):
            x = self.layer(x, layer, ids, "", states[layer] if self.past else ["", ""], [])
            at = f"layer.{layer}.cross."
            q = self.split(self.linear(self.norm(x, f"{at}norm"), f"{at}q", width, width), ids, made.heads)
            if self.past:
                k, v = self.encoded[layer]
                if self.heard.merged:  # a branch has to give what the other gives
                    empty = self.constant(np.zeros((0, made.kv_heads, 1, made.head_size), np.float32))
                    self.outputs += [self.call(empty, f"present.{layer}.encoder.{part}") for part in ("key", "value")]
            else:
                k, v = (
                    self.split(self.linear(self.hidden, f"{at}{part}", width, width), self.hidden, made.heads)
                    for part in "kv"
                )
                pair = zip(("key", "value"), (k, v), strict=True)
                self.outputs += [self.call(tensor, f"present.{layer}.encoder.{part}") for part, tensor in pair]
            x = self.node("Add", x, self.linear(self.crossed(q, k, v, ids, self.mask), f"{at}o", width, width))
        self.outputs.insert(
            0, self.call(self.linear(self.norm(x, "last.norm"), "head", width, made.vocabulary), "logits")
        )
        return self.model(self.outputs)

    def crossed(self, q: str, k: str, v: str, ids: str, mask: str) -> str:
        """Attention to everything that the mask shows."""
        scores = self.node("MatMul", q, self.node("Transpose", k, perm=[0, 1, 3, 2]))
        if mask:
            there = self.node("Unsqueeze", self.node("Cast", mask, to=TensorProto.BOOL), self.integers(1, 2))
            scores = self.node("Where", there, scores, self.constant(np.array(-1e4, np.float32)))
        mixed = self.node("Transpose", self.node("MatMul", self.node("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        shape = self.node("Concat", self.size(ids, 0), self.size(ids, 1), self.integers(self.made.width), axis=0)
        return self.node("Reshape", mixed, shape)


def write_heard(folder: Path, heard: Heard, start: Sequence[int], *, excluded: Sequence[int] = ()) -> Path:
    """The decoder's file, with the other files beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "heard", "num_mel_bins": heard.bands, "max_source_positions": heard.frames // 2})
    )
    forced = [[i + 1, token] for i, token in enumerate(start[1:])]
    told = {"decoder_start_token_id": start[0], "forced_decoder_ids": forced, "begin_suppress_tokens": list(excluded)}
    (folder / "generation_config.json").write_text(json.dumps(told))
    onnx.save(EncoderWriter(heard).encoder(), folder / "encoder_model.onnx")
    first, later = EncoderWriter(heard, past=False).write(), EncoderWriter(heard).write()
    if heard.merged:
        order = [value.name for value in later.graph.output]
        kept = sorted(first.graph.output, key=lambda value: order.index(value.name))
        del first.graph.output[:]
        first.graph.output.extend(kept)
        onnx.save(merged(first, later), folder / "decoder_model_merged.onnx")
        return folder / "decoder_model_merged.onnx"
    onnx.save(first, folder / "decoder_model.onnx")
    onnx.save(later, folder / "decoder_with_past_model.onnx")
    return folder / "decoder_model.onnx"


def greedy_behind(
    folder: Path, source: Mapping[str, Array], start: Sequence[int], tokens: int, excluded: Sequence[int] = ()
) -> list[int]:
    """ONNX Runtime's answer to what an encoder reads, by the two files of the decoder."""
    encoder, first, later = (
        onnxruntime.InferenceSession(str(folder / f"{name}.onnx"))
        for name in ("encoder_model", "decoder_model", "decoder_with_past_model")
    )
    known = {"encoder_hidden_states": encoder.run(None, dict(source))[0]}
    if "attention_mask" in source:
        known["encoder_attention_mask"] = source["attention_mask"]
    fed, said = list(start), list[int]()
    for token in range(tokens):
        session = later if token else first
        known["input_ids"] = np.array([fed], np.int64)
        given = {value.name: known[value.name] for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
        results = dict(zip(names, session.run(None, given), strict=True))
        known |= {name.replace("present", "past_key_values"): made for name, made in results.items() if "pres" in name}
        scores = np.array(results["logits"][0, -1], np.float64)
        scores[list(excluded) if not token else []] = -np.inf
        order = np.argsort(scores)
        assert scores[order[-1]] - scores[order[-2]] > 1e-3, "undecided: take another seed"
        fed = [int(order[-1])]
        said += fed
    return said
