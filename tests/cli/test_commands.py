"""An operator does every move by hand: whole disputes through commands, as a script would drive them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from eth_account import Account as EthAccount

from opml_dispute import cli as cli_module
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.contracts.examples import DigitReader
from opml_dispute.chain.reverts import Reverted
from opml_dispute.cli import COMMANDS
from opml_dispute.devnet import anvil as devnet
from opml_dispute.models import digit_samples
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import games_of
from opml_dispute.operator.intents import Intent, perform, perform_all
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.proposing import proposal_intents
from opml_dispute.primitives import RequestId, StateRoot
from tests.cli.conftest import Cli
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]
SAMPLE = 7


def ask(cli: Cli, key: Key, *options: str) -> str:
    """A request through the example consumer; its id."""
    result = cli("request", "--sample", SAMPLE, "--reader", "--key-file", key("requester"), "--json", *options)
    assert result.code == 0, result.err
    return str(result.object_with("request_id")["request_id"])


def propose(cli: Cli, key: Key, request_id: str, *options: str) -> str:
    """A proposal; its game."""
    result = cli("propose", request_id, "--key-file", key("proposer"), "--json", *options)
    assert result.code == 0, result.err
    return str(result.objects[-1]["game"])


def test_a_lie_is_challenged_answered_stepped_and_settled(cli: Cli, on_chain: Chain, key: Key) -> None:
    """Command by command, both sides, until the challenger has the money."""
    fault = ("--fault", "seed=2")
    game = propose(cli, key, ask(cli, key), *fault)
    challenger, proposer = ("--key-file", key("challenger")), ("--key-file", key("proposer"))
    opened = cli("challenge", game, *challenger, "--json")
    assert opened.code == 0, opened.err
    assert opened.object_with("correct")["correct"] is False
    assert opened.objects[-1]["did"] == "attack"
    kinds = []
    for turn in range(60):
        signing, lie = (challenger, ()) if turn % 2 else (proposer, fault)
        answer = cli("respond", game, *signing, *lie, "--json")
        if answer.code != 0:
            assert "ValidStep" not in answer.err
        did = [item["did"] for item in answer.objects if "did" in item]
        kinds += did
        if "step" in did:
            break
    depth = cli("show", game, "--json").objects[-1]["max_depth"]
    assert kinds.count("attack") + kinds.count("defend") == depth - 1, "the first was `challenge`"
    assert kinds[-1] == "step"
    shown = cli("show", game, "--json")
    assert shown.objects[-2]["countered_by"] == devnet.account("challenger").address
    assert shown.objects[-1]["forecast"] == "CHALLENGER_WINS"
    waiting = cli("resolve", game, *challenger, "--json")
    assert waiting.objects[-1]["waits_for"] == "the clocks of its claims"
    for span, after in (
        (TEST_TIMES.max_clock_s, "the finality delay"),
        (TEST_TIMES.finality_delay_s + 1, "the withdrawal delay"),
        (TEST_TIMES.withdrawal_delay_s, None),
    ):
        on_chain.warp(span)
        settled = cli("resolve", game, *challenger, "--json")
        assert settled.code == 0, settled.err
        assert settled.objects[-1]["waits_for"] == after
    assert settled.objects[-1]["status"] == "CHALLENGER_WINS"
    assert settled.objects[-1]["owed_wei"] == 0


def test_a_right_answer_is_left_alone_and_delivered(cli: Cli, on_chain: Chain, key: Key) -> None:
    request_id = ask(cli, key, "--fee", "0.01eth")
    game = propose(cli, key, request_id)
    proposer = ("--key-file", key("proposer"))
    agreed = cli("challenge", game, "--key-file", key("challenger"))
    assert agreed.code == 0
    assert "nothing to challenge" in agreed.err
    idle = cli("respond", game, *proposer)
    assert idle.code == 0
    assert "Nothing to answer" in idle.err
    on_chain.warp(TEST_TIMES.max_clock_s)
    assert cli("resolve", game, *proposer).code == 0
    early = cli("finalize", request_id, *proposer)
    assert early.code == 1
    assert "not final yet: the finality delay ends in 10 min" in early.err, "it says how long still"
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    delivered = cli("finalize", request_id, *proposer, "--json")
    assert delivered.code == 0, delivered.err
    system = on_chain.system()
    reader = on_chain.deployment.addresses["digit_reader"]
    digit = system.rpc.read(DigitReader(reader).digit_of(bytes.fromhex(request_id[2:])))
    assert digit == digit_samples()[1][SAMPLE]
    again = cli("finalize", request_id, *proposer)
    assert again.code == 0
    assert "Delivered already" in again.err


def test_a_right_answer_that_lost_is_proposed_again_and_gets_the_fee(cli: Cli, on_chain: Chain, key: Key) -> None:
    """An attacker proposes the right answer and lets it fall; a proposer proposes it anew without knowing about
    nonces."""
    request_id = ask(cli, key, "--fee", "0.01eth")
    attacker, signing = ("--key-file", key("challenger")), ("--key-file", key("proposer"))
    copied = cli("propose", request_id, *attacker, "--no-commit", "--json")
    assert [item["did"] for item in copied.objects if "did" in item] == ["propose"]
    burnt = copied.objects[-1]["game"]
    move = ("move", burnt, "--attack", "--claim", 0, "--value", "0x" + "ab" * 32)
    assert cli(*move, *attacker).code == 0
    assert "is proposed for this request already" in cli("propose", request_id, *signing).err
    on_chain.warp(TEST_TIMES.max_clock_s)
    assert cli("resolve", burnt, *attacker).code == 0
    lost = cli("challenge", burnt, *signing)
    assert lost.code == 1
    assert "the right answer" in lost.err
    assert f"propose it again: opml-dispute propose {request_id}" in lost.err
    made = cli("propose", request_id, *signing, "--json")
    assert made.code == 0, made.err
    assert [item["did"] for item in made.objects if "did" in item] == ["commit", "propose"], "there is a fee"
    game = made.objects[-1]["game"]
    on_chain.warp(TEST_TIMES.max_clock_s)
    assert cli("resolve", game, *signing).code == 0
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    before = on_chain.rpc.balance_wei(devnet.account("proposer").address)
    assert cli("finalize", request_id, *attacker).code == 0
    assert on_chain.rpc.balance_wei(devnet.account("proposer").address) - before == 10**16


@pytest.mark.parametrize("copies", [1, 3])
def test_a_proposer_whose_whole_call_was_copied_gets_the_fee(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path, copies: int
) -> None:
    """A front-runner makes the very same game a moment earlier, again and again; the commitment is for all attempts."""
    request_id = RequestId(bytes.fromhex(ask(cli, key, "--fee", "0.01eth")[2:]))
    system, copier, own = on_chain.system(), on_chain.sender("challenger"), on_chain.sender("proposer")
    case = open_case(system, request_id, store=ModelStore(tmp_path))
    root, node_count = case.final_root, case.program.node_count
    committing, proposal = proposal_intents(system, request_id, root, node_count, proposer=own.address)
    perform(committing, own)
    attempt: Intent | None = proposal
    for _ in range(copies):
        assert attempt is not None
        copier.send(attempt.call, value_wei=attempt.value_wei)
        attempt = attempt.otherwise("GameAlreadyExists")
    assert perform(proposal, own).receipt is not None
    (again,) = perform_all([proposal], own)
    assert isinstance(again, Reverted), "one game of its own is enough"
    on_chain.warp(TEST_TIMES.max_clock_s)
    games = games_of(system, request_id)
    assert len(games) == copies + 1
    copier.send(FaultDisputeGame(games[0]).settle([0]))
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    before = on_chain.rpc.balance_wei(own.address)
    assert cli("finalize", "0x" + request_id.hex(), "--key-file", key("challenger")).code == 0
    assert on_chain.rpc.balance_wei(own.address) - before == 10**16


def test_attempts_end_after_as_many_as_a_commitment_is_for(cli: Cli, on_chain: Chain, key: Key) -> None:
    request_id = RequestId(bytes.fromhex(ask(cli, key, "--fee", "1000wei")[2:]))
    system, sender = on_chain.system(), on_chain.sender("challenger")
    address = on_chain.sender("proposer").address
    committing, proposal = proposal_intents(system, request_id, StateRoot(b"\x5a" * 32), 14, proposer=address)
    assert (committing.kind, proposal.kind) == ("commit", "propose")
    assert proposal.otherwise("BondAmountTooLow") is None
    sender.send(proposal.call, value_wei=proposal.value_wei)
    following = proposal.otherwise("GameAlreadyExists")
    assert following is not None
    assert following.call != proposal.call


@pytest.mark.parametrize("command", [("resolve",), ("respond", "--watch")], ids=lambda words: words[0])
def test_a_proposer_who_was_passed_over_gets_the_fee_when_what_came_before_falls(
    cli: Cli, on_chain: Chain, key: Key, command: tuple[str, ...]
) -> None:
    """The first proposer lets its game fall and makes another one; either command sees to the second one's right."""
    request_id = ask(cli, key, "--fee", "0.01eth")
    attacker, signing = ("--key-file", key("challenger")), ("--key-file", key("proposer"))
    first = cli("propose", request_id, *attacker, "--no-commit", "--json").objects[-1]["game"]
    honest = cli("propose", request_id, "--again", *signing, "--json").objects[-1]["game"]
    assert cli("move", first, "--attack", "--claim", 0, "--value", "0x" + "ab" * 32, *attacker).code == 0
    on_chain.warp(TEST_TIMES.max_clock_s)
    assert cli("resolve", first, *attacker).code == 0
    late = cli("propose", request_id, "--again", *attacker, "--no-commit", "--json").objects[-1]["game"]
    if "--watch" in command:  # it ends when the game is over
        on_chain.warp(TEST_TIMES.max_clock_s)
        assert cli("resolve", honest, *attacker).code == 0
    resolved = cli(*command, honest, *signing, "--json")
    assert resolved.code == 0, resolved.err
    assert next(item["did"] for item in resolved.objects if "did" in item) == "restore-proposal"
    assert "restore-proposal" not in cli("resolve", honest, *signing, "--json").out
    on_chain.warp(TEST_TIMES.max_clock_s)
    assert cli("resolve", late, *attacker).code == 0
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    before = on_chain.rpc.balance_wei(devnet.account("proposer").address)
    assert cli("finalize", request_id, *attacker).code == 0
    assert on_chain.rpc.balance_wei(devnet.account("proposer").address) - before == 10**16


