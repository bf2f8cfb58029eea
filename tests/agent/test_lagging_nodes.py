"""Several nodes behind one address, of which some have the last blocks later: an agent repeats nothing that it did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.agent.waiting import LOOK_AGAIN_S, is_waiting
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.agent.test_agent import Unattended
from tests.conftest import Chain


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("fee_wei", [10**16, 0])
def test_an_answer_is_not_proposed_again_where_a_node_lacks_the_game(
    chain: Chain, tmp_path: Path, fee_wei: int, restarts: bool
) -> None:
    """
    What is read is old, what is sent comes to a node that has it all: another bond would be locked. An agent that was
    started anew remembers nothing of it but what its key signed.
    """
    ask_sample(chain.system(), chain.sender("requester"), 5, ModelStore(tmp_path / "models"), fee_wei=fee_wei)
    chain.rpc.request("evm_mine")
    before = chain.rpc.head()
    lags = False

    def edit(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        if not lags or request["method"] not in ("eth_call", "eth_getBlockByNumber"):
            return reply
        parameters, place = list(request["params"]), int(request["method"] == "eth_call")
        # A simulated creation, by which counts are compared, comes to the same node as they do.
        if parameters[place] != "latest" or (place and "to" not in parameters[0]):
            return reply
        parameters[place] = hex(before.number)
        return proxy.forward(request | {"params": parameters})

    with FaultProxy(chain.anvil.url, edit=edit) as proxy:
        behind = replace(chain, anvil=devnet.Anvil(chain.anvil.pid, proxy.url))
        found = Unattended(behind, tmp_path, role="proposer")
        found.start(roles=frozenset({"proposer"}))
        found.agent.run_pass()
        system = chain.system()
        assert system.rpc.read(system.factory.game_count()) == 1
        lags = True
        if restarts:
            found.end()
            found = Unattended(behind, tmp_path, role="proposer")
            found.start(roles=frozenset({"proposer"}))
        for _ in range(3):
            found.agent.run_pass()
        found.end()
    assert system.rpc.read(system.factory.game_count()) == 1


def test_a_wait_outlasts_a_latest_block_that_is_earlier_than_the_one_before() -> None:
    assert is_waiting(1_000 + LOOK_AGAIN_S, 995)
    assert not is_waiting(1_000, 1_000)
    assert not is_waiting(10**9, 1_000), "by a block whose time was wrong"
