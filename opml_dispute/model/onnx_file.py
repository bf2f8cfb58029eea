"""
Reading ONNX files, and checking them by ONNX's own rules.

`load` takes a path, bytes or a loaded model; `load_apart` too, but keeps large weights and long lists apart. `importer`
translates tensors and operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto

from opml_dispute.model.mapped_weights import Parts, map_beside, parse_apart
from opml_dispute.model.refusals import InvalidModel, ModelFileError, UnsupportedOpset
from opml_dispute.model.weights_beside import load_beside
from opml_dispute.printable import one_line

DOMAINS = {"": 28, "ai.onnx.ml": 5, "ai.onnx.preview": 1, "ai.onnx.preview.training": 1, "com.microsoft": 1}
"""The operator sets that lowerings exist for, and the newest version of each that they were written against."""

CHECKER_LIMIT_BYTES = (1 << 31) - (1 << 24)
"""Weights that ONNX's checker takes, with some room for the rest of the model."""

ModelSource = Path | str | bytes | onnx.ModelProto


def load(source: ModelSource) -> onnx.ModelProto:
    """
    The model in a file, in bytes, or as it is.

    Raises `ModelFileError` if there is no file or it does not hold a model, `InvalidModel` if ONNX's checker objects.
    """
    return _load(source, apart=False).model


def load_apart(source: ModelSource) -> Parts:
    """
    As `load`, without elements of large weights and entries of long lists: these are handed on beside the model.

    A file whose weights are mapped must not be written to as long as they are in use (`engine.mapped_files`).
    """
    return _load(source, apart=True)


def _load(source: ModelSource, *, apart: bool) -> Parts:
    if isinstance(source, onnx.ModelProto):
        return Parts(_checked(_expect_texts(source, "the model"), "the model"))
    if isinstance(source, bytes):
        return Parts(_checked(_expect_texts(_parsed(source, "the model"), "the model"), "the model"))
    path = Path(source)
    if not path.is_file():
        found = "a directory" if path.is_dir() else "nothing"
        raise ModelFileError(f"{path} is {found}; expected an ONNX file")
    try:
        parts = (parse_apart(path) if apart else None) or Parts(_parsed(path.read_bytes(), str(path)))
        _expect_texts(parts.model, str(path))
        if apart:
            parts.weights.update(map_beside(parts.model, path))
        load_beside(parts.model, path)
    except OSError as error:
        raise ModelFileError(f"cannot read {error.filename or path}: {error.strerror}; expected an ONNX file") from None
    except ValueError as error:
        raise ModelFileError(f"cannot read the weights beside {path}: {one_line(str(error), limit=300)}") from None
    _checked(parts.model, str(path))
    return parts


def _parsed(raw: bytes, name: str) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(raw)
    except DecodeError:
        raise ModelFileError(
            f"{name} ({len(raw):,} bytes) is not an ONNX model, or is cut short", hint="download or export it again"
        ) from None
    if not model.ir_version or not model.HasField("graph"):
        raise ModelFileError(f"{name} ({len(raw):,} bytes) is not an ONNX model: it has no graph")
    return model


_UNREAD: Final = frozenset({"doc_string", "metadata_props"})
"""Fields for people."""


def _broken_texts(message: Message) -> Iterator[bytes]:
    """What stands in the place of texts below `message` and is none: protobuf hands it out as bytes."""
    for field, value in message.ListFields():
        if field.name in _UNREAD:
            continue
        values = (value,) if isinstance(value, str | bytes | Message) else value
        if field.type == FieldDescriptor.TYPE_STRING:
            yield from (text for text in values if isinstance(text, bytes))
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for below in values:
                if not isinstance(below, TensorProto):  # whose elements would be copied
                    yield from _broken_texts(below)
                else:
                    name: str | bytes = below.name  # whatever ONNX's annotations say
                    yield from (text for text in (name,) if isinstance(text, bytes))
                    for entry in below.external_data:
                        yield from _broken_texts(entry)


def _expect_texts(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    for text in _broken_texts(model):
        raise InvalidModel(f"{name} has a name that is no UTF-8 text: {text[:40]!r}")
    return model


def _in_other_files(message: Message) -> Iterator[str]:
    """Names of the tensors below `message` whose elements are said to lie in other files."""
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE or field.name in _UNREAD:
            continue
        for below in (value,) if isinstance(value, Message) else value:
            if isinstance(below, TensorProto):
                if below.data_location == TensorProto.EXTERNAL:
                    yield below.name
            else:
                yield from _in_other_files(below)


def _checked(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    for tensor in _in_other_files(model):  # ONNX's library would look for the file where this process stands
        raise InvalidModel(
            f"{name} has the elements of the tensor {tensor!r} in another file, where only a model in a file of its own"
            " may have them, of tensors that are not sparse",
            hint="give the model's path, or load it with onnx.load",
        )
    try:
        # The checker takes no more than 2 GiB. Whatever the importer relies on, it finds out for itself as well.
        if sum(len(tensor.raw_data) for tensor in model.graph.initializer) < CHECKER_LIMIT_BYTES:
            with _without_gaps(model.graph), _as_version_4(model):
                onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().split("\n")[0]
        # ONNX Runtime still runs deprecated operators, and has some of its own in ONNX's set
        # (SimplifiedLayerNormalization); one without a lowering is refused by its name.
        if not any(words in reason for words in ("is deprecated in domain_version", "No Op registered for")):
            raise InvalidModel(f"{name} breaks ONNX's rules: {reason}") from None
    for opset in model.opset_import:
        newest = DOMAINS.get(domain_name(opset.domain))
        if newest is not None and not 1 <= opset.version <= newest:
            raise UnsupportedOpset(domain_name(opset.domain), opset.version, f"1 to {newest}")
    return model


@contextmanager
def _without_gaps(graph: onnx.GraphProto) -> Iterator[None]:
    """
    Types and shapes of computed tensors filled in for as long as this lasts.

    The checker insists on them, but they are not needed: what a tensor is follows from what makes it.
    """
    gaps = []
    for value in (*graph.output, *graph.value_info):
        kind = value.type.WhichOneof("value")
        if kind is None or (kind == "tensor_type" and not value.type.tensor_type.HasField("shape")):
            kept = onnx.ValueInfoProto()
            kept.CopyFrom(value)
            gaps.append((value, kept))
            value.type.tensor_type.shape.SetInParent()
            value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or TensorProto.FLOAT
    try:
        yield
    finally:
        for value, kept in gaps:
            value.CopyFrom(kept)


@contextmanager
def _as_version_4(model: onnx.ModelProto) -> Iterator[None]:
    """
    A file of version 3 of ONNX's format read as one of version 4 for as long as this lasts.

    Version 3 wants every weight listed as an input, too. Many files of that version leave them out, as version 4
    allows; what they mean is the same, and ONNX Runtime reads them.
    """
    version = model.ir_version
    if version == 3:
        model.ir_version = 4
    try:
        yield
    finally:
        model.ir_version = version


def domain_name(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