def test_a_proposer_who_delivers_with_the_game_of_another_keeps_its_right_to_the_fee(
    cli: Cli, on_chain: Chain, key: Key
) -> None:
    """What came before fell, its own game is not final yet, and a later one is: `finalize` restores it first."""
    request_id = ask(cli, key, "--fee", "0.01eth")
    attacker, signing = ("--key-file", key("challenger")), ("--key-file", key("proposer"))
    again = (request_id, "--again", "--no-commit", "--json")
    first = cli("propose", request_id, *attacker, "--no-commit", "--json").objects[-1]["game"]
    cli("propose", *again, *signing)
    later = cli("propose", *again, *attacker).objects[-1]["game"]
    assert cli("move", first, "--attack", "--claim", 0, "--value", "0x" + "ab" * 32, *attacker).code == 0
    on_chain.warp(TEST_TIMES.max_clock_s)
    for game in (first, later):
        assert cli("resolve", game, *attacker).code == 0
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    before = on_chain.rpc.balance_wei(devnet.account("proposer").address)
    delivered = cli("finalize", request_id, *signing, "--json")
    assert delivered.code == 0, delivered.err
    assert [item["did"] for item in delivered.objects if "did" in item] == ["restore-proposal", "finalize"]
    assert delivered.objects[-1]["game"] == later
    assert on_chain.rpc.balance_wei(devnet.account("proposer").address) > before + 9 * 10**15, "the fee, less the gas"


