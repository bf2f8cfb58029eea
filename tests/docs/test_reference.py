"""The generated pages are what the program generates, and the examples of the Python guide run."""

from __future__ import annotations

import doctest
import subprocess
import sys
import tomllib

import opml_dispute
from tests.docs.reference import API_MARK, API_PAGE, CLI_PAGE, ROOT, api_reference, cli_page

RENEW = "out of date: run scripts/renew docs"


def test_the_command_reference_is_what_help_prints() -> None:
    """Both ways: no command or option is missing from the page, and the page has no other."""
    assert CLI_PAGE.read_text() == cli_page(), RENEW


def test_the_python_reference_is_what_the_docstrings_say() -> None:
    assert API_PAGE.read_text().partition(API_MARK)[2] == api_reference(), RENEW


def test_the_examples_of_the_python_guide_run() -> None:
    results = doctest.testfile(str(API_PAGE), module_relative=False, optionflags=doctest.FAIL_FAST)
    assert results.attempted > 15
    assert results.failed == 0


def test_every_public_name_has_a_docstring_and_is_there() -> None:
    for name in opml_dispute.PUBLIC:
        value = getattr(opml_dispute, name)
        assert name == "DIGITS" or value.__doc__, name
    assert set(opml_dispute.PUBLIC) < set(dir(opml_dispute))


def test_the_package_is_light_to_import() -> None:
    """`import opml_dispute` loads nothing but the standard library."""
    code = "import sys, opml_dispute; print(sum(name.startswith(('numpy', 'click', 'web3')) for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == opml_dispute.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {opml_dispute.__version__}" in changelog or "## Unreleased" in changelog
