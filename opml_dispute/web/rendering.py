"""
From what `pages` gathers to HTML: the templates, and the words that they share.

Every text is escaped by the template engine, and texts from a chain are made harmless to read as well (`printable`): no
control or direction characters, a bounded length. Addresses that a chain names (URIs) are shown and never linked. A
name that a template asks for and does not get is an error, not an empty space.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_utils.address import is_address, to_checksum_address
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from opml_dispute.chain.amounts import about_ether, duration, ether
from opml_dispute.printable import one_line, short

FOLDER: Final = Path(__file__).parent
LONGEST_TEXT: Final = 600
"""Characters of a text from a chain that a page shows."""


def render(template: str, **facts: Any) -> str:
    """A whole page."""
    return _environment().get_template(template).render(**facts)


def static_text(name: str) -> str:
    """A style sheet or a script of the package."""
    return (FOLDER / "static" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "ether": ether,
        "about_ether": about_ether,
        "bare_ether": lambda wei: about_ether(wei).removesuffix(" ETH"),
        "duration": lambda seconds: duration(int(seconds)),
        "short": short,
        "hex": lambda value: "0x" + bytes(value).hex(),
        "plain": lambda text: one_line(str(text), limit=LONGEST_TEXT),
        "moment": _moment,
        "count": lambda number: f"{number:,}",
        "hash": _hash,
        "percent": lambda part: f"{100 * part:.1f}",
    }
    return environment


def _moment(seconds: int) -> Markup:
    """A time of the chain, for people and for machines."""
    try:
        made = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return Markup("{} s").format(seconds)
    return Markup('<time datetime="{}">{} UTC</time>').format(made.isoformat(), made.strftime("%Y-%m-%d %H:%M"))


def _hash(value: bytes | str) -> Markup:
    """A hash or an address, short, with the whole of it at hand."""
    text = "0x" + value.hex() if isinstance(value, bytes) else str(value)
    text = to_checksum_address(text) if is_address(text) else text
    return Markup('<code class="hash" title="{}">{}</code>').format(text, short(text))
