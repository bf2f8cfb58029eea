"""
Model files as people have them: an ONNX file with sizes for its symbolic dimensions, or a compiled program.

`read_model` takes either and answers the program; `parse_dims` reads the sizes as they are typed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from opml_dispute.errors import OpmlError
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.model.program_file import FILE_MAGIC, read_program
from opml_dispute.model.refusals import ModelFileError


class BadDimension(OpmlError):
    """A --dim option that cannot be read."""

    hint = "write it like --dim batch=1"


def parse_dims(texts: tuple[str, ...]) -> dict[str, int]:
    """Sizes of symbolic dimensions as the operator wrote them: NAME=N. Raises `BadDimension`."""
    dims: dict[str, int] = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        if not name or re.fullmatch(r"[0-9]{1,18}", size) is None or int(size) == 0:
            raise BadDimension(f"{text!r} does not give a dimension a size from 1 to 10^18 - 1")
        if name in dims:
            raise BadDimension(f"the dimension {name!r} was given twice", hint="give each --dim once")
        dims[name] = int(size)
    return dims


def read_model(file: Path, dims: Mapping[str, int]) -> Program:
    """A program from an ONNX file or from a compiled one. Raises what compiling and loading raise."""
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
    return read_program(file) if is_compiled else compile_model(file, dims=dims)


def _what_is_wrong(file: Path) -> str:
    if file.is_dir():
        return "it is a directory"
    return "it is no regular file" if file.exists() else "No such file or directory"
