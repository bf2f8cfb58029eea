"""
A private key is used and never shown: not on stdout or stderr, not in JSON, not in a file of ours, whatever goes wrong.

`Canary` is a key with all its spellings; `assert_unseen` looks for any of them in what a command printed and in every
file under the test's folder but those that were given to the command.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from eth_account import Account as EthAccount

from opml_dispute import cli as cli_module
from opml_dispute.chain import keys
from opml_dispute.chain.transport import public_url
from opml_dispute.devnet import anvil as devnet
from tests.cli.conftest import Cli, Result
from tests.cli.test_bad_input import assert_refused
from tests.conftest import Chain

PASSWORD = "correct horse battery staple"
API_KEY = "4f1c0de9b7a84d1fa8d1e7c2b5a90321"


class Canary:
    """A role's key on the test chain, and every way to write it."""

    def __init__(self, folder: Path, role: str = "requester") -> None:
        text = devnet.key_hex(devnet.ROLES.index(role)).removeprefix("0x")
        raw = bytes.fromhex(text)
        self.raw, self.text, self.folder = raw, text, folder
        spellings = (text, text.upper(), str(int(text, 16)), base64.b64encode(raw).decode(), repr(raw)[2:-1])
        self.needles = [raw, *(spelling.encode() for spelling in (*spellings, PASSWORD, API_KEY))]
        self.file, self.keystore, self.password = (folder / name for name in ("a.key", "a.json", "a.password"))
        self.file.write_text("0x" + text)
        self.keystore.write_text(json.dumps(EthAccount.encrypt(raw, PASSWORD, kdf="pbkdf2", iterations=2)))
        self.password.write_text(PASSWORD + "\n")

    def assert_unseen(self, result: Result) -> None:
        given = {self.file, self.keystore, self.password}
        files = [path for path in self.folder.rglob("*") if path.is_file() and path not in given]
        seen = [("stdout", result.out.encode()), ("stderr", result.err.encode())]
        for where, data in seen + [(str(path), path.read_bytes()) for path in files]:
            assert not any(needle in data for needle in self.needles), f"a secret is in {where}"


Ways = dict[str, tuple[str, ...]]


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path)


@pytest.fixture(params=["--key-file", "--keystore", "environment", "keystore and environment"])
def signing(request: pytest.FixtureRequest, canary: Canary, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The options of one way to give the key."""
    match request.param:
        case "--key-file":
            return ("--key-file", str(canary.file))
        case "--keystore":
            return ("--keystore", str(canary.keystore), "--password-file", str(canary.password))
        case "environment":
            monkeypatch.setenv(keys.KEY_VARIABLE, canary.text)
            return ()
        case _:
            monkeypatch.setenv(keys.PASSWORD_VARIABLE, PASSWORD)
            return ("--keystore", str(canary.keystore))


@pytest.mark.parametrize("form", ["words", "--json", "--dry-run"])
def test_what_is_sent_shows_no_key(
    cli: Cli, on_chain: Chain, canary: Canary, signing: tuple[str, ...], form: str
) -> None:
    """Commands that succeed."""
    more = () if form == "words" else (form,)
    asked = cli("request", "--sample", 1, *signing, *more)
    assert asked.code == 0, asked.err
    canary.assert_unseen(asked)
    doctor = cli("doctor", *signing, *(("--json",) if form == "--json" else ()))
    canary.assert_unseen(doctor)


class _Hostile(BaseHTTPRequestHandler):
    """A node that refuses everything but what comes before sending."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": f"no: {body.decode()[:4000]}"}}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # it is not about what the server thinks
        pass


