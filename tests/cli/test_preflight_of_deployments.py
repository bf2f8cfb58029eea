"""Each thing that preflight says of a deployment, made false in turn: it says so, and nothing is staked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opml_dispute.chain.contracts.governance import GuardedOracle
from opml_dispute.chain.rpc import Call
from opml_dispute.primitives import Address
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.cli.test_commands import ask, propose
from tests.conftest import Chain

Key = Callable[[str], str]
OTHER = Address("0x" + "11" * 20)


def finding(cli: Cli, subject: str, check: str = "deployment") -> tuple[int, str, str]:
    """Exit code, verdict and words of one check of the command."""
    ran = cli("preflight", subject, "--json")
    (found,) = [item for item in ran.objects if item.get("preflight") == check]
    return ran.code, found["verdict"], found["found"]


def by_owner(chain: Chain, call: Call[None]) -> None:
    """Sent by the owner of the contracts, which is a timelock."""
    owner = chain.rpc.read(chain.system().oracle.owner())
    chain.rpc.request("anvil_impersonateAccount", owner)
    chain.rpc.request("anvil_setBalance", owner, hex(10**18))
    chain.rpc.request("eth_sendTransaction", {"from": owner, "to": call.to, "data": "0x" + call.data.hex()})


def lie(cli: Cli, key: Key) -> str:
    """A game about a wrong answer."""
    made = cli("propose", ask(cli, key), "--fault", "seed=2", "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    return str(made.objects[-1]["game"])


def assert_nothing_is_staked(cli: Cli, chain: Chain, key: Key, game: str, says: str) -> None:
    """By none of the ways into a game."""
    for way in (("challenge", game), ("respond", game), ("respond", game, "--watch", "--interval", 1)):
        assert_refused(cli(*way, "--key-file", key("challenger")), says)
    assert len(chain.system().games.read(Address(game)).claims) == 1


def test_what_is_true_holds(cli: Cli, on_chain: Chain, key: Key) -> None:
    for subject in (ask(cli, key), lie(cli, key)):
        assert finding(cli, subject)[:2] == (0, "holds")


@pytest.mark.parametrize("how", ["blacklist", "retire"])
def test_a_discarded_game_is_not_staked_on(cli: Cli, on_chain: Chain, key: Key, how: str) -> None:
    game, guard = lie(cli, key), GuardedOracle(on_chain.system().oracle.address)
    call = guard.blacklist(Address(game)) if how == "blacklist" else guard.retire()
    on_chain.sender("deployer").send(call)
    code, verdict, found = finding(cli, game)
    assert (code, verdict) == (1, "fails")
    assert "discarded" in found
    assert_nothing_is_staked(cli, on_chain, key, game, "discarded")


def test_a_pause_stops_no_answer(cli: Cli, on_chain: Chain, key: Key) -> None:
    """Games go on in a pause, and so do their clocks."""
    game, guard = lie(cli, key), GuardedOracle(on_chain.system().oracle.address)
    on_chain.sender("deployer").send(guard.set_paused(paused=True))
    code, verdict, found = finding(cli, game)
    assert (code, verdict) == (0, "unknown")
    assert "paused" in found
    assert "clocks of games go on" in found
    assert cli("challenge", game, "--key-file", key("challenger")).code == 0
    assert len(on_chain.system().games.read(Address(game)).claims) == 2


def test_an_answer_of_a_type_that_does_not_count_is_not_proposed(cli: Cli, on_chain: Chain, key: Key) -> None:
    """It could not be delivered. A game that counted when it was made is defended all the same."""
    request_id, game = ask(cli, key), lie(cli, key)
    by_owner(on_chain, GuardedOracle(on_chain.system().oracle.address).set_respected_type(7))
    code, verdict, found = finding(cli, request_id)
    assert (code, verdict) == (1, "fails")
    assert "games of type 7 count now" in found
    assert_refused(cli("propose", request_id, "--key-file", key("proposer")), "games of type 7 count now")
    assert finding(cli, game)[:2] == (0, "holds")
    ignored = lie(cli, key)
    code, verdict, found = finding(cli, ignored)
    assert (code, verdict) == (0, "unknown")
    assert "never delivered" in found


@pytest.mark.parametrize("change", ["other version", "no code of a VM"])
def test_a_vm_of_another_version_is_not_trusted_with_a_bond(cli: Cli, on_chain: Chain, key: Key, change: str) -> None:
    """It names the same oracle and answers what it is asked; one instruction may come out otherwise."""
    request_id, game, system = ask(cli, key), lie(cli, key), on_chain.system()
    vm = system.deployment.addresses["vm"]
    code = on_chain.rpc.code(vm)
    other = code[:-1] + bytes([code[-1] ^ 1]) if change == "other version" else code + b"\0"
    on_chain.rpc.request("anvil_setCode", vm, "0x" + other.hex())
    for subject in (request_id, game):
        exit_code, verdict, found = finding(cli, subject)
        assert (exit_code, verdict) == (1, "fails")
        assert "is not this release's" in found
    assert_refused(cli("propose", request_id, "--key-file", key("proposer")), "is not this release's")
    assert_nothing_is_staked(cli, on_chain, key, game, "is not this release's")


def test_a_game_is_defended_whatever_the_factory_makes_now(cli: Cli, on_chain: Chain, key: Key) -> None:
    """Its rules are those that it was made with; only another one would have others."""
    request_id, game, system = ask(cli, key), lie(cli, key), on_chain.system()
    by_owner(on_chain, system.factory.set_implementation(OTHER, b""))
    assert finding(cli, game)[:2] == (0, "holds")
    code, verdict, found = finding(cli, request_id)
    assert (code, verdict) == (1, "fails")
    assert "makes other games" in found
    assert cli("propose", request_id, "--key-file", key("proposer")).code == 1
    assert cli("challenge", game, "--key-file", key("challenger")).code == 0
    assert len(on_chain.system().games.read(Address(game)).claims) == 2


def test_a_game_of_another_implementation_is_told(cli: Cli, on_chain: Chain, key: Key) -> None:
    """One that names the same contracts, as a later or an earlier implementation does."""
    game, system = propose(cli, key, ask(cli, key)), on_chain.system()
    own = system.deployment.addresses["game"]
    code = on_chain.rpc.code(Address(game))
    on_chain.rpc.request("anvil_setCode", OTHER, "0x" + on_chain.rpc.code(own).hex())
    other = code.replace(bytes.fromhex(own[2:]), bytes.fromhex(OTHER[2:]))
    on_chain.rpc.request("anvil_setCode", game, "0x" + other.hex())
    _, verdict, found = finding(cli, game)
    assert verdict == "unknown"
    assert "another implementation" in found
