"""No file, no function and no macro is so long that it must hold more than one concept, in any language."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import opml_dispute
from opml_dispute.toolchain.native import NATIVE
from opml_dispute.toolchain.solidity import CONTRACTS_DIR
from tests.docs.prose import ROOT, files, text_of

PACKAGE = Path(opml_dispute.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_build" not in path.parts)
C_FILES = sorted(path for path in NATIVE.rglob("*") if path.suffix in {".c", ".h", ".inc"})
SOLIDITY_FILES = sorted(path for folder in ("src", "test") for path in (CONTRACTS_DIR / folder).rglob("*.sol"))

MODULE_LINES = 450
FUNCTION_LINES = 60
"""Of statements: the signature and the docstring are not counted, since long ones are no more complex for it."""

LONGER_FUNCTIONS = {
    ("cli/vm/selection.py", "run_options"): "it declares the fifteen options of a run in the order of the help text",
    ("simulation/studies/loading.py", "report"): "it is the text of a report, from its heading to its last table",
    ("simulation/studies/sybils.py", "report"): "it is the text of a report, from its heading to its last table",
}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file with the lines of their statements."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
            yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def place(path: Path) -> str:
    """A file of the package as the exceptions name it."""
    return path.relative_to(PACKAGE).as_posix()


def test_modules_of_tests_and_scripts_are_short() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in files()
        if path.relative_to(ROOT).parts[0] in ("tests", "scripts") and (path.suffix == ".py" or not path.suffix)
        if (lines := len(text_of(path).splitlines())) > MODULE_LINES
    }
    assert not long, f"{long}; expected at most {MODULE_LINES} lines: split them by concept"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_module_and_its_functions_are_short(path: Path) -> None:
    """A longer module is split by concept, a longer function by step."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, f"{place(path)} has {lines} lines; split it by concept"
    long = {name: length for name, length in functions(path) if length > FUNCTION_LINES}
    known = {name for file, name in LONGER_FUNCTIONS if file == place(path)}
    assert long.keys() == known, f"{place(path)}: {long}; expected at most {FUNCTION_LINES} lines, but for {known}"


def test_every_exception_is_still_there() -> None:
    """An exception for a function that is gone would hide the next one of its name."""
    assert {file for file, _ in LONGER_FUNCTIONS} <= {place(path) for path in FILES}


MACRO_LINES = 49
"""A longer macro becomes an included template or an inline function: no debugger shows what is inside."""

LONGER_FILES = {
    "test/vm/preimages/LargePreimages.t.sol": "it tells what one contract does, in the order of a proposal's life",
    "kernels/elementary.h": "the elementary functions share their reductions and tables, and the guest has them inline",
    "memory/memory.c": "one tree: whatever changes it keeps the same invariant about shared nodes and their hashes",
    "program/record.c": "one validator, its rules in the order of docs/segment.md; it fixes the guest's bytes",
}
"""Of C and Solidity, with what makes them one concept."""


def short(path: Path) -> str:
    """A file of C or Solidity as the exceptions name it."""
    return path.relative_to(CONTRACTS_DIR if path.suffix == ".sol" else NATIVE).as_posix()


MACRO = re.compile(r"^#define (\w+)(?:.*\\\n)*.*", re.M)


@pytest.mark.parametrize("path", C_FILES + SOLIDITY_FILES, ids=short)
def test_a_file_of_c_or_solidity_is_short(path: Path) -> None:
    """A longer one is split by concept."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    # Exactly those that are longer: an exception that is no longer needed would hide the next one.
    assert (lines > MODULE_LINES) == (short(path) in LONGER_FILES), f"{short(path)} has {lines} lines"


@pytest.mark.parametrize("path", C_FILES, ids=short)
def test_a_macro_is_short(path: Path) -> None:
    long = {
        found[1]: found[0].count("\n") + 1
        for found in MACRO.finditer(path.read_text(encoding="utf-8"))
        if found[0].count("\n") >= MACRO_LINES
    }
    assert not long, f"{short(path)}: {long}; expected at most {MACRO_LINES} lines"


def test_a_long_macro_would_be_found() -> None:
    text = "#define ONE(x) \\\n" + "    x + \\\n" * 60 + "    x\n#define TWO 2\n"
    assert [(found[1], found[0].count("\n") + 1) for found in MACRO.finditer(text)] == [("ONE", 62), ("TWO", 1)]


def test_every_longer_file_is_still_there() -> None:
    assert LONGER_FILES.keys() <= {short(path) for path in C_FILES + SOLIDITY_FILES}
