"""The agent's log: readable lines on a terminal, one JSON object per line elsewhere, always on standard error."""

from __future__ import annotations

import sys
from typing import Any, TextIO

import structlog

from opml_dispute.printable import one_line

Log = structlog.typing.FilteringBoundLogger


def make_log(stream: TextIO | None = None, *, as_json: bool | None = None) -> Log:
    """A log that writes to `stream` (default: standard error); JSON unless that is a terminal."""
    to = sys.stderr if stream is None else stream
    json_lines = (not to.isatty()) if as_json is None else as_json
    renderer: Any = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=to.isatty())
    )
    processors = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _plain_values,
        renderer,
    ]
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(to), processors=processors, wrapper_class=structlog.make_filtering_bound_logger(0)
    )
    return log


def _plain_values(_: Any, __: str, event: Any) -> Any:
    """Bytes as hexadecimal; text from outside without control characters."""
    return {key: _plain(value) for key, value in event.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return "0x" + bytes(value).hex()
    return one_line(value) if isinstance(value, str) else value
