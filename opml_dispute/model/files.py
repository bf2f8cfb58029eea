"""
Model files: an ONNX file with sizes for its symbolic dimensions, or a compiled program.

`read_model` takes either and answers the program. `Binding` holds sizes of dimensions and values of fixed inputs;
`parse_binding` parses them from a command line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opml_dispute import plain_json
from opml_dispute.errors import OpmlError
from opml_dispute.reading import Unreadable, read_bytes

if TYPE_CHECKING:
    from opml_dispute.model.program import Program
    from opml_dispute.model.tensor import Array

_MAX_CONSTANT_BYTES: Final = 1 << 30


class BadDimension(OpmlError):
    """A --dim option that cannot be read."""

    hint = "write it like --dim batch=1"


class BadRoom(OpmlError):
    """A --max-size option that cannot be read."""

    hint = "write it like --max-size boxes=100"


class BadConstant(OpmlError):
    """A --constant option that cannot be read."""

    hint = "write it like --constant rate=16000, --constant shape=[2,-1] or --constant mask=mask.npy"


@dataclass(frozen=True)
class Binding:
    """The sizes and values that are given when a model is compiled."""

    dims: Mapping[str, int] = field(default_factory=dict)
    """Sizes of symbolic dimensions."""
    constants: Mapping[str, Array] = field(default_factory=dict)
    """Values of inputs that become part of the program."""
    max_sizes: Mapping[str, int] = field(default_factory=dict)
    """Room for tensors whose size depends on data."""
    seed_input: str | None = None
    """The name of the input that random numbers are drawn from."""
    prompt_tokens: int | None = None
    """The room for a prompt of a language model, in tokens."""
    tokens: int | None = None
    """The most tokens of a language model's answer."""
    sampling: bool = False
    """Of a language model: whether answers can be drawn, as a request says."""


def parse_binding(
    dims: Sequence[str],
    constants: Sequence[str],
    max_sizes: Sequence[str] = (),
    seed_input: str | None = None,
    prompt_tokens: int | None = None,
    tokens: int | None = None,
    sampling: bool = False,
) -> Binding:
    """
    Sizes, rooms (NAME=N) and fixed inputs (NAME=VALUE) as they are typed.

    Raises `BadDimension`, `BadRoom` or `BadConstant`.
    """
    sizes = _parse_numbers(dims, "--dim", "a dimension a size", BadDimension)
    rooms = _parse_numbers(max_sizes, "--max-size", "a tensor room", BadRoom)
    return Binding(sizes, _parse_constants(constants), rooms, seed_input, prompt_tokens, tokens, sampling)


def _parse_constants(texts: Sequence[str]) -> dict[str, Array]:
    """A value is a number, true or false, or a list of those (JSON); or the name of a .npy file."""
    constants: dict[str, Array] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise BadConstant(f"{text!r} does not give an input a value")
        if name in constants:
            raise BadConstant(f"the input {name!r} was given twice", hint="give each --constant once")
        constants[name] = _loaded(Path(value)) if value.endswith(".npy") else _typed(text, value)
    return constants


def _typed(text: str, value: str) -> Array:
    import numpy as np

    try:
        array = np.array(plain_json.loads(value))
    except ValueError:
        raise BadConstant(f"{text!r} is neither a number, a list of numbers, nor a .npy file") from None
    if array.dtype.kind not in "biuf":
        raise BadConstant(f"{text!r} is neither a number nor a list of numbers")
    return array


def _loaded(path: Path) -> Array:
    import numpy as np

    try:
        array = np.load(io.BytesIO(read_bytes(path, max_bytes=_MAX_CONSTANT_BYTES)), allow_pickle=False)
    except Unreadable as error:
        raise BadConstant(f"cannot read {path}: {error.reason}") from None
    except Exception as error:  # the header is Python text, and NumPy says many things about a bad one
        raise BadConstant(f"{path} is not a NumPy array file", hint="make it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise BadConstant(f"{path} holds several arrays; expected one (.npy)")
    return array


def _parse_numbers(texts: Sequence[str], option: str, gives: str, error: type[OpmlError]) -> dict[str, int]:
    """NAME=N, each name once, as an option takes them."""
    numbers: dict[str, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not name or re.fullmatch(r"[0-9]{1,18}", number) is None or int(number) == 0:
            raise error(f"{text!r} does not give {gives} from 1 to 10^18 - 1")
        if name in numbers:
            raise error(f"{name!r} was given twice", hint=f"give each {option} once")
        numbers[name] = int(number)
    return numbers


def read_model(file: Path, binding: Binding) -> Program:
    """
    A program from an ONNX file or from a compiled one, which `binding` does not concern.

    Raises what compiling and loading raise.
    """
    # Imported late: the compiler takes half a second to import, and `parse_binding` does not need it.
    from opml_dispute.model.compiler import compile_model
    from opml_dispute.model.program_file import FILE_MAGIC, read_program
    from opml_dispute.model.refusals import ModelFileError

    try:
        # A pipe would wait for a writer, and can be read once only.
        if not file.is_file():
            raise ModelFileError(f"cannot read the model {file}: {_what_is_wrong(file)}")
        with file.open("rb") as opened:
            is_compiled = opened.read(len(FILE_MAGIC)) == FILE_MAGIC
    except OSError as error:
        raise ModelFileError(f"cannot read the model {file}: {error.strerror}") from None
    except ValueError:
        raise ModelFileError(f"cannot read the model {file}: no file can have this name") from None
    if is_compiled:
        return read_program(file)
    return compile_model(
        file,
        dims=binding.dims,
        constants=binding.constants,
        max_sizes=binding.max_sizes,
        seed_input=binding.seed_input,
    )


def _what_is_wrong(file: Path) -> str:
    if file.is_dir():
        return "it is a directory"
    return "it is no regular file" if file.exists() else "No such file or directory"
