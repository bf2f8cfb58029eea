"""The names of inputs and outputs by which a program that takes text or sound is known."""

from __future__ import annotations

from typing import Final

PROMPT: Final = "prompt"
"""The first input: i64[room for a prompt], padding and then tokens."""
WHOLE_PROMPT: Final = "whole_prompt"
"""The first input where prompts have one length: padding would move the positions of what follows."""
SOURCES: Final = ("input_features", "input_values")
"""The first input where a program hears: exporters' names for a spectrogram and for samples."""
ANSWER: Final = "answer"
"""The output where a program answers: i64[tokens]."""
EMBEDDING: Final = "embedding"
"""The output where a text becomes a vector: f32[size]."""
