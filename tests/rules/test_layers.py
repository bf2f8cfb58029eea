"""
Imports point one way: cli -> devnet -> operator -> chain -> actors -> trace -> game, fpvm, model -> engine.

So that each layer can be read, tested and trusted without those above it.
"""

import ast
from pathlib import Path

import pytest

import opml_dispute

PACKAGE = Path(opml_dispute.__file__).parent

LAYERS = (
    {"errors", "primitives", "plain_json", "plain_toml", "printable", "http_server", "working"},
    {"home", "reading"},
    {"toolchain", "writing"},
    {"engine"},
    {"game", "fpvm", "model", "models"},
    {"generation"},
    {"trace", "cannon"},
    {"actors"},
    {"chain", "simulation"},
    {"availability"},
    {"compute"},
    {"operator", "testing"},
    {"devnet", "agent"},
    {"web"},
    {"cli"},
    {"__main__"},
)
"""From the bottom up; what shares a layer does not import each other."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> set[str]:
    """The package's own modules that a file imports when it runs: not those for type checkers alone."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            # `from package import module` imports the module; `from module import name` the module before it.
            found.update(f"{origin}.{alias.name}" if origin == "opml_dispute" else origin for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return {name for name in found if name.startswith("opml_dispute.")}


FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_build" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    """No module imports from its own layer's neighbours, or from above."""
    parts = module_name(path).split(".")
    if len(parts) == 1:
        assert not imported_modules(path), "the package itself stays light to import"
        return
    part = parts[1]
    for imported in imported_modules(path):
        target = imported.split(".")[1]
        if target in LEVEL and target != part:
            assert LEVEL[target] < LEVEL[part], f"{module_name(path)} imports {imported}, which is not below it"


def test_every_part_has_a_layer() -> None:
    """A new part of the package takes its place here first."""
    parts = {module_name(path).split(".")[1] for path in FILES if module_name(path).count(".")}
    assert parts <= set(LEVEL)


def test_a_wrong_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: relative and absolute imports are both followed."""
    package = tmp_path / "opml_dispute"
    (package / "game").mkdir(parents=True)
    source = "from ..trace import vm\nfrom opml_dispute.chain import games\nimport opml_dispute.cli.main\n"
    (package / "game" / "x.py").write_text(source + "from opml_dispute import errors\n")
    monkeypatch.setattr("tests.rules.test_layers.PACKAGE", package)
    assert imported_modules(package / "game" / "x.py") == {
        "opml_dispute.trace",
        "opml_dispute.chain",
        "opml_dispute.cli.main",
        "opml_dispute.errors",
    }
