"""What a request demands of its proposer: deposited, locked, paid to who deserves it, and taken back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opml_dispute.chain.contracts.governance import GuardedOracle
from opml_dispute.chain.sender import Sender
from opml_dispute.devnet import anvil as devnet
from opml_dispute.operator.deposits import deposit_intents, withdrawal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.primitives import Address
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]
ETHER = 10**18
BOND = 3 * ETHER


@pytest.fixture
def request_id(cli: Cli, on_chain: Chain, key: Key) -> str:
    """A request that demands a bond."""
    asked = cli("request", "--sample", 7, "--min-bond", "3eth", "--key-file", key("requester"), "--json")
    assert asked.code == 0, asked.err
    return str(asked.object_with("request_id")["request_id"])


def deposit_wei(cli: Cli, key_file: str) -> int:
    return int(cli("deposit", "--key-file", key_file, "--json").object_with("deposit_wei")["deposit_wei"])


def end(cli: Cli, on_chain: Chain, game: str, *signing: str, payee: str = "all") -> list[str]:
    """Resolve a game and pay everything out to `payee`; the kinds of transactions."""
    did = []
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s):
        on_chain.warp(delay_s)
        resolved = cli("resolve", game, "--for", payee, *signing)
        assert resolved.code == 0, resolved.err
        did += [item["did"] for item in resolved.objects if "did" in item]
    return did


def test_the_bond_of_a_right_answer_comes_back(cli: Cli, on_chain: Chain, key: Key, request_id: str) -> None:
    """A deposit that was made before counts, and what is more than the bond stays the proposer's."""
    proposer, system = key("proposer"), on_chain.system()
    on_chain.sender("proposer").send(system.proposer_bonds.deposit(), value_wei=ETHER)
    made = cli("propose", request_id, "--key-file", proposer, "--json")
    assert made.code == 0, made.err
    assert made.object_with("deposit_wei")["deposit_wei"] == BOND - ETHER
    game = Address(made.objects[-1]["game"])
    assert system.rpc.read(system.proposer_bonds.bond_wei(game)) == BOND
    assert deposit_wei(cli, proposer) == 0
    assert "release-bond" in end(cli, on_chain, game, "--key-file", key("challenger"), "--json")
    assert system.rpc.balance_wei(system.proposer_bonds.address) == 0


def test_the_bond_of_a_lie_goes_to_the_challenger(cli: Cli, on_chain: Chain, key: Key, request_id: str) -> None:
    lied = cli("propose", request_id, "--fault", "seed=3", "--key-file", key("proposer"), "--json")
    assert lied.code == 0, lied.err
    game = str(lied.objects[-1]["game"])
    challenger = devnet.account("challenger").address
    assert cli("challenge", game, "--key-file", key("challenger"), "--json").code == 0
    before = on_chain.rpc.balance_wei(challenger)
    assert "release-bond" in end(cli, on_chain, game, "--key-file", key("requester"), "--json")
    assert on_chain.rpc.balance_wei(challenger) - before >= BOND * 8 // 10


@pytest.mark.parametrize("is_discarded", [False, True])
def test_an_account_that_gets_nothing_pays_no_gas_for_the_bond(
    cli: Cli, on_chain: Chain, key: Key, request_id: str, is_discarded: bool
) -> None:
    """Neither the proposer of a lie for the challenger's money nor, in a discarded game, the challenger for its."""
    lied = cli("propose", request_id, "--fault", "seed=3", "--key-file", key("proposer"), "--json")
    game = Address(lied.objects[-1]["game"])
    assert cli("challenge", game, "--key-file", key("challenger"), "--json").code == 0
    system = on_chain.system()
    if is_discarded:
        guard = GuardedOracle(system.oracle.address)
        on_chain.sender("deployer").send(guard.blacklist(game))
    loser, winner = ("challenger", "proposer") if is_discarded else ("proposer", "challenger")
    payee = devnet.account(loser).address
    assert "release-bond" not in end(cli, on_chain, game, "--key-file", key(loser), "--json", payee=payee)
    assert system.rpc.read(system.proposer_bonds.bond_wei(game)) == BOND
    resolved = cli("resolve", game, "--key-file", key(winner), "--json")
    assert "release-bond" in [item.get("did") for item in resolved.objects]
    assert system.rpc.balance_wei(system.proposer_bonds.address) == 0


def test_a_deposit_that_was_not_locked_is_taken_back(cli: Cli, on_chain: Chain, key: Key) -> None:
    system, proposer = on_chain.system(), key("proposer")
    on_chain.sender("proposer").send(system.proposer_bonds.deposit(), value_wei=ETHER)
    assert deposit_wei(cli, proposer) == ETHER
    taken = cli("deposit", "--withdraw", "--key-file", proposer, "--json")
    assert taken.object_with("did")["amount_wei"] == ETHER
    assert deposit_wei(cli, proposer) == 0
    assert system.rpc.balance_wei(system.proposer_bonds.address) == 0


def test_preflight_counts_the_bond(cli: Cli, on_chain: Chain, key: Key, request_id: str) -> None:
    """An account that could play the game, but not deposit what is demanded, is stopped before it pays anything."""
    proposer = devnet.account("proposer").address
    on_chain.rpc.request("anvil_setBalance", proposer, hex(BOND))
    refused = cli("propose", request_id, "--key-file", key("proposer"))
    assert_refused(refused, "are to be deposited because the request demands them")
    assert on_chain.rpc.balance_wei(proposer) == BOND


def test_a_bond_that_no_request_can_demand_is_refused(cli: Cli, on_chain: Chain, key: Key) -> None:
    asking = ("request", "--sample", 7, "--key-file", key("requester"), "--min-bond")
    assert_refused(cli(*asking, f"{2**96}wei"), "more than a request can demand")
    assert_refused(cli(*asking, "much"), "much")
    assert_refused(cli(*asking, "1eth", "--reader"), "--reader fixes the terms")


def test_what_is_told_of_a_deposit_is_believed_if_the_operator_says_so(
    cli: Cli, on_chain: Chain, key: Key, request_id: str
) -> None:
    """As where another computer with the same key has locked or taken back what was deposited here."""
    signing, system = ("--key-file", key("proposer"), "--json"), on_chain.system()
    (deposit,) = deposit_intents(system, BOND, devnet.account("proposer").address)
    perform(deposit, on_chain.sender("proposer"))
    elsewhere = Sender(system.rpc, devnet.account("proposer"), folder=on_chain.deployment_file.parent / "elsewhere")
    perform(withdrawal_intent(system, BOND), elsewhere)
    assert_refused(cli("propose", request_id, *signing), "deposited from this computer")
    assert cli("deposit", "--as-told", "--dry-run", *signing).code == 0
    assert_refused(cli("propose", request_id, *signing), "deposited from this computer")
    assert cli("deposit", "--as-told", *signing).code == 0
    assert cli("propose", request_id, *signing).object_with("deposit_wei")["deposit_wei"] == BOND
