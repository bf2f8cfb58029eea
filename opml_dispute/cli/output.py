"""
How commands talk: data on stdout, talk on stderr.

For people, `say` prints sentences and `table`/`print` show data; for scripts (`--json`), `fact` prints one object a
line on stdout and the sentences are left out. Both tell the same facts. Numbers carry their units: `ether`, `gas`,
`duration`, `short`. Everything reads the same without colour.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape

from opml_dispute.chain.amounts import ether
from opml_dispute.errors import OpmlError

PIPE_WIDTH = 240
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400


class Output:
    """Where one command's words and data go."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._talk = Console(stderr=True, highlight=False, soft_wrap=True)
        # What reads a pipe has no screen to be narrow.
        self._data = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)

    def say(self, sentence: str, *, style: str | None = None) -> None:
        """A sentence for people; nothing for scripts."""
        if not self.as_json:
            self._talk.print(escape(sentence), style=style)

    def show(self, renderable: RenderableType) -> None:
        """Data for people: a table, a tree, a text; nothing for scripts, which get `fact`s."""
        if not self.as_json:
            self._data.print(renderable)

    def fact(self, **facts: Any) -> None:
        """Data for scripts: one JSON object, on its own line; nothing for people."""
        if self.as_json:
            print(json.dumps({name: plain(value) for name, value in facts.items()}), flush=True)

    def error(self, error: OpmlError) -> None:
        """One sentence and a hint."""
        self._talk.print(f"[bold red]error:[/] {escape(str(error))}")
        if error.hint:
            self._talk.print(f"[bold]hint:[/] {escape(error.hint)}")
        if self.as_json:
            self.fact(error=type(error).__name__, message=str(error), hint=error.hint)

    @property
    def is_interactive(self) -> bool:
        """Whether somebody could answer a question."""
        return not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()


def plain(value: Any) -> Any:
    """A value as JSON knows it: bytes as hex, sequences as lists."""
    if isinstance(value, bytes | bytearray):
        return "0x" + bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):  # a NumPy scalar
        return value.item()
    return value


def short(value: bytes | str) -> str:
    """
    Enough of a hash or an address to know it by.

    >>> short("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
    '0x5aAe…Aed'
    """
    text = "0x" + value.hex() if isinstance(value, bytes) else value
    return text if len(text) <= 12 else f"{text[:6]}…{text[-3:]}"


def gas(amount: int) -> str:
    """
    >>> gas(214318)
    '214,318 gas'
    """
    return f"{amount:,} gas"


def duration(seconds: int) -> str:
    """
    A time span in its two largest units.

    >>> duration(11520), duration(59), duration(302400)
    ('3 h 12 min', '59 s', '3 d 12 h')
    """
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < _HOUR_S:
        minutes, rest = divmod(seconds, _MINUTE_S)
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    if seconds < _DAY_S:
        hours, rest = divmod(seconds, _HOUR_S)
        return f"{hours} h" + (f" {rest // _MINUTE_S} min" if rest >= _MINUTE_S else "")
    days, rest = divmod(seconds, _DAY_S)
    return f"{days} d" + (f" {rest // _HOUR_S} h" if rest >= _HOUR_S else "")


__all__ = ["Output", "duration", "ether", "gas", "plain", "short"]
