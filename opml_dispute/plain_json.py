"""
JSON from untrusted files, nodes and registrations.

`loads` reads it and refuses what could hurt this process or mean two things: deep nesting (some libraries raise
Python's recursion limit so far that a text of nothing but opening brackets overflows the C stack), numbers of thousands
of digits, a name that occurs twice in one object, and NaN or Infinity, which are no JSON, also in the form of a number
that is too large (1e999).
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, Final, NoReturn

DEEPEST: Final = 64
"""The deepest nesting of arrays and objects; no format of this project nests deeper."""

MAX_DIGITS: Final = 100
"""The most digits of an integer; 2^256 has 78."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_DEEPER: Final = tuple({0x5B: 1, 0x7B: 1, 0x5D: -1, 0x7D: -1}.get(byte, 0) for byte in range(256))
"""By how much each byte changes the depth."""


def loads(raw: bytes | str) -> Any:
    """
    The value of a JSON text in UTF-8. Raises `ValueError`, with what is wrong and where.

    >>> loads('{"a": [1]}')
    {'a': [1]}
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    # Most texts hold too few brackets to nest deeply at all, so they need no second look.
    if data.count(b"[") + data.count(b"{") > DEEPEST:
        _check_depth(data)
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} in line {error.lineno}, column {error.colno}") from None


def _check_depth(data: bytes) -> None:
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_DEEPER.__getitem__, brackets)), default=0) > DEEPEST:
        raise ValueError(f"more than {DEEPEST} arrays or objects lie inside each other")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits, expected {MAX_DIGITS} at most")
    return int(digits)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is larger than any number of 64 bits")
    return value


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")
