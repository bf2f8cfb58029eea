"""
What the tests test is what the sources say: the engine, the guest and the contracts are built before a session begins.

A build compares its stamp with its sources, so it is free when nothing changed.
"""

from __future__ import annotations

import os
import sys

import pytest

from opml_dispute.errors import OpmlError
from opml_dispute.toolchain.native import build_engine, build_guest
from opml_dispute.toolchain.solidity import build_artifacts


def build_what_changed() -> None:
    """Once for each session, before its workers start. Ends the session with the command to run if a build fails."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    try:
        build_engine()
        build_guest()
        build_artifacts()
    except OpmlError as error:
        command = (
            f"{sys.executable} -m opml_dispute.toolchain.native && {sys.executable} -m opml_dispute.toolchain.solidity"
        )
        pytest.exit(f"the tests would test an old build: {error}\nhint: {error.hint or 'run'}: {command}", returncode=4)


def list_skipped(reporter: pytest.TerminalReporter) -> None:
    """At the end of a run: what was skipped, counted by reason."""
    counts: dict[str, int] = {}
    for report in reporter.stats.get("skipped", []):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        counts[reason.removeprefix("Skipped: ")] = counts.get(reason.removeprefix("Skipped: "), 0) + 1
    if counts:
        reporter.section("skipped")
    for reason, count in sorted(counts.items()):
        reporter.line(f"{count:>4}  {reason}")
