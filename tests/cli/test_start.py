"""A command imports what it needs and no more, so that it answers soon."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(statement: str) -> set[str]:
    """The names of the top-level packages that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


MOST_MODULES = 230
"""Of `--help`, with Python's own. Arrays alone would bring 140 more."""

CHAIN = {"web3", "eth_account", "eth_abi", "eth_utils", "py_ecc", "aiohttp"}


@pytest.mark.parametrize("module", ["run", "vm.command", "vm.run", "vm.state", "vm.trace", "vm.diff", "vm.prove"])
def test_what_needs_no_chain_imports_nothing_that_talks_to_one(module: str) -> None:
    assert not modules_after(f"import opml_dispute.cli.{module}") & CHAIN


@pytest.mark.parametrize("module", ["show", "dispute", "request", "session"])
def test_what_asks_a_chain_imports_neither_arrays_nor_models_nor_signing_before_it_does(module: str) -> None:
    """The first request goes out after half a second of work: arrays, the compiler and signing come when needed."""
    heavy = {"numpy", "onnx", "pydantic"} | CHAIN
    assert not modules_after(f"import opml_dispute.cli.{module}") & heavy


def test_help_imports_neither_arrays_nor_models_nor_chains() -> None:
    loaded = modules_after(
        "import io, contextlib\nfrom opml_dispute.cli import execute\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    assert execute(['--help']) == 0"
    )
    assert not loaded & (CHAIN | {"numpy", "onnx"})


def test_help_loads_few_modules() -> None:
    """
    What is loaded is what `--help` takes its time for: 0.15 s for 186 modules, of which an interpreter has 33 at once.

    WHY NOT the time itself: with other work beside it, a processor does less in a second.
    """
    code = (
        "import io, contextlib, sys\nfrom opml_dispute.cli import execute\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    execute(['--help'])\nprint(len(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) < MOST_MODULES
