"""
Files beside a model that hold elements of its tensors: which of them are read.

The name is in the model, which is untrusted input, and what is read may be published with the model's program. So an
archive must not have a file read that its sender could not: a name stays below the model's folder, without "..". It
may be a link, as download caches lay their files out (Hugging Face: both the model and its weights are links into one
folder of files named by their hashes), if it leads to a file below the model's folder, or below the folder in which the
model's own file lies once its links are followed.

Hard links are read, which ONNX's library refuses: a file has several names in caches, backups and package stores, too.
What the refusal protects from is another account of the same computer that gives a name to a file that it cannot read.
So a file with several names must have the owner of the model's file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import IO

from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import SparseTensorProto, TensorProto, external_data_helper

from opml_dispute.model.refusals import ModelFileError
from opml_dispute.printable import one_line

_COPY = "copy the folder with its links followed (cp -rL), if that file is meant"


def place_beside(tensor: TensorProto, model: Path) -> tuple[Path, external_data_helper.ExternalDataInfo]:
    """
    The file, its links followed, in which a tensor of the model at a path has its elements, and where in it.

    Raises `ModelFileError` if there is no such file, or it lies elsewhere, `OSError` if it cannot be found, and
    `ValueError` for what is no place in a file.
    """
    place = external_data_helper.ExternalDataInfo(tensor)
    return _resolved(place.location, model), place


def open_beside(path: Path, model: Path) -> IO[bytes]:
    """
    Opens a file that `place_beside` found. What is read is read from this: under its name another may lie by now.

    Raises `ModelFileError` if it may not be read, and `OSError` if it cannot be.
    """
    file = _opened(path)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        os.close(file)
        raise _refusal(model, f"{path} is not regular: a folder, a pipe or a device")
    if found.st_nlink > 1 and found.st_uid != model.stat().st_uid:
        os.close(file)
        raise _refusal(model, f"{path} has several names, and another owner than the model's file", hint=_COPY)
    return os.fdopen(file, "rb")


def load_beside(message: Message, model: Path) -> None:
    """
    Reads the elements of all tensors below `message` that lie beside the model at a path, except of sparse ones.

    Raises as `place_beside` and `open_beside`.
    """
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        for below in (value,) if isinstance(value, Message) else value:
            if isinstance(below, TensorProto):
                if external_data_helper.uses_external_data(below):
                    _load(below, model)
            elif not isinstance(below, SparseTensorProto):
                load_beside(below, model)


def _load(tensor: TensorProto, model: Path) -> None:
    path, place = place_beside(tensor, model)
    with open_beside(path, model) as file:
        tensor.raw_data = _part_of(file, path, tensor.name, place.offset or 0, place.length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _part_of(file: IO[bytes], path: Path, name: str, offset: int, length: int | None) -> bytes:
    size_bytes = os.fstat(file.fileno()).st_size
    if offset + (length or 0) > size_bytes:
        raise ModelFileError(
            f"{path} has {size_bytes:,} bytes; the tensor {one_line(name, limit=80)!r} was expected at the offset "
            f"{offset:,}" + ("" if length is None else f", in {length:,}")
        )
    file.seek(offset)
    return file.read(size_bytes - offset if length is None else length)


def _resolved(location: str, model: Path) -> Path:
    """The file of that name beside the model, its links followed. Raises `ModelFileError`."""
    shown, parts = one_line(location, limit=80), PurePosixPath(location).parts
    if not parts or "\0" in location:
        raise _refusal(model, "the name of their file is empty" if not parts else f"{shown!r} names no file")
    if location.startswith("/"):
        raise _refusal(model, f"their file has the absolute name {shown!r}")
    if ".." in parts:
        raise _refusal(model, f"{shown!r} is outside of the model's folder")
    named = model.parent / location
    try:
        path, own = named.resolve(strict=True), model.resolve(strict=True)
    except FileNotFoundError:
        raise _refusal(model, f"{shown!r} is missing") from None
    except OSError as error:
        raise _refusal(model, f"{shown!r}: {error.strerror}") from None
    except RuntimeError:  # of Python before 3.13, for links in a circle
        raise _refusal(model, f"{shown!r} is a link in a circle") from None
    if not any(path.is_relative_to(folder) for folder in (model.parent.resolve(), own.parent)):
        raise _refusal(model, f"{shown!r} is a symbolic link to {path}, outside of the model's folder", hint=_COPY)
    return path


def _opened(path: Path) -> int:
    """A descriptor to read the file, whose path has no links. Raises `OSError`, also where one has come into it."""
    opened = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # WHY NOT open the whole path at once: a folder on the way may have become a link since it was looked at.
        for name in path.parts[1:-1]:
            opened = _below(opened, name, os.O_PATH | os.O_DIRECTORY)
        return _below(opened, path.name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _below(folder: int, name: str, flags: int) -> int:
    """What has a name in an opened folder, which is closed; no link is followed. Raises `OSError`."""
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def _refusal(model: Path, why: str, *, hint: str | None = None) -> ModelFileError:
    return ModelFileError(f"cannot read the weights beside {model}: {why}", hint=hint)
