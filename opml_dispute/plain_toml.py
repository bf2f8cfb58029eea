"""
TOML from files that users write, read so that every fault of a text is one kind of error.

Python's reader raises an error of its own for what is not TOML, and others for numbers of thousands of digits and for
lists within lists without end. `loads` raises `ValueError` for all of them.
"""

from __future__ import annotations

import tomllib
from typing import Any


def loads(text: str) -> dict[str, Any]:
    """
    The tables of a TOML text. Raises `ValueError`, with what is wrong.

    >>> loads("[a]\\nb = 1")
    {'a': {'b': 1}}
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    except RecursionError:
        raise ValueError("it is not TOML that can be read: lists or tables nested too deeply") from None
    except ValueError:  # Python's limit for the digits of a number
        raise ValueError("it is not TOML that can be read: a number with too many digits") from None


def in_few_characters(value: Any, most: int = 40) -> str:
    """A value for a sentence about it, in at most so many characters; never an error."""
    # Python refuses to write numbers of thousands of digits (a hexadecimal one may have them) and endless nesting.
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"{type(value).__name__}, too large to be shown"
    return text if len(text) <= most else text[: most - 1] + "…"
