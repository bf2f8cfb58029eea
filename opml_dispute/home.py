"""The folder in which this package keeps its own files, and how such a file is written."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opml_dispute.errors import OpmlError


class CannotWrite(OpmlError):
    """A file in the package's own folder cannot be written."""

    hint = "free some space, or name another folder with OPML_HOME"


def home() -> Path:
    """
    The folder in which this package keeps its own files: OPML_HOME, else the user's data folder.

    Raises `CannotWrite` if the user has no home folder.
    """
    if override := os.environ.get("OPML_HOME"):
        return Path(override)
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "opml-dispute"
    try:
        return Path.home() / ".local" / "share" / "opml-dispute"
    except RuntimeError:
        raise CannotWrite("this user has no home folder", hint="name a folder with OPML_HOME") from None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file completely or not at all: a process killed meanwhile leaves the old file. Raises
    `CannotWrite`."""
    text = json.dumps(content, indent=2) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """
    Let `write` fill a temporary file, then put it in the place of `path`. Raises `CannotWrite`.

    An existing `path` that is not a regular file (a device, for example) is not replaced.
    """
    _expect_regular(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder cannot be written to, which is what is reported
            temporary.unlink(missing_ok=True)
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from None


def _expect_regular(path: Path) -> None:
    try:
        if not path.name or path.is_dir():
            raise CannotWrite(f"cannot write {path}: it is a directory", hint="give the name of a file")
        if path.exists() and not path.is_file():
            raise CannotWrite(f"cannot write {path}: it is no regular file", hint="give the name of a file")
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from None


def expect_writable(path: Path) -> None:
    """
    Raises `CannotWrite` unless `path` can be written: called before money is spent on something that has to be noted
    there.

    An existing file stays as it is.
    """
    _expect_regular(path)
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0" * 4096)  # a full disk still takes an empty file
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from None
