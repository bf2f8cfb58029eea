"""
The errors of the compiler, one class per cause. Every message says what was found and what was expected.

A lowering knows only its operator's mathematics, so it raises `Refuse` (or `NeedsConstant`) with the reason alone;
the importer, which knows operator, node and opset, turns it into `UnsupportedOp` (or `InputNotFixed`).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from opml_dispute.errors import OpmlError


class ModelError(OpmlError):
    """A model that cannot become a program."""


class ModelFileError(ModelError):
    """The file is missing, unreadable, or not an ONNX model."""

    hint = "check the path, or export the model again"


class InvalidModel(ModelError):
    """The file is ONNX, but breaks ONNX's own rules."""

    hint = "export the model again, or correct it: onnx.checker.check_model says the same"


class UnsupportedOpset(ModelError):
    """An operator set, or a version of one, that the importer does not know."""

    hint = "convert the model with onnx.version_converter, or export it for another opset"

    def __init__(self, domain: str, version: int, expected: str) -> None:
        super().__init__(f"the model uses opset {version} of {domain or 'ai.onnx'!r}; expected {expected}")
        self.domain, self.version = domain, version


class UnsupportedOp(ModelError):
    """An operator, or a use of one, that the importer cannot express."""

    hint = "write the model without it; docs/operators.md lists what can be expressed"

    def __init__(self, op_type: str, node: str, opset: int, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot import {op_type} (node {node!r}, opset {opset}): {reason}", hint=hint)
        self.op_type, self.node, self.opset, self.reason = op_type, node, opset, reason


class InputNotFixed(UnsupportedOp):
    """A value must be known when the model is compiled, but depends on inputs of the model."""

    def __init__(self, op_type: str, node: str, opset: int, what: str, inputs: Collection[str]) -> None:
        names = ", ".join(repr(name) for name in sorted(inputs))
        cause = f"depends on the input {names}" if inputs else "is computed"
        first = min(inputs, default="")
        super().__init__(
            op_type,
            node,
            opset,
            f"{what} must be known when the model is compiled, but {cause}",
            hint=f"fix the input: constants={{{first!r}: array}}, or --constant {first}=VALUE" if inputs else None,
        )
        self.inputs = frozenset(inputs)


class SizeDependsOnData(InputNotFixed):
    """How many elements a result has depends on inputs of the model, and the model's user set no room for them."""

    def __init__(self, op_type: str, node: str, opset: int, what: str, inputs: Collection[str], output: str) -> None:
        super().__init__(op_type, node, opset, what, inputs)
        room = (
            f"make room for N elements: --max-size {shlex.quote(output)}=N (from Python: max_sizes={{{output!r}: N}})"
        )
        self.hint = f"{room}; or {self.hint}" if inputs else room
        self.output = output


class CompilerFault(UnsupportedOp):
    """A lowering failed where it should have refused: a fault of this package, which keeps its cause."""

    exit_code = 70
    hint = "this is a fault of opml-dispute, and not the model's: please report it with the model"

    def __init__(self, op_type: str, node: str, opset: int, shapes: str, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"
        super().__init__(op_type, node, opset, f"the compiler itself failed at inputs of shapes {shapes}: {told}")


class UnboundDimension(ModelError):
    """The inputs' shapes have dimensions without a number: all of them, so that all can be given at once."""

    def __init__(self, missing: Sequence[tuple[str, str, int]]) -> None:
        """Each is a tensor, the dimension's name ("" if it has none), and its position in the shape."""
        keys = list(dict.fromkeys(dimension or f"{tensor}.{position}" for tensor, dimension, position in missing))
        tensor, dimension, position = missing[0]
        if len(keys) == 1:
            name = repr(dimension) if dimension else f"number {position}"
            message = f"input {tensor!r} has a dimension ({name}) without a size"
        else:
            told = ", ".join(f"{key!r} ({self._where(key, missing)})" for key in keys)
            message = f"the inputs have {len(keys)} dimensions without a size: {told}"
        options = " ".join(f"--dim {shlex.quote(key)}=1" for key in keys)
        hint = f"give {'it a size' if len(keys) == 1 else 'them sizes'}: {options} (from Python: the argument `dims`)"
        super().__init__(f"{message}; expected a number for every dimension", hint=hint)
        self.missing = tuple(missing)

    @staticmethod
    def _where(key: str, missing: Sequence[tuple[str, str, int]]) -> str:
        places = [f"{tensor}.{position}" for tensor, dimension, position in missing if dimension == key]
        return f"of {', '.join(places)}" if places else "nameless"


class UnsupportedType(ModelError):
    """An input, output or constant has a type that no kernel takes."""

    hint = "cast it to a type that docs/operators.md lists"

    def __init__(self, tensor: str, reason: str) -> None:
        super().__init__(f"tensor {tensor!r} has {reason}")
        self.tensor, self.reason = tensor, reason


class ModelTooLarge(ModelError):
    """A section of the segment is too small for the model."""

    hint = "split the model, or use smaller types"

    def __init__(self, section: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"the model's {section} needs {size_bytes:,} bytes; expected at most {limit_bytes:,} bytes")
        self.section, self.size_bytes, self.limit_bytes = section, size_bytes, limit_bytes


class Refuse(Exception):
    """Why a lowering cannot express what it is asked, and perhaps what to do; never leaves the package."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


class NeedsConstant(Exception):
    """A lowering needs a value now that is known only when the model runs; never leaves the package."""

    def __init__(self, what: str, depends: frozenset[str]) -> None:
        super().__init__(what)
        self.what, self.depends = what, depends


class NeedsRoom(NeedsConstant):
    """Data decides how many elements a result has, and nothing says how many there may be; never leaves the package."""

    def __init__(self, what: str, depends: frozenset[str], output: int) -> None:
        super().__init__(what, depends)
        self.output = output
