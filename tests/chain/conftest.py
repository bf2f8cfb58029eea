"""A bare chain for each test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.contracts.dispute import DelayedWETH, DisputeGameFactory
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Creation
from opml_dispute.devnet import anvil as devnet


@pytest.fixture
def rpc(bare_anvil: devnet.Anvil) -> Iterator[Rpc]:
    """A bare chain, put back after the test."""
    rpc = bare_anvil.rpc
    snapshot = rpc.request("evm_snapshot")
    yield rpc
    rpc.request("evm_setAutomine", True)
    rpc.request("evm_mine")
    rpc.request("evm_revert", snapshot)


@pytest.fixture
def sender(rpc: Rpc) -> Sender:
    return Sender(rpc, devnet.account("deployer"), timeout_s=5.0)


@pytest.fixture
def factory(sender: Sender) -> DisputeGameFactory:
    """A factory that the sender owns."""
    receipt = sender.send(Creation(load_artifact("DisputeGameFactory"), (sender.address,)))
    assert receipt.created is not None
    return DisputeGameFactory(receipt.created)


@pytest.fixture
def weth(sender: Sender, factory: DisputeGameFactory) -> DelayedWETH:
    receipt = sender.send(Creation(load_artifact("DelayedWETH"), (1, factory.address, sender.address)))
    assert receipt.created is not None
    return DelayedWETH(receipt.created)
