"""Before the first wei: a game that cannot be defended is not staked on, and each check says what is left to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.actors.exposure import line_wei
from opml_dispute.chain.answers import Head
from opml_dispute.chain.games import GameConstants
from opml_dispute.chain.rpc import Rpc, UnexpectedAnswer
from opml_dispute.engine.inference import Inference
from opml_dispute.game.depths import Depths
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS, digit_samples
from opml_dispute.operator import preflight as module
from opml_dispute.operator.checks import Verdict
from opml_dispute.operator.preflight import ComputedHere, NotDefensible, Prospect, expect_defensible, preflight
from opml_dispute.primitives import Address, StateHash
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.cli.test_commands import ask, propose
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]


@pytest.fixture(scope="module")
def prospect() -> Prospect:
    """The sample model on one of its samples, in a game as deep as it should be; no chain."""
    program = compile_model(DIGITS)
    inference = Inference(program, {program.inputs[0].name: digit_samples()[0][:1]})
    computed = ComputedHere(program, inference)
    return Prospect(program, computed, Depths.for_model(program.node_count, program.log2_steps), defends=True)


def verdicts(prospect: Prospect) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in preflight(prospect)}


def test_a_sound_model_can_be_defended(prospect: Prospect) -> None:
    assert set(verdicts(prospect).values()) == {Verdict.HOLDS}


@pytest.mark.parametrize("depths", [Depths(4, 10), Depths(3, 26)])
def test_a_game_that_is_too_shallow_fails_by_the_records(prospect: Prospect, depths: Depths) -> None:
    """Whatever a registrant said: the execution depth, and the split depth."""
    checks = list(preflight(replace(prospect, depths=depths)))
    failed = {check.name for check in checks if check.verdict is Verdict.FAILS}
    assert "depths" in failed
    if depths.execution < 10:
        assert "longest nodes" in failed, "running them finds it too"
    with pytest.raises(NotDefensible, match="may not be defensible") as raised:
        expect_defensible(checks)
    assert "--stake-anyway" in str(raised.value.hint)


def test_too_little_memory_fails(prospect: Prospect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_free_memory", lambda: 1000)
    assert verdicts(prospect)["memory"] is Verdict.FAILS
    monkeypatch.setattr(module, "_free_memory", lambda: None)
    assert verdicts(prospect)["memory"] is Verdict.UNKNOWN


def on(chain: Chain, prospect: Prospect, account: str) -> Prospect:
    return replace(prospect, system=chain.system(), account=Address(account))


def test_the_chain_is_checked_where_there_is_one(chain: Chain, prospect: Prospect) -> None:
    found = verdicts(on(chain, prospect, chain.sender("proposer").address))
    assert {name for name, verdict in found.items() if verdict is Verdict.FAILS} == set()
    assert {"deployment", "clocks", "funds"} <= set(found)


def test_what_a_check_cannot_make_out_is_its_result_and_hides_no_other(
    cli: Cli, on_chain: Chain, key: Key, prospect: Prospect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first check as of the others."""
    game = on_chain.system().games.read(Address(propose(cli, key, ask(cli, key))))
    sound = replace(on(on_chain, prospect, on_chain.sender("proposer").address), game=game)

    def contradict(self: Rpc) -> Head:
        raise UnexpectedAnswer("the latest block has two times")

    monkeypatch.setattr(Rpc, "head", contradict)
    found = {check.name: check for check in preflight(sound)}
    for name in ("game", "clocks"):
        assert (found[name].verdict, found[name].found) == (Verdict.FAILS, "the latest block has two times")


def test_an_account_that_cannot_pay_the_whole_game_fails(chain: Chain, prospect: Prospect) -> None:
    """The root bond alone would be paid for; the moves down to the last step would not."""
    poor = "0x" + "77" * 20
    chain.rpc.request("anvil_setBalance", poor, hex(10**17))
    (funds,) = [check for check in preflight(on(chain, prospect, poor)) if check.name == "funds"]
    assert funds.verdict is Verdict.FAILS
    assert f"more to {poor}" in funds.way_out


