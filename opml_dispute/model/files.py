"""
Model files as people have them: an ONNX file with sizes for its symbolic dimensions, or a compiled program.

`read_model` takes either and answers the program; `parse_dims` reads the sizes as they are typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from opml_dispute.errors import OpmlError
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.model.program_file import FILE_MAGIC, read_program


class BadDimension(OpmlError):
    """A --dim option that cannot be read."""

    hint = "write it like --dim batch=1"


def parse_dims(texts: tuple[str, ...]) -> dict[str, int]:
    """Sizes of symbolic dimensions as the operator wrote them: NAME=N. Raises `BadDimension`."""
    dims: dict[str, int] = {}
    for text in texts:
        name, _, size = text.partition("=")
        if not name or not size.isdigit() or int(size) == 0:
            raise BadDimension(f"{text!r} does not give a dimension a positive size")
        dims[name] = int(size)
    return dims


def read_model(file: Path, dims: Mapping[str, int]) -> Program:
    """A program from an ONNX file or from a compiled one. Raises what compiling and loading raise."""
    try:
        with file.open("rb") as opened:
            is_compiled = opened.read(len(FILE_MAGIC)) == FILE_MAGIC
    except OSError:
        is_compiled = False  # the importer says what is wrong with the path
    return read_program(file) if is_compiled else compile_model(file, dims=dims)
