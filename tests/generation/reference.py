"""
A decoder as its papers define it, in binary64, without a cache, one token at a time: what programs are compared with.

It reads files with the package `gguf`, and shares nothing with `opml_dispute.generation`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from opml_dispute.model.tensor import Array


class Reference:
    """One model."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self.fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        self.family: str = self.fields["general.architecture"]
        self.w: dict[str, Array] = {
            tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
            for tensor in reader.tensors
        }
        for layer in range(self.field("block_count")):
            self._take_apart(f"blk.{layer}.")

    def _take_apart(self, at: str) -> None:
        """What a family has in one matrix, or under another's name."""
        if self.family == "seed_oss":
            self.w[f"{at}ffn_norm.weight"] = self.w.pop(f"{at}post_attention_norm.weight")
        if f"{at}attn_qkv.weight" in self.w:
            width, heads = self.field("embedding_length"), self.field("attention.head_count")
            size = self.field("attention.key_length", width // heads)
            cuts = [heads * size, (heads + self.field("attention.head_count_kv")) * size]
            for part, rows in zip("qkv", np.split(self.w.pop(f"{at}attn_qkv.weight"), cuts), strict=True):
                self.w[f"{at}attn_{part}.weight"] = rows
        if f"{at}ffn_gate.weight" not in self.w:
            self.w[f"{at}ffn_gate.weight"], self.w[f"{at}ffn_up.weight"] = np.split(self.w[f"{at}ffn_up.weight"], 2)

    def field(self, name: str, default: Any = None) -> Any:
        return self.fields.get(f"{self.family}.{name}", default)

    def norm(self, x: Array, name: str) -> Array:
        mean = (x * x).mean(-1, keepdims=True)
        scaled: Array = x / np.sqrt(mean + self.field("attention.layer_norm_rms_epsilon")) * self.w[name]
        return scaled

    def turned(self, x: Array, layer: int) -> Array:
        """x[time][heads][size]."""
        if self.family == "smollm3" and (layer + 1) % 4 == 0:
            return x
        time, _, whole = x.shape
        size = self.field("rope.dimension_count", whole)
        base = self.field("rope.freq_base")
        if self.family == "gemma3" and self.is_local(layer):
            base = 10_000.0
        angle = np.arange(time)[:, None] * base ** (-np.arange(0, size, 2) / size)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        out = x.copy()
        first, second = (
            (slice(0, size, 2), slice(1, size, 2))
            if self.family in ("llama", "smollm3", "granite", "glm4", "ernie4_5")
            else (
                slice(0, size // 2),
                slice(size // 2, size),
            )
        )
        a, b = x[..., first], x[..., second]
        out[..., first], out[..., second] = a * cos - b * sin, a * sin + b * cos
        return out

    def is_local(self, layer: int) -> bool:
        period = {"gemma2": 2, "gemma3": 6, "olmo2": 4}.get(self.family, 0)
        return bool(period) and (layer + 1) % period != 0

    def linear(self, x: Array, name: str) -> Array:
        y: Array = x @ self.w[f"{name}.weight"].T
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def logits(self, tokens: list[int]) -> Array:
        """Scores of the token to come after `tokens`."""
        heads, kv_heads = self.field("attention.head_count"), self.field("attention.head_count_kv")
        size = self.field("attention.key_length", self.field("embedding_length") // heads)
        time = len(tokens)
        gemma = self.family.startswith("gemma")
        x = self.w["token_embd.weight"][tokens]
        if gemma:
            x = x * np.sqrt(x.shape[-1])
        for layer in range(self.field("block_count")):
            at = f"blk.{layer}."
            before = self.family not in ("olmo2", "exaone4")
            h = self.norm(x, f"{at}attn_norm.weight") if before else x
            q, k = self.linear(h, f"{at}attn_q"), self.linear(h, f"{at}attn_k")
            if self.family == "olmo2":
                q, k = self.norm(q, f"{at}attn_q_norm.weight"), self.norm(k, f"{at}attn_k_norm.weight")
            q, k = q.reshape(time, heads, size), k.reshape(time, kv_heads, size)
            v = self.linear(h, f"{at}attn_v").reshape(time, kv_heads, size)
            if f"{at}attn_q_norm.weight" in self.w and self.family != "olmo2":
                q, k = self.norm(q, f"{at}attn_q_norm.weight"), self.norm(k, f"{at}attn_k_norm.weight")
            q, k = self.turned(q, layer), self.turned(k, layer)
            mixed = np.zeros((time, heads, size))
            for t in range(time):
                for head in range(heads):
                    first = 0
                    if self.is_local(layer) and self.field("attention.sliding_window"):
                        first = max(0, t + 1 - self.field("attention.sliding_window"))
                    shared = head // (heads // kv_heads)
                    scores = k[first : t + 1, shared] @ q[t, head] / np.sqrt(size)
                    if self.family == "gemma2":
                        scores = 50.0 * np.tanh(scores / 50.0)
                    p = np.exp(scores - scores.max())
                    mixed[t, head] = (p / p.sum()) @ v[first : t + 1, shared]
            out = self.linear(mixed.reshape(time, -1), f"{at}attn_output")
            x = x + (
                self.norm(out, f"{at}post_attention_norm.weight")
                if f"{at}post_attention_norm.weight" in self.w
                else out
            )
            h = self.norm(x, f"{at}ffn_norm.weight") if before else x
            gate = self.linear(h, f"{at}ffn_gate")
            if gemma:
                active = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
            else:
                active = gate / (1 + np.exp(-gate))
            out = self.linear(active * self.linear(h, f"{at}ffn_up"), f"{at}ffn_down")
            x = x + (self.norm(out, f"{at}post_ffw_norm.weight") if f"{at}post_ffw_norm.weight" in self.w else out)
        head_weights = self.w.get("output.weight", self.w["token_embd.weight"])
        scores = self.norm(x[-1], "output_norm.weight") @ head_weights.T
        return 30.0 * np.tanh(scores / 30.0) if self.family == "gemma2" else scores

    def greedy(self, prompt: list[int], tokens: int, ends: tuple[int, ...] = (0,)) -> tuple[list[int], float]:
        """The answer as the program gives it, and the least lead of a chosen token over the next best."""
        said: list[int] = []
        least = np.inf
        for _ in range(tokens):
            scores = self.logits([*prompt, *said])
            best, second = np.sort(scores)[::-1][:2]
            least = min(least, float(best - second))
            said.append(int(scores.argmax()))
            if said[-1] in ends:
                break
        return said, least
