"""A commitment that a reorganisation takes back before its proposal is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opml_dispute.operator.case import open_case
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.proposing import proposal_intents
from opml_dispute.primitives import RequestId
from tests.cli.conftest import Cli
from tests.cli.test_commands import ask
from tests.conftest import Chain

Key = Callable[[str], str]


@pytest.mark.parametrize("method", ["evm_revert", "anvil_reorg"])
def test_a_commitment_that_a_reorganisation_took_back_is_made_again_before_its_proposal(
    cli: Cli, on_chain: Chain, key: Key, method: str
) -> None:
    """The proposal would take the commitment's nonce, show the answer, and leave its fee to the fastest account."""
    request_id, rpc = ask(cli, key, "--fee", "1eth"), on_chain.rpc
    sender, system = on_chain.sender("proposer"), on_chain.system()
    case = open_case(system, RequestId(bytes.fromhex(request_id[2:])), store=ModelStore.default())
    committing, proposing = proposal_intents(
        system, case.request_id, case.final_root, case.node_count, proposer=sender.address
    )
    commitment, snapshot = bytes(committing.facts["commitment"]), rpc.request("evm_snapshot")
    perform(committing, sender)
    if method == "evm_revert":
        rpc.request("evm_revert", snapshot)
        rpc.request("evm_mine")
        rpc.request("evm_mine")
    else:
        rpc.request("anvil_reorg", 1, [])
    assert system.rpc.read(system.oracle.committed_at(commitment)) == 0
    made = perform(proposing, sender)
    assert made.receipt is not None
    assert 0 < system.rpc.read(system.oracle.committed_at(commitment)) < made.receipt.block_number


def test_a_commitment_that_stands_is_made_once(cli: Cli, on_chain: Chain, key: Key) -> None:
    """Two transactions of the proposer: no more gas is spent than before."""
    request_id, rpc = ask(cli, key, "--fee", "1eth"), on_chain.rpc
    sender = on_chain.sender("proposer").address
    before = int(rpc.request("eth_getTransactionCount", sender, "latest"), 16)
    made = cli("propose", request_id, "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    assert int(rpc.request("eth_getTransactionCount", sender, "latest"), 16) == before + 2
