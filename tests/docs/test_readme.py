"""What the README shows works: its Python runs, its panel is the demo's, every page of the documentation is linked."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from opml_dispute.cli.demo.stage import Stage
from opml_dispute.cli.demo.stories import DemoPlayer
from opml_dispute.cli.demo.view import PlainView
from tests.docs.prose import files
from tests.docs.reference import DEMO_BLOCK, README, ROOT, demo_block

SAMPLE = 7
TEXT = README.read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_its_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The sample prints the same digit twice, what the model reads and what people do, and a state root."""
    (sample,) = blocks("python")
    exec(compile(sample, "README.md", "exec"), {})
    digits, root = capsys.readouterr().out.splitlines()
    read, label = digits.split()
    assert read == label
    assert re.fullmatch(r"[0-9a-f]{64}", root)


@pytest.mark.slow
def test_its_panel_is_the_demos(capsys: pytest.CaptureFixture[str]) -> None:
    """Renewed by `scripts/renew readme`."""
    with Stage.open() as stage, PlainView(Console(quiet=True)) as view:
        result = DemoPlayer(stage, view).lying_proposer(SAMPLE)
    shown = DEMO_BLOCK.search(TEXT)
    assert shown is not None
    assert shown[2] == demo_block(result)


def test_its_parts_of_the_tests_are_those_of_the_script() -> None:
    """The lines that `scripts/test` ends with name its parts, in their order."""
    script = (ROOT / "scripts" / "test").read_text()
    parts = re.findall(r'^    "(\w+)": \[', script, re.MULTILINE)
    assert re.findall(r"^== (\w+): ok", TEXT, re.MULTILINE) == parts


@pytest.mark.parametrize("entrance", ["README.md", "docs/index.md"])
def test_every_page_is_linked_from(entrance: str) -> None:
    """A page that no entrance links to is not found."""
    page = ROOT / entrance
    links = {(page.parent / link).resolve() for link in re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text())}
    pages = {found for found in files() if found.suffix == ".md" and found.parent in (ROOT, ROOT / "docs")}
    pages -= {page, README}
    assert sorted(str(found.relative_to(ROOT)) for found in pages - links - {ROOT / "docs" / "index.md"}) == []


def test_contributing_lists_every_script() -> None:
    """By its purpose, in the table of CONTRIBUTING.md, "Build and test"."""
    (table,) = re.findall(r"^\| purpose \| scripts \|\n(.*?)\n\n", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
    listed = re.findall(r"`([\w-]+)`", table)
    scripts = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix}
    assert sorted(listed) == sorted(scripts)
