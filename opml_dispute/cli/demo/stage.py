"""
The demo's stage: a fresh local chain with everything deployed, and the parties, each with its own key.

A `Party` counts its transactions and spending. `Stage.open` starts the chain, and ends it in any case.
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
from opml_dispute.devnet import rollup
from opml_dispute.devnet.samples import READER, deploy_samples
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Address
from opml_dispute.trace.guest import absolute_prestate

TIMES = Times()
"""A public chain's times; the local chain's clock is warped where they must pass."""


@dataclass
class Spending:
    """A party's transactions, gas and bonds in one dispute."""

    transactions: int = 0
    gas: int = 0
    bonds_wei: int = 0
    """The sum of the bonds staked on claims."""
    gas_paid_wei: int = 0


@dataclass
class Party:
    """An account and its spending."""

    role: str
    sender: Sender = field(init=False)
    tally: Spending = field(default_factory=Spending)

    @property
    def address(self) -> Address:
        """Its account."""
        return self.sender.address

    def count(self, receipt: Receipt) -> None:
        """Count a transaction."""
        self.tally.transactions += 1
        self.tally.gas += receipt.gas_used
        self.tally.gas_paid_wei += receipt.paid_wei


@dataclass
class Stage:
    """The chain and its parties."""

    system: System
    parties: dict[str, Party]
    store: ModelStore
    deploy_gas: int

    @property
    def reader(self) -> DigitReader:
        """The consumer contract."""
        return DigitReader(self.system.deployment.addresses[READER])

    def warp(self, seconds: int) -> None:
        """Move the chain's clock forward."""
        devnet.warp(self.system.rpc, seconds)

    def reset_tallies(self) -> None:
        """Reset the parties' counts before a dispute."""
        for party in self.parties.values():
            party.tally = Spending()

    @classmethod
    @contextmanager
    def open(cls, *, port: int = 0, on_rollup: bool = False) -> Iterator[Stage]:
        """
        A stage for the duration of a `with` block; `on_rollup`: on a chain with the OP Stack's fee rules.

        Raises `DevnetProblem`, `ToolMissing`.
        """
        anvil = rollup.spawn(port=port) if on_rollup else devnet.Anvil.spawn(port=port)
        try:
            with tempfile.TemporaryDirectory(prefix="opml-demo-") as folder:
                path = Path(folder) / "deployment.json"
                parties = {role: Party(role) for role in devnet.ROLES}
                for party in parties.values():
                    party.sender = Sender(anvil.rpc, devnet.account(party.role), on_sent=party.count)
                deployer = parties["deployer"]
                deployment = deploy(deployer.sender, path, absolute_prestate=absolute_prestate(), times=TIMES)
                deploy_samples(deployer.sender, deployment, path)
                # Games made in the same second as the oracle would not count.
                devnet.warp(anvil.rpc, 2)
                system = connect(anvil.rpc, deployment)
                yield cls(system, parties, ModelStore(Path(folder) / "models"), deployer.tally.gas)
        finally:
            anvil.stop()
