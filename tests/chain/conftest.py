"""A bare chain for each test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
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
