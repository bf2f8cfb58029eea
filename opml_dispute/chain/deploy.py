"""
The whole system on one chain, and the file that says where it is.

`deploy` creates what is missing, in the order in which contracts need each other, and configures the factory. After
every contract it writes down how far it came, so a process that dies goes on where it stopped; when all is there it
changes nothing. `Deployment` is that file's content; `connect` checks it against the chain and gives the contracts,
as a `System`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from opml_dispute import plain_json
from opml_dispute.chain import answers
from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.bonds import Bonds
from opml_dispute.chain.contracts.dispute import GAME_TYPE, DisputeGameFactory
from opml_dispute.chain.contracts.oracle import InferenceOracle, ModelRegistry
from opml_dispute.chain.games import BadAddress, GameReader, parse_address
from opml_dispute.chain.input_parts import InputParts
from opml_dispute.chain.rpc import Ask, NoCode, Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Creation, NotEnoughFunds, Quote
from opml_dispute.chain.wiring import GameParts, expect_wired
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import BondTerms
from opml_dispute.home import write_json
from opml_dispute.primitives import Address, StateHash
from opml_dispute.reading import Unreadable, read_text

STATE_VERSION_ML = 136
"""The VM with the ML extension (docs/vm.md)."""

MAX_GAME_DEPTH = 125
MAX_SPLIT_DEPTH = 64
"""Limits of the game implementation; a game's own depths come with its model."""

MIN_PROPOSAL_SIZE = 2**63 - 1
"""Bytes from which a client would propose a pre-image in pieces, which our oracle does not offer: so never. The
largest number that clients read right, with a sign or without."""

MAX_CALLBACK_GAS = 2_000_000
"""The most gas that a request can promise to its consumer."""

CONTRACTS = ("preimage_oracle", "vm", "timelock", "factory", "registry", "oracle", "weth", "game", "input_parts")
"""Names in the deployment file, in the order of creation."""


class BadDeployment(OpmlError):
    """The deployment file is missing, unreadable, or does not describe this chain."""

    hint = "give --deployment FILE, as `opml-dispute deploy` or `devnet start` wrote it"


class BadTimes(OpmlError):
    """Times with which no game can be created, or no answer delivered."""

    hint = "a larger --max-clock or --reclaim-delay, or a smaller --clock-extension or --challenge-period"


@dataclass(frozen=True)
class Times:
    """How long everything may take, in seconds. The defaults are a public chain's."""

    max_clock_s: int = 302_400
    """Each side's time in a game: 3.5 days."""
    extension_s: int = 10_800
    """The least time left to answer an answer: 3 hours."""
    challenge_period_s: int = 86_400
    """How long a large pre-image lies open: 1 day."""
    finality_delay_s: int = 302_400
    """Between a game's resolution and its finality: 3.5 days."""
    withdrawal_delay_s: int = 604_800
    """Between unlocking a bond and withdrawing it: 7 days."""
    reclaim_delay_s: int = 2_592_000
    """After which the fee of a request without output can be taken back: 30 days."""
    pause_s: int = 604_800
    """After which a pause ends by itself, and before which no other starts: 7 days."""
    timelock_delay_s: int = 259_200
    """Between what the owner schedules and what happens: 3 days, so less than it takes to withdraw a bond."""

    def expect_playable(self) -> None:
        """
        Raises `BadTimes` unless games with these times can be created, played and delivered from.

        The first two are what the game's contract demands (docs/game.md, "Clocks"); of them, the second only shows when
        the first game is to be created, long after the deployment was paid for.
        """
        if self.max_clock_s < 1:
            raise BadTimes("a side's time in a game is 0 s; expected at least 1 s")
        if 2 * self.extension_s > self.max_clock_s:
            raise BadTimes(
                f"twice the clock extension ({2 * self.extension_s:,} s) is more than a side's time in a game "
                f"({self.max_clock_s:,} s)"
            )
        if self.extension_s + self.challenge_period_s > self.max_clock_s:
            raise BadTimes(
                f"clock extension and challenge period together ({self.extension_s + self.challenge_period_s:,} s) are "
                f"more than a side's time in a game ({self.max_clock_s:,} s)"
            )
        if self.pause_s < 1:
            raise BadTimes("a pause would end as it begins; expected at least 1 s", hint="give a longer --pause")
        longest_s = 2 * self.max_clock_s + self.finality_delay_s
        if self.reclaim_delay_s < longest_s:
            raise BadTimes(
                f"a fee can be taken back after {self.reclaim_delay_s:,} s, before a disputed answer can be delivered "
                f"({longest_s:,} s: both clocks and the finality delay)"
            )


@dataclass(frozen=True)
class Deployment:
    """Where everything is."""

    chain_id: int
    block: int
    """Nothing of ours happened before this block."""
    absolute_prestate: StateHash
    addresses: dict[str, Address]
    owner: Address
    """Who proposes to the timelock, which owns factory, oracle and vault."""
    guardian: Address
    """Who may pause for a while and discard games, at once."""
    times: Times = field(default_factory=Times)
    bonds: Bonds = field(default_factory=Bonds)

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """From its file. Raises `BadDeployment`."""
        try:
            text = read_text(path)
        except Unreadable as error:
            raise BadDeployment(f"cannot read the deployment {path}: {error.reason}") from None
        try:
            raw = plain_json.loads(text)
            return cls(
                chain_id=_number(raw, "chain_id"),
                block=_number(raw, "block"),
                absolute_prestate=StateHash(_hash(raw, "absolute_prestate")),
                addresses={name: _address(text, name) for name, text in _part(raw, "addresses").items()},
                owner=_address(_field(raw, "owner"), "owner"),
                guardian=_address(_field(raw, "guardian"), "guardian"),
                bonds=_bonds(_part(raw, "bonds")),
                times=Times(**{name: _number(_part(raw, "times"), name) for name in Times.__dataclass_fields__}),
            )
        except ValueError as error:
            raise BadDeployment(f"{path} is not a deployment: {error}") from None

    def save(self, path: Path) -> None:
        """To its file."""
        write_json(path, asdict(self) | {"absolute_prestate": "0x" + self.absolute_prestate.hex()})


