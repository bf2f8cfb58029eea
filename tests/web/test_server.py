"""The server answers with whole pages, refuses foreign hosts, and says what it cannot do."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.rpc import Rpc
from opml_dispute.engine.segment import BadInput
from opml_dispute.game.claim import Game
from opml_dispute.models import digit_samples
from opml_dispute.operator.inference import new_request_id, request_intent
from opml_dispute.operator.intents import perform
from opml_dispute.web.guard import HEADERS, host_name
from opml_dispute.web.judging import MAX_ITEMS
from opml_dispute.web.pages import CLAIMS_PAGE, Explorer
from opml_dispute.web.saving import game_document
from opml_dispute.web.server import CannotListenHere, listening_socket
from tests.cli.conftest import Cli, cli, on_chain
from tests.conftest import Chain
from tests.web.conftest import Site
from tests.web.games import Players, crowded
from tests.web.nesting import assert_well_formed

__all__ = ["cli", "on_chain"]
"""Fixtures of the command line's tests."""


def get(site: Site, path: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers."""
    try:
        with urllib.request.urlopen(site.url + path, timeout=60) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def page(site: Site, path: str) -> str:
    status, text, _ = get(site, path)
    assert status == 200, text
    return text


def judged(site: Site, address: str) -> str:
    """The game's page when everything is computed."""
    game = site.explorer.system.games.read(address)  # type: ignore[arg-type]
    assert site.explorer.judge is not None
    site.explorer.judge.wait_for(game)
    return page(site, f"/games/{address}")


def test_a_batchs_page_shows_its_first_items_and_counts_the_others(site: Site) -> None:
    system, count = site.explorer.system, MAX_ITEMS + 2
    model_id = system.rpc.read(system.registry.model_id_at(0))
    image = digit_samples()[0][:count].astype(">f4").tobytes()
    intent = request_intent(system, model_id, image, fee_wei=0, item_count=count)
    done = perform(intent, site.chain.sender("requester"))
    assert done.receipt is not None
    request_id = new_request_id(system, done.receipt)
    assert site.explorer.judge is not None
    deadline = time.monotonic() + 60
    while site.explorer.judge.asked(request_id) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    text = page(site, "/requests/0x" + request_id.hex())
    assert_well_formed(text)
    assert re.findall("<h3>Item ([0-9]+)</h3>", text) == [str(item) for item in range(MAX_ITEMS)]
    assert "and 2 more items" in text


def test_pages_are_whole_and_carry_their_headers(site: Site, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    players.challenge()
    game = site.explorer.system.games.read(players.address)
    request = "0x" + game.request_id.hex()
    judged(site, players.address)
    paths = ["/", "/games", "/requests", "/models", f"/games/{players.address}", f"/games/{players.address}/claims"]
    paths += [f"/requests/{request}", "/games?page=7", "/nowhere", "/games/0x12"]
    for path in paths:
        status, text, headers = get(site, path)
        assert status == (404 if path in ("/nowhere", "/games/0x12") else 200), path
        assert_well_formed(text)
        assert {name: headers.get(name) or headers.get(name.lower()) for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_a_game_says_what_is_right_and_who_gets_what(site: Site, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    text = judged(site, players.address)
    assert 'the root claim is <strong class="bad">wrong</strong>' in text
    assert "about to end wrongly" in text
    players.challenge()
    text = judged(site, players.address)
    assert "so that is the right end" in text
    assert re.search(r'class="claim defender wrong" id="claim-0"', text)
    assert re.search(r'class="claim challenger right" id="claim-1"', text)


def test_every_verdict_is_the_trace_s_and_the_last_instruction_is_shown(site: Site, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    game = players.to_the_leaf()
    assert site.explorer.judge is not None
    found = site.explorer.judge.wait_for(game)
    trace = players.case.trace()
    assert found.right == {claim.index: trace.claim_at(game, claim) == claim.value for claim in game.claims}
    assert found.node is not None
    assert found.instruction is not None
    assert found.instruction.is_last
    fault = players.fault
    assert (found.node.index, found.instruction.step + 1) == (fault.node_index, fault.fault.after_step)
    assert any(line.is_disputed for line in found.instruction.listing)
    text = judged(site, players.address)
    assert "The disputed instruction" in text
    assert "Before" in text


def test_a_reorganisation_forgets_verdicts_about_claims_that_are_gone(site: Site, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    players.challenge()
    game = site.explorer.system.games.read(players.address)
    assert site.explorer.judge is not None
    assert site.explorer.judge.wait_for(game).right == {0: False, 1: True}
    other = replace(game.claims[1], value=type(game.root.value)(bytes(32)))
    changed = replace(game, claims=(game.claims[0], other))
    assert site.explorer.judge.wait_for(changed).right == {0: False, 1: False}
    assert site.explorer.judge.wait_for(game).right == {0: False, 1: True}


def test_a_request_whose_model_is_missing_is_shown_and_not_judged(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    players = Players(site.chain, tmp_path)
    assert site.explorer.judge is not None

    def missing(*_: Any) -> None:
        raise BadInput("the <file> is not here")

    monkeypatch.setattr(site.explorer.judge._cases, "_opened", missing)
    text = judged(site, players.address)
    assert "cannot be computed here: the &lt;file&gt; is not here" in text
    assert 'class="claim defender unjudged"' in text


@pytest.mark.parametrize(
    "header",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]", "", " ", "a b"],
)
def test_a_foreign_host_header_is_refused(site: Site, header: str) -> None:
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=10)
    connection.putrequest("GET", "/", skip_host=True)
    connection.putheader("Host", header)
    connection.endheaders()
    assert connection.getresponse().status in (400, 421)
    connection.close()


def test_two_host_headers_or_none_are_refused(site: Site) -> None:
    for hosts in ([], ["127.0.0.1", "127.0.0.1"]):
        connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=10)
        connection.putrequest("GET", "/", skip_host=True)
        for host in hosts:
            connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status in (400, 421)
        connection.close()


@pytest.mark.parametrize("header", ["localhost", "LOCALHOST:7400", "127.0.0.1", "[::1]:80"])
def test_loopback_host_headers_are_accepted(site: Site, header: str) -> None:
    request = urllib.request.Request(site.url + "/static/style.css", headers={"Host": header})
    assert urllib.request.urlopen(request, timeout=10).status == 200
    assert host_name(header) in ("localhost", "127.0.0.1", "[::1]")


@pytest.mark.parametrize(
    "path",
    [
        "/games/0x" + "00" * 20,
        "/games/<script>",
        "/requests/0x12",
        "/requests/0x" + "ab" * 32,
        "/models/0x" + "ab" * 32,
        "/games?page=-1",
        "/games?page=1e9",
        "/games?page=%C2%B2",
        "/games?page=99999999999999999",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/events?game=nonsense",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(site: Site, path: str) -> None:
    status, text, _ = get(site, path)
    assert status == 404, text
    assert_well_formed(text)
    assert "<script>" not in text.replace('<script src="/static/live.js" defer></script>', "")


def test_a_silent_node_is_told_and_passes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = site.explorer.system.rpc
    silent = replace(site.explorer.system, rpc=Rpc("http://127.0.0.1:9", patience_s=0.1))
    monkeypatch.setattr(site.explorer, "system", silent)
    status, text, _ = get(site, "/")
    assert status == 502
    assert "nothing listens there" in text
    monkeypatch.setattr(site.explorer, "system", replace(silent, rpc=real))
    page(site, "/")


def test_events_tell_of_a_move_and_end_with_the_reader(site: Site, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    judged(site, players.address)
    events: list[str] = []
    answer = urllib.request.urlopen(f"{site.url}/events?game={players.address}", timeout=30)

    def read() -> None:
        while len(events) < 2:
            line = answer.readline().decode().strip()
            if line.startswith("event: "):
                events.append(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    deadline = time.monotonic() + 20
    while not events and time.monotonic() < deadline:
        time.sleep(0.02)
    players.challenge()
    reader.join(20)
    answer.close()
    assert events == ["event: ready", "event: changed"]


def test_a_crowded_game_is_a_page_of_bounded_size(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    players = Players(site.chain, tmp_path)
    game = crowded(site.explorer.system.games.read(players.address), 10_000)

    def read(address: str, *, at: object = None) -> Game:
        return game

    monkeypatch.setattr(site.explorer.system.games, "read", read)
    text = page(site, f"/games/{players.address}")
    assert len(text) < 1_500_000
    last = page(site, f"/games/{players.address}/claims?page={10_000 // CLAIMS_PAGE - 1}")
    assert 'id="claim-9999"' in last


def test_a_game_saved_as_a_file_needs_nothing_else(site: Site, tmp_path: Path) -> None:
    players = Players(site.chain, tmp_path)
    players.challenge()
    text = game_document(site.explorer, players.address)
    assert_well_formed(text)
    assert "<script" not in text
    assert not re.search(r'(?:href|src)="(?!#|data:)', text)
    assert "Content-Security-Policy" in text
    assert 'class="claim challenger right" id="claim-1"' in text


def test_show_saves_a_game(cli: Cli, on_chain: Chain, tmp_path: Path) -> None:
    players = Players(on_chain, tmp_path)
    path = tmp_path / "game.html"
    result = cli("show", players.address, "--html", path, "--json")
    assert result.code == 0, result.err
    assert result.object_with("file")["size_bytes"] == path.stat().st_size
    assert "about to end wrongly" in path.read_text()
    assert cli("show", players.address, "--html", tmp_path).code == 1


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotListenHere, match="cannot listen"):
            listening_socket("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(CannotListenHere):
        listening_socket("no-such-host.invalid", 0)


def test_nothing_is_computed_without_local_cases(chain: Chain, tmp_path: Path) -> None:
    players = Players(chain, tmp_path)
    facts = Explorer(chain.system(), None).game(players.address)
    assert facts["findings"].right == {}
    assert facts["findings"].is_done
