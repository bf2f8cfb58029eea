"""Where this package keeps what it must find again on this computer, and how it writes such a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def home() -> Path:
    """Where this package keeps what it must find again: OPML_HOME, else the user's data folder."""
    if override := os.environ.get("OPML_HOME"):
        return Path(override)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "opml-dispute"


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all: a kill in between leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)