def _field(raw: Any, name: str) -> Any:
    if not isinstance(raw, dict):
        raise ValueError("expected a JSON object")
    if name not in raw:
        raise ValueError(f"it has no `{name}`")
    return raw[name]


def _part(raw: Any, name: str) -> dict[str, Any]:
    found = _field(raw, name)
    if not isinstance(found, dict):
        raise ValueError(f"its `{name}` is not an object")
    return found


def _number(raw: Any, name: str) -> int:
    found = _field(raw, name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 1 << 64:
        raise ValueError(f"its `{name}` is not a number from 0 to 2^64 - 1")
    return found


def _bonds(raw: Any) -> Bonds:
    terms = _part(raw, "terms")
    numbers = {name: _number(terms, name) for name in BondTerms.__dataclass_fields__ if name != "forfeited_to"}
    forfeited_to = _address(_field(terms, "forfeited_to"), "recipient of forfeited bonds")
    return Bonds(BondTerms(**numbers, forfeited_to=forfeited_to), _number(raw, "root_bond_wei"))


def _hash(raw: Any, name: str) -> bytes:
    found = _field(raw, name)
    if not isinstance(found, str) or re.fullmatch("0x[0-9a-fA-F]{64}", found) is None:
        raise ValueError(f"its `{name}` is not 0x and 64 hexadecimal digits")
    return bytes.fromhex(found[2:])


def _address(text: Any, name: str) -> Address:
    try:
        return parse_address(str(text), f"the address of the {name.replace('_', ' ')}")
    except BadAddress as error:
        raise ValueError(str(error)) from None


@dataclass(frozen=True)
class System:
    """A deployment, connected: what every command works with."""

    rpc: Rpc
    deployment: Deployment
    factory: DisputeGameFactory
    oracle: InferenceOracle
    registry: ModelRegistry
    games: GameReader
    input_parts: InputParts


def connect(rpc: Rpc, deployment: Deployment) -> System:
    """The system behind a deployment. Raises `WrongChain`, `NoCode`, `BadDeployment` or `MiswiredDeployment`."""
    rpc.expect_chain(deployment.chain_id)
    missing = [name for name in CONTRACTS if name not in deployment.addresses]
    if missing:
        raise BadDeployment(
            f"the deployment lacks {', '.join(missing)}", hint="finish it: run the same `opml-dispute deploy` again"
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
    )


def game_parts(deployment: Deployment) -> GameParts:
    """What every game of a deployment names."""
    at = deployment.addresses
    return GameParts(
        absolute_prestate=deployment.absolute_prestate,
        vm=at["vm"],
        preimage_oracle=at["preimage_oracle"],
        oracle=at["oracle"],
        weth=at["weth"],
        chain_id=deployment.chain_id,
    )


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
    Both are the sender unless another is named. Raises `BadDeployment` if `path` holds the beginnings of another
    deployment.
    """
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
    What `deploy` would create, and what each creation would take; nothing is sent.

    Every constructor is run with its arguments (addresses of what does not exist yet are stood in for), so that none
    refuses after others were paid for. Raises what `deploy` raises, `Reverted` if a constructor refuses, and
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
        chain_id=sender.rpc.chain_id(),
        block=sender.rpc.head().number,
        absolute_prestate=absolute_prestate,
        addresses={},
        owner=owner or sender.address,
        guardian=guardian or sender.address,
        times=times or Times(),
        bonds=bonds or Bonds(),
    )


def _resume(path: Path, wanted: Deployment, rpc: Rpc) -> Deployment:
    """What an earlier run left, if it was on its way to the same end."""
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
    """What to create, in order. Arguments are looked up when it is a contract's turn."""
    at, times = done.addresses, done.times
    limits = (MAX_GAME_DEPTH, MAX_SPLIT_DEPTH, times.extension_s, times.max_clock_s)
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
    ]


def game_arguments(deployment: Deployment) -> bytes:
    """What the factory gives every game: prestate, VM, registry, WETH, chain id; 124 bytes."""
    at = deployment.addresses
    return (
        bytes(deployment.absolute_prestate)
        + b"".join(bytes.fromhex(at[name][2:]) for name in ("vm", "oracle", "weth"))
        + deployment.chain_id.to_bytes(32, "big")
    )


def _configure(sender: Sender, deployment: Deployment) -> None:
    """Tell the factory what games are made of and what a root claim costs, and hand it over to the timelock."""
    factory = DisputeGameFactory(deployment.addresses["factory"])
    implementation, arguments, bond_wei, owner = sender.rpc.read_all(
        [factory.game_implementation(), factory.game_arguments(), factory.init_bond_wei(), factory.owner()]
    )
    wanted = game_arguments(deployment)
    is_current = implementation == deployment.addresses["game"] and arguments == wanted
    root_bond_wei = deployment.bonds.root_bond_wei
    timelock = deployment.addresses["timelock"]
    if owner == timelock and is_current and bond_wei == root_bond_wei:
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
