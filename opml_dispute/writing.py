"""
Files that a command was asked to write: whole or not at all, so that a killed run leaves what was there before.

Pipes and devices have no place into which a whole file could be put: they are written to as they are.
"""

from __future__ import annotations

from pathlib import Path

from opml_dispute.errors import OpmlError
from opml_dispute.home import CannotWrite, write_whole


class Unwritable(OpmlError):
    """A file cannot be written."""

    hint = "check the folder and the disk"


def write_result(path: Path, data: bytes) -> None:
    """The file with this content, in a folder that exists. Raises `Unwritable`, and then changes nothing."""
    try:
        if not path.parent.is_dir():
            raise Unwritable(f"cannot write {path}: there is no folder {path.parent}")
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
            return
        # Resolved: a symbolic link stays one.
        write_whole(path.resolve(), lambda temporary: temporary.write_bytes(data))
    except CannotWrite as error:
        raise Unwritable(str(error)) from None
    except OSError as error:
        raise Unwritable(f"cannot write {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise Unwritable(f"cannot write {path}: {error}") from None
