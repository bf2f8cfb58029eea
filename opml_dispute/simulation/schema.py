"""
Tables of a TOML file as frozen dataclasses, checked strictly.

`read_table` fills a dataclass from a table: every key must be a field, every value must have the field's type and lie
in its range. `setting` declares a field with its range, unit and meaning; `describe` lists them for the manual. An
error says where in the file it is, what was found, and what was expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from opml_dispute.errors import OpmlError
from opml_dispute.plain_toml import in_few_characters

T = TypeVar("T")


class ScenarioError(OpmlError):
    """A scenario file says something that cannot be simulated; `where` is the key, as `section.key`."""

    hint = "see docs/simulation.md for what a scenario may say"

    def __init__(self, where: str, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"{where}: {problem}", hint=hint)
        self.where = where


def setting(
    default: Any = dataclasses.MISSING,
    *,
    what: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of a scenario: its default, its meaning, and the values that it takes (`above` excludes its bound)."""
    metadata = {"what": what, "low": low, "high": high, "above": above, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def read_table(kind: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """
    An instance of the dataclass `kind` from a table of a TOML file.

    Raises `ScenarioError` for an unknown or missing key, a wrong type, or a value out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in fields:
            raise ScenarioError(_join(where, key), "unknown key", hint=_nearest(key, fields))
    values = {}
    for name, field in fields.items():
        place = _join(where, name)
        if name in table:
            values[name] = _value(hints[name], table[name], place, field.metadata)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ScenarioError(place, "missing", hint=field.metadata.get("what"))
    return kind(**values)


def _value(kind: Any, found: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        (kind,) = [option for option in typing.get_args(kind) if option is not type(None)]
        return _value(kind, found, where, metadata)
    if origin is tuple:
        element = typing.get_args(kind)[0]
        if not isinstance(found, list):
            raise ScenarioError(where, f"{in_few_characters(found)} found, expected a list")
        return tuple(_value(element, item, f"{where}[{place}]", metadata) for place, item in enumerate(found))
    if dataclasses.is_dataclass(kind):
        if not isinstance(found, dict):
            raise ScenarioError(where, f"{in_few_characters(found)} found, expected a table")
        return read_table(typing.cast(type[Any], kind), found, where)
    return _scalar(kind, found, where, metadata)


def _scalar(kind: Any, found: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        try:
            found = float(found)
        except OverflowError:
            raise ScenarioError(where, "a number of hundreds of digits found, expected a smaller one") from None
    if kind in (int, float, str, bool) and (not isinstance(found, kind) or (kind is int and isinstance(found, bool))):
        names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
        raise ScenarioError(where, f"{in_few_characters(found)} found, expected {names[kind]}")
    if kind is int and found.bit_length() > 64:
        raise ScenarioError(where, f"{in_few_characters(found)} found, expected a number of 64 bits at most")
    if kind is float and found != found:
        raise ScenarioError(where, "nan found, expected a number")
    choices = metadata.get("choices") or ()
    if choices and found not in choices:
        raise ScenarioError(
            where,
            f"{in_few_characters(found)} found, expected one of {', '.join(choices)}",
            hint=_nearest(found, choices),
        )
    if kind in (int, float):
        _check_range(found, where, metadata)
    return found


def _check_range(found: float, where: str, metadata: Mapping[str, Any]) -> None:
    low, high, above = metadata.get("low"), metadata.get("high"), metadata.get("above")
    if above is not None and not found > above:
        raise ScenarioError(where, f"{in_few_characters(found)} found, expected more than {above}")
    if low is not None and not found >= low:
        raise ScenarioError(where, f"{in_few_characters(found)} found, expected {low} or more")
    if high is not None and not found <= high:
        raise ScenarioError(where, f"{in_few_characters(found)} found, expected {high} or less")


def describe(kind: type[Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of every setting below `kind`, for the manual."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key, what = _join(prefix, field.name), field.metadata.get("what", "")
        inner = hints[field.name]
        element = typing.get_args(inner)[0] if typing.get_origin(inner) is tuple else None
        if dataclasses.is_dataclass(inner):
            yield key, "", what
            yield from describe(typing.cast(type[Any], inner), key)
        elif element is not None and dataclasses.is_dataclass(element):
            yield f"[[{key}]]", "", what
            yield from describe(typing.cast(type[Any], element), f"{key}[]")
        else:
            choices = field.metadata.get("choices") or ()
            default = "required" if field.default is dataclasses.MISSING else _toml(field.default)
            yield key, default, what + (f" One of {', '.join(choices)}." if choices else "")


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:_}" if isinstance(value, int) else f"{value}"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _nearest(word: object, words: Any) -> str | None:
    close = difflib.get_close_matches(str(word), [str(known) for known in words], n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(str(known) for known in words)}"
