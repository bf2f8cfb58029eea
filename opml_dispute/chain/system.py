"""A connected deployment: its file checked against the chain, and its contracts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from opml_dispute.chain import answers
from opml_dispute.chain.answers import Head
from opml_dispute.chain.block_times import BlockTimes
from opml_dispute.chain.contracts.dispute import DisputeGameFactory
from opml_dispute.chain.contracts.oracle import DefenderShares, InferenceOracle, ModelRegistry, ProposerBonds
from opml_dispute.chain.deployment import CONTRACTS, BadDeployment, Deployment
from opml_dispute.chain.games import GameReader
from opml_dispute.chain.input_blobs import InputBlobs
from opml_dispute.chain.input_parts import InputParts
from opml_dispute.chain.rpc import Ask, NoCode, Rpc, WrongChain
from opml_dispute.chain.wiring import GameParts, defender_shares_of, expect_wired, proposer_bonds_of


@dataclass(frozen=True)
class System:
    """A connected deployment, which every command works with."""

    rpc: Rpc
    deployment: Deployment
    factory: DisputeGameFactory
    oracle: InferenceOracle
    registry: ModelRegistry
    games: GameReader
    input_parts: InputParts
    block_times: BlockTimes
    input_blobs: InputBlobs

    def head(self) -> Head:
        """The latest block of the deployment's chain. Raises as `head_of`."""
        return head_of(self.rpc, self.deployment.chain_id)

    @property
    def proposer_bonds(self) -> ProposerBonds:
        """The contract that the oracle made for the bonds that requests demand."""
        return ProposerBonds(proposer_bonds_of(self.oracle.address))

    @property
    def defender_shares(self) -> DefenderShares:
        """The contract that the oracle made for the parts of fees that are for defenders."""
        return DefenderShares(defender_shares_of(self.oracle.address))


def head_of(rpc: Rpc, chain_id: int) -> Head:
    """
    The latest block of that chain, for those who look again and again: behind a URL there may be another chain by now,
    with other contracts at the same addresses.

    Raises `WrongChain`.
    """
    asked = [Ask("eth_chainId", (), answers.quantity), Ask("eth_getBlockByNumber", ("latest", False), answers.head)]
    found, head = rpc.batch(asked)
    if found != chain_id:
        raise WrongChain(rpc.url, found, chain_id)
    return cast(Head, head)


def connect(rpc: Rpc, deployment: Deployment) -> System:
    """The system behind a deployment. Raises `WrongChain`, `NoCode`, `BadDeployment` or `MiswiredDeployment`."""
    rpc.expect_chain(deployment.chain_id)
    missing = [name for name in CONTRACTS if name not in deployment.addresses]
    if missing:
        raise BadDeployment(
            f"the deployment lacks {', '.join(missing)}",
            hint="finish it: run the same `opml-dispute deploy` again; replace a local chain of an earlier release by "
            "`opml-dispute devnet stop` and `devnet start`",
        )
    named = [(name, deployment.addresses[name]) for name in CONTRACTS]
    codes = rpc.batch([Ask("eth_getCode", (address, "latest"), answers.data) for _, address in named])
    for (name, address), code in zip(named, codes, strict=True):
        if not code:
            raise NoCode(address, f"the {name.replace('_', ' ')}")
    expect_wired(rpc, deployment.addresses)
    factory = DisputeGameFactory(deployment.addresses["factory"])
    return System(
        rpc=rpc,
        deployment=deployment,
        factory=factory,
        oracle=InferenceOracle(deployment.addresses["oracle"]),
        registry=ModelRegistry(deployment.addresses["registry"]),
        games=GameReader(rpc, factory, game_parts(deployment)),
        input_parts=InputParts(deployment.addresses["input_parts"]),
        block_times=BlockTimes(rpc),
        input_blobs=InputBlobs(deployment.addresses["input_blobs"]),
    )


def game_parts(deployment: Deployment) -> GameParts:
    """The contracts and constants that every game of a deployment must name."""
    at = deployment.addresses
    return GameParts(
        absolute_prestate=deployment.absolute_prestate,
        vm=at["vm"],
        preimage_oracle=at["preimage_oracle"],
        oracle=at["oracle"],
        weth=at["weth"],
        chain_id=deployment.chain_id,
    )
