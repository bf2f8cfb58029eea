"""A command imports what it needs and no more, so that it answers soon."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def modules_after(statement: str) -> set[str]:
    """The names of the top-level packages that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


MOST_TIMES = 20
"""Nine times is what it takes; twenty are a quarter of a second where the machine is idle."""

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


def test_help_takes_few_times_as_long_as_an_interpreter_that_does_nothing() -> None:
    """
    Both in turn, in processor time, the best of five: 0.1 s beside 0.02 s where the machine is idle.

    A limit in seconds would not hold: with other work beside it, a processor does less in a second.
    """

    def seconds(*arguments: str) -> float:
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    both = [(seconds("-m", "opml_dispute", "--help"), seconds("-c", "pass")) for _ in range(5)]
    assert min(help_s for help_s, _ in both) < MOST_TIMES * min(nothing_s for _, nothing_s in both)
