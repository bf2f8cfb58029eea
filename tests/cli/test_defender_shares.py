"""A fee that is shared with defenders: kept at the delivery, paid to the wei, and shown before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from opml_dispute.devnet import anvil as devnet
from opml_dispute.models import digit_samples
from opml_dispute.primitives import Address
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]
ETHER = 10**18
LIE = "0x" + "4a" * 32
DEFENDER = devnet.account("deployer").address


def ask(cli: Cli, key: Key, *options: object) -> str:
    asked = cli("request", *options, "--key-file", key("requester"), "--json")
    assert asked.code == 0, asked.err
    return str(asked.object_with("request_id")["request_id"])


def defended(cli: Cli, on_chain: Chain, key: Key, request_id: str) -> tuple[Address, int]:
    """A right answer that one account attacked and another defended, final; and what the attacker's bond forfeited."""
    made = cli("propose", request_id, "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    game = Address(made.objects[-1]["game"])
    attack = ("--attack", "--claim", 0, "--value", LIE)
    attacked = cli("move", game, *attack, "--key-file", key("challenger"), "--json")
    assert attacked.code == 0, attacked.err
    forfeited_wei = attacked.object_with("did")["value_wei"] * 2_000 // 10_000
    answered = cli("respond", game, "--key-file", key("deployer"), "--json")
    assert answered.code == 0, answered.err
    on_chain.warp(TEST_TIMES.max_clock_s)
    resolved = cli("resolve", game, "--key-file", key("deployer"), "--json")
    assert resolved.objects[-1]["status"] == "DEFENDER_WINS"
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    return game, forfeited_wei


@pytest.mark.parametrize(("fee", "percent"), [("1eth", 20), ("0.01eth", 12.5)])
def test_a_defender_is_paid_its_share_of_the_fee_to_the_wei(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path, fee: str, percent: float
) -> None:
    """A large fee pays half of what the liar forfeited, a small one its part."""
    request_id = ask(cli, key, "--sample", 7, "--fee", fee, "--defenders-share", percent)
    fee_wei = int(float(fee.removesuffix("eth")) * ETHER)
    (listed,) = cli("list", "--requests", "--limit", 1, "--json").objects
    assert listed["defenders_bps"] == 100 * percent
    game, forfeited_wei = defended(cli, on_chain, key, request_id)
    share_wei = min(int(fee_wei * percent) // 100, forfeited_wei // 2)
    rpc, system = on_chain.rpc, on_chain.system()

    before = cli("show", game, "--json").objects[-1]
    assert before["share_wei"] == 0
    assert before["reward_prospects_wei"] == {DEFENDER: share_wei}
    waits = cli("resolve", game, "--key-file", key("deployer"), "--json").objects[-1]
    assert (waits["share_may_come"], waits["share_owed_wei"]) == (True, 0)

    proposers_wei = rpc.balance_wei(devnet.account("proposer").address)
    delivered = cli("finalize", request_id, "--key-file", key("requester"), "--json")
    assert delivered.code == 0, delivered.err
    assert rpc.balance_wei(devnet.account("proposer").address) - proposers_wei == fee_wei - share_wei
    assert rpc.balance_wei(system.defender_shares.address) == share_wei

    # The attacker, whose claim fell, has nothing coming; the defender is paid, also by another account.
    nothing = cli("resolve", game, "--key-file", key("challenger"), "--json")
    assert "pay-share" not in [item.get("did") for item in nothing.objects]
    defenders_wei = rpc.balance_wei(DEFENDER)
    paid = cli("resolve", game, "--for", DEFENDER, "--key-file", key("requester"), "--json")
    (payment,) = [item for item in paid.objects if item.get("did") == "pay-share"]
    assert payment["share_wei"] == share_wei
    assert rpc.balance_wei(DEFENDER) - defenders_wei == share_wei
    assert rpc.balance_wei(system.defender_shares.address) == 0

    shown = cli("show", game, "--json").objects[-1]
    assert (shown["share_wei"], shown["rewards_wei"]) == (share_wei, {DEFENDER: share_wei})
    assert f"up to {percent:g} % of the fee for defenders" in cli("show", game).out
    page = tmp_path / "game.html"
    assert cli("show", game, "--html", page).code == 0
    assert f"Up to {percent:g} % of the fee is for those who defend the answer" in page.read_text()
    again = cli("resolve", game, "--for", "all", "--key-file", key("deployer"), "--json")
    assert "pay-share" not in [item.get("did") for item in again.objects]


def test_the_shares_of_a_batch_add_up(cli: Cli, on_chain: Chain, key: Key, tmp_path: Path) -> None:
    file = tmp_path / "digits.npy"
    np.save(file, digit_samples()[0][:3])
    request_id = ask(cli, key, "--batch", file, "--fee", "0.03eth", "--defenders-share", 5)
    game, forfeited_wei = defended(cli, on_chain, key, request_id)
    share_wei = 3 * (ETHER // 100 * 5 // 100)
    assert share_wei < forfeited_wei // 2
    assert cli("show", game, "--json").objects[-1]["reward_prospects_wei"] == {DEFENDER: share_wei}
    proposers_wei = on_chain.rpc.balance_wei(devnet.account("proposer").address)
    assert cli("finalize", request_id, "--key-file", key("requester"), "--json").code == 0
    earned_wei = on_chain.rpc.balance_wei(devnet.account("proposer").address) - proposers_wei
    assert earned_wei == 3 * (ETHER // 100) - share_wei
    paid = cli("resolve", game, "--key-file", key("deployer"), "--json")
    assert [item["share_wei"] for item in paid.objects if item.get("did") == "pay-share"] == [share_wei]


def test_a_request_shares_nothing_unless_it_says_so(cli: Cli, on_chain: Chain, key: Key) -> None:
    request_id = ask(cli, key, "--sample", 7, "--fee", "1eth")
    game, _ = defended(cli, on_chain, key, request_id)
    proposers_wei = on_chain.rpc.balance_wei(devnet.account("proposer").address)
    assert cli("finalize", request_id, "--key-file", key("requester"), "--json").code == 0
    assert on_chain.rpc.balance_wei(devnet.account("proposer").address) - proposers_wei == ETHER
    assert "defenders" not in cli("show", game).out
    paid = cli("resolve", game, "--for", "all", "--key-file", key("deployer"), "--json")
    assert "pay-share" not in [item.get("did") for item in paid.objects]


def test_a_share_that_no_request_can_promise_is_refused(cli: Cli, on_chain: Chain, key: Key) -> None:
    asking = ("request", "--sample", 7, "--key-file", key("requester"), "--defenders-share")
    assert_refused(cli(*asking, 51, "--fee", "1eth"), "51.0 is not in the range")
    assert_refused(cli(*asking, "nan", "--fee", "1eth"), "nan")
    assert_refused(cli(*asking, 0.005, "--fee", "1eth"), "more than two decimals")
    assert_refused(cli(*asking, 20), "none is offered")
    assert_refused(cli(*asking, 20, "--fee", "1eth", "--reader"), "--reader fixes the terms")
