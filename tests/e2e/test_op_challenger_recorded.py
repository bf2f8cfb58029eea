"""
What op-challenger v1.19.6 and op-dispute-mon did in two games of ours, replayed: `op_challenger.json`.

`scripts/op-challenger` plays those games with the programs themselves and writes the file.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.cli import execute
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.operator.case import Case, open_case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.rollup_rpc import RollupAnswers
from opml_dispute.primitives import Address
from tests.conftest import Chain
from tests.e2e.op_wire import Wire

FACTS: dict[str, Any] = json.loads(Path(__file__).with_name("op_challenger.json").read_text())
ARTIFACTS = {
    "factory": "DisputeGameFactory",
    "game": "FaultDisputeGame",
    "oracle": "InferenceOracle",
    "preimage_oracle": "PreimageOracle",
    "vm": "FPVM",
    "weth": "DelayedWETH",
}
ATTACK, DEFEND, STEP, RESOLVE_CLAIM, RESOLVE, CLAIM_CREDIT = (
    "472777c6",
    "7b0f0adc",
    "d8cc1a3c",
    "03c2924d",
    "2810e1d6",
    "60e27464",
)
NODE = 4


@pytest.fixture
def case(chain: Chain, tmp_path: Path) -> Case:
    """The request that the games were about: the sample model and the same digit."""
    system, store = chain.system(), ModelStore(tmp_path / "models")
    return open_case(system, ask_sample(system, chain.sender("requester"), 7, store), store=store)


def test_recording_is_of_whole_games() -> None:
    """Moves both ways, a step, claims and game resolved, bonds taken: otherwise the facts say less than it seems."""
    sent = {selector for _, selector in FACTS["transactions"]}
    assert sent == {ATTACK, DEFEND, STEP, RESOLVE_CLAIM, RESOLVE, CLAIM_CREDIT}


@pytest.mark.parametrize(("contract", "selector"), sorted({tuple(call[:2]) for call in FACTS["calls"]}))
def test_every_function_that_was_asked_for_is_in_the_contract(contract: str, selector: str) -> None:
    functions = load_artifact(ARTIFACTS[contract]).functions.values()
    assert selector in {function.selector.hex() for function in functions}


def test_calls_without_arguments_are_answered_at_heads_given_by_tag_and_by_hash(chain: Chain, case: Case) -> None:
    """On a game of today, as the programs ask: at "latest", and at the hash that they compute of a block."""
    system, wire = chain.system(), Wire(chain.anvil.url)
    done = perform(
        proposal_intent(system, case.request_id, case.final_root, case.program.node_count), chain.sender("proposer")
    )
    assert done.receipt is not None
    addresses: dict[str, Address] = {**system.deployment.addresses, "game": system.factory.created_game(done.receipt)}
    asked = 0
    for contract, selector, block in FACTS["calls"]:
        functions = {
            function.selector.hex(): function for function in load_artifact(ARTIFACTS[contract]).functions.values()
        }
        if functions[selector].inputs or selector == RESOLVE:
            continue
        at = wire.head_block() if block == "hash" else block
        answer = wire.request(
            "eth_call", {"from": "0x" + "00" * 20, "input": "0x" + selector, "to": addresses[contract]}, at
        )
        assert len(answer) > 2, (contract, functions[selector].text)
        asked += 1
    assert asked > 25


def test_every_question_to_the_rollup_node_is_answered(chain: Chain, case: Case) -> None:
    answers = RollupAnswers(case, chain.deployment.chain_id)
    for method, parameters in FACTS["rollup"]:
        found = answers.answer(method, parameters)
        assert found, method
        if method == "optimism_outputAtBlock":
            assert found["outputRoot"] == "0x" + case.inference.state_root(int(parameters[0], 16)).hex()


def filled_in(line: list[str], case: Case, *, step: int) -> list[str]:
    """A recorded command line of cannon's, for the run of one node, with what was left out of it."""
    values: dict[str, Callable[[], str]] = {
        "--l2.outputroot": lambda: "0x" + case.inference.state_root(NODE).hex(),
        "--l2.claim": lambda: "0x" + case.inference.state_root(NODE + 1).hex(),
        "--l2.blocknumber": lambda: str(NODE + 1),
        "--proof-at": lambda: f"={step}",
        "--stop-at": lambda: f"={step + 1}",
    }
    kinds = {
        "HASH": "0x" + "00" * 32,
        "N": "1",
        "%N": "%1000000000",
        "URL": "http://127.0.0.1:1",
        "PROGRAM": "/bin/false",
    }
    return [
        values[before]() if before in values else kinds.get(word, word)
        for before, word in zip(["", *line], line, strict=False)
    ]


@pytest.mark.parametrize("line", FACTS["cannon"], ids=lambda line: f"{len(line)} words")
def test_cannon_does_what_op_challenger_starts_it_for(
    chain: Chain, case: Case, line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded command line leads to the proof that op-challenger then reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPML_RPC_URL", chain.anvil.url)
    monkeypatch.setenv("OPML_DEPLOYMENT", str(chain.deployment_file))
    monkeypatch.setenv("OPML_REQUEST", "0x" + case.request_id.hex())
    assert execute(["cannon", "load-elf", "--type", "opml-ml", "--out", "prestate.bin.gz", "--meta", ""]) == 0
    for folder in ("proofs", "snapshots", "preimages"):
        (tmp_path / folder).mkdir()
    assert execute(["cannon", *filled_in(line, case, step=300)]) == 0
    proof = json.loads(gzip.decompress((tmp_path / "proofs" / "300.json.gz").read_bytes()))
    assert {"step", "pre", "post", "state-data", "proof-data"} <= proof.keys()
    assert (tmp_path / "final.bin.gz").exists()