def test_a_proposal_beside_one_that_stands(cli: Cli, on_chain: Chain, key: Key) -> None:
    """With --again a proposal is made beside one that stands."""
    request_id = ask(cli, key)
    first = propose(cli, key, request_id)
    second = propose(cli, key, request_id, "--again")
    assert first != second
    third = propose(cli, key, request_id, "--again", "--commit")
    assert third not in (first, second)
    games = [item["game"] for item in cli("list", "--request", request_id, "--json").objects]
    assert games == [third, second, first]


def test_a_proposer_who_is_losing_is_told_so(cli: Cli, on_chain: Chain, key: Key) -> None:
    """Its own computation says that its claim is wrong: it must not hear that all is answered."""
    game = propose(cli, key, ask(cli, key), "--fault", "seed=2")
    told = cli("respond", game, "--key-file", key("proposer"))
    assert told.code == 0
    assert "Claim 0 of yours is wrong" in told.err
    assert "cannot be defended: the bond of" in told.err
    again = cli("respond", game, "--key-file", key("proposer"), "--json").object_with("owed")
    assert (again["owed"], again["lost_claims"]) == (0, [0])
    assert "Nothing is left to answer" in cli("respond", game, "--key-file", key("proposer")).err


def test_every_command_that_sends_says_who_and_what_it_paid(cli: Cli, on_chain: Chain, key: Key) -> None:
    requester = on_chain.sender("requester").address
    asked = cli("request", "--sample", SAMPLE, "--key-file", key("requester"))
    assert f"From {requester} on chain 31337, which has" in asked.err
    assert re.search(r"paid 0\.\d+ ETH for it", asked.err)
    facts = cli("request", "--sample", SAMPLE, "--key-file", key("requester"), "--json")
    assert facts.object_with("sender")["sender"] == requester
    sent = facts.object_with("gas_paid_wei")
    assert sent["gas_paid_wei"] > sent["gas"]


