"""web3.py reads the contracts through this package's connection, and finds what this package finds."""

from __future__ import annotations

import pytest
from web3 import Web3
from web3.exceptions import ContractCustomError

from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcUnreachable
from opml_dispute.chain.web3_client import as_web3, web3_contract
from opml_dispute.devnet.anvil import free_port
from tests.conftest import Chain


def test_web3_and_this_package_read_the_same(chain: Chain) -> None:
    system = chain.system()
    registry = web3_contract(chain.rpc, "ModelRegistry", chain.deployment.addresses["registry"])
    model_id = system.rpc.read(system.registry.model_id_at(0))
    assert registry.functions.modelIdAtIndex(0).call() == bytes(model_id)
    proposer = chain.sender("proposer").address
    assert as_web3(chain.rpc).eth.get_balance(Web3.to_checksum_address(proposer)) == chain.rpc.balance_wei(proposer)


def test_refusal_by_a_contract_reaches_web3_with_its_data(chain: Chain) -> None:
    oracle = web3_contract(chain.rpc, "InferenceOracle", chain.deployment.addresses["oracle"])
    with pytest.raises(ContractCustomError) as refused:
        oracle.functions.requests(bytes(32)).call()
    assert refused.value.data is not None


def test_node_that_is_not_there_is_reported_as_everywhere() -> None:
    web3 = as_web3(Rpc(f"http://127.0.0.1:{free_port()}", patience_s=0.1))
    assert not web3.is_connected()
    with pytest.raises(RpcUnreachable):
        _ = web3.eth.chain_id
