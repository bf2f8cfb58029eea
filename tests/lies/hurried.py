"""
Time that passes as fast as it is slept: pauses of the package take no time, and its clock counts them all the same.

So what waits a minute for a node is over in milliseconds, and a limit of time can be held against what an operator
would have waited. Exchanges over the network keep the real clock.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

_REAL: Final = time
_APART: Final = ("opml_dispute.chain.transport", "opml_dispute.testing", "opml_dispute.devnet", "opml_dispute.compute")
"""What talks to other processes."""


class HurriedTime:
    """In the place of the module `time`."""

    def __init__(self, on_sleep: Callable[[float], None] = lambda passed_s: None) -> None:
        """`on_sleep` is called with the seconds that have been slept by now."""
        self.passed_s = 0.0
        self._on_sleep = on_sleep

    def sleep(self, seconds: float) -> None:
        self.passed_s += max(0.0, seconds)
        if threading.current_thread() is threading.main_thread():
            self._on_sleep(self.passed_s)
        _REAL.sleep(min(seconds, 0.001))

    def monotonic(self) -> float:
        return _REAL.monotonic() + self.passed_s

    def time(self) -> float:
        return _REAL.time() + self.passed_s

    def __getattr__(self, name: str) -> Any:
        return getattr(_REAL, name)

    def __enter__(self) -> HurriedTime:
        self._changed = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith("opml_dispute.")
            and not name.startswith(_APART)
            and isinstance(getattr(module, "time", None), type(_REAL) | HurriedTime)
        ]
        for module in self._changed:
            module.time = self  # type: ignore[attr-defined]
        return self

    def __exit__(self, *_: object) -> None:
        for module in self._changed:
            module.time = _REAL  # type: ignore[attr-defined]
