"""
Pictures for the documentation: each page of `explore`, and what commands print, about games on a fresh local chain.

One game has come down to a single instruction, another one stands unanswered. The pages are shown by Debian's chromium,
the terminal is drawn from the commands' own output.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.chain.deploy import deploy
from opml_dispute.chain.sender import Sender
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.devnet.samples import deploy_samples
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Address, RequestId
from opml_dispute.trace.guest import absolute_prestate
from opml_dispute.web.pages import Explorer
from opml_dispute.web.server import listening_socket, make_app, web_server
from tests.conftest import TEST_TIMES, Chain
from tests.web.conftest import CHROMIUM
from tests.web.games import Players

DESK: Final = {"width": 1100, "height": 720}
PHONE: Final = {"width": 390, "height": 760}
COLOURS: Final = 64
"""Of a picture's palette: the pages are flat, and the files stay small."""
COLUMNS: Final = 110


def make_pictures(folder: Path) -> list[Path]:
    """Writes all pictures into `folder`, and answers their paths."""
    if CHROMIUM is None:
        raise SystemExit("error: no chromium here\nhint: install Debian's package chromium")
    with tempfile.TemporaryDirectory() as name, _chain(Path(name)) as chain:
        players = Players(chain, Path(name))
        players.to_the_leaf()
        unanswered = _right_proposal(chain, Path(name))
        made = _terminal(folder, chain, players.address)
        with _site(chain, Path(name), players.address) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(args=["--no-sandbox"], executable_path=CHROMIUM)
            model_id = chain.system().rpc.read(chain.system().registry.model_id_at(0))
            pages = {
                "deployment": "/",
                "games": "/games",
                "game": f"/games/{players.address}",
                "claims": f"/games/{players.address}/claims",
                "requests": "/requests",
                "request": f"/requests/0x{unanswered.hex()}",
                "models": "/models",
                "model": f"/models/0x{model_id.hex()}",
            }
            for page, path in pages.items():
                made.append(_picture(browser, folder / f"explore-{page}.png", url + path))
            made.append(_picture(browser, folder / "explore-phone.png", url + pages["game"], on_phone=True))
            for part in ("graph", "node", "instruction"):
                made.append(_picture(browser, folder / f"explore-{part}.png", url + pages["game"], part=part))
            browser.close()
    return made


@contextlib.contextmanager
def _chain(folder: Path) -> Iterator[Chain]:
    node = devnet.Anvil.spawn()
    try:
        sender, path = Sender(node.rpc, devnet.account("deployer")), folder / "deployment.json"
        deployment = deploy(sender, path, absolute_prestate=absolute_prestate(), times=TEST_TIMES)
        deploy_samples(sender, deployment, path)
        devnet.warp(node.rpc, 2)
        yield Chain(node, deployment, path)
    finally:
        node.stop()


def _right_proposal(chain: Chain, folder: Path) -> RequestId:
    system, store = chain.system(), ModelStore(folder / "models")
    request_id = ask_sample(system, chain.sender("requester"), 7, store)
    case = open_case(system, request_id, store=store)
    perform(proposal_intent(system, request_id, case.final_root, case.program.node_count), chain.sender("proposer"))
    return request_id


@contextlib.contextmanager
def _site(chain: Chain, folder: Path, judged: Address) -> Iterator[str]:
    """The address of the pages, once everything about the game `judged` is computed."""
    system = chain.system()
    cases = LocalCases(system, ModelStore(folder / "models"), workers=1)
    explorer, listening = Explorer(system, cases), listening_socket("127.0.0.1", 0)
    server = web_server(make_app(explorer))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        assert explorer.judge is not None
        explorer.judge.wait_for(system.games.read(judged))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        explorer.close()
        cases.close()


def _picture(browser: Browser, into: Path, url: str, *, part: str = "", on_phone: bool = False) -> Path:
    """A page as it opens, or one part of it; on a phone in the dark."""
    context = browser.new_context(
        viewport=PHONE if on_phone else DESK,  # type: ignore[arg-type]
        color_scheme="dark" if on_phone else "light",
        device_scale_factor=1,
    )
    page = context.new_page()
    page.goto(url, wait_until="load")
    shown = page.locator(f"section[aria-labelledby=h-{part}]") if part else page
    if part:  # a part is longer than the window: the page's head would lie in its middle
        page.evaluate("document.querySelector('.top').style.position = 'static'")
    raw = shown.screenshot()
    context.close()
    Image.open(io.BytesIO(raw)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(into, optimize=True)
    return into


def _terminal(folder: Path, chain: Chain, game: Address) -> list[Path]:
    """What commands print, as drawings."""
    commands = {"show": ["show", game], "monitor": ["monitor", "--once", "--no-compute"], "list": ["list"]}
    made = []
    for name, words in commands.items():
        options = ["--rpc-url", chain.anvil.url, "--deployment", str(chain.deployment_file)]
        done = subprocess.run(
            [sys.executable, "-m", "opml_dispute", *words, *options],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ
            | {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "OPML_HOME": str(chain.deployment_file.parent)},
        )
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        console.print(Text.from_ansi(f"$ opml-dispute {' '.join(words)}\n{done.stdout}{done.stderr}".rstrip()))
        drawing = console.export_svg(title="opml-dispute", unique_id=name)
        # Nothing is loaded from elsewhere: a font of the reader's computer serves as well.
        drawing = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", drawing, flags=re.DOTALL)
        into = folder / f"terminal-{name}.svg"
        into.write_text("\n".join(line.rstrip() for line in drawing.splitlines()) + "\n")
        made.append(into)
    return made
