"""A bug of this package, where others depend on its being borne: as an error that names the place."""

from __future__ import annotations

import traceback
from pathlib import Path

from opml_dispute.errors import OpmlError


class Unexpected(OpmlError):
    """A bug of this package in one computation: it stops that one, and no other."""

    hint = "report it with the lines above; other games are not affected"

    def __init__(self, error: Exception) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1:]
        place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in where)
        super().__init__(f"{type(error).__name__}{place}: {error}")
