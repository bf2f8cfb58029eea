"""op-challenger's way through a request: what it asks the rollup node, and how it runs cannon on a disputed node."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.cli import execute
from opml_dispute.engine.vm import VmError, preimage_part, step_from_witness
from opml_dispute.fpvm.prestate import ABSOLUTE_PRESTATE
from opml_dispute.models import digit_samples
from opml_dispute.operator.case import Case, open_case
from opml_dispute.operator.challenger_run import BadServerArguments, ServerArguments
from opml_dispute.operator.inference import new_request_id, request_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.rollup_rpc import RollupAnswers, make_server, respond
from opml_dispute.trace.guest import node_start
from tests.conftest import Chain

NODE = 2
WRONG = bytes([7]) * 32


def asked(chain: Chain, folder: Path, item_count: int) -> Case:
    """A request for the sample model."""
    system = chain.system()
    model_id = system.rpc.read(system.registry.model_id_at(0))
    image = digit_samples()[0][:item_count].astype(">f4").tobytes()
    done = perform(request_intent(system, model_id, image, fee_wei=0, item_count=item_count), chain.sender("requester"))
    assert done.receipt is not None
    return open_case(system, new_request_id(system, done.receipt), store=ModelStore(folder))


@pytest.fixture
def case(chain: Chain, tmp_path: Path) -> Case:
    """A request for one inference."""
    return asked(chain, tmp_path / "models", 1)


@pytest.fixture
def folder(chain: Chain, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory for it, with its environment."""
    return working_folder(chain, case, tmp_path, monkeypatch)


