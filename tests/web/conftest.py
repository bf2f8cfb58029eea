"""A server with pages of the test chain, in a thread of this process, and a real browser where there is one."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.web.pages import Explorer
from opml_dispute.web.server import listening_socket, make_app, web_server
from tests.conftest import Chain

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass(frozen=True)
class Site:
    """A running server."""

    url: str
    explorer: Explorer
    chain: Chain


@pytest.fixture
def site(chain: Chain, tmp_path: Path) -> Iterator[Site]:
    system = chain.system()
    cases = LocalCases(system, ModelStore(tmp_path / "models"), workers=1)
    explorer = Explorer(system, cases)
    listening = listening_socket("127.0.0.1", 0)
    server = web_server(make_app(explorer, look_every_s=0.1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started
    yield Site(f"http://127.0.0.1:{listening.getsockname()[1]}", explorer, chain)
    server.should_exit = True
    thread.join(20)
    listening.close()
    explorer.close()
    cases.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium, without a screen."""
    if CHROMIUM is None:
        pytest.skip("no chromium here (Debian: chromium)")
    from playwright.sync_api import sync_playwright

    options: dict[str, Any] = {"args": ["--no-sandbox"], "executable_path": CHROMIUM}
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(**options)
        yield launched
        launched.close()
