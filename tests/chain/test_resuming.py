"""What a process that died had sent behind a gap is paid for once, though the node knows nothing of it any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.counts import TransactionCounts
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcFailed
from opml_dispute.chain.sender import Sender
from opml_dispute.devnet import anvil as devnet
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.chain.test_sender import Interrupted, Interrupting, deposit
from tests.lies.hurried import HurriedTime


def dies_behind_a_gap(rpc: Rpc, weth: Any, own_home: Path) -> bytes:
    """
    The transaction of a process that died before this node had it, signed under a nonce too high.

    Another node may have it.
    """
    with FaultProxy(rpc.url, ["early-nonce"], every=1) as proxy, pytest.raises(Interrupted):
        Sender(
            Interrupting(proxy.url, "eth_sendRawTransaction", before=True),
            devnet.account("deployer"),
            chain_id=devnet.CHAIN_ID,
        ).send(deposit(weth.address), value_wei=7, once=True)
    return bytes.fromhex(json.loads(entry_in(own_home).read_text())["raw"])


def entry_in(own_home: Path) -> Path:
    (path,) = (path for path in (own_home / "sending").glob("*.json") if "launched" not in path.name)
    return path


@pytest.mark.parametrize("first_block", ["shown", "hidden then", "hidden now"])
def test_a_bond_behind_a_gap_is_paid_once(
    rpc: Rpc,
    sender: Sender,
    weth: Any,
    own_home: Path,
    first_block: str,
) -> None:
    balance_wei, mined = rpc.balance_wei(weth.address), TransactionCounts(rpc, sender.address).sure()[0]
    raw = dies_behind_a_gap(rpc, weth, own_home)
    if first_block == "hidden then":
        path = entry_in(own_home)
        path.write_text(
            json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "genesis"})
        )

    def edit(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        is_first = request["method"] == "eth_getBlockByNumber" and request["params"][0] == "0x0"
        return reply | {"result": None} if is_first and first_block == "hidden now" else reply

    with FaultProxy(rpc.url, edit=edit) as proxy, HurriedTime() as clock:
        again = Sender(Rpc(proxy.url), devnet.account("deployer"), chain_id=devnet.CHAIN_ID)
        receipt = again.send(deposit(weth.address), value_wei=7, once=True)
    assert clock.passed_s < 30
    with pytest.raises(RpcFailed, match=r"nonce too low|already"):  # another node still had it
        rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
    rpc.request("evm_mine")
    assert receipt.value_wei == 7
    assert rpc.balance_wei(weth.address) - balance_wei == 7
    assert TransactionCounts(rpc, sender.address).sure() == (mined + 2, mined + 2), "the gap is closed"


def test_an_entry_of_a_chain_that_was_begun_anew_holds_nothing_up(
    rpc: Rpc,
    sender: Sender,
    weth: Any,
    own_home: Path,
) -> None:
    balance_wei, mined = rpc.balance_wei(weth.address), TransactionCounts(rpc, sender.address).sure()[0]
    dies_behind_a_gap(rpc, weth, own_home)
    path = entry_in(own_home)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"genesis": "ab" * 32}))
    (launched,) = (own_home / "sending").glob("*-launched.json")
    launched.unlink()
    with HurriedTime() as clock:
        Sender(rpc, devnet.account("deployer")).send(deposit(weth.address), value_wei=7, once=True)
    assert clock.passed_s < 1
    assert rpc.balance_wei(weth.address) - balance_wei == 7
    assert TransactionCounts(rpc, sender.address).sure() == (mined + 1, mined + 1)