def test_an_account_that_lacks_one_wei_is_told_so(
    chain: Chain, prospect: Prospect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "about_ether", str)
    account = "0x" + "78" * 20

    def funds(balance_wei: int) -> tuple[Verdict, str]:
        chain.rpc.request("anvil_setBalance", account, hex(balance_wei))
        (found,) = [check for check in preflight(on(chain, prospect, account)) if check.name == "funds"]
        return found.verdict, found.way_out

    verdict, way_out = funds(0)
    assert verdict is Verdict.FAILS
    (needed_wei,) = [int(word) for word in way_out.split() if word.isdigit()]
    assert funds(needed_wei) == (Verdict.HOLDS, "")
    assert funds(needed_wei - 1) == (Verdict.FAILS, f"send at least 1 more to {account}")


def test_moves_that_take_longer_than_a_clock_are_told(
    chain: Chain, prospect: Prospect, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = prospect.depths.max // 2 + 1
    for block_s, verdict in ((TEST_TIMES.max_clock_s // moves - 1, True), (TEST_TIMES.max_clock_s // moves + 1, False)):
        monkeypatch.setattr(module, "BLOCK_S", block_s)
        found = verdicts(on(chain, prospect, chain.sender("proposer").address))
        assert (found["clocks"] is not Verdict.FAILS) is verdict


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vm": Address("0x" + "11" * 20)}, "the game's vm is"),
        ({"weth": Address("0x" + "11" * 20)}, "the game's weth is"),
        ({"absolute_prestate": StateHash(bytes(32))}, "guest starts at"),
        ({"chain_id": 7}, "counts on chain 7"),
    ],
)
def test_a_game_of_other_parts_fails(
    cli: Cli, on_chain: Chain, key: Key, prospect: Prospect, change: dict[str, object], says: str
) -> None:
    """One that names another VM, another WETH, another guest or another chain than the deployment."""
    system = on_chain.system()
    game = Address(propose(cli, key, ask(cli, key)))
    constants: GameConstants = replace(system.games.constants(game), **change)  # type: ignore[arg-type]
    checks = list(preflight(replace(prospect, system=system, constants=constants)))
    assert checks[0].verdict is Verdict.FAILS
    assert says in checks[0].found


def failing_model(path: Path) -> Path:
    """Gather with an index out of range: it compiles, and every run of it fails."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["data", "index"], ["y"], axis=0)],
        "g",
        [helper.make_tensor_value_info("index", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.ones((3, 2), np.float32), "data")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_an_inference_that_fails_is_not_proposed_unless_asked_for(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path
) -> None:
    """It could be defended, but nothing could be delivered and no fee earned."""
    model, index = failing_model(tmp_path / "gather.onnx"), tmp_path / "index.npy"
    np.save(index, np.array([7], np.int64))
    registered = cli("model", "register", model, "--key-file", key("requester"), "--json")
    model_id = registered.object_with("model_id")["model_id"]
    asked = cli("request", "--model-id", model_id, "--input", index, "--key-file", key("requester"), "--json")
    request_id = asked.object_with("request_id")["request_id"]
    signing = ("--key-file", key("proposer"))
    games = on_chain.system().rpc.read(on_chain.system().factory.game_count())
    refused = cli("propose", request_id, "--force-unavailable", *signing)
    assert_refused(refused, "status 7 (index out of range")
    assert "no fee be earned" in refused.err
    assert on_chain.system().rpc.read(on_chain.system().factory.game_count()) == games
    made = cli("propose", request_id, "--stake-anyway", "--force-unavailable", *signing, "--json")
    assert made.code == 0, made.err
    run = cli("run", model, "--input", index)
    assert run.code == 1
    assert "failed at node 0: status 7" in run.err


def test_the_command_checks_a_game_a_request_a_model_and_a_file(cli: Cli, on_chain: Chain, key: Key) -> None:
    request_id = ask(cli, key)
    game = propose(cli, key, request_id)
    model_id = on_chain.system().rpc.read(on_chain.system().registry.model_id_at(0))
    payer = ("--from", on_chain.sender("challenger").address)
    for subject in (game, request_id, "0x" + model_id.hex()):
        checked = cli("preflight", subject, *payer, "--json")
        assert checked.code == 0, checked.out
        assert {item["preflight"] for item in checked.objects} >= {"deployment", "depths", "clocks", "funds"}
    assert cli("preflight", DIGITS).code == 0
    checked = cli("preflight", game)
    assert checked.code == 0
    assert "All checks hold" not in checked.err
    # Clocks are uncertain where another test has moved the chain's.
    assert re.search(r"checks hold and none fails; not certain: (clocks, )?funds\.", " ".join(checked.err.split()))
    assert_refused(cli("preflight", "0x" + "ab" * 32), "neither a request nor a registered model")
    assert_refused(cli("preflight", "nothing"), "names no game, request, model or file")
    poor = cli("preflight", game, "--from", "0x" + "77" * 20)
    assert_refused(poor, "1 of")


def test_a_liar_needs_no_preflight(cli: Cli, on_chain: Chain, key: Key) -> None:
    """--fault is for testing those who should notice."""
    made = cli("propose", ask(cli, key), "--fault", "seed=2", "--key-file", key("proposer"))
    assert made.code == 0
    assert "Preflight" not in made.err
    assert "respond" in made.err
    assert "--fault seed=2" in made.err, "the way to defend the lie has the same fault"


def test_every_line_that_the_game_can_ask_for_is_counted_before_the_first_stake(
    cli: Cli, on_chain: Chain, key: Key
) -> None:
    """Three wrong claims under a right root claim: money for one of them is refused, by each way into the game."""
    game = propose(cli, key, ask(cli, key))
    for value in ("11", "22", "33"):
        wrong = ("move", game, "--attack", "--claim", 0, "--value", "0x" + value * 32)
        assert cli(*wrong, "--key-file", key("challenger")).code == 0
    state = on_chain.system().games.read(Address(game))
    one_line_wei = line_wei(2, state.depths.max, state.terms)
    defender = on_chain.sender("deployer").address
    on_chain.rpc.request("anvil_setBalance", defender, hex(2 * one_line_wei))
    counted = "on the 3 lines that decide the game"
    for way in (("respond", game), ("respond", game, "--watch", "--interval", 1)):
        refused = cli(*way, "--key-file", key("deployer"))
        assert_refused(refused, counted)
    checked = cli("preflight", game, "--from", defender)
    assert checked.code == 1
    assert counted in checked.out
    assert len(on_chain.system().games.read(Address(game)).claims) == 4, "nothing was staked"
    on_chain.rpc.request("anvil_setBalance", defender, hex(3 * one_line_wei + 10**18))
    assert cli("preflight", game, "--from", defender).code == 0


def test_a_fee_that_can_be_taken_back_before_the_delivery_is_told(cli: Cli, on_chain: Chain, key: Key) -> None:
    """Before the first wei is staked for it."""
    asked = cli("request", "--sample", 7, "--fee", "1eth", "--key-file", key("requester"), "--json")
    request_id = asked.object_with("request_id")["request_id"]
    assert "is not sure" not in cli("propose", request_id, "--key-file", key("proposer"), "--dry-run").err
    on_chain.warp(TEST_TIMES.reclaim_delay_s - TEST_TIMES.longest_to_delivery_s)
    told = cli("propose", request_id, "--key-file", key("proposer"), "--dry-run")
    assert told.code == 0, told.err
    assert "The fee of 1 ETH is not sure" in told.err + told.out


def test_a_game_that_is_over_is_said_to_be_over(cli: Cli, on_chain: Chain, key: Key) -> None:
    """And before it is resolved, that there is no time left: in neither state is there anything to stake on."""
    game, payer = propose(cli, key, ask(cli, key)), on_chain.sender("challenger").address
    going_on = cli("preflight", game, "--from", payer, "--json")
    assert next(item["verdict"] for item in going_on.objects if item["preflight"] == "game") == Verdict.HOLDS.value
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    late = cli("preflight", game, "--from", payer)
    assert "the time to answer its claims is over" in " ".join(late.out.split())
    assert cli("resolve", game, "--key-file", key("proposer")).code == 0
    over = cli("preflight", game, "--from", payer, "--json")
    assert_refused(over, "1 of 1 checks failed: stake nothing on this")
    assert [item["found"] for item in over.objects if "preflight" in item] == ["it is over: the defender wins"]
