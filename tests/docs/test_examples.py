"""The examples of docs/examples run on a local chain, each to its end."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opml_dispute import Inference, ModelStore, digit_samples
from opml_dispute.chain.artifacts import Artifact, parse_artifact
from opml_dispute.chain.contracts.contract import Contract
from opml_dispute.chain.transactions import Creation
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.self_play import settle_out
from opml_dispute.engine.segment import input_image
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import delivery_intent, proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.primitives import Address, RequestId
from opml_dispute.toolchain.solidity import _compiler_path, compiler_input
from opml_dispute.trace.guest import guest_machine
from tests.conftest import TEST_TIMES, Chain

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SOLIDITY = "DigitBounty.sol"


def load(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(chain: Chain, request_id: RequestId, store: ModelStore) -> None:
    """Proposes the right answer, waits, and delivers it."""
    system, sender = chain.system(), chain.sender("proposer")
    case = open_case(system, request_id, store=store)
    done = perform(proposal_intent(system, request_id, case.final_root, case.program.node_count), sender)
    assert done.receipt is not None
    game = system.factory.created_game(done.receipt)
    settle_out(system, game, {"proposer": sender.address}, lambda role, intent: perform(intent, sender))
    perform(delivery_intent(system, case, game), sender)


def test_request_example_prints_the_digit_that_was_delivered(chain: Chain, tmp_path: Path) -> None:
    key = tmp_path / "requester.key"
    key.write_text(devnet.key_hex(devnet.ROLES.index("requester")) + "\n")
    command = [sys.executable, str(EXAMPLES / "request.py"), chain.rpc.url, str(chain.deployment_file), str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        request_id = RequestId(bytes.fromhex(process.stdout.readline().removeprefix("request 0x").strip()))
        answer(chain, request_id, ModelStore(tmp_path / "models"))
        assert process.stdout.read() == f"digit {int(digit_samples()[1][0])}\n"
    assert process.returncode == 0


def test_agent_example_beats_a_liar_and_gets_its_bonds_back(chain: Chain, tmp_path: Path) -> None:
    system, store, liar = chain.system(), ModelStore(tmp_path / "models"), chain.sender("proposer")
    agent = load("agent").OwnAgent(system, chain.sender("challenger"), store)
    before_wei = chain.rpc.balance_wei(agent.sender.address)
    model_id = system.rpc.read(system.registry.model_id_at(0))
    request_id = load("request").ask(system, chain.sender("requester"), model_id)
    case = open_case(system, request_id, store=store)
    faulty = case.liar().find(3)
    done = perform(proposal_intent(system, request_id, faulty.root_claim, case.program.node_count), liar)
    assert done.receipt is not None
    address = system.factory.created_game(done.receipt)
    seat = Seat(Table(system, address, faulty.trace(guest_machine())), one_by_one(lambda intent: perform(intent, liar)))
    play_round = load("agent").play_round
    while agent.run_pass() + len(play_round(seat, seat.table.trace).done):
        pass
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s):
        chain.warp(delay_s)
        agent.run_pass()
    assert system.games.read(address).status == GameStatus.CHALLENGER_WINS
    assert chain.rpc.balance_wei(agent.sender.address) > before_wei


class DigitBounty(Contract):
    """The example's contract, as its artifact describes it."""

    compiled: Artifact

    @classmethod
    def artifact(cls) -> Artifact:
        return cls.compiled

    def call(self, function: str, *arguments: Any) -> Any:
        """A call of any of its functions."""
        return self._call(lambda value: value, function, *arguments)


@pytest.fixture(scope="module")
def bounty() -> Artifact:
    """The consumer contract, compiled against the project's interfaces."""
    import solcx

    standard = compiler_input()
    standard["sources"][SOLIDITY] = {"content": (EXAMPLES / SOLIDITY).read_text(encoding="utf-8")}
    standard["settings"]["remappings"].append("opml-dispute/=")
    standard["settings"]["outputSelection"] = {SOLIDITY: {"*": ["abi", "evm.bytecode.object"]}}
    compiled = solcx.compile_standard(standard, solc_binary=_compiler_path())["contracts"][SOLIDITY]["DigitBounty"]
    code = "0x" + compiled["evm"]["bytecode"]["object"]
    DigitBounty.compiled = parse_artifact(
        {"name": "DigitBounty", "abi": compiled["abi"], "bytecode": code, "runtime_bytes": 0}
    )
    return DigitBounty.compiled


def test_consumer_example_pays_the_bounty_for_the_digit_that_it_wants(
    chain: Chain, tmp_path: Path, bounty: Artifact
) -> None:
    system, requester = chain.system(), chain.sender("requester")
    model_id = system.rpc.read(system.registry.model_id_at(0))
    images, labels = digit_samples()
    arguments = (system.oracle.address, model_id, int(labels[0]))
    receipt = chain.sender("deployer").send(Creation(bounty, arguments), value_wei=10**18)
    assert receipt.created is not None
    contract = DigitBounty(Address(receipt.created))
    store = ModelStore(tmp_path / "models")
    program = load_program(chain, store, model_id)
    image = input_image(program.inputs, {"image": images[:1]})
    asked = requester.send(contract.call("submit", image), value_wei=10**15)
    (event,) = system.oracle.requested(asked.logs)
    answer(chain, RequestId(bytes(event["requestId"])), store)
    assert int(Inference(program, image).outputs()["probabilities"].argmax()) == int(labels[0])
    assert system.rpc.read(contract.call("winner")).lower() == requester.address.lower()
    before_wei = chain.rpc.balance_wei(requester.address)
    chain.sender("deployer").send(contract.call("withdraw"))
    assert chain.rpc.balance_wei(requester.address) == before_wei + 10**18


def load_program(chain: Chain, store: ModelStore, model_id: Any) -> Any:
    """The sample model's program."""
    from opml_dispute.model.files import Binding

    system = chain.system()
    return store.program(model_id, system.rpc.read(system.registry.model(model_id)), file=None, binding=Binding())
