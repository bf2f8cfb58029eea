"""
The programs `opml-dispute`, also as `python -m opml_dispute`, and `opml-cannon`.

They load the command line when they run, so that Ctrl-C ends them with one word at any moment: also while they load,
which takes most of the time of a short command, and while they end.
"""

from __future__ import annotations

import importlib
import signal
import sys
from contextlib import suppress

_EXIT_INTERRUPTED = 130


def main() -> None:
    """The program `opml-dispute`."""
    _run("opml_dispute.cli")


def cannon() -> None:
    """The program `opml-cannon`."""
    _run("opml_dispute.cli.cannon")


def _run(module: str) -> None:
    try:
        importlib.import_module(module).main()
    except KeyboardInterrupt:
        with suppress(OSError, AttributeError):  # stderr may be closed
            sys.stderr.write("Stopped.\n")
        sys.exit(_EXIT_INTERRUPTED)
    finally:
        # Python tells of a Ctrl-C while it ends by a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
