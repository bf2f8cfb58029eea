"""
Text from outside, made safe to print.

Names of models and tensors, URIs, answers of nodes and words of a command line are chosen by others. Printed as they
are, they could move the cursor, recolour or retitle a terminal, reverse the direction of a line, or add lines that look
like ours. `one_line` makes a piece of text that stays on its line; `lines` keeps line breaks and changes the rest in
the same way. Both show what they replace as an escape sequence, so that no information is lost.

`use_substitutes` lets a stream that cannot encode a character print a substitute instead of failing.
"""

from __future__ import annotations

import codecs
import unicodedata
from typing import Final, TextIO

MAX_CHARACTERS: Final = 4_000
"""Longer pieces of text are cut by `one_line`: a name of a megabyte would bury the sentence that it stands in."""

_SUBSTITUTES: Final = {
    "…": "...",
    "–": "-",
    "—": "-",
    "✓": "+",
    "✗": "x",
    "█": "#",
    "·": ".",
    "×": "x",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""ASCII substitutes for the characters that this package prints itself."""

_HANDLER: Final = "opml-substitutes"


def one_line(text: str, *, limit: int = MAX_CHARACTERS) -> str:
    r"""
    The text on one line: control and format characters escaped, line breaks and runs of blanks as one blank.

    >>> one_line("image\x1b[2J")
    'image\\x1b[2J'
    >>> one_line("two\n  lines")
    'two lines'
    >>> one_line("abcdef", limit=3)
    'abc… (6 characters)'
    """
    shown = _escaped(" ".join(text[: limit + 1].split()) if not text.isprintable() else text[: limit + 1])
    return shown if len(text) <= limit else f"{shown[:limit]}… ({len(text):,} characters)"


def short(value: bytes | str) -> str:
    """
    The first and last digits of a hash or an address, enough to recognise it.

    >>> short("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
    '0x5aAe…Aed'
    """
    text = "0x" + value.hex() if isinstance(value, bytes) else value
    return text if len(text) <= 12 else f"{text[:6]}…{text[-3:]}"


def lines(text: str) -> str:
    r"""
    The text with its line breaks and tabs, everything else escaped as by `one_line`.

    >>> lines("a\nb\r\u202ec")
    'a\nb\\r\\u202ec'
    """
    return "\n".join(_escaped(line) for line in text.split("\n"))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if _is_harmless(character) else _escape(character) for character in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character == "\t" or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def use_substitutes(stream: TextIO | None) -> None:
    """Let `stream` print a substitute for each character that its encoding lacks."""
    codecs.register_error(_HANDLER, _substitute)
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors=_HANDLER)


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    return "".join(_SUBSTITUTES.get(character) or _escape(character) for character in failed), error.end