def test_a_dry_run_refuses_what_sending_would(cli: Cli, on_chain: Chain, key: Key, tmp_path: Path) -> None:
    """It asks the chain everything but to send, and says what it would cost."""
    poor = tmp_path / "poor.key"
    poor.write_text("0x" + "79" * 32)
    refused = cli("request", "--sample", 1, "--fee", "1eth", "--dry-run", "--key-file", poor)
    assert refused.code == 1
    assert "has 0 ETH, but" in refused.err
    told = cli("request", "--sample", 1, "--fee", "1eth", "--dry-run", "--key-file", key("requester"))
    assert "gas at most, for 0." in told.err
    facts = cli("request", "--sample", 1, "--dry-run", "--key-file", key("requester"), "--json").object_with("would")
    assert facts["gas_most_wei"] > facts["gas"] > 21_000


def test_a_dry_run_says_what_it_would_do_and_does_nothing(cli: Cli, on_chain: Chain, key: Key) -> None:
    request_id = ask(cli, key)
    game = propose(cli, key, request_id, "--fault", "seed=2")
    before = on_chain.rpc.head().number
    signing = ("--key-file", key("challenger"), "--dry-run")
    for command in (
        ("challenge", game),
        ("respond", game),
        ("move", game, "--attack", "--claim", 0, "--value", "0x" + "ab" * 32),
        ("resolve", game),
        ("propose", request_id),
        ("request", "--sample", 1),
        ("model", "register", "--uri", "ipfs://elsewhere"),
    ):
        spoken = cli(*command, *signing)
        assert spoken.code == 0, spoken.err
        if command[0] != "resolve":  # nothing can be resolved yet
            assert "Will " in spoken.err
            assert [item for item in cli(*command, *signing, "--json").objects if "would" in item]
    assert on_chain.rpc.head().number == before


def test_people_hear_reasons_transactions_gas_and_bonds(cli: Cli, on_chain: Chain, key: Key) -> None:
    """The sentences that README and docs show."""
    game = propose(cli, key, ask(cli, key), "--fault", "seed=2")
    said = cli("challenge", game, "--key-file", key("challenger")).err
    assert "Claim 0 says S_14 is 0x" in said
    assert "so the claim is wrong" in said
    assert "Will attack claim 0 at depth 1 with 0x" in said
    assert "bond 0." in said
    assert "Attacked as claim 1   tx 0x" in said
    assert " gas" in said
    listed = cli("list").out
    assert game in listed
    assert "in progress" in listed
    shown = cli("show", game).out
    assert "attacks 0" in shown
    assert "in dispute ML phase: nodes 0 to 13" in shown
    assert "\x1b[" not in said + listed + shown


def test_run_shows_outputs_and_agrees_with_the_vm(cli: Cli, tmp_path: Path) -> None:
    result = cli("run", "--sample", SAMPLE, "--vm", "--json", "--save", tmp_path / "out")
    assert result.code == 0, result.err
    native, *nodes = result.objects
    assert np.argmax(native["outputs"]["probabilities"]) == digit_samples()[1][SAMPLE]
    assert len(nodes) == native["nodes"]
    assert all(node["agrees"] for node in nodes)
    saved = np.load(tmp_path / "out" / "probabilities.npy")
    assert saved.tolist() == native["outputs"]["probabilities"]


def test_models_are_inspected_registered_once_and_listed(cli: Cli, on_chain: Chain, key: Key) -> None:
    inspected = cli("model", "inspect", "--json").object_with("model_root")
    register = ("model", "register", "--uri", "ipfs://there", "--key-file", key("proposer"), "--json")
    first = cli(*register).objects[-1]
    assert first["did"] == "register-model"
    again = cli(*register).objects[-1]
    assert again == {"model_id": first["model_id"], "registered": False}
    listed = cli("model", "list", "--json").objects
    assert [item["uri"] for item in listed] == ["ipfs://there", "package:opml_dispute/models/digits.onnx"]
    assert {item["model_root"] for item in listed} == {inspected["model_root"]}


