"""What a person sees: every page in a real browser, on a desk and on a phone, with and without scripts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opml_dispute.game.claim import Game
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS
from opml_dispute.operator.inspection import inspect_program
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import registration
from opml_dispute.web.model_page import save_model
from opml_dispute.web.saving import save_game
from tests.web.conftest import Site
from tests.web.games import Players, crowded
from tests.web.test_server import judged

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
SOON_MS = 20_000

ATTACKS = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "javascript:window.hacked=1",
    "'><svg onload=window.hacked=1>",
    "</main></body><script>window.hacked=1</script>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202e gnp.exe \u0000\u001b[2J",
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
)


class Watched:
    """A page, and what its console said."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.set_default_timeout(SOON_MS)

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(said.text)


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """Opens pages: `opened(viewport=…, color_scheme=…)`."""
    contexts = []

    def opener(**options: Any) -> Watched:
        context = browser.new_context(**options)
        contexts.append(context)
        return Watched(context.new_page())

    yield opener
    for context in contexts:
        context.close()


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the screen."""
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


def test_every_page_loads_without_complaints_and_fits(site: Site, opened: Any, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    game = players.to_the_leaf()
    judged(site, players.address)
    request = "0x" + game.request_id.hex()
    model = "0x" + bytes(site.explorer.models(0)["models"][0][0]).hex()
    paths = ["/", "/games", "/requests", "/models", f"/models/{model}", f"/requests/{request}"]
    paths += [f"/games/{players.address}", f"/games/{players.address}/claims"]
    for options in ({"viewport": DESK, "color_scheme": "light"}, {"viewport": PHONE, "color_scheme": "dark"}):
        seen = opened(**options)
        for path in paths:
            seen.page.goto(site.url + path)
            assert seen.page.locator("main h1").count() == 1, path
            assert overflow(seen.page) <= 0, (path, options)
        assert seen.complaints == []
    seen.page.goto(f"{site.url}/games/{players.address}")
    assert "The disputed instruction" in seen.page.inner_text("main")
    assert seen.page.locator(".tensor img").count() >= 1
    widths = seen.page.evaluate("[...document.querySelectorAll('.tensor img')].map(i => i.naturalWidth)")
    assert all(widths), "the policy lets the page's own pictures through"


def test_the_tree_grows_when_a_move_is_made(site: Site, opened: Any, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    judged(site, players.address)
    seen = opened(viewport=DESK)
    seen.page.goto(f"{site.url}/games/{players.address}")
    seen.page.wait_for_selector("#live[data-state=on]")
    assert seen.page.locator("li.claim").count() == seen.page.locator(".map circle").count() == 1
    seen.page.evaluate("window.untouched = 1")
    players.challenge()
    seen.page.wait_for_selector("#claim-1")
    seen.page.wait_for_selector(".map circle.right")
    assert seen.page.evaluate("window.untouched") == 1, "the page was not loaded again"
    assert "2 claims" in seen.page.inner_text("#announce")
    assert seen.complaints == []


def test_clocks_run_between_moves(site: Site, opened: Any, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    seen = opened()
    seen.page.goto(f"{site.url}/games/{players.address}")
    before = seen.page.inner_text(".clocks .time")
    seen.page.wait_for_function("text => document.querySelector('.clocks .time').textContent !== text", arg=before)


def test_pages_work_without_scripts(site: Site, opened: Any, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    players.challenge()
    judged(site, players.address)
    seen = opened(java_script_enabled=False)
    seen.page.goto(site.url)
    seen.page.click(f"a[href='/games/{players.address}']")
    assert seen.page.locator("#claim-1.right").count() == 1
    seen.page.click("#claim-1 .what a")
    assert seen.page.url.endswith("#claim-0")


def test_a_keyboard_and_a_reader_find_their_way(site: Site, opened: Any, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    players.to_the_leaf()
    judged(site, players.address)
    seen = opened(viewport=DESK)
    seen.page.goto(f"{site.url}/games/{players.address}")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.className") == "skip"
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.activeElement.id") == "main"
    for landmark in ("banner", "main", "contentinfo", "navigation"):
        assert seen.page.get_by_role(landmark).count() >= 1
    # Whatever scrolls can be reached, every picture and drawing has a name, every section a heading.
    unnamed = seen.page.evaluate(
        """[...document.querySelectorAll("img, svg[role=img], section, nav, .scroll")].filter((e) => {
            const label = e.getAttribute("alt") || e.getAttribute("aria-label")
                || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent;
            return !label || (e.matches(".scroll") && e.tabIndex < 0);
        }).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    seen.page.locator("#registers summary").focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.locator("#registers[open]").count() == 1
    outline = seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(site: Site, opened: Any, tmp_path: Path, scheme: str) -> None:
    """At least 4.5 to 1, for every colour that text has on a game's page."""
    players = Players(site.chain, tmp_path)
    players.challenge()
    judged(site, players.address)
    seen = opened(color_scheme=scheme)
    seen.page.goto(f"{site.url}/games/{players.address}")
    ratios = seen.page.evaluate(
        """(() => {
            const parse = (c) => {
                const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
                canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
                return canvas.getImageData(0, 0, 1, 1).data;
            };
            const light = (c) => [0, 1, 2].map((i) => c[i] / 255)
                .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const ground = (e) => {
                for (; e; e = e.parentElement) {
                    const c = getComputedStyle(e).backgroundColor;
                    if (parse(c)[3] === 255) return c;
                }
                return getComputedStyle(document.body).backgroundColor;
            };
            const found = {};
            for (const e of document.querySelectorAll("main *:not(title)")) {
                if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
                const style = getComputedStyle(e);
                const own = e.closest("svg") ? style.fill : style.color;
                const [a, b] = [light(parse(own)), light(parse(ground(e)))];
                found[own] = Math.min(found[own] ?? 99, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
            }
            return found;
        })()"""
    )
    assert len(ratios) >= 4
    assert {colour: ratio for colour, ratio in ratios.items() if ratio < 4.5} == {}


