"""
Inputs as the operator gives them: NumPy files, a sample of the package, or a ready image.

`read_inputs` turns `--input NAME=FILE` and `--sample N` into arrays and holds them against what the model wants, so
that a wrong shape or type is named before anything runs. `image_of` lays them out as the INPUT section's content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import numpy.typing as npt

from opml_dispute.engine.segment import BadInput, Placed
from opml_dispute.models import digit_samples

F = TypeVar("F", bound=Callable[..., Any])


def input_options(command: F) -> F:
    """--input and --sample."""
    command = click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="[NAME=]FILE",
        help="An input as a NumPy file (.npy); the name may be left out if there is one input. May be repeated.",
    )(command)
    return click.option(
        "--sample",
        type=click.IntRange(0, 359),
        metavar="N",
        help="Held-out digit number N (0 to 359) of the sample model.",
    )(command)


def read_inputs(slots: Sequence[Placed], inputs: Sequence[str], sample: int | None) -> dict[str, npt.NDArray[Any]]:
    """The arrays for all inputs, checked. Raises `BadInput`."""
    if sample is not None:
        if inputs:
            raise BadInput("both --input and --sample were given", hint="give one of them")
        if len(slots) != 1:
            raise BadInput(f"--sample gives one image, but the model takes {len(slots)} inputs", hint="use --input")
        arrays = {slots[0].name: digit_samples()[0][sample : sample + 1]}
    else:
        arrays = dict(_read(text, slots) for text in inputs)
    missing = [slot.name for slot in slots if slot.name not in arrays]
    if missing:
        raise BadInput(f"no value for input {', '.join(missing)}", hint="give it with --input NAME=FILE.npy")
    return {slot.name: _checked(slot, arrays[slot.name]) for slot in slots}


def _read(text: str, slots: Sequence[Placed]) -> tuple[str, npt.NDArray[Any]]:
    name, separator, file = text.partition("=")
    if not separator:
        if len(slots) != 1:
            raise BadInput(f"--input {text} names no input, and the model takes {len(slots)}", hint="write NAME=FILE")
        name, file = slots[0].name, text
    if name not in {slot.name for slot in slots}:
        known = ", ".join(slot.name for slot in slots)
        raise BadInput(f"the model has no input called {name!r}", hint=f"its inputs: {known}")
    try:
        value = np.load(Path(file), allow_pickle=False)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror or error}", hint="check the path") from None
    except (ValueError, EOFError):
        raise BadInput(f"{file} is not a NumPy array file", hint="make it with numpy.save") from None
    if not isinstance(value, np.ndarray):
        raise BadInput(f"{file} holds several arrays; expected one", hint="make it with numpy.save")
    return name, value


def _checked(slot: Placed, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    wanted = slot.dtype.numpy
    if array.dtype != wanted:
        raise BadInput(
            f"input {slot.name} has type {array.dtype}, but the model takes {wanted}",
            hint=f"convert it: array.astype({wanted.name!r})",
        )
    shape = tuple(slot.shape)
    if array.shape != shape:
        if shape[:1] == (1,) and array.shape == shape[1:]:  # a batch of one, its dimension left out
            return array.reshape(shape)
        raise BadInput(
            f"input {slot.name} has shape {list(array.shape)}, but the model takes {list(slot.shape)}",
            hint="reshape it, or compile the model for that shape with --dim",
        )
    return array
