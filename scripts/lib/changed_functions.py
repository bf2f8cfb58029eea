"""
A changed Python source, put into a process that has imported the original already.

`replace_functions` gives every function whose code differs its new code, in place, so a module that imported the
function by name runs the new code, too. What an import computes (constants, default arguments, decorators, bodies of
classes) cannot be changed so: then it answers False, and nothing was changed.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType


class NotFunctionsAlone(Exception):
    """More than the code of functions differs, or it cannot be said of which."""


def replace_functions(path: str, original: str, changed: str) -> bool:
    """Replaces what differs between the two texts of the file `path`, which was imported from there."""
    try:
        new = dict(_differing(_compiled(original, path), _compiled(changed, path)))
    except NotFunctionsAlone:
        return False
    found = [
        function
        for function in gc.get_objects()
        if isinstance(function, FunctionType)
        and function.__code__.co_filename == path
        and _name(function.__code__) in new
    ]
    for function in found:
        function.__code__ = new[_name(function.__code__)]
    return bool(found)


def _compiled(text: str, path: str) -> CodeType:
    return compile(text, path, "exec", dont_inherit=True)


def _name(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _differing(old: CodeType, new: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    """Each outermost function and method that differs between two modules or classes, with its new code."""
    before, after = _inner(old), _inner(new)
    if _own(old) != _own(new) or len(before) != len(after):
        raise NotFunctionsAlone
    seen: set[tuple[str, int]] = set()
    for inside, changed in zip(before, after, strict=True):
        if not inside.co_flags & inspect.CO_OPTIMIZED:  # the body of a class
            yield from _differing(inside, changed)
        elif _whole(inside) != _whole(changed):
            yield _name(inside), changed
        if _name(inside) in seen:  # two lambdas of one line
            raise NotFunctionsAlone
        seen.add(_name(inside))


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _own(code: CodeType) -> tuple[object, ...]:
    """What a code object does, without the functions inside it."""
    constants = [f"{type(value)} {value!r}" for value in code.co_consts if not isinstance(value, CodeType)]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_exceptiontable, code.co_freevars


def _whole(code: CodeType) -> tuple[object, ...]:
    return *_own(code), *(_whole(inner) for inner in _inner(code))
