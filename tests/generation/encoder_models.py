"""A small random sentence encoder as sentence-transformers publishes one, and its vectors by ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from opml_dispute.model.tensor import Array
from tests.generation.heard_models import EncoderWriter, Heard
from tests.generation.onnx_models import INT64

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "ferry", "run", "##s", "today", "not", "does"]
TEXT = "the ferry runs today"
TOKENS = [2, 4, 5, 6, 7, 8, 3]


def write_encoder(folder: Path, *, pooling: str = "", normalised: bool = False, pooled: bool = False) -> Path:
    """As sentence-transformers publishes one: the graph in a folder `onnx`, its files above."""
    g = EncoderWriter(Heard(text=True))
    made, axes = g.made, ["batch_size", "sequence_length"]
    ids, mask, kinds = (g.input(name, axes, INT64) for name in ("input_ids", "attention_mask", "token_type_ids"))
    x = g.node("Gather", g.named("words", made.vocabulary, made.width, scale=1.0), ids)
    x = g.node("Add", x, g.node("Gather", g.named("kinds", 2, made.width, scale=1.0), kinds))
    place = g.range(g.integers(0), g.size(ids, 1))
    x = g.node("Add", x, g.node("Gather", g.named("places", made.context, made.width, scale=1.0), place))
    q, k, v = (g.split(g.linear(x, f"read.{part}", made.width, made.width), ids, made.heads) for part in "qkv")
    x = g.node("Add", x, g.linear(g.crossed(q, k, v, ids, mask), "read.o", made.width, made.width))
    outputs = [g.call(g.norm(x, "read"), "last_hidden_state")]
    if pooled:
        outputs.append(g.call(g.node("ReduceMax", outputs[0], axes=[1], keepdims=0), "sentence_embedding"))
    (folder / "onnx").mkdir(parents=True)
    onnx.save(g.model(outputs), folder / "onnx" / "model.onnx")
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "bert", "max_position_embeddings": 16, "pad_token_id": 0, "vocab_size": made.vocabulary}
    (folder / "config.json").write_text(json.dumps(config))
    if pooling:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    if normalised:
        types = ["Transformer", "Pooling", "Normalize"]
        told = [{"type": f"sentence_transformers.models.{name}"} for name in types]
        (folder / "modules.json").write_text(json.dumps(told))
    return folder / "onnx" / "model.onnx"


def token_vectors(file: Path) -> Array:
    """ONNX Runtime's, [tokens][size]."""
    session = onnxruntime.InferenceSession(file.read_bytes())
    ids = np.array([TOKENS])
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    rows: Array = np.asarray(session.run(["last_hidden_state"], given)[0])[0]
    return rows
