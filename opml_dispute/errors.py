"""
What the caller can put right.

`OpmlError` is the root of every error that an operator, a model's author or a chain can cause. The CLI turns it
into one sentence, a hint and a non-zero exit. Any other exception is our bug and keeps its traceback.
Each subclass lives beside the code that raises it: one class a cause, its values as attributes.
"""

from __future__ import annotations

from typing import Any, Self


class OpmlError(Exception):
    """Something the caller can put right: the message says what was found and what was expected."""

    exit_code: int = 1
    """What the process exits with when this error ends a command."""

    is_told_by_node: bool = False
    """Whether it follows from what a node answered, so that it may be gone when the node is asked again."""

    hint: str | None = None
    """What to do about it, one sentence; shown on a line of its own."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """For errors that come from another process: subclasses take other arguments than the message."""
        return _restored, (type(self), self.args, self.__dict__)

    @classmethod
    def _with(cls, args: tuple[Any, ...], values: dict[str, Any]) -> Self:
        made = cls.__new__(cls)
        made.args = args
        made.__dict__.update(values)
        return made


def _restored(kind: type[OpmlError], args: tuple[Any, ...], values: dict[str, Any]) -> OpmlError:
    return kind._with(args, values)
