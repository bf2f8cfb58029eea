"""A winner whose contract takes no ether keeps none from the others, and gets its own once it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opml_dispute.devnet import anvil as devnet
from opml_dispute.primitives import Address
from tests.agent.test_agent import Unattended
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.cli.test_commands import ask, propose
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]
REFUSES = "0x5f5ffd"
"""PUSH0, PUSH0, REVERT."""


@pytest.fixture
def game(cli: Cli, on_chain: Chain, key: Key) -> Address:
    """A right answer that the requester attacked wrongly, and the challenger defended: two accounts are owed bonds."""
    found = propose(cli, key, ask(cli, key))
    wrong = ("move", found, "--attack", "--claim", 0, "--value", "0x" + "07" * 32)
    assert cli(*wrong, "--key-file", key("requester")).code == 0
    assert cli("respond", found, "--key-file", key("challenger")).code == 0
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    assert cli("resolve", found, "--key-file", key("challenger")).code == 0
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    assert cli("resolve", found, "--for", "all", "--key-file", key("challenger")).code == 0
    on_chain.warp(TEST_TIMES.withdrawal_delay_s + 1)
    return Address(found)


def paid_to(cli: Cli, game: Address, signing: tuple[str, str]) -> tuple[set[str], int]:
    done = cli("resolve", game, "--for", "all", "--json", *signing)
    return {item["recipient"] for item in done.objects if item.get("did") == "withdraw-credit"}, done.code


def test_the_others_are_paid_and_it_is_told_why_one_is_not(cli: Cli, on_chain: Chain, key: Key, game: Address) -> None:
    proposer, challenger = (devnet.account(role).address for role in ("proposer", "challenger"))
    signing = ("--key-file", key("challenger"))
    on_chain.rpc.request("anvil_setCode", proposer, REFUSES)
    assert paid_to(cli, game, signing) == ({challenger}, 1)
    refused = cli("resolve", game, "--for", "all", *signing)
    assert_refused(refused, "claimCredit")
    assert "Still to be paid out: 0.10557 ETH" in refused.err
    on_chain.rpc.request("anvil_setCode", proposer, "0x")
    assert paid_to(cli, game, signing) == ({proposer}, 0)
    assert paid_to(cli, game, signing) == (set(), 0)


def test_an_agent_pays_the_others_that_it_looks_after(
    cli: Cli, on_chain: Chain, key: Key, game: Address, tmp_path: Path
) -> None:
    proposer, challenger = (devnet.account(role).address for role in ("proposer", "challenger"))
    found = Unattended(on_chain, tmp_path, role="requester")
    on_chain.rpc.request("anvil_setCode", proposer, REFUSES)
    before_wei = on_chain.rpc.balance_wei(challenger)
    found.start(roles=frozenset({"claimer"}), claim_for=(proposer, challenger))
    found.agent.run_pass()
    found.end()
    assert on_chain.rpc.balance_wei(challenger) > before_wei
    assert paid_to(cli, game, ("--key-file", key("challenger"))) == (set(), 1)
