"""
The stage: a fresh local chain with everything deployed, and the parties, each with its own key.

A `Party` counts what it sends and spends. `Stage.open` starts the chain and ends it, come what may.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from opml_dispute.chain.contracts.examples import DigitReader
from opml_dispute.chain.deploy import deploy
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System, connect
from opml_dispute.chain.times import Times
from opml_dispute.chain.transactions import Receipt
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.samples import READER, deploy_samples
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Address
from opml_dispute.trace.guest import absolute_prestate

TIMES = Times()
"""A public chain's own times: they are warped over where they must pass."""


@dataclass
class Spending:
    """What a party has sent in one story."""

    transactions: int = 0
    gas: int = 0
    bonds_wei: int = 0
    """Staked on claims, in all."""
    gas_paid_wei: int = 0


@dataclass
class Party:
    """An account and what it spent."""

    role: str
    sender: Sender = field(init=False)
    tally: Spending = field(default_factory=Spending)

    @property
    def address(self) -> Address:
        """Its account."""
        return self.sender.address

    def count(self, receipt: Receipt) -> None:
        """One more transaction."""
        self.tally.transactions += 1
        self.tally.gas += receipt.gas_used
        self.tally.gas_paid_wei += receipt.gas_used * receipt.gas_price_wei


@dataclass
class Stage:
    """The chain and everybody on it."""

    system: System
    parties: dict[str, Party]
    store: ModelStore
    deploy_gas: int

    @property
    def reader(self) -> DigitReader:
        """The consumer contract."""
        return DigitReader(self.system.deployment.addresses[READER])

    def warp(self, seconds: int) -> None:
        """Let time pass."""
        devnet.warp(self.system.rpc, seconds)

    def reset_tallies(self) -> None:
        """Before a story."""
        for party in self.parties.values():
            party.tally = Spending()

    @classmethod
    @contextmanager
    def open(cls, *, port: int = 0) -> Iterator[Stage]:
        """A stage for as long as the block runs. Raises `DevnetProblem`, `ToolMissing`."""
        anvil = devnet.Anvil.spawn(port=port)
        try:
            with tempfile.TemporaryDirectory(prefix="opml-demo-") as folder:
                path = Path(folder) / "deployment.json"
                parties = {role: Party(role) for role in devnet.ROLES}
                for party in parties.values():
                    party.sender = Sender(anvil.rpc, devnet.account(party.role), on_sent=party.count)
                deployer = parties["deployer"]
                deployment = deploy(deployer.sender, path, absolute_prestate=absolute_prestate(), times=TIMES)
                deploy_samples(deployer.sender, deployment, path)
                # Games made in the very second of the oracle's own creation would not count.
                devnet.warp(anvil.rpc, 2)
                system = connect(anvil.rpc, deployment)
                yield cls(system, parties, ModelStore(Path(folder) / "models"), deployer.tally.gas)
        finally:
            anvil.stop()
