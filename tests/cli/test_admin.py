"""Guardian and owner act through commands: what they do holds, and what the chain would refuse is refused before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.contracts.governance import GuardedOracle, OwnedVault, Timelock
from opml_dispute.chain.deploy import deploy
from opml_dispute.chain.deployment import Deployment
from opml_dispute.chain.rpc import Call
from opml_dispute.devnet import anvil as devnet
from opml_dispute.primitives import Address
from tests.cli.conftest import Cli, Result
from tests.cli.test_commands import ask, propose
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]
STRANGER = "0x00000000000000000000000000000000000000A7"


@pytest.fixture
def guardian(key: Key) -> tuple[str, str]:
    return ("--key-file", key("deployer"))


@pytest.fixture
def owner(key: Key) -> tuple[str, str]:
    return ("--key-file", key("deployer"))


def did(result: Result) -> list[str]:
    assert result.code == 0, result.err
    return [str(item["did"]) for item in result.objects if "did" in item]


def test_the_standing_says_who_may_do_what(cli: Cli, on_chain: Chain) -> None:
    found = cli("admin", "status", "--json").object_with("guardian")
    assert found["guardian"] == on_chain.deployment.guardian
    assert found["owner"] == on_chain.deployment.addresses["timelock"]
    assert found["timelock_delay_s"] == TEST_TIMES.timelock_delay_s
    assert (found["paused"], found["pause_possible_at"]) == (False, 0)
    assert found["root_bond_wei"] == on_chain.deployment.bonds.root_bond_wei
    shown = cli("admin", "status").out
    assert "nothing is paused" in shown
    assert "(the timelock)" in shown


def test_a_pause_is_begun_once_and_ends(cli: Cli, on_chain: Chain, key: Key, guardian: tuple[str, str]) -> None:
    assert did(cli("admin", "pause", *guardian, "--json")) == ["pause"]
    assert cli("admin", "status", "--json").object_with("paused")["paused"] is True
    longer = cli("admin", "pause", *guardian)
    assert longer.code == 1
    assert "cannot be extended" in longer.err
    assert "the next one can begin at" in longer.err
    assert did(cli("admin", "unpause", *guardian, "--json")) == ["unpause"]
    assert "Nothing is paused." in cli("admin", "unpause", *guardian).err
    early = cli("admin", "pause", *guardian)
    assert early.code == 1
    assert "between two lie 7 d" in early.err
    on_chain.warp(TEST_TIMES.pause_s + 1)
    assert did(cli("admin", "pause", *guardian, "--json")) == ["pause"]
    on_chain.warp(TEST_TIMES.pause_s + 1)
    assert cli("admin", "status", "--json").object_with("paused")["paused"] is False, "it ended by itself"


@pytest.mark.parametrize("command", [("pause",), ("unpause",), ("discard", "GAME"), ("retire",)])
def test_only_the_guardian_acts_at_once(
    cli: Cli, on_chain: Chain, key: Key, guardian: tuple[str, str], command: tuple[str, ...]
) -> None:
    game = propose(cli, key, ask(cli, key))
    if command == ("unpause",):
        assert cli("admin", "pause", *guardian).code == 0
    arguments = [game if word == "GAME" else word for word in command]
    refused = cli("admin", *arguments, "--key-file", key("challenger"))
    assert refused.code == 1
    assert f"the guardian is {on_chain.deployment.guardian}" in refused.err


def test_a_discarded_game_gives_bonds_back_and_its_answer_is_proposed_again(
    cli: Cli, on_chain: Chain, key: Key, guardian: tuple[str, str]
) -> None:
    request_id = ask(cli, key)
    game = propose(cli, key, request_id)
    assert did(cli("admin", "discard", game, *guardian, "--json")) == ["discard"]
    assert "is discarded already" in cli("admin", "discard", game, *guardian).err
    assert propose(cli, key, request_id) != game
    unknown = cli("admin", "discard", STRANGER, *guardian)
    assert unknown.code == 1
    assert "Traceback" not in unknown.err


def test_retired_games_count_no_more_and_later_ones_do(
    cli: Cli, on_chain: Chain, key: Key, guardian: tuple[str, str]
) -> None:
    request_id = ask(cli, key)
    game = propose(cli, key, request_id)
    assert "Will discard all games made until now (1 of this factory)" in cli("admin", "retire", *guardian).err
    on_chain.warp(2)
    again = propose(cli, key, request_id)
    system = on_chain.system()
    retired = [system.rpc.read(system.oracle.is_retired(Address(made))) for made in (game, again)]
    assert retired == [True, False]


def test_a_survivor_is_recorded_once_and_nothing_else(cli: Cli, on_chain: Chain, key: Key) -> None:
    signing = ("--key-file", key("proposer"))
    game = propose(cli, key, ask(cli, key))
    for wait_s, reason in ((0, "in progress"), (TEST_TIMES.max_clock_s, "the finality delay is not over")):
        on_chain.warp(wait_s)
        if wait_s:
            assert cli("resolve", game, *signing).code == 0
        refused = cli("admin", "anchor", game, *signing)
        assert refused.code == 1
        assert reason in refused.err
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    assert did(cli("admin", "anchor", game, *signing, "--json")) == ["anchor"]
    assert "is recorded already" in cli("admin", "anchor", game, *signing).err


def through_the_timelock(cli: Cli, chain: Chain, *command: object) -> None:
    """Schedules, is told to wait, executes."""
    assert did(cli(*command, "--json")) == ["schedule"]
    early = cli(*command)
    assert early.code == 0
    assert "it can be executed in" in early.err
    chain.warp(TEST_TIMES.timelock_delay_s)
    assert did(cli(*command, "--json")) == ["execute"]


def test_the_owner_names_a_guardian_after_the_delay(
    cli: Cli, on_chain: Chain, key: Key, owner: tuple[str, str]
) -> None:
    new = devnet.account("challenger").address
    through_the_timelock(cli, on_chain, "admin", "set-guardian", new, *owner)
    assert cli("admin", "status", "--json").object_with("guardian")["guardian"] == new
    assert did(cli("admin", "pause", "--key-file", key("challenger"), "--json")) == ["pause"]
    assert "The chain has this value already" in cli("admin", "set-guardian", new, *owner).err


def test_what_the_owner_changed_is_written_into_a_new_file_of_the_deployment(
    cli: Cli, on_chain: Chain, key: Key, owner: tuple[str, str], tmp_path: Path
) -> None:
    """With the file of before, a monitor tells of another guardian; and `deploy` finishes nothing anew."""
    new, file = devnet.account("challenger").address, tmp_path / "now.json"
    assert "says otherwise" not in cli("admin", "status").err
    through_the_timelock(cli, on_chain, "admin", "set-bond", "0.2eth", *owner)
    again = deploy(on_chain.sender("deployer"), on_chain.deployment_file, **_made_with(on_chain.deployment))
    assert again == Deployment.load(on_chain.deployment_file)
    through_the_timelock(cli, on_chain, "admin", "set-guardian", new, *owner)
    assert "opml-dispute admin status --write FILE" in cli("admin", "status").err
    assert cli("monitor", "--once").code == 3
    assert cli("admin", "status", "--write", file).code == 0
    assert Deployment.load(file) == replace(
        on_chain.deployment, guardian=Address(new), bonds=replace(on_chain.deployment.bonds, root_bond_wei=2 * 10**17)
    )
    assert "says otherwise" not in cli("admin", "status", "--deployment", file).err
    assert cli("monitor", "--once", "--deployment", file).code == 0
    assert "cannot write" in cli("admin", "status", "--write", "/dev/null/x").err


def _made_with(deployment: Deployment) -> dict[str, Any]:
    return {
        "absolute_prestate": deployment.absolute_prestate,
        "times": deployment.times,
        "bonds": deployment.bonds,
        "owner": deployment.owner,
        "guardian": deployment.guardian,
    }


def test_the_same_setting_can_be_made_again_later(cli: Cli, on_chain: Chain, owner: tuple[str, str]) -> None:
    """The timelock knows an operation by its content: the second time needs another salt."""
    for amount in ("0.2eth", "0.3eth", "0.2eth"):
        through_the_timelock(cli, on_chain, "admin", "set-bond", amount, *owner)
    assert cli("admin", "status", "--json").object_with("root_bond_wei")["root_bond_wei"] == 2 * 10**17


def test_what_is_scheduled_can_be_cancelled(cli: Cli, on_chain: Chain, owner: tuple[str, str]) -> None:
    command = ("admin", "set-game-type", 5, *owner)
    assert "nothing is scheduled" in cli(*command, "--cancel").err
    assert did(cli(*command, "--json")) == ["schedule"]
    assert did(cli(*command, "--cancel", "--json")) == ["cancel"]
    on_chain.warp(TEST_TIMES.timelock_delay_s)
    assert did(cli(*command, "--json")) == ["schedule"], "it begins anew"


def test_only_the_owner_schedules_and_executes(cli: Cli, on_chain: Chain, key: Key, owner: tuple[str, str]) -> None:
    command, other = ("admin", "set-bond", "1eth"), ("--key-file", key("challenger"))
    refused = cli(*command, *other)
    assert refused.code == 1
    assert "is no proposer of the timelock" in refused.err
    assert did(cli(*command, *owner, "--json")) == ["schedule"]
    assert "is no canceller" in cli(*command, *other, "--cancel").err
    on_chain.warp(TEST_TIMES.timelock_delay_s)
    assert "is no executor" in cli(*command, *other).err


def test_bonds_of_one_game_are_held_or_recovered_and_paid_out(
    cli: Cli, on_chain: Chain, key: Key, owner: tuple[str, str]
) -> None:
    game = propose(cli, key, ask(cli, key))
    other = propose(cli, key, ask(cli, key))
    system = on_chain.system()
    vault = OwnedVault(on_chain.deployment.addresses["weth"])
    bond_wei = system.rpc.balance_wei(game)
    assert system.rpc.read(vault.balance_wei(game)) == 0, "an open game keeps its bonds"  # type: ignore[arg-type]
    for wanted in (["deposit"], []):
        assert did(cli("admin", "deposit", game, *owner, "--json")) == wanted
    assert system.rpc.read(vault.balance_wei(game)) == bond_wei  # type: ignore[arg-type]
    timelock = on_chain.deployment.addresses["timelock"]
    through_the_timelock(cli, on_chain, "admin", "hold", game, "0.01eth", *owner)
    assert system.rpc.read(vault.balance_wei(timelock)) == 10**16
    through_the_timelock(cli, on_chain, "admin", "recover", game, *owner)
    assert system.rpc.balance_wei(timelock) == bond_wei - 10**16
    through_the_timelock(cli, on_chain, "admin", "call", STRANGER, "--value", "0.05eth", *owner)
    assert system.rpc.balance_wei(STRANGER) == 5 * 10**16
    assert system.rpc.balance_wei(other) == bond_wei


def test_a_call_that_the_timelock_could_not_make_is_not_scheduled(
    cli: Cli, on_chain: Chain, key: Key, owner: tuple[str, str]
) -> None:
    game = propose(cli, key, ask(cli, key))
    refused = cli("admin", "hold", game, "5000eth", *owner)
    assert refused.code == 1
    assert "nothing was scheduled" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("set-guardian", "0x" + "0" * 40), 1, "zero address"),
        (("set-guardian", "bob"), 1, "bob"),
        (("set-bond", "much"), 1, "much"),
        (("set-bond", str(2**70)), 1, "128 bits"),
        (("set-game-type", "-1"), 2, "-1"),
        (("call", STRANGER), 2, "does nothing"),
        (("call", STRANGER, "--data", "0xabc"), 2, "hexadecimal"),
        (("recover", STRANGER, "1eth"), 1, STRANGER),
    ],
)
def test_bad_arguments_are_told_in_one_sentence(
    cli: Cli, on_chain: Chain, owner: tuple[str, str], arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    refused = cli("admin", *arguments, *owner)
    assert refused.code == code
    assert sentence in refused.err
    assert "Traceback" not in refused.err


def test_a_dry_run_says_what_would_be_scheduled_and_sends_nothing(
    cli: Cli, on_chain: Chain, key: Key, owner: tuple[str, str]
) -> None:
    game = propose(cli, key, ask(cli, key))
    before = on_chain.rpc.head().number
    for command in (("pause",), ("discard", game), ("retire",), ("set-bond", "1eth"), ("recover", game)):
        result = cli("admin", *command, *owner, "--dry-run", "--json")
        assert [item for item in result.objects if "would" in item], result.err
    assert on_chain.rpc.head().number == before


def test_the_wrappers_name_functions_of_the_contracts(on_chain: Chain) -> None:
    """Each is encoded once: a wrong name or arity would only show when the owner needs it."""
    someone = on_chain.deployment.owner
    oracle, vault = GuardedOracle(someone), OwnedVault(someone)
    calls: list[Call[None]] = [
        *(oracle.set_paused(paused=True), oracle.blacklist(someone), oracle.retire(), oracle.set_guardian(someone)),
        *(oracle.set_respected_type(1), oracle.set_anchor(someone), vault.hold(someone, 1), vault.recover(someone, 1)),
        Timelock(someone).cancel(bytes(32)),
    ]
    assert all(len(call.data) >= 4 for call in calls)
    assert asdict(TEST_TIMES)["pause_s"] == 604_800