@pytest.fixture
def hostile_node() -> Iterator[str]:
    """Its URL, with what an operator would have in it."""
    server = HTTPServer(("127.0.0.1", 0), _Hostile)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://me:{API_KEY}@127.0.0.1:{server.server_port}/v3/{API_KEY}?key={API_KEY}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_nodes_that_fail_show_no_key(
    cli: Cli, on_chain: Chain, canary: Canary, signing: tuple[str, ...], hostile_node: str, as_json: tuple[str, ...]
) -> None:
    """One that is not there, one that repeats in its errors what it was told, one whose URL is nonsense."""
    dead = f"http://127.0.0.1:{devnet.free_port()}/v2/{API_KEY}"
    nonsense = f"http://[/v3/{API_KEY}"
    commands = [
        ("request", "--sample", "1"),
        ("propose", "0x" + "12" * 32),
        ("model", "register", "--yes"),
        ("doctor",),
    ]
    for url in (dead, hostile_node, nonsense, f"wss://host/{API_KEY}"):
        for command in commands:
            result = cli(*command, *signing, "--rpc-url", url, *as_json)
            assert result.code not in (0, cli_module.EXIT_BUG), (command, url, result.err)
            canary.assert_unseen(result)


def test_a_bug_of_ours_shows_no_key(
    cli: Cli, on_chain: Chain, canary: Canary, signing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    """Not even the traceback, in its file or with --debug, has it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(keys.Account, "sign", broken)
    for debug in ((), ("--debug",)):
        result = cli(*debug, "request", "--sample", 1, *signing)
        assert result.code == cli_module.EXIT_BUG
        assert "ZeroDivisionError" in (own_home / "crash.log").read_text()
        canary.assert_unseen(result)


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize("option", ["--key-file", "--keystore"])
def test_a_key_in_the_place_of_a_file_is_not_repeated(
    cli: Cli, on_chain: Chain, canary: Canary, option: str, prefix: str
) -> None:
    """A common slip, which the terminal's log need not keep."""
    result = cli("request", "--sample", 1, option, prefix + canary.text)
    assert_refused(result, "a private key was given where the name of a")
    canary.assert_unseen(result)


def test_a_password_in_the_place_of_a_file_is_not_repeated(cli: Cli, on_chain: Chain, canary: Canary) -> None:
    result = cli("request", "--sample", 1, "--keystore", canary.keystore, "--password-file", PASSWORD)
    assert_refused(result, "cannot read the password file: ")
    canary.assert_unseen(result)


@pytest.mark.parametrize("damage", ["cut", "kdf", "cipher", "version", "list", "nothing"])
def test_damaged_keystores_are_refused(cli: Cli, on_chain: Chain, canary: Canary, damage: str) -> None:
    """With one sentence, and without a word of what they hold."""
    store = json.loads(canary.keystore.read_text())
    match damage:
        case "kdf":
            store["crypto"]["kdfparams"] = "none"
        case "cipher":
            store["crypto"]["ciphertext"] = "zz"
        case "version":
            store["version"] = 9
        case "list":
            store["crypto"] = []
    text = json.dumps(store)
    canary.keystore.write_text({"cut": text[:-40], "nothing": ""}.get(damage, text))
    result = cli("request", "--sample", 1, "--keystore", canary.keystore, "--password-file", canary.password)
    assert_refused(result, str(canary.keystore))
    canary.assert_unseen(result)


def test_a_local_chain_does_not_inherit_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """It outlives the command that started it, and so would its environment."""
    for variable in (keys.KEY_VARIABLE, keys.PASSWORD_VARIABLE):
        monkeypatch.setenv(variable, "canary")
    anvil = devnet.Anvil.spawn()
    try:
        environment = Path(f"/proc/{anvil.pid}/environ")
        if environment.exists():  # Linux
            assert b"canary" not in environment.read_bytes()
        assert anvil.pid > 0
    finally:
        anvil.stop()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("https://node.example/rpc/eth", "https://node.example/rpc/eth"),
        (f"https://mainnet.example/v3/{API_KEY}", "https://mainnet.example/v3/…"),
        (f"https://me:{API_KEY}@node.example/", "https://node.example/"),
        (f"https://node.example?key={API_KEY}", "https://node.example?…"),
        (f"node.example/{API_KEY}/x", "node.example/…/x"),
        (f"me:{API_KEY}@node.example", "node.example"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert public_url(url) == shown
