"""Saving a machine's state to a file, for later `vm` commands."""

from __future__ import annotations

import gzip
from pathlib import Path

from opml_dispute.cli.vm.source import BadSource
from opml_dispute.engine.vm import Machine
from opml_dispute.fpvm.statefile import save_state
from opml_dispute.writing import Unwritable, write_result


def save_machine(machine: Machine, path: Path) -> None:
    """Write the state completely or not at all; packed if the name ends in .gz. Raises `BadSource`."""
    data = save_state(machine)
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    try:
        write_result(path, data)
    except Unwritable as error:
        raise BadSource(str(error), hint="give a path that can be written") from None
