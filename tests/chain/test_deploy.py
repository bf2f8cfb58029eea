"""Deployment: once, whatever happens on the way; checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.bonds import SCHEDULES, BadBonds, Bonds
from opml_dispute.chain.contracts.dispute import DisputeGameFactory, FaultDisputeGame
from opml_dispute.chain.contracts.oracle import InferenceOracle
from opml_dispute.chain.deploy import deploy, game_arguments, other_games
from opml_dispute.chain.deployment import BadDeployment, Deployment
from opml_dispute.chain.rpc import Call, NoCode, Rpc, WrongChain
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import connect
from opml_dispute.chain.times import Times
from opml_dispute.chain.transactions import Receipt
from opml_dispute.chain.wiring import ForeignGame, GameParts, MiswiredDeployment, expect_own_parts
from opml_dispute.devnet import anvil as devnet
from opml_dispute.game.bond import ML_ROOT_BOND_WEI
from opml_dispute.primitives import Address, StateHash

PRESTATE = StateHash(b"\x03" + b"\x42" * 31)
TRANSACTIONS = 13
"""Nine contracts, the implementation, the bond, the hand-over."""


class Killed(Exception):
    """The process ended here."""


class Mortal(Sender):
    """Dies after some transactions: each was sent and mined, but not noted."""

    def __init__(self, rpc: Rpc, lives: int) -> None:
        super().__init__(rpc, devnet.account("deployer"))
        self.lives, self.sent = lives, 0

    def send(self, work: Any, *, value_wei: int = 0, once: bool = False, is_urgent: bool = False) -> Receipt:
        receipt = super().send(work, value_wei=value_wei, once=once, is_urgent=is_urgent)
        self.sent += 1
        if self.sent > self.lives:
            raise Killed
        return receipt


@pytest.fixture
def rpc(bare_anvil: devnet.Anvil) -> Iterator[Rpc]:
    rpc = bare_anvil.rpc
    snapshot = rpc.request("evm_snapshot")
    yield rpc
    rpc.request("evm_revert", snapshot)


def test_a_deployment_is_complete_and_a_second_run_changes_nothing(rpc: Rpc, tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    sender = Mortal(rpc, 1000)
    deployment = deploy(sender, path, absolute_prestate=PRESTATE)
    assert sender.sent == TRANSACTIONS
    assert Deployment.load(path) == deployment
    system = connect(rpc, deployment)
    assert rpc.read(system.factory.game_implementation()) == deployment.addresses["game"]
    assert rpc.read(system.factory.game_arguments()) == game_arguments(deployment)
    assert len(game_arguments(deployment)) == 124
    implementation, arguments = deployment.addresses["game"], game_arguments(deployment)
    assert other_games(deployment, implementation, arguments) is None
    assert f"makes games of {deployment.addresses['vm']}" in str(
        other_games(deployment, deployment.addresses["vm"], arguments)
    )
    others = {"absolute prestate": 0, "VM": 32, "oracle": 52, "WETH": 72, "chain id": 123}
    for name, at in others.items():
        changed = arguments[:at] + bytes([arguments[at] ^ 1]) + arguments[at + 1 :]
        assert f"gives its games another {name} than" in str(other_games(deployment, implementation, changed))
    assert rpc.read(system.factory.init_bond_wei()) == ML_ROOT_BOND_WEI
    again = Mortal(rpc, 0)
    assert deploy(again, path, absolute_prestate=PRESTATE) == deployment
    assert again.sent == 0


@pytest.mark.parametrize("lives", range(TRANSACTIONS))
def test_a_deployment_killed_anywhere_is_finished_by_the_next_run(rpc: Rpc, tmp_path: Path, lives: int) -> None:
    path = tmp_path / "deployment.json"
    with pytest.raises(Killed):
        deploy(Mortal(rpc, lives), path, absolute_prestate=PRESTATE)
    survivor = Mortal(rpc, 1000)
    deployment = deploy(survivor, path, absolute_prestate=PRESTATE)
    assert survivor.sent <= TRANSACTIONS - lives, "what was done and noted is not done again"
    connect(rpc, deployment)
    factory = DisputeGameFactory(deployment.addresses["factory"])
    assert rpc.read(factory.game_arguments()) == game_arguments(deployment)


def test_another_deployments_file_is_not_overwritten(rpc: Rpc, tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    sender = Sender(rpc, devnet.account("deployer"))
    deploy(sender, path, absolute_prestate=PRESTATE)
    with pytest.raises(BadDeployment, match="another guest or other times"):
        deploy(sender, path, absolute_prestate=PRESTATE, times=Times(max_clock_s=604_800))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chain_id": 1}))
    with pytest.raises(BadDeployment, match="on chain 1, not 31337"):
        deploy(sender, path, absolute_prestate=PRESTATE)


def test_a_deployment_is_checked_against_its_chain(rpc: Rpc, tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    deployment = deploy(Sender(rpc, devnet.account("deployer")), path, absolute_prestate=PRESTATE)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"chain_id": 1}))
    with pytest.raises(WrongChain):
        connect(rpc, Deployment.load(path))
    elsewhere = dict(deployment.addresses, vm="0x000000000000000000000000000000000000dEaD")
    path.write_text(json.dumps(raw | {"addresses": elsewhere}))
    with pytest.raises(NoCode, match="expected the vm at 0x000000000000000000000000000000000000dEaD"):
        connect(rpc, Deployment.load(path))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"chain_id": 1, "addresses": {"vm": "0x12"}}'])
def test_what_is_no_deployment_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(content)
    with pytest.raises(BadDeployment, match="is not a deployment"):
        Deployment.load(path)


def test_a_missing_deployment_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDeployment, match="No such file"):
        Deployment.load(tmp_path / "none.json")


def test_roles_are_apart_and_a_timelock_owns_the_system(rpc: Rpc, tmp_path: Path) -> None:
    """The deployer keeps nothing; owner and guardian are whom the deployment names."""
    owner, guardian, treasury = (devnet.account(role).address for role in ("requester", "proposer", "challenger"))
    path = tmp_path / "deployment.json"
    bonds = SCHEDULES["op-stack"].with_forfeit(1_000, treasury)
    deployment = deploy(
        Sender(rpc, devnet.account("deployer")),
        path,
        absolute_prestate=PRESTATE,
        bonds=bonds,
        owner=owner,
        guardian=guardian,
    )
    assert Deployment.load(path) == deployment
    system, at = connect(rpc, deployment), deployment.addresses
    timelock = at["timelock"]
    assert rpc.read(system.factory.owner()) == timelock
    assert rpc.read(system.oracle.owner()) == timelock
    assert rpc.read(system.oracle.guardian()) == guardian
    assert rpc.read(system.factory.init_bond_wei()) == 8 * 10**16
    assert rpc.read(FaultDisputeGame(at["game"]).bond_terms()) == bonds.terms
    artifact = load_artifact("Timelock")

    def ask(function: str, *arguments: object) -> object:
        return rpc.read(Call(timelock, artifact.functions[function], arguments, artifact.name, lambda value: value))

    assert ask("getMinDelay") == Times().timelock_delay_s
    proposer_role = ask("PROPOSER_ROLE")
    assert ask("hasRole", proposer_role, owner) is True
    assert ask("hasRole", proposer_role, devnet.account("deployer").address) is False
    assert ask("hasRole", bytes(32), devnet.account("deployer").address) is False, "it administers itself"
    assert ask("hasRole", bytes(32), timelock) is True
    with pytest.raises(BadDeployment, match="other bonds, owner or guardian"):
        deploy(Sender(rpc, devnet.account("deployer")), path, absolute_prestate=PRESTATE)


def test_contracts_that_do_not_name_each_other_are_refused(rpc: Rpc, tmp_path: Path) -> None:
    """Two deployments, and a file that mixes them: found when a command connects, whichever contract it is."""
    sender = Sender(rpc, devnet.account("deployer"))
    first, second = (deploy(sender, tmp_path / f"{n}.json", absolute_prestate=PRESTATE) for n in (1, 2))
    for name in ("preimage_oracle", "vm", "factory", "registry", "oracle", "weth"):
        mixed = replace(first, addresses=first.addresses | {name: second.addresses[name]})
        if name == "vm":
            mixed.addresses["preimage_oracle"] = second.addresses["preimage_oracle"]
            connect(rpc, mixed)  # these two fit together; the games name others, which `ForeignGame` tells
            continue
        with pytest.raises(MiswiredDeployment, match="but the deployment names"):
            connect(rpc, mixed)


def test_a_node_is_not_believed_where_deposits_go(rpc: Rpc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their contract's address follows from the oracle's, whatever a node says that the oracle names."""
    deployment = deploy(Sender(rpc, devnet.account("deployer")), tmp_path / "d.json", absolute_prestate=PRESTATE)
    system = connect(rpc, deployment)
    bonds = system.proposer_bonds.address
    assert rpc.read(system.oracle.proposer_bonds()) == bonds
    monkeypatch.setattr(InferenceOracle, "proposer_bonds", InferenceOracle.segment_roots)
    with pytest.raises(MiswiredDeployment, match=f"names the proposer bonds .* but the deployment names {bonds}"):
        connect(rpc, deployment)


@pytest.mark.parametrize("part", ["vm", "oracle", "weth", "chain id", "prestate"])
def test_a_game_that_names_other_parts_is_refused(part: str) -> None:
    vm, preimage_oracle, oracle, weth = (Address(f"0x{number:040x}") for number in range(1, 5))
    ours = GameParts(PRESTATE, vm, preimage_oracle, oracle, weth, chain_id=1)
    changed = {
        "vm": replace(ours, vm=ours.weth),
        "oracle": replace(ours, oracle=ours.weth),
        "weth": replace(ours, weth=ours.vm),
        "chain id": replace(ours, chain_id=2),
        "prestate": replace(ours, absolute_prestate=StateHash(bytes(32))),
    }[part]
    expect_own_parts(ours.vm, ours, ours)
    with pytest.raises(ForeignGame, match=f"names the .*{part}"):
        expect_own_parts(ours.vm, changed, ours)


def test_bonds_that_the_contract_would_refuse() -> None:
    """Bonds that the contract would refuse are refused before a deployment."""
    with pytest.raises(BadBonds, match="51 % of each lost bond"):
        Bonds().with_forfeit(5_100, None)
