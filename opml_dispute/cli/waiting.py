"""
One line on the terminal about work that takes a while, gone when the work is done.

It is on stderr, and only where stderr is a terminal: neither pipes nor logs get it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from opml_dispute.printable import one_line
from opml_dispute.working import watched_by

_ERASE: Final = "\r\x1b[K"


@contextmanager
def shown_work() -> Iterator[None]:
    """While this lasts, long work is shown."""
    stream = sys.stderr
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    with watched_by(_Line(stream)):
        yield


class _Line:
    """The terminal's last line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._is_shown = stream, False

    def __call__(self, line: str | None) -> None:
        if line is None and not self._is_shown:
            return
        self._is_shown = line is not None
        text = "" if line is None else one_line(line)[: self._columns() - 1]
        try:
            self._stream.write(_ERASE + text)
            self._stream.flush()
        except (OSError, ValueError):
            self._is_shown = False  # a terminal that is gone is no reason to end the work

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80