def test_ten_thousand_claims_stay_usable(
    site: Site, opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    players = Players(site.chain, tmp_path)
    game = crowded(site.explorer.system.games.read(players.address), 10_000)

    def read(address: str, *, at: object = None) -> Game:
        return game

    monkeypatch.setattr(site.explorer.system.games, "read", read)
    seen = opened(viewport=DESK)
    began = time.perf_counter()
    seen.page.goto(f"{site.url}/games/{players.address}")
    load_s = time.perf_counter() - began
    elements = seen.page.evaluate("document.querySelectorAll('*').length")
    assert elements < 10_000
    frame_ms = seen.page.evaluate(
        """new Promise((done) => {
            const times = []; let last = performance.now(), y = 0;
            const step = (now) => {
                times.push(now - last); last = now; window.scrollTo(0, y += 400);
                times.length < 20 ? requestAnimationFrame(step) : done(times.sort((a, b) => a - b)[10]);
            };
            requestAnimationFrame(step);
        })"""
    )
    print(f"loaded in {load_s:.2f} s, {elements} elements, median frame while scrolling {frame_ms:.1f} ms")
    assert frame_ms < 250
    seen.page.click("text=more answers to claim 0")
    seen.page.locator("li.claim").nth(199).wait_for(state="attached")
    assert seen.page.locator("li.claim").count() == 200
    assert seen.complaints == []


def test_hostile_texts_of_a_chain_run_nothing(site: Site, opened: Any) -> None:
    program, sender = compile_model(DIGITS), site.chain.sender("proposer")
    registry = site.explorer.system.registry
    seen = opened()
    seen.page.on("dialog", lambda dialog: dialog.dismiss())
    for number, text in enumerate(ATTACKS):
        description = replace(describe_model(program, text), inputs=text * 3, outputs=f"{number}{text}")
        receipt = sender.send(registration(registry, program, description))
        assert receipt is not None
        model_id = sender.rpc.read(registry.model_id_of(description))
        seen.page.goto(f"{site.url}/models/0x{bytes(model_id).hex()}")
        assert seen.page.evaluate("window.hacked") is None, text
        assert seen.page.locator(".said").count() == 3
        plain = text.replace("\u202e", r"\u202e").replace("\u0000", r"\x00").replace("\u001b", r"\x1b")
        assert plain.strip() in seen.page.inner_text("main"), "it is shown as it was written"
    seen.page.goto(f"{site.url}/models")
    assert seen.page.locator("tbody tr").count() == len(ATTACKS) + 1
    assert seen.page.evaluate("window.hacked") is None
    assert seen.page.locator("main a[href^='javascript'], main script, main td img").count() == 0
    assert seen.complaints == []


def test_a_saved_game_opens_from_a_file_and_asks_for_nothing(site: Site, opened: Any, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    players.challenge()
    path = tmp_path / "game.html"
    save_game(site.explorer, players.address, path)
    seen = opened(viewport=PHONE)
    asked: list[str] = []
    seen.page.on("request", lambda request: asked.append(request.url))
    seen.page.goto(path.as_uri())
    assert seen.page.locator("#claim-1.right").count() == 1
    assert seen.page.evaluate("getComputedStyle(document.querySelector('.claims')).listStyleType") == "none"
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert overflow(seen.page) <= 0
    assert seen.complaints == []


def test_a_models_page_opens_from_a_file_on_a_phone(opened: Any, tmp_path: Path) -> None:
    program, path = compile_model(DIGITS), tmp_path / "model.html"
    save_model("digits.onnx", inspect_program(program, timed=False), [("nodes", "some")], path)
    seen = opened(viewport=PHONE)
    seen.page.goto(path.as_uri())
    assert seen.page.locator(".graph li").count() == seen.page.locator("circle.op").count() > 0
    assert overflow(seen.page) <= 0
    assert seen.complaints == []