def working_folder(chain: Chain, case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guest's first state in a working directory, and the environment of the recipe in docs/op-stack.md."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPML_RPC_URL", chain.anvil.url)
    monkeypatch.setenv("OPML_DEPLOYMENT", str(chain.deployment_file))
    monkeypatch.setenv("OPML_REQUEST", "0x" + case.request_id.hex())
    assert execute(["cannon", "load-elf", "--type", "opml-ml", "--out", "prestate.bin.gz", "--meta", ""]) == 0
    return folder


def run(case: Case, claim: bytes, *options: str, input_: str = "prestate.bin.gz", node: int = NODE) -> int:
    """cannon as op-challenger starts it, for one disputed node."""
    server = ["/bin/false", "--server", "--l1", "http://l1", "--l2.outputroot", hexed(case.states.state_root(node))]
    server += ["--l2.claim", hexed(claim), "--l2.blocknumber", str(node + 1), "--l2.head", hexed(bytes(32))]
    arguments = ["cannon", "run", "--input", input_, "--output", "final.bin.gz", "--meta", "", "--info-at", "never"]
    return execute([*arguments, *options, "--", *server])


def hexed(data: bytes) -> str:
    return "0x" + bytes(data).hex()


def witness(path: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `cannon witness` prints."""
    capsys.readouterr()
    assert execute(["cannon", "witness", "--input", path]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_prestate_file_has_the_absolute_prestate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert witness("prestate.bin.gz", capsys)["witnessHash"] == hexed(ABSOLUTE_PRESTATE)


def test_guest_accepts_the_right_root_and_no_other(
    case: Case, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = case.inference.state_root(NODE + 1)
    for claim, exit_code in ((right, 0), (WRONG, 1)):
        assert run(case, claim) == 0
        told = witness("final.bin.gz", capsys)
        assert (told["exited"], told["exitCode"], told["stateVersion"]) == (True, exit_code, 136)


def test_proof_of_a_step_is_that_of_the_nodes_own_trace(
    case: Case, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the prestate, from a snapshot before it, and for the steps that read the local pre-images."""
    trace = node_start(case.inference, NODE)
    trace.run(1 << 40)
    last = trace.step
    right = case.inference.state_root(NODE + 1)
    assert run(case, right, "--snapshot-at", f"={last // 2}", "--snapshot-fmt", "s%d.bin.gz") == 0
    for step in (0, last // 3, last // 2, last - 1):
        starts = ["prestate.bin.gz", *(path.name for path in folder.glob("s*.bin.gz") if step >= last // 2)]
        for start in starts:
            assert run(case, right, "--proof-at", f"={step}", "--proof-fmt", "p%d.json.gz", input_=start) == 0
            proof = json.loads(gzip.decompress((folder / f"p{step}.json.gz").read_bytes()))
            machine = node_start(case.inference, NODE)
            machine.run(step)
            assert proof["pre"] == hexed(machine.state_hash())
            assert proof["proof-data"] == hexed(machine.step_witness().proof)


def test_steps_that_read_local_data_carry_them(case: Case, folder: Path) -> None:
    assert run(case, WRONG, "--proof-at", "%1", "--stop-at", "=400", "--proof-fmt", "q%d.json.gz") == 0
    seen = set()
    for path in folder.glob("q*.json.gz"):
        proof = json.loads(gzip.decompress(path.read_bytes()))
        if "oracle-key" not in proof:
            continue
        value = bytes.fromhex(proof["oracle-value"][2:])
        seen.add(value[8:])

        def preimage(_: bytes, offset: int, data: bytes = value[8:]) -> bytes | None:
            return preimage_part(data, offset)

        state_data, proof_data = (bytes.fromhex(proof[name][2:]) for name in ("state-data", "proof-data"))
        outcome = step_from_witness(state_data, proof_data, preimage, ml=True)
        assert outcome.post_hash is not None
        assert hexed(outcome.post_hash) == proof["post"]
    assert bytes(case.inference.state_root(NODE)) in seen


def test_agreed_root_of_another_request_is_refused(
    case: Case, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """op-challenger was pointed at the wrong request: no wrong proof comes of it."""
    server = ["/bin/false", "--l2.outputroot", hexed(WRONG), "--l2.claim", hexed(WRONG), "--l2.blocknumber", "3"]
    assert execute(["cannon", "run", "--input", "prestate.bin.gz", "--", *server]) == 1
    assert "OPML_REQUEST" in capsys.readouterr().err


def test_a_node_of_a_batch_is_run_and_proven_wherever_its_run_is_saved(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before and behind each of the guest's system calls, at the node that ends one item and at one within the next."""
    case = asked(chain, tmp_path / "models", 3)
    folder = working_folder(chain, case, tmp_path, monkeypatch)
    for node in (case.program.node_count - 1, case.program.node_count + NODE):
        right = case.states.state_root(node + 1)
        assert run(case, right, node=node) == 0
        told = witness("final.bin.gz", capsys)
        assert (told["exited"], told["exitCode"]) == (True, 0)
        last = int(told["step"])
        saved = sorted({0, 150, 300, 450, 600, last // 2, *range(last - 400, last, 40), last - 1})
        for step in saved:
            assert run(case, right, "--snapshot-at", f"={step}", "--snapshot-fmt", "s%d.bin.gz", node=node) == 0
            found = witness(f"s{step}.bin.gz", capsys)
            assert (
                run(
                    case,
                    right,
                    "--stop-at",
                    f"={step + 1}",
                    "--proof-at",
                    f"={step}",
                    "--proof-fmt",
                    "p%d.gz",
                    node=node,
                )
                == 0
            )
            assert (
                run(case, right, "--proof-at", f"={step}", "--proof-fmt", "q%d.gz", input_=f"s{step}.bin.gz", node=node)
                == 0
            )
            proofs = [json.loads(gzip.decompress((folder / f"{name}{step}.gz").read_bytes())) for name in "pq"]
            assert proofs[0] == proofs[1]
            assert proofs[0]["pre"] == found["witnessHash"]
        assert run(case, WRONG, node=node) == 0
        assert witness("final.bin.gz", capsys)["exitCode"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--l2.outputroot", "0x00", "--l2.claim", hexed(WRONG), "--l2.blocknumber", "1"],
        ["--l2.outputroot", hexed(WRONG), "--l2.claim", hexed(WRONG), "--l2.blocknumber"],
        ["--l2.outputroot", hexed(WRONG), "--l2.claim", hexed(WRONG), "--l2.blocknumber", "-1"],
        ["--l2.outputroot", hexed(WRONG), "--l2.claim", hexed(WRONG), "--l2.blocknumber", "9" * 30],
    ],
)
def test_incomplete_server_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(BadServerArguments):
        ServerArguments.parse(["/server", *arguments])


@pytest.fixture
def url(case: Case, chain: Chain) -> Iterator[str]:
    server = make_server(RollupAnswers(case, chain.deployment.chain_id), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, method: str, *parameters: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        return json.load(answer)


def test_rollup_node_answers_with_the_states_of_the_request(case: Case, url: str) -> None:
    count = case.program.node_count
    for index in (0, 1, count):
        found = ask(url, "optimism_outputAtBlock", hex(index))["result"]
        assert found["outputRoot"] == hexed(case.inference.state_root(index))
        assert found["blockRef"]["number"] == index
    assert ask(url, "optimism_outputAtBlock", hex(count + 1))["error"]["message"].startswith("not found")
    assert ask(url, "optimism_safeHeadAtL1Block", "0x5")["result"]["safeHead"]["number"] == count
    assert ask(url, "optimism_syncStatus")["result"]["safe_l2"]["number"] == count
    assert ask(url, "eth_getBlockByNumber", "latest", False)["result"]["number"] == hex(count)
    assert ask(url, "eth_getBlockByNumber", "0x1", False)["result"]["number"] == "0x1"
    assert int(ask(url, "eth_chainId")["result"], 16) == 31337


def test_rollup_node_answers_about_all_items_of_a_batch(chain: Chain, tmp_path: Path) -> None:
    case = asked(chain, tmp_path / "models", 3)
    answers = RollupAnswers(case, chain.deployment.chain_id)
    assert (answers.item_count, answers.node_count) == (3, 3 * case.program.node_count)
    for index in (0, case.program.node_count, case.program.node_count + 1, answers.node_count):
        call = {"jsonrpc": "2.0", "id": 1, "method": "optimism_outputAtBlock", "params": [hex(index)]}
        found = json.loads(respond(answers, json.dumps(call).encode()))["result"]
        assert found["outputRoot"] == hexed(case.states.state_root(index))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"[" * 100_000, -32700),
        (b"7", -32600),
        (b'{"method": "eth_accounts", "id": 1}', -32601),
        (b'{"method": "optimism_outputAtBlock", "params": ["5"], "id": 1}', -32602),
        (b'{"method": "optimism_outputAtBlock", "params": {"a": 1}, "id": 1}', -32602),
        (b'{"method": "optimism_outputAtBlock", "params": ["0xzz"], "id": 1}', -32602),
    ],
)
def test_call_that_has_no_answer_gets_an_error(case: Case, body: bytes, code: int) -> None:
    assert json.loads(respond(RollupAnswers(case, 1), body))["error"]["code"] == code


def test_state_that_cannot_be_computed_is_an_error_and_no_end(
    case: Case, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is told, and asks on."""

    def fail(_: int) -> bytes:
        raise VmError("no memory for the states")

    with monkeypatch.context() as patched:
        patched.setattr(case.inference, "state_root", fail)
        assert ask(url, "optimism_outputAtBlock", "0x1")["error"]["message"] == "no memory for the states"
    assert ask(url, "optimism_outputAtBlock", "0x1")["result"]["blockRef"]["number"] == 1


def test_client_that_goes_away_leaves_no_trace(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In the middle of its question, and before its answer."""
    host, port = url.removeprefix("http://").split(":")
    body = b"[" + b",".join([b'{"jsonrpc":"2.0","id":1,"method":"optimism_syncStatus"}'] * 5_000) + b"]"
    for sent in (body[:100], body):
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
            connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + sent)
    assert ask(url, "eth_chainId")["result"] == "0x7a69"
    assert "Traceback" not in capfd.readouterr().err
