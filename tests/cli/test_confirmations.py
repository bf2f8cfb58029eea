"""`--confirmations`: a command ends when a reorganisation no longer takes back what it did."""

from __future__ import annotations

import threading
import time

from opml_dispute.primitives import Address
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


def test_a_watcher_takes_no_number_of_blocks(cli: Cli, on_chain: Chain, key: Key) -> None:
    result = cli("respond", "0x" + "11" * 20, "--watch", "--confirmations", "3", "--key-file", key("challenger"))
    assert result.code == 2
    assert "--confirmations makes no sense with --watch" in result.err
