"""
Whether the contracts of a deployment name each other, and whether a game names them.

A deployment's file is a list of addresses, and untrusted. `expect_wired` asks the contracts themselves, once, when
a command connects. `expect_own_parts` compares what a game names, when it is first met: a game with another verifier,
vault, oracle or absolute prestate is played by other rules, so nothing is staked in it. A later implementation of the
game is no obstacle: an old game keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from opml_dispute.chain.abi import checksummed
from opml_dispute.chain.contracts.dispute import DelayedWETH
from opml_dispute.chain.contracts.oracle import InferenceOracle
from opml_dispute.chain.contracts.vm import FPVM
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Rpc, UnexpectedAnswer
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address, StateHash

BONDS_CREATION, SHARES_CREATION = 2, 3
"""
Which of the contracts that the oracle's constructor makes hold proposers' bonds, and defenders' shares: SegmentRoots
comes before.
"""


def proposer_bonds_of(oracle: Address) -> Address:
    """
    The contract that holds the bonds which requests demand of their proposers.

    Money is sent there, so no node is believed: the address follows from the oracle's own, which the deployment names.

    >>> proposer_bonds_of(Address("0x5FbDB2315678afecb367f032d93F642f64180aa3"))
    '0xB7A5bd0345EF1Cc5E66bf61BdeC17D2461fBd968'
    """
    return _made_by(oracle, BONDS_CREATION)


def defender_shares_of(oracle: Address) -> Address:
    """
    The contract that holds the parts of fees which are for defenders: as `proposer_bonds_of`.

    >>> defender_shares_of(Address("0x5FbDB2315678afecb367f032d93F642f64180aa3"))
    '0xeEBe00Ac0756308ac4AaBfD76c05c4F3088B8883'
    """
    return _made_by(oracle, SHARES_CREATION)


def _made_by(maker: Address, creation: int) -> Address:
    """The address of the contract that another contract made as its `creation`-th, counted from 1."""
    return checksummed("0x" + keccak256(b"\xd6\x94" + bytes.fromhex(maker[2:]) + bytes([creation]))[12:].hex())


_CLONE_BEFORE, _CLONE_AFTER = bytes.fromhex("73"), bytes.fromhex("5af43d3d93803e606057fd5bf3")
"""Around the implementation's address in a clone's code: PUSH20, and the delegate call to it."""
_CLONE_BYTES = 98
"""Of a clone's code, before its arguments."""


def clones(code: bytes, implementation: Address) -> bool:
    """Whether the code of a game runs this implementation."""
    address = bytes.fromhex(implementation[2:])
    return code[:_CLONE_BYTES].endswith(_CLONE_BEFORE + address + _CLONE_AFTER)


class MiswiredDeployment(OpmlError):
    """A contract of the deployment names another neighbour than the deployment's file does."""

    is_told_by_node = True
    hint = "use the deployment file that `opml-dispute deploy` wrote"


def expect_wired(rpc: Rpc, addresses: Mapping[str, Address]) -> None:
    """Raises `MiswiredDeployment` unless verifier, oracle and vault name the other contracts of `addresses`."""
    vm, oracle, weth = FPVM(addresses["vm"]), InferenceOracle(addresses["oracle"]), DelayedWETH(addresses["weth"])
    links = (
        ("vm", "preimage_oracle", vm.oracle()),
        ("oracle", "registry", oracle.registry()),
        ("oracle", "factory", oracle.factory()),
        ("weth", "oracle", weth.config()),
        ("oracle", "proposer_bonds", oracle.proposer_bonds()),
        ("oracle", "defender_shares", oracle.defender_shares()),
    )
    oracles = addresses["oracle"]
    made = {"proposer_bonds": proposer_bonds_of(oracles), "defender_shares": defender_shares_of(oracles)}
    expected = {**addresses, **made}
    try:
        found = rpc.read_all([call for _, _, call in links])
    except (Reverted, UnexpectedAnswer) as error:
        raise MiswiredDeployment(f"a contract of the deployment is not what it should be: {error}") from None
    for (whose, neighbour, _), address in zip(links, found, strict=True):
        if address.lower() != expected[neighbour].lower():
            raise MiswiredDeployment(
                f"the {_words(whose)} {addresses[whose]} names the {_words(neighbour)} {address}, "
                f"but the deployment names {expected[neighbour]}"
            )


class ForeignGame(OpmlError):
    """A game of the factory that names another part than the deployment, so it is played by other rules."""

    is_told_by_node = True
    hint = "stake nothing in it; if the owner changed the system, use the deployment file of the game's time"


@dataclass(frozen=True)
class GameParts:
    """What a game names: for a deployment, what every one of its games must name."""

    absolute_prestate: StateHash
    vm: Address
    preimage_oracle: Address
    oracle: Address
    weth: Address
    chain_id: int


def expect_own_parts(game: Address, found: GameParts, expected: GameParts) -> None:
    """Raises `ForeignGame` unless a game names the deployment's own contracts, prestate and chain."""
    for field in fields(GameParts):
        theirs, ours = getattr(found, field.name), getattr(expected, field.name)
        if theirs != ours:
            raise ForeignGame(
                f"the game {game} names the {_words(field.name)} {_text(theirs)}, the deployment {_text(ours)}"
            )


def _text(part: bytes | str | int) -> str:
    return "0x" + part.hex() if isinstance(part, bytes) else str(part)


def _words(name: str) -> str:
    return name.replace("_", " ")
