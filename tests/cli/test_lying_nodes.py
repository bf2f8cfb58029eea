"""
A node that answers in the right form and lies: commands refuse what cannot be, in one sentence and at once.

`Lies` changes the answers between a command and the test chain's node, as a hostile or broken gateway would.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from opml_dispute import cli as cli_module
from opml_dispute.chain import transport
from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.transport import Endpoint, HttpAnswer
from opml_dispute.devnet import anvil as devnet
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.cli.test_commands import Key, ask, propose
from tests.conftest import Chain

Change = Callable[[Any], Any]

HUGE: Final = 2**255


class Lies:
    """Changes the results of requests, by method, or by the function of `FaultDisputeGame` or `DisputeGameFactory`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._changes: dict[str, Change] = {}
        self._real = Endpoint.post
        monkeypatch.setattr(transport.Endpoint, "post", lambda endpoint, body: self._post(endpoint, body))

    def about(self, method: str, change: Change) -> None:
        """From now on, results of this method are changed."""
        self._changes[method] = change

    def about_word(self, contract: str, function: str, word: int, value: int) -> None:
        """From now on, a call of the function answers this value in the place of one of its words."""
        found = load_artifact(contract).functions[function]
        start = 2 + 64 * word
        self.about("0x" + found.selector.hex(), lambda result: result[:start] + f"{value:064x}" + result[start + 64 :])

    def _post(self, endpoint: Endpoint, body: bytes) -> HttpAnswer:
        answer = self._real(endpoint, body)
        asked, replies = json.loads(body), json.loads(answer.body)
        pairs = zip(asked, replies, strict=True) if isinstance(asked, list) else [(asked, replies)]
        for request, reply in pairs:
            call = str(request["params"][0].get("input"))[:10] if request["method"] == "eth_call" else None
            change = self._changes.get(call or request["method"])
            if change is not None and "result" in reply:
                reply["result"] = change(reply["result"])
        return HttpAnswer(answer.status, json.dumps(replies).encode(), answer.retry_after_s)


@pytest.fixture
def game(cli: Cli, on_chain: Chain, key: Key) -> str:
    """One with a wrong root claim that is attacked."""
    made = propose(cli, key, ask(cli, key), "--fault", "seed=2")
    assert cli("challenge", made, "--key-file", key("challenger")).code == 0
    return made


IMPOSSIBLE: Final = [
    ("splitDepth", 0, 0),
    ("maxGameDepth", 0, 2**63),
    ("status", 0, 7),
    ("claimDataLen", 0, 0),
    ("claimDataLen", 0, HUGE),
    ("claimData", 0, 7),
    ("claimData", 5, 0),
    ("claimData", 5, 2**31),
    ("bondTerms", 1, 0),
]
"""Functions of a game, the word of their answers, and what no game has there."""


@pytest.mark.parametrize(("function", "word", "value"), IMPOSSIBLE)
def test_a_game_that_cannot_be_is_refused(
    cli: Cli, game: str, key: Key, monkeypatch: pytest.MonkeyPatch, function: str, word: int, value: int
) -> None:
    Lies(monkeypatch).about_word("FaultDisputeGame", function, word, value)
    for command in (
        ("show",),
        ("respond", "--key-file", key("challenger")),
        ("resolve", "--key-file", key("proposer")),
    ):
        result = cli(command[0], game, *command[1:])
        assert result.code not in (0, cli_module.EXIT_BUG), (command, result.err)


@pytest.mark.parametrize(("word", "value"), [(2, 0), (2, 2**28), (3, 2**63), (3, 15)])
def test_a_model_that_cannot_be_is_refused(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch, word: int, value: int
) -> None:
    request_id = ask(cli, key)
    Lies(monkeypatch).about_word("ModelRegistry", "models", word, value)
    assert_refused(cli("preflight", request_id), "ModelRegistry.models")


@pytest.mark.parametrize("seconds", [2**63, 2**64 - 1])
def test_a_time_that_no_calendar_has_is_shown_in_seconds(
    cli: Cli, game: str, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    Lies(monkeypatch).about_word("FaultDisputeGame", "createdAt", 0, seconds)
    shown = cli("list")
    assert shown.code == 0, shown.err
    assert f"second {seconds}" in shown.out


def test_a_transaction_is_signed_for_the_chain_of_the_deployment(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that names another chain once the command has begun would get what spends the account's money there."""
    answers = iter([hex(devnet.CHAIN_ID)])
    Lies(monkeypatch).about("eth_chainId", lambda result: next(answers, "0x1"))
    asked = cli("request", "--sample", 1, "--key-file", key("requester"))
    assert asked.code == 0, asked.err
    assert f"on chain {devnet.CHAIN_ID}" in asked.err


@pytest.mark.parametrize("changed", ["none", "twice", "topics", "data"])
def test_a_receipt_without_its_event_is_told(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """The transaction is mined, so the command says so, and that the node is not to be trusted."""

    def change(receipt: Any) -> Any:
        if isinstance(receipt, dict):
            match changed:
                case "none":
                    receipt["logs"] = None
                case "twice":
                    receipt["logs"] = 2 * receipt["logs"]
                case "topics":
                    receipt["logs"] = [log | {"topics": log["topics"][:1]} for log in receipt["logs"]]
                case "data":
                    receipt["logs"] = [log | {"data": log["data"][:70]} for log in receipt["logs"]]
        return receipt

    Lies(monkeypatch).about("eth_getTransactionReceipt", change)
    result = cli("request", "--sample", 1, "--key-file", key("requester"))
    assert_refused(result, "InferenceRequested")


def test_a_gateway_that_repeats_its_url_shows_no_key(
    cli: Cli, on_chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some quote the key that they refuse, in an error or in the place of a number."""
    secret = "4f1c0de9b7a84d1fa8d1e7c2b5a90321"
    monkeypatch.setattr("opml_dispute.chain.retrying.FIRST_PAUSE_S", 0.01)
    refusals = ({"error": {"code": -32000, "message": f"key {secret} is bad"}}, {"result": f"quota of {secret}"})
    for refusal in refusals:

        def post(endpoint: Any, sent: bytes, refusal: dict[str, Any] = refusal) -> HttpAnswer:
            return HttpAnswer(
                200, json.dumps({"jsonrpc": "2.0", "id": json.loads(sent)["id"]} | refusal).encode(), None
            )

        monkeypatch.setattr(transport.Endpoint, "post", post)
        for place in (f"//node.example/v3/{secret}", f"//me:{secret}@node.example", f"//node.example?k={secret}"):
            result = cli("list", "--rpc-url", f"https:{place}")
            assert result.code == 1
            assert "…" in result.err
            assert secret not in result.err + result.out
