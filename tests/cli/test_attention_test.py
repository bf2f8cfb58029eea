"""Attention tests: answers that no output gives, proposed to see whether checkers counter them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opml_dispute.devnet import anvil as devnet
from opml_dispute.primitives import Address
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]
TESTER = "deployer"


@pytest.fixture
def request_id(cli: Cli, on_chain: Chain, key: Key) -> str:
    asked = cli("request", "--sample", 7, "--key-file", key("requester"), "--json")
    assert asked.code == 0, asked.err
    return str(asked.object_with("request_id")["request_id"])


def attention_test(cli: Cli, key: Key, request_id: str) -> tuple[Address, int]:
    """Its game and its bond in wei."""
    made = cli("propose", request_id, "--attention-test", "--key-file", key(TESTER), "--json")
    assert made.code == 0, made.err
    assert made.objects[-1]["attention_test"] is True
    return Address(made.objects[-1]["game"]), made.object_with("did")["value_wei"]


def test_a_checker_that_pays_attention_gets_the_bond(cli: Cli, on_chain: Chain, key: Key, request_id: str) -> None:
    """What an honest challenger does about any wrong answer, it does about a test; the bond less a fifth is its."""
    game, bond_wei = attention_test(cli, key, request_id)
    caught = cli("challenge", game, "--key-file", key("challenger"), "--json")
    assert caught.code == 0, caught.err
    assert caught.object_with("correct")["correct"] is False
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    settled = cli("resolve", game, "--for", "all", "--key-file", key("challenger"), "--json")
    assert settled.objects[-1]["status"] == "CHALLENGER_WINS"
    rewards = cli("show", game, "--json").objects[-1]["payouts_wei"]
    own_wei = caught.object_with("did")["value_wei"]
    assert rewards[devnet.account("challenger").address] == own_wei + bond_wei * 8 // 10


def test_a_test_that_no_checker_counters_delivers_nothing_and_costs_no_bond(
    cli: Cli, on_chain: Chain, key: Key, request_id: str
) -> None:
    game, _ = attention_test(cli, key, request_id)
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    settled = cli("resolve", game, "--for", "all", "--key-file", key(TESTER), "--json")
    assert settled.objects[-1]["status"] == "DEFENDER_WINS"
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    assert cli("resolve", game, "--for", "all", "--key-file", key(TESTER), "--json").code == 0
    assert_refused(cli("finalize", request_id, "--key-file", key("requester")), "which is computed here")
    assert (
        on_chain.system().rpc.read(on_chain.system().oracle.request_of(bytes.fromhex(request_id[2:]))).items_left == 1
    )
    on_chain.warp(TEST_TIMES.withdrawal_delay_s + 1)
    assert cli("resolve", game, "--for", "all", "--key-file", key(TESTER), "--json").objects[-1]["owed_wei"] == 0


def test_the_right_answer_is_proposed_and_delivered_beside_a_test(
    cli: Cli, on_chain: Chain, key: Key, request_id: str
) -> None:
    game, _ = attention_test(cli, key, request_id)
    made = cli("propose", request_id, "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    assert made.objects[-1]["game"] != game
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    for one in (game, made.objects[-1]["game"]):
        assert cli("resolve", one, "--key-file", key("proposer"), "--json").code == 0
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    delivered = cli("finalize", request_id, "--key-file", key("requester"), "--json")
    assert delivered.code == 0, delivered.err


def test_two_tests_of_one_request_are_two_games(cli: Cli, on_chain: Chain, key: Key, request_id: str) -> None:
    """Nothing about a test repeats, or checkers would know it again."""
    first, second = (cli("propose", request_id, "--attention-test", "--key-file", key(TESTER), "--json") for _ in "ab")
    assert first.objects[-1]["root_claim"] != second.objects[-1]["root_claim"]


@pytest.mark.parametrize("other", [("--fault", "seed=1"), ("--commit",), ("--no-commit",), ("--again",)])
def test_what_concerns_answers_does_not_go_with_a_test(cli: Cli, key: Key, other: tuple[str, ...]) -> None:
    refused = cli("propose", "0x" + "11" * 32, "--attention-test", *other, "--key-file", key(TESTER))
    assert_refused(refused, "makes no sense with --attention-test")
