"""
The deployment of a whole system on one chain.

`deploy` creates what is missing, in the order in which contracts need each other, and configures the factory. It writes
the deployment file after every contract (`deployment`), so an interrupted process is continued by the next; a complete
deployment is not changed. `rehearse` runs every constructor and sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.bonds import Bonds
from opml_dispute.chain.contracts.dispute import GAME_TYPE, DisputeGameFactory
from opml_dispute.chain.deployment import CONTRACTS, BadDeployment, Deployment
from opml_dispute.chain.rpc import NoCode, Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.times import Times
from opml_dispute.chain.transactions import Creation, NotEnoughFunds, Quote
from opml_dispute.game.depths import MAX_DEPTH_LIMIT
from opml_dispute.primitives import Address, StateHash

STATE_VERSION_ML = 136
"""The VM with the ML extension (docs/vm.md)."""

MAX_SPLIT_DEPTH = 64
"""With `MAX_DEPTH_LIMIT` the limits of the game implementation; a game's own depths come with its model."""

MIN_PROPOSAL_SIZE = 2**63 - 1
"""
Bytes from which a client would propose a pre-image in pieces: never, since an ML game's guest reads no large pre-image.
It is the largest number that clients read correctly both as a signed and as an unsigned one.
"""

MAX_CALLBACK_GAS = 2_000_000
"""The most gas that a request can promise to its consumer."""


MAX_PUBLICATION_WINDOW_S = 14 * 86_400
"""The longest time for which a bond on blobs is held: nodes keep blobs for 18 days."""

ROOT_BONDS_PER_PUBLICATION = 6
"""Refuting blobs takes some 2.2 million gas, five times what a root claim's bond pays for."""


def deploy(
    sender: Sender,
    path: Path,
    *,
    absolute_prestate: StateHash,
    times: Times | None = None,
    bonds: Bonds | None = None,
    owner: Address | None = None,
    guardian: Address | None = None,
    tell: Callable[[str, Address], None] = lambda name, address: None,
) -> Deployment:
    """
    Deploy what `path` does not name yet, and configure it.

    A timelock, which `owner` proposes to, ends up owning factory, oracle and vault; `guardian` can stop things at once.
    Both are the sender unless another account is named. Raises `BadDeployment` if `path` holds a part of another
    deployment, `BadTimes` for times with which no game could be played and delivered from.
    """
    (times or Times()).expect_playable()
    rpc = sender.rpc
    sender.settle()
    done = _wanted(sender, absolute_prestate, times, bonds, owner, guardian)
    if path.exists():
        done = _resume(path, done, rpc)
    for name, creation in _plan(sender, done):
        if name in done.addresses:
            continue
        receipt = sender.send(creation())
        assert receipt.created is not None
        done.addresses[name] = receipt.created
        done.save(path)
        tell(name, receipt.created)
    _configure(sender, done)
    return done


def rehearse(
    sender: Sender,
    path: Path,
    *,
    absolute_prestate: StateHash,
    times: Times | None = None,
    bonds: Bonds | None = None,
    owner: Address | None = None,
    guardian: Address | None = None,
) -> dict[str, Quote]:
    """
    The contracts that `deploy` would create, with the gas of each; nothing is sent.

    Every constructor is run with its arguments (with substitutes for addresses that do not exist yet), so that no
    constructor fails after others were paid for. Raises what `deploy` raises, `Reverted` if a constructor refuses, and
    `NotEnoughFunds` if the account cannot pay for all.
    """
    rpc = sender.rpc
    wanted = _wanted(sender, absolute_prestate, times, bonds, owner, guardian)
    found = _resume(path, wanted, rpc) if path.exists() else wanted
    stand_ins = {name: found.addresses.get(name, sender.address) for name in CONTRACTS}
    quotes = {
        name: sender.quote(creation())
        for name, creation in _plan(sender, replace(found, addresses=stand_ins))
        if name not in found.addresses
    }
    needed_wei, balance_wei = sum(quote.most_wei for quote in quotes.values()), rpc.balance_wei(sender.address)
    if needed_wei > balance_wei:
        raise NotEnoughFunds(sender.address, balance_wei, needed_wei, "deploying everything")
    return quotes


def _wanted(
    sender: Sender,
    absolute_prestate: StateHash,
    times: Times | None,
    bonds: Bonds | None,
    owner: Address | None,
    guardian: Address | None,
) -> Deployment:
    """The deployment to be made, with nothing created yet; defaults filled in."""
    return Deployment(
        chain_id=sender.chain_id,
        block=sender.rpc.head().number,
        absolute_prestate=absolute_prestate,
        addresses={},
        owner=owner or sender.address,
        guardian=guardian or sender.address,
        times=times or Times(),
        bonds=bonds or Bonds(),
    )


def _resume(path: Path, wanted: Deployment, rpc: Rpc) -> Deployment:
    """The deployment that an earlier run began, if it has the same parameters."""
    earlier = Deployment.load(path)
    if earlier.chain_id != wanted.chain_id:
        raise BadDeployment(
            f"{path} is a deployment on chain {earlier.chain_id}, not {wanted.chain_id}",
            hint="give another --deployment",
        )
    if earlier.absolute_prestate != wanted.absolute_prestate or earlier.times != wanted.times:
        raise BadDeployment(
            f"{path} holds a deployment with another guest or other times", hint="give another --deployment"
        )
    if (earlier.bonds, earlier.owner, earlier.guardian) != (wanted.bonds, wanted.owner, wanted.guardian):
        raise BadDeployment(
            f"{path} holds a deployment with other bonds, owner or guardian", hint="give another --deployment"
        )
    for name, address in earlier.addresses.items():
        if not rpc.code(address):
            raise NoCode(address, f"the {name.replace('_', ' ')}")
    return earlier


