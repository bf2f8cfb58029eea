"""`--confirmations`: a command ends when a reorganisation no longer takes back what it did."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from opml_dispute.chain.deployment import Deployment
from opml_dispute.chain.system import connect
from opml_dispute.devnet.anvil import Anvil
from opml_dispute.primitives import Address
from tests.chain.test_deploy import TRANSACTIONS
from tests.cli.conftest import Cli
from tests.cli.test_commands import Key, ask, propose
from tests.conftest import Chain


def test_a_command_waits_for_the_blocks_that_are_asked_for(cli: Cli, on_chain: Chain, key: Key) -> None:
    """And sends again what a reorganisation takes back before."""
    game = propose(cli, key, ask(cli, key), "--fault", "seed=2")
    rpc, taken_back, has_ended = on_chain.rpc, False, threading.Event()
    snapshot, before = rpc.request("evm_snapshot"), rpc.head().number

    def reorganise() -> None:
        nonlocal taken_back
        while rpc.head().number == before and not has_ended.is_set():
            time.sleep(0.02)
        taken_back = rpc.request("evm_revert", snapshot)
        while not has_ended.wait(0.1):
            rpc.request("evm_mine")

    thread = threading.Thread(target=reorganise, daemon=True)
    thread.start()
    try:
        result = cli("challenge", game, "--key-file", key("challenger"), "--confirmations", "3", "--json")
    finally:
        has_ended.set()
        thread.join()
    assert result.code == 0, result.err
    assert taken_back
    assert result.object_with("confirmations")["confirmations"] == 3
    last = [item["block"] for item in result.objects if "block" in item][-1]
    assert rpc.head().number >= last + 2
    assert len(on_chain.system().games.read(Address(game)).claims) == 2


def test_a_deployment_waits_for_its_blocks_too(cli: Cli, bare_anvil: Anvil, key: Key, tmp_path: Path) -> None:
    """Its contracts are sent again after a reorganisation, though the journal keeps no large data."""
    rpc, file, has_ended, taken_back = bare_anvil.rpc, tmp_path / "deployment.json", threading.Event(), False
    snapshot, before = rpc.request("evm_snapshot"), rpc.head().number

    def reorganise() -> None:
        nonlocal taken_back
        while rpc.head().number < before + TRANSACTIONS and not has_ended.is_set():
            time.sleep(0.02)
        time.sleep(0.2)
        taken_back = rpc.request("evm_revert", snapshot)
        while not has_ended.wait(0.1):
            rpc.request("evm_mine")

    thread = threading.Thread(target=reorganise, daemon=True)
    thread.start()
    chain = ("--rpc-url", bare_anvil.url, "--deployment", file, "--key-file", key("deployer"))
    try:
        result = cli("deploy", *chain, "--confirmations", "3")
    finally:
        has_ended.set()
        thread.join()
    assert result.code == 0, result.err
    assert taken_back
    assert "A reorganisation took back deploying FPVM; sending it again" in result.err
    assert "3 blocks hold it." in result.err
    connect(rpc, Deployment.load(file))


def test_a_watcher_takes_no_number_of_blocks(cli: Cli, on_chain: Chain, key: Key) -> None:
    result = cli("respond", "0x" + "11" * 20, "--watch", "--confirmations", "3", "--key-file", key("challenger"))
    assert result.code == 2
    assert "--confirmations makes no sense with --watch" in result.err
