"""
Writing of result files, completely or not at all, so that a killed run leaves the earlier file.

Pipes and devices cannot be replaced by a finished file, so they are written to directly.
"""

from __future__ import annotations

from pathlib import Path

from opml_dispute.errors import OpmlError
from opml_dispute.home import CannotWrite, write_whole


class Unwritable(OpmlError):
    """A file cannot be written."""

    hint = "check the folder and the disk"


def write_result(path: Path, data: bytes) -> None:
    """Write `content` to a file in an existing folder. Raises `Unwritable`, and then changes nothing."""
    try:
        if not path.parent.is_dir():
            raise Unwritable(f"cannot write {path}: there is no folder {path.parent}")
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
            return
        # The path is resolved, so that a symbolic link stays a link.
        write_whole(path.resolve(), lambda temporary: temporary.write_bytes(data))
    except CannotWrite as error:
        raise Unwritable(str(error)) from None
    except OSError as error:
        raise Unwritable(f"cannot write {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise Unwritable(f"cannot write {path}: {error}") from None