def _plan(sender: Sender, done: Deployment) -> list[tuple[str, Callable[[], Creation]]]:
    """The contracts to create, in order. A contract's arguments are looked up when it is created."""
    at, times = done.addresses, done.times
    limits = (MAX_DEPTH_LIMIT, MAX_SPLIT_DEPTH, times.extension_s, times.max_clock_s)
    terms = astuple(done.bonds.terms)
    owners = [done.owner]
    return [
        (
            "preimage_oracle",
            lambda: Creation(load_artifact("PreimageOracle"), (MIN_PROPOSAL_SIZE, times.challenge_period_s)),
        ),
        ("vm", lambda: Creation(load_artifact("FPVM"), (at["preimage_oracle"], STATE_VERSION_ML))),
        ("timelock", lambda: Creation(load_artifact("Timelock"), (times.timelock_delay_s, owners, owners))),
        # The sender's until it is configured: `_configure` hands it over.
        ("factory", lambda: Creation(load_artifact("DisputeGameFactory"), (sender.address,))),
        ("registry", lambda: Creation(load_artifact("ModelRegistry"))),
        (
            "oracle",
            lambda: Creation(
                load_artifact("InferenceOracle"),
                (
                    (
                        *(at["registry"], at["factory"]),
                        *(times.finality_delay_s, times.reclaim_delay_s),
                        *(MAX_CALLBACK_GAS, GAME_TYPE),
                        *(at["timelock"], done.guardian, times.pause_s),
                    ),
                ),
            ),
        ),
        (
            "weth",
            lambda: Creation(load_artifact("DelayedWETH"), (times.withdrawal_delay_s, at["oracle"], at["timelock"])),
        ),
        ("game", lambda: Creation(load_artifact("FaultDisputeGame"), (limits, terms))),
        ("input_parts", lambda: Creation(load_artifact("InputParts"))),
        ("input_blobs", lambda: Creation(load_artifact("InputBlobs"), _publication_terms(done))),
    ]


def _publication_terms(done: Deployment) -> tuple[int, int, int, Address]:
    """Bond, window and forfeited part of inputs in blobs: as long as a side's time in a game, as far as blobs last."""
    terms = done.bonds.terms
    window_s = min(done.times.max_clock_s, MAX_PUBLICATION_WINDOW_S)
    return ROOT_BONDS_PER_PUBLICATION * done.bonds.root_bond_wei, window_s, terms.forfeited_bps, terms.forfeited_to


def _configure(sender: Sender, deployment: Deployment) -> None:
    """Set the factory's game implementation and root bond, and transfer its ownership to the timelock."""
    factory = DisputeGameFactory(deployment.addresses["factory"])
    implementation, arguments, bond_wei, owner = sender.rpc.read_all(
        [factory.game_implementation(), factory.game_arguments(), factory.init_bond_wei(), factory.owner()]
    )
    wanted = game_arguments(deployment)
    is_current = implementation == deployment.addresses["game"] and arguments == wanted
    root_bond_wei = deployment.bonds.root_bond_wei
    timelock = deployment.addresses["timelock"]
    # The root bond is the owner's to change afterwards.
    if owner == timelock and is_current:
        return
    if owner != sender.address:
        raise BadDeployment(
            f"the factory {factory.address} makes other games than this deployment's, and its owner is {owner}, "
            f"not {sender.address}",
            hint="its owner has changed it since: ask for the deployment file of now",
        )
    if not is_current:
        sender.send(factory.set_implementation(deployment.addresses["game"], wanted))
    if bond_wei != root_bond_wei:
        sender.send(factory.set_init_bond(root_bond_wei))
    sender.send(factory.transfer_ownership(timelock))


def game_arguments(deployment: Deployment) -> bytes:
    """The arguments that the factory gives every game: prestate, VM, registry, WETH, chain id; 124 bytes."""
    at = deployment.addresses
    return (
        bytes(deployment.absolute_prestate)
        + b"".join(bytes.fromhex(at[name][2:]) for name in ("vm", "oracle", "weth"))
        + deployment.chain_id.to_bytes(32, "big")
    )


def other_games(deployment: Deployment, implementation: Address, arguments: bytes) -> str | None:
    """How the games that the factory makes differ from those of the deployment's file, as a sentence; None if not."""
    own = deployment.addresses["game"]
    if implementation.lower() != own.lower():
        return f"the factory makes games of {implementation}, the deployment's file names {own}"
    expected = game_arguments(deployment)
    if arguments == expected:
        return None
    names, bounds = ("absolute prestate", "VM", "oracle", "WETH", "chain id"), (0, 32, 52, 72, 92, 124)
    differ = [
        name
        for name, start, end in zip(names, bounds, bounds[1:], strict=False)
        if arguments[start:end] != expected[start:end]
    ]
    what = ", ".join(differ) or "other arguments behind these"
    return f"the factory gives its games another {what} than the deployment's file names"