def test_an_input_given_by_root_is_answered_from_its_image(cli: Cli, on_chain: Chain, key: Key, tmp_path: Path) -> None:
    """The chain has the root only; the players bring the image, and a wrong one is noticed."""
    image, other = tmp_path / "image", tmp_path / "other"
    asking = ("request", "--sample", SAMPLE, "--by-root", "https://example.org/image", "--key-file", key("requester"))
    request_id = cli(*asking, "--save-image", image, "--json").object_with("request_id")["request_id"]
    signing = ("--key-file", key("proposer"))
    without = cli("propose", request_id, *signing)
    assert without.code == 1
    assert "by root only" in without.err
    assert "https://example.org/image" in without.err
    other.write_bytes(image.read_bytes()[:-1] + b"x")
    wrong = cli("propose", request_id, "--input-image", other, *signing)
    assert wrong.code == 1
    assert "does not match the request's input root" in wrong.err
    game = cli("propose", request_id, "--input-image", image, *signing, "--json").objects[-1]["game"]
    agreed = cli("challenge", game, "--input-image", image, "--key-file", key("challenger"))
    assert "nothing to challenge" in agreed.err


def test_requests_are_listed_for_those_who_could_answer(cli: Cli, on_chain: Chain, key: Key) -> None:
    assert "There are no requests" in cli("list", "--requests").err
    first, second = ask(cli, key, "--fee", "0.5eth"), ask(cli, key)
    listed = cli("list", "--requests", "--json").objects
    assert [item["request_id"] for item in listed] == [second, first]
    assert [item["fee_wei"] for item in listed] == [0, 5 * 10**17]
    assert first in cli("list", "--requests").out
    game = propose(cli, key, first)
    assert [item["game"] for item in cli("list", "--request", first, "--json").objects] == [game]
    assert cli("list", "--request", second, "--json").objects == []


def test_a_keystore_signs(cli: Cli, on_chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command signs with an encrypted keystore."""
    keystore, password = tmp_path / "keystore.json", tmp_path / "password"
    secret = bytes.fromhex(devnet.key_hex(devnet.ROLES.index("requester"))[2:])
    keystore.write_text(json.dumps(EthAccount.encrypt(secret, "open sesame", kdf="pbkdf2", iterations=2)))
    password.write_text("open sesame\n")
    asking = ("request", "--sample", SAMPLE, "--keystore", keystore)
    assert cli(*asking, "--password-file", password).code == 0
    monkeypatch.setenv("OPML_KEYSTORE_PASSWORD", "open barley")
    wrong = cli(*asking)
    assert wrong.code == 1
    assert "the password does not open" in wrong.err
    assert secret.hex() not in wrong.err + wrong.out


@pytest.mark.slow
def test_a_devnet_starts_answers_and_stops(cli: Cli) -> None:
    port = devnet.free_port()
    started = cli("devnet", "start", "--port", port, "--json")
    try:
        assert started.code == 0, started.err
        (facts,) = started.objects
        assert cli("devnet", "start", "--port", port).code == 1, "there is one already"
        assert cli("devnet", "status", "--json").objects[0]["url"] == facts["url"]
        keys = facts["key_files"]
        assert Path(keys["proposer"]).stat().st_mode & 0o777 == 0o600
        assert cli("request", "--sample", 1, "--key-file", keys["requester"]).code == 0, "no address is needed"
        assert cli("doctor").code == 0
    finally:
        assert cli("devnet", "stop").code == 0
    assert devnet.running() is None


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_of_one_line_and_one_example(cli: Cli, name: str) -> None:
    helped = cli(name, "--help").out
    command = cli_module.cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    if not hasattr(command, "commands"):
        assert "Example: opml-dispute" in helped
    else:
        for child in command.commands:
            assert "Example: opml-dispute" in cli(name, child, "--help").out


def test_options_mean_the_same_everywhere() -> None:
    """One name, one help text, in every command."""
    seen: dict[str, str] = {}
    for name in COMMANDS:
        command = cli_module.cli.get_command(None, name)  # type: ignore[arg-type]
        for child in getattr(command, "commands", {"": command}).values():
            for parameter in child.params:
                if getattr(parameter, "help", None) and name not in ("deploy", "agent"):  # they mean more
                    for option in parameter.opts:
                        if option in ("--rpc-url", "--deployment", "--key-file", "--keystore", "--json", "--dry-run"):
                            assert seen.setdefault(option, parameter.help) == parameter.help, (name, option)
    assert len(seen) == 6
