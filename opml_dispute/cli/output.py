"""
The output of commands: data on stdout, messages on stderr.

For people, `say` prints sentences and `table`/`show` print data; for scripts (`--json`), `fact` prints one object a
line on stdout and the sentences are left out. Both have the same facts. Numbers have units: `ether`, `gas`, `duration`,
`short`. Colour carries no information of its own.

Printed text cannot control the terminal: markup is off, and every text passes through `printable`. A stdout that
cannot be written to (a full disk, a reader that has gone) ends a command that only shows something, with
`CannotPrint`; a command that sends transactions calls `keep_going` and plays on.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from opml_dispute.chain.amounts import duration, ether
from opml_dispute.errors import OpmlError
from opml_dispute.printable import lines, one_line, short

PIPE_WIDTH = 240
NARROWEST = 20
"""The least number of columns that a terminal is assumed to have."""


class CannotPrint(OpmlError):
    """Data could not be written to standard output."""

    hint = "check where standard output goes: a full disk, or a file that was closed"


class Output:
    """The output of one command."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._goes_on = False
        self._is_broken = False
        self._talk = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        # The reader of a pipe has no limited width.
        width = None if sys.stdout is not None and sys.stdout.isatty() else PIPE_WIDTH
        self._data = Console(
            file=cast(IO[str], _Stdout(self._write)), highlight=False, markup=False, emoji=False, width=width
        )

    def keep_going(self) -> None:
        """From now on a broken stdout is reported once on stderr and does not end the command: its transactions matter
        more."""
        self._goes_on = True

    @property
    def is_broken(self) -> bool:
        """Whether data was lost because stdout could not be written to."""
        return self._is_broken

    def say(self, sentence: str, *, style: str | None = None) -> None:
        """Print a sentence for people; nothing for scripts."""
        if not self.as_json:
            self._print_talk(Text(one_line(sentence), style=style or ""))

    def trouble(self, sentence: str) -> None:
        """Print what keeps a command from going on for a while: for people and for scripts."""
        self.say(sentence, style="yellow")
        self.fact(trouble=sentence)

    def show(self, renderable: RenderableType) -> None:
        """Print data for people: a tree, a table, a text of several lines; nothing for scripts, which get `fact`s."""
        if self.as_json:
            return
        is_text = isinstance(renderable, str | Text)
        self._data.print(_Harmless(renderable), soft_wrap=is_text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
        """
        Print rows with named columns (those in `right` aligned to the right): a table if the screen is wide enough,
        else a block of lines for each row, so that nothing is cut off.
        """
        shown = [[one_line(cell) for cell in row] for row in rows]
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
        for row in shown:
            table.add_row(*row)
        if self._data.measure(table, options=self._data.options.update(width=10_000)).maximum <= self._data.width:
            self.show(table)
            return
        longest = max(len(column) for column in columns)
        for number, row in enumerate(shown):
            fields = [f"{column:<{longest}}  {cell}" for column, cell in zip(columns, row, strict=True) if cell]
            self.show("\n".join(([""] if number else []) + fields))

    @property
    def width(self) -> int:
        """The number of columns for data."""
        return max(self._data.width, NARROWEST)

    def fact(self, **facts: Any) -> None:
        """Print data for scripts: one JSON object, on its own line; nothing for people."""
        if self.as_json:
            self._write(json.dumps({name: plain(value) for name, value in facts.items()}, allow_nan=False) + "\n")

    def raw(self, text: str) -> None:
        """Print the output of a program in the VM, for people: escaped except for line breaks."""
        if not self.as_json:
            self._write(lines(text))

    def error(self, error: OpmlError) -> None:
        """Print an error's sentence and its hint."""
        message = one_line(str(error))
        self._print_talk(Text.assemble(("error:", "bold red"), " ", message))
        if error.hint:
            self._print_talk(Text.assemble(("hint:", "bold"), " ", one_line(error.hint)))
        if self.as_json:
            self.fact(error=type(error).__name__, message=message, hint=error.hint)

    @property
    def is_interactive(self) -> bool:
        """Whether standard input is a terminal, so that a question can be answered."""
        return not self.as_json and _is_terminal(sys.stdin) and _is_terminal(sys.stderr)

    def _print_talk(self, text: Text) -> None:
        try:
            self._talk.print(text)
        except (OSError, ValueError):
            return  # stderr is broken too

    def _write(self, text: str) -> None:
        if self._is_broken:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            self._is_broken = True
            if not self._goes_on:
                raise
        except (OSError, ValueError) as error:
            self._is_broken = True
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            problem = CannotPrint(f"cannot write to standard output: {reason}")
            if not self._goes_on:
                raise problem from None
            self._print_talk(Text(f"{problem}; going on without it.", style="yellow"))


class _Stdout(io.TextIOBase):
    """Standard output for the console: text goes through `Output._write`, which may fail."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write_data = write

    def write(self, text: str) -> int:
        if text:
            self._write_data(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: each write is flushed."""

    def isatty(self) -> bool:
        return _is_terminal(sys.stdout)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(sys.stdout, "encoding", None) or "utf-8"


class _Harmless:
    """A renderable whose text cannot act on the terminal."""

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = Text(lines(renderable)) if isinstance(renderable, str) else renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else Segment(lines(segment.text), segment.style)


def _is_terminal(stream: Any) -> bool:
    return stream is not None and not stream.closed and bool(stream.isatty())


def plain(value: Any) -> Any:
    """A value as JSON knows it: bytes as hex, sequences as lists, NaN and infinities as their names."""
    if isinstance(value, bytes | bytearray):
        return "0x" + bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):  # a NumPy scalar
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def gas(amount: int) -> str:
    """
    >>> gas(214318)
    '214,318 gas'
    """
    return f"{amount:,} gas"


__all__ = ["Output", "duration", "ether", "gas", "plain", "short"]
