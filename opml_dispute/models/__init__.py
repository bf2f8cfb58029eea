"""
The sample models that ship with the package.

`DIGITS`, an ONNX file, is a small network that reads handwritten digits of 8 x 8 pixels; `digit_samples` gives images
and labels that its training did not use. scripts/train-digits made them; `digits.json` beside them has its
measurements. `LETTERS`, a GGUF file, is a small decoder that reads and writes characters, trained to answer twenty
questions (scripts/train-letters).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

DIGITS = Path(__file__).with_name("digits.onnx")
"""Input `image` f32[1][1][8][8], pixels 0..1; output `probabilities` f32[1][10]."""

LETTERS = DIGITS.with_name("letters.gguf")
"""Two layers of the Llama family, 64 elements wide, 46 tokens."""


def digit_samples() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The held-out images f32[360][1][8][8] and their labels i64[360]."""
    with np.load(DIGITS.with_name("digits-samples.npz")) as samples:
        return samples["images"], samples["labels"]
