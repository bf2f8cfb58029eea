"""An image of a digit, and the scores a model gives it, drawn with characters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SHADES = " ░▒▓█"


def draw_digit(image: npt.NDArray[np.float32]) -> list[str]:
    """
    One line per row, two characters per pixel. `image` is f32[...][rows][columns], 0 to 1.

    >>> draw_digit(np.array([[0.0, 0.5], [1.0, 0.2]], dtype=np.float32))
    ['  ▒▒', '██░░']
    """
    rows = image.reshape(image.shape[-2:])
    steps = np.clip(np.rint(rows * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int)
    return ["".join(SHADES[step] * 2 for step in row) for row in steps]


def draw_scores(scores: npt.NDArray[np.float32], width: int = 20) -> list[str]:
    """A bar for each of the ten digits. `scores` is f32[10], 0 to 1; anything else has no bar."""
    lines = []
    for digit, score in enumerate(np.asarray(scores, dtype=np.float64).reshape(-1)):
        length = round(float(score) * width) if 0 <= score <= 1 else 0
        lines.append(f"{digit} {'█' * length:<{width}} {score:6.1%}" if np.isfinite(score) else f"{digit} not a number")
    return lines


def best_digit(scores: npt.NDArray[np.float32]) -> int:
    """The digit with the largest score, the first of equals: what the consumer contract computes."""
    return int(np.argmax(np.asarray(scores).reshape(-1)))
