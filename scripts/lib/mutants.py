"""
Small wrong versions of a source file, for asking whether the tests notice.

`mutants_of` lists them: one operator, constant or statement changed in each, in Solidity by pattern, in Python by
syntax tree. What stands in comments, strings, imports, decorators and signatures is left alone. `KnownSurvivor` is a
mutant that no test can notice, with the reason.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

_SWAPS = {
    "==": ("!=",),
    "!=": ("==",),
    "<=": ("<",),
    ">=": (">",),
    "<": ("<=",),
    ">": (">=",),
    "&&": ("||",),
    "||": ("&&",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "%": ("*",),
    "<<": (">>",),
    ">>": ("<<",),
    "&": ("|",),
    "|": ("&",),
    "++": ("--",),
    "+=": ("-=",),
    "-=": ("+=",),
    "true": ("false",),
    "false": ("true",),
}
_SOLIDITY_TOKEN = re.compile(
    r"(?<![\w.])(?:true|false)\b|<<=|>>=|=>|<<|>>|<=|>=|==|!=|&&|\|\||\+\+|--|\+=|-=|\|=|[-+*/%<>&|]"
    r"|(?<![\w.])\d[\d_]*(?![\w.])"
)
_SOLIDITY_SKIPPED = re.compile(r"^\s*(//|/\*|\*|(import|pragma|using|event|error|function|contract|interface)\b)")
_STATEMENT = re.compile(r"^\s+(?!return\b|revert\b|emit\b|let\b)[\w\[\].()+-]+ ?(=|\+=|-=|\|=|\+\+|\()[^{]*;$")
_REFUSAL = re.compile(r"^(\s+)if \((.+)\) (revert|return)\b.*;$")
_STRING = re.compile(r'"[^"\n]*"|hex"[^"\n]*"')


@dataclass(frozen=True)
class Mutant:
    """One file with one thing changed."""

    path: Path
    line: int
    """Counted from 1."""
    before: str
    """The line as it is, stripped."""
    after: str
    """The line as the mutant has it, stripped; empty if it is gone."""
    text: str
    """The whole file as the mutant has it."""
    number: int = 0
    """Which it is of the file's mutants with the same `before` and `after`, counted from 0."""

    @property
    def digest(self) -> str:
        """A short name, wherever the line stands."""
        parts = [str(self.path), self.before, self.after, str(self.number)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is known by, wherever the line stands: file name, line, changed line."""
        return (self.path.name, self.before, self.after)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}\n    - {self.before}\n    + {self.after or '(nothing)'}"


@dataclass(frozen=True)
class KnownSurvivor:
    """A mutant that behaves as the original, so no test can tell them apart."""

    file: str
    before: str
    after: str
    reason: str

    @property
    def key(self) -> tuple[str, str, str]:
        """As `Mutant.key`."""
        return (self.file, self.before, self.after)


def mutants_of(path: Path, text: str) -> list[Mutant]:
    """Every mutant of one Solidity or Python file, in the order of its lines."""
    made = _python(path, text) if path.suffix == ".py" else _solidity(path, text)
    unique = {mutant.text: mutant for mutant in made if mutant.text != text}
    alike: Counter[tuple[str, str, str]] = Counter()
    numbered = []
    for mutant in unique.values():
        numbered.append(replace(mutant, number=alike[mutant.key]))
        alike[mutant.key] += 1
    return numbered


def _mutant(path: Path, lines: list[str], index: int, after: str) -> Mutant:
    changed = [*lines[:index], *([after] if after else []), *lines[index + 1 :]]
    return Mutant(path, index + 1, lines[index].strip(), after.strip(), "".join(changed))


def _solidity(path: Path, text: str) -> Iterator[Mutant]:
    lines = text.splitlines(keepends=True)
    in_comment = in_signature = False
    for index, line in enumerate(lines):
        in_comment = in_comment or line.lstrip().startswith("/*")
        if in_comment or _SOLIDITY_SKIPPED.match(line):
            in_comment = in_comment and "*/" not in line
            in_signature = line.lstrip().startswith("function") and "{" not in line and ";" not in line
            continue
        if in_signature:
            in_signature = "{" not in line and ";" not in line
            continue
        code = _STRING.sub(lambda found: " " * len(found[0]), line.partition("//")[0])
        for found in _SOLIDITY_TOKEN.finditer(code):
            for other in _others(found[0]):
                yield _mutant(path, lines, index, line[: found.start()] + other + line[found.end() :])
        if refusal := _REFUSAL.match(code.rstrip("\n")):
            yield _mutant(path, lines, index, line.replace(refusal[2], "false", 1))
            yield _mutant(path, lines, index, line.replace(refusal[2], f"!({refusal[2]})", 1))
        elif _STATEMENT.match(code.rstrip("\n")):
            yield _mutant(path, lines, index, re.sub(r"\S.*;", "{}", line))


def _others(token: str) -> tuple[str, ...]:
    if token[0].isdigit():
        number = int(token.replace("_", ""))
        return (str(number + 1), "0") if number else ("1",)
    return _SWAPS.get(token, ())


_AST_SWAPS: dict[type[ast.AST], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.And: "or",
    ast.Or: "and",
}


Rewrite: TypeAlias = Callable[[bytes], bytes]
"""New text from old."""


def _python(path: Path, text: str) -> Iterator[Mutant]:
    lines = text.splitlines(keepends=True)
    tree = ast.parse(text)
    # What decorators say (`slots=True`, the size of a cache) changes how a class is stored, not what it answers; and no
    # annotation is ever computed.
    kept = [each for node in ast.walk(tree) for each in (*getattr(node, "decorator_list", ()), *_annotations(node))]
    left_alone = {id(part) for each in kept for part in ast.walk(each)}
    for node in ast.walk(tree):
        if id(node) in left_alone:
            continue
        for start, end, other in _python_changes(node):
            if start[0] != end[0]:
                continue
            line = lines[start[0] - 1]
            raw = line.encode()
            changed = raw[: start[1]] + other(raw[start[1] : end[1]]) + raw[end[1] :]
            yield _mutant(path, lines, start[0] - 1, changed.decode())


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    for name in ("annotation", "returns"):
        if (found := getattr(node, name, None)) is not None:
            yield found


def _python_changes(node: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int], Rewrite]]:
    """(start, end, new text from old) of each change at one node of the tree."""

    def span(left: ast.expr, right: ast.expr) -> tuple[tuple[int, int], tuple[int, int]]:
        return (left.end_lineno or 0, left.end_col_offset or 0), (right.lineno, right.col_offset)

    def swapped(operator: ast.AST) -> Rewrite:
        return lambda old: re.sub(rb"[^()\s]+( not| in)?", _AST_SWAPS[type(operator)].encode(), old, count=1)

    if isinstance(node, ast.Compare):
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            if type(operator) in _AST_SWAPS:
                yield *span(left, right), swapped(operator)
    elif isinstance(node, ast.BinOp) and type(node.op) in _AST_SWAPS:
        yield *span(node.left, node.right), swapped(node.op)
    elif isinstance(node, ast.BoolOp):
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield *span(left, right), swapped(node.op)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield (node.lineno, node.col_offset), (node.operand.lineno, node.operand.col_offset), lambda old: b""
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        other = str(not node.value) if isinstance(node.value, bool) else str(node.value + 1)
        yield (
            (node.lineno, node.col_offset),
            (node.end_lineno or 0, node.end_col_offset or 0),
            lambda old: other.encode(),
        )
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        test = node.test
        yield (
            (test.lineno, test.col_offset),
            (test.end_lineno or 0, test.end_col_offset or 0),
            lambda old: b"(not (" + old + b"))",
        )
    elif isinstance(node, ast.Continue | ast.Break):
        yield (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0), lambda old: b"pass"
