"""
What long work is doing now, told to a person who waits for it.

Work that can take seconds is put `under_way`, and calls `tell` from time to time; `watched_by` gives both a listener.
Without one they cost next to nothing. The terminal's listener is `cli/waiting.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

Listener = Callable[[str | None], None]
"""Gets a line about the work under way, or None when none is left. Called in the thread that works, one at a time."""

EVERY_S: Final = 0.25
"""The least time between two lines."""


class _Watch:
    """The listener of this process, and the works under way."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.works = 0
        self.next_at_s = 0.0
        self.lock = threading.Lock()


_watch: Final = _Watch()


@contextmanager
def watched_by(listener: Listener) -> Iterator[None]:
    """Give all work of this process a listener, in place of an earlier one."""
    before, _watch.listener = _watch.listener, listener
    try:
        yield
    finally:
        _watch.listener = before


@contextmanager
def under_way() -> Iterator[None]:
    """While this lasts, `tell` is heard; works may lie in one another, and in several threads."""
    with _watch.lock:
        if _watch.works == 0:
            _watch.next_at_s = time.monotonic() + EVERY_S  # work that is shorter is not worth a line
        _watch.works += 1
    try:
        yield
    finally:
        with _watch.lock:
            _watch.works -= 1
            if _watch.works == 0 and _watch.listener is not None:
                _watch.listener(None)


def tell(line: Callable[[], str]) -> None:
    """Say how far the work is. `line` is called if there is a listener and its last line was long enough ago."""
    if _watch.listener is None or time.monotonic() < _watch.next_at_s:
        return
    with _watch.lock:
        if _watch.works and _watch.listener is not None:
            _watch.next_at_s = time.monotonic() + EVERY_S
            _watch.listener(line())
