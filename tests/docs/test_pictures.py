"""The pictures of pages and terminal: each is shown by a page, and small; nothing in them is loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
LARGEST_BYTES = 60_000


def test_every_picture_is_shown_and_small() -> None:
    shown = {
        (page.parent / name).resolve()
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for name in re.findall(r"\]\(([^)#:]*pictures/[^)]+)\)", page.read_text())
    }
    assert shown == {path.resolve() for path in PICTURES.iterdir()}
    assert {path.name: path.stat().st_size for path in shown if path.stat().st_size > LARGEST_BYTES} == {}


def test_drawings_load_nothing_from_elsewhere() -> None:
    """A page of the documentation that is opened tells no other server of it."""
    for path in PICTURES.glob("*.svg"):
        addresses = set(re.findall(r"https?://[^\"' )<>]+", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name
