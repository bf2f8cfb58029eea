"""
A page in one file, a game's first of all: its style inside, no script and no link, to keep or to send.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from opml_dispute.primitives import Address
from opml_dispute.web.pages import Explorer
from opml_dispute.web.rendering import render, static_text
from opml_dispute.writing import write_result


def game_document(explorer: Explorer, address: Address) -> str:
    """The game's page as one file's content, with everything that can be computed about it."""
    return render_standalone("game.html", **explorer.game(address, wait=True))


def render_standalone(template: str, **facts: Any) -> str:
    """A page with its style inside, and with a policy that lets a browser load nothing else."""
    style = static_text("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return render(template, **{"path": "", "head": None, "standalone": True, "style": style, "policy": policy, **facts})


def save_game(explorer: Explorer, address: Address, path: Path) -> int:
    """Write that file; its size in bytes. Raises `Unwritable`."""
    content = game_document(explorer, address).encode()
    write_result(path, content)
    return len(content)
