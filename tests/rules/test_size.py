"""No module and no function of the package is so long that it must hold more than one concept."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import opml_dispute

PACKAGE = Path(opml_dispute.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_build" not in path.parts)

MODULE_LINES = 450
FUNCTION_LINES = 60
"""Of statements: the signature and the docstring are not counted, since long ones are no more complex for it."""

LONGER_FUNCTIONS = {
    (
        "cli/demo/language.py",
        "dispute_an_answer",
    ): "it tells one dispute, stage by stage, from the request to the payout",
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
