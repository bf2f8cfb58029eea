"""`opml-dispute serve-rollup`: one request on each port, those in dispute if none is named."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.cli import execute
from opml_dispute.cli.serve_rollup import disputed_requests
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import RequestId
from tests.conftest import Chain
from tests.e2e.op_wire import Wire


def ask(chain: Chain, sample: int, folder: Path) -> RequestId:
    """A request about one of the sample digits."""
    return ask_sample(chain.system(), chain.sender("requester"), sample, ModelStore(folder))


def propose(chain: Chain, request_id: RequestId, root: bytes) -> None:
    """A game about it."""
    system = chain.system()
    perform(proposal_intent(system, request_id, root, 14), chain.sender("proposer"))  # type: ignore[arg-type]


@pytest.fixture
def environment(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The chain for every command; where they keep models."""
    monkeypatch.setenv("OPML_RPC_URL", chain.anvil.url)
    monkeypatch.setenv("OPML_DEPLOYMENT", str(chain.deployment_file))
    return tmp_path / "home" / "models"


def test_every_request_in_dispute_is_served_on_a_port_of_its_own(chain: Chain, environment: Path) -> None:
    asked = [ask(chain, sample, environment) for sample in (3, 4, 5)]
    for request_id, root in ((asked[0], bytes(32)), (asked[2], bytes([1] * 32)), (asked[0], bytes([2] * 32))):
        propose(chain, request_id, root)
    assert disputed_requests(chain.system()) == [asked[0], asked[2]]
    command = [sys.executable, "-m", "opml_dispute", "serve-rollup", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running, contextlib.ExitStack() as ending:
        ending.callback(running.terminate)
        assert running.stdout is not None
        facts: list[dict[str, Any]] = [json.loads(running.stdout.readline()) for _ in range(2)]
        assert [fact["request"] for fact in facts] == ["0x" + asked[0].hex(), "0x" + asked[2].hex()]
        for fact in facts:
            newest = Wire(fact["url"]).request("optimism_outputAtBlock", hex(fact["node_count"]))
            assert newest["outputRoot"] == fact["final_root"]
        assert facts[0]["final_root"] != facts[1]["final_root"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no game is in progress"),
        (["0x" + "11" * 32, "0x" + "22" * 32, "--port", "65535"], "there are no 2 ports from 65535 on"),
        (["0x" + "11" * 32], "0x" + "11" * 32),
    ],
)
def test_what_cannot_be_served_is_refused(
    environment: Path, arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert execute(["serve-rollup", *arguments]) == 1
    assert said in capfd.readouterr().err


def test_port_that_is_taken_is_refused(chain: Chain, environment: Path, capfd: pytest.CaptureFixture[str]) -> None:
    request_id = ask(chain, 3, environment)
    port = chain.anvil.url.rpartition(":")[2]
    assert execute(["serve-rollup", "0x" + request_id.hex(), "--port", port]) == 1
    assert f"cannot listen on port {port}" in capfd.readouterr().err
