"""
A scenario: what a simulation plays, as its TOML file says it.

One section a condition, each with defaults that make it absent or ordinary, so a file states only what is special about
it. `load` reads a file, `with_settings` changes single settings (for sweeps), `points` lists every combination that a
sweep asks for. Whatever cannot be simulated is a `ScenarioError` with the key that is wrong.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from opml_dispute import plain_toml
from opml_dispute.game.depths import MAX_DEPTH_LIMIT, Depths
from opml_dispute.reading import Unreadable, read_text
from opml_dispute.simulation.gas_table import TABLES
from opml_dispute.simulation.metrics import METRIC_KEYS
from opml_dispute.simulation.schema import ScenarioError, read_table, setting

MODEL_VERSION = 4
"""Raised whenever the same scenario and seed give other figures, so that no stored result is taken for a new one."""

MOST_POINTS = 10_000
"""Combinations of a sweep: their settings are checked before anything is played."""

MOST_EVENTS = 100_000_000
"""Claims and requests that one trial may come to, about: a thousand of them take a second."""

MOST_BLOCKS = 10_000_000
"""Of one trial with bribed builders: each block's builder is asked, and its answer kept."""

MOST_CONTRACT_GAMES = 100
"""Of one trial at the contract level: forty whole disputes take seven seconds."""

NAME_LENGTH = 100
"""Files are named after a scenario."""

LEVELS = ("rules", "contract")
NODES = ("in-process", "anvil")
STRATEGIES = ("liar", "sybil", "freeloader", "random")


@dataclass(frozen=True, slots=True)
class GameSection:
    """The game's own parameters."""

    nodes: int = setting(14, what="Nodes of the model.", low=1, high=2**28 - 1)
    log2_steps: int = setting(20, what="Logarithm of the VM steps that a node may take at most.", low=2, high=40)
    max_clock_h: float = setting(84.0, what="Each side's time, in hours.", above=0, high=10_000)
    extension_h: float = setting(3.0, what="The clock extension, in hours.", low=0, high=5_000)
    challenge_period_s: int = setting(4, what="The pre-image oracle's challenge period, in seconds.", low=0, high=10**7)
    finality_delay_h: float = setting(
        84.0, what="From resolution to the answer's delivery, in hours.", low=0, high=10**5
    )
    proposal: str = setting("false", what="What the proposer claims.", choices=("false", "true", "mixed"))
    false_share: float = setting(0.5, what="With mixed proposals, the share that is false.", low=0, high=1)


@dataclass(frozen=True, slots=True)
class BondSection:
    """What claims stake."""

    curve: str = setting("gas", what="The bond curve.", choices=("op-stack", "gas"))
    root_gas: int = setting(414_000, what="Gas that the root bond pays for.", low=1, high=10**12)
    floor_gas: int = setting(186_000, what="Gas that the bonds below the root begin from.", low=1, high=10**12)
    growth: float = setting(1.3, what="Bond at the maximum depth over the floor.", low=1, high=10**6)
    assumed_base_fee_gwei: float = setting(30.0, what="The base fee that the deployment assumes.", above=0, high=10**6)
    safety: float = setting(8.5, what="Safety factor.", above=0, high=10**6)
    burnt_share: float = setting(0.2, what="Share of a lost bond that is burnt (gas curve).", low=0, high=0.5)


@dataclass(frozen=True, slots=True)
class ChainSection:
    """Blocks, and how transactions get into them."""

    block_s: int = setting(12, what="Seconds from block to block.", low=1, high=3_600)
    full_share: float = setting(
        0.0, what="Probability that a block has no room for a given transaction.", low=0, high=0.999
    )
    gas_table: str = setting("measured", what="Gas of single transactions.", choices=tuple(TABLES))


@dataclass(frozen=True, slots=True)
class FeeSection:
    """The base fee."""

    process: str = setting("constant", what="How the base fee goes.", choices=("constant", "spikes", "year"))
    base_fee_gwei: float = setting(15.0, what="The base fee; its median, for a year.", low=0, high=10**6)
    spike_factor: float = setting(10.0, what="What a spike multiplies the fee by.", low=1, high=10**5)
    spikes_per_day: float = setting(0.2, what="Spikes a day, on average.", low=0, high=144)
    spike_h: float = setting(2.0, what="Mean length of a spike, in hours.", above=0, high=1_000)


@dataclass(frozen=True, slots=True)
class CensorshipSection:
    """Builders who are bribed to leave honest transactions out."""

    share: float = setting(0.0, what="Probability that a block's builder takes the bribe.", low=0, high=1)
    bribe_eth_per_block: float = setting(0.0, what="What a bribed block costs the attacker.", low=0, high=10**6)
    budget_eth: float = setting(0.0, what="The attacker's budget; with none, nothing is censored.", low=0, high=10**9)


@dataclass(frozen=True, slots=True)
class ReorgSection:
    """Chain reorganisations: the last blocks are undone, and their transactions come again in another order."""

    per_day: float = setting(0.0, what="Reorganisations a day, on average.", low=0, high=1_000)
    depth_blocks: int = setting(2, what="Blocks undone by each.", low=1, high=100_000)
    lost_share: float = setting(0.0, what="Share of the undone transactions that do not come again.", low=0, high=1)


@dataclass(frozen=True, slots=True)
class RpcSection:
    """The honest operator's view of the chain."""

    lag_s: float = setting(0.0, what="How old its view is, in seconds.", low=0, high=10**6)
    gaps_per_day: float = setting(0.0, what="Outages of the endpoint a day, on average.", low=0, high=1_000)
    gap_h: float = setting(1.0, what="Mean length of an outage, in hours.", low=0.01, high=10_000)
    hidden_share: float = setting(0.0, what="Share of readings in which the newest claim is withheld.", low=0, high=1)
    false_share: float = setting(
        0.0, what="Share of readings in which the newest claim has another value than on chain.", low=0, high=1
    )


@dataclass(frozen=True, slots=True)
class NodeSection:
    """The node that executes the contracts: contract level only."""

    kind: str = setting("in-process", what="Where the contracts are executed.", choices=NODES)
    faults: tuple[str, ...] = setting((), what="Faults of the proxy between the players and an Anvil; several at once.")
    fault_every: int = setting(100, what="A fault strikes at every so manieth request that it applies to.", low=2)


@dataclass(frozen=True, slots=True)
class HonestSection:
    """The honest operator; one, with several cores and one purse."""

    poll_s: float = setting(60.0, what="Seconds between two looks at the chain.", low=0.1, high=10**6)
    cores: int = setting(2, what="Inferences or VM runs at a time.", low=1, high=10**5)
    inference_s: float = setting(1.0, what="Time of one inference on one core.", low=0, high=10**7)
    vm_run_s: float = setting(5.0, what="Time of one node's VM run on one core.", low=0, high=10**7)
    funds_eth: float = setting(1e9, what="What it can stake and spend.", low=0, high=10**12)
    fee_cap_gwei: float = setting(
        0.0, what="It sends nothing above this base fee while time is left; 0: no cap.", low=0, high=10**9
    )
    patience_h: float = setting(12.0, what="How long it waits for a fee below its cap, in hours.", low=0, high=10**5)
    offline_per_day: float = setting(0.0, what="Outages of its machine a day, on average.", low=0, high=1_000)
    offline_h: float = setting(1.0, what="Mean length of an outage, in hours.", low=0.01, high=10**5)
    restarts_per_day: float = setting(
        0.0, what="Restarts a day, on average: each loses the VM runs that are in memory.", low=0, high=1_000
    )
    faulty_share: float = setting(
        0.0, what="Share of games in which its machine computes wrongly, as by a flipped bit.", low=0, high=1
    )
    outdated_share: float = setting(
        0.0, what="Share of trials in which its engine is outdated: wrong at the same step of each game.", low=0, high=1
    )
    check_share: float = setting(1.0, what="Share of games that it checks at all.", low=0, high=1)


@dataclass(frozen=True, slots=True)
class DataSection:
    """Whether the honest operator can get model and input."""

    withheld_share: float = setting(0.0, what="Share of games whose data are withheld.", low=0, high=1)
    withheld_h: float = setting(0.0, what="For how long, in hours; 0: for ever.", low=0, high=10**6)


@dataclass(frozen=True, slots=True)
class ExceptionSection:
    """Instructions that raise an exception, and what the machine makes of them."""

    share: float = setting(0.0, what="Share of games that end at an instruction that raises.", low=0, high=1)
    handling: str = setting(
        "latched",
        what="The machine records the error and goes on, or its execution on chain reverts.",
        choices=("latched", "reverts"),
    )


@dataclass(frozen=True, slots=True)
class LoadSection:
    """How much there is to do."""

    games: int = setting(1, what="Games of a trial.", low=1, high=100_000)
    arrival_h: float = setting(0.0, what="They begin over so many hours.", low=0, high=10**5)
    spam_per_hour: float = setting(
        0.0, what="Requests besides, each of which costs an inference to check.", low=0, high=10**6
    )


@dataclass(frozen=True, slots=True)
class AttackerSection:
    """One dishonest account, or many under one hand."""

    strategy: str = setting(what="How it plays.", choices=STRATEGIES)
    delay_h: float = setting(0.0, what="How long it waits before each answer, in hours.", low=0, high=10**4)
    stalls: bool = setting(False, what="It answers as late as its clock allows.")
    gives_up_after: int = setting(1_000, what="Moves after which it stops.", low=0, high=10**9)
    claims: int = setting(0, what="Sybil, freeloader, random: claims that it makes at most.", low=0, high=2**20)
    per_block: int = setting(100, what="Sybil, random: claims a block.", low=1, high=10**6)
    front_runs: float = setting(0.0, what="Probability that it sends an honest move itself, first.", low=0, high=1)
    budget_eth: float = setting(1e9, what="What it can stake and spend.", low=0, high=10**12)
    games_share: float = setting(1.0, what="Share of the games that it attacks.", low=0, high=1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """All of it."""

    name: str = setting(what="A short name, of the report's file.")
    question: str = setting("", what="What the simulation is to answer.")
    conclusion: str = setting("", what="What follows from the results, for the report.")
    shown: tuple[str, ...] = setting(
        ("truth", "delay_median", "honest_net", "attacker_cost"),
        what="Metrics that the report draws and tabulates first.",
        choices=METRIC_KEYS,
    )
    level: str = setting("rules", what="Where it is played.", choices=LEVELS)
    trials: int = setting(100, what="Independent trials for each point of the sweep.", low=1, high=10**7)
    seed: int = setting(1, what="Trials with the same seed are the same.", low=0, high=2**63 - 1)
    horizon_days: float = setting(
        120.0, what="A trial that lasts longer is cut off and counted as unfinished.", above=0, high=10**5
    )
    game: GameSection = field(default_factory=GameSection, metadata={"what": "The game."})
    bonds: BondSection = field(default_factory=BondSection, metadata={"what": "Bonds."})
    chain: ChainSection = field(default_factory=ChainSection, metadata={"what": "The chain."})
    fees: FeeSection = field(default_factory=FeeSection, metadata={"what": "Base fee."})
    censorship: CensorshipSection = field(default_factory=CensorshipSection, metadata={"what": "Bribed builders."})
    reorgs: ReorgSection = field(default_factory=ReorgSection, metadata={"what": "Reorganisations."})
    rpc: RpcSection = field(default_factory=RpcSection, metadata={"what": "The honest operator's view."})
    node: NodeSection = field(default_factory=NodeSection, metadata={"what": "The node of the contract level."})
    honest: HonestSection = field(default_factory=HonestSection, metadata={"what": "The honest operator."})
    data: DataSection = field(default_factory=DataSection, metadata={"what": "Availability of model and input."})
    exceptions: ExceptionSection = field(
        default_factory=ExceptionSection, metadata={"what": "Instructions that raise an exception."}
    )
    load: LoadSection = field(default_factory=LoadSection, metadata={"what": "How much there is to do."})
    attacker: tuple[AttackerSection, ...] = setting((), what="The dishonest; one table each.")

    @property
    def depths(self) -> Depths:
        """The depths of the scenario's games."""
        return Depths.for_model(self.game.nodes, self.game.log2_steps)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with every setting that changes a trial."""
        plain = asdict(self)
        for name in ("trials", "name", "question", "conclusion", "shown"):
            plain.pop(name)
        plain["model"] = MODEL_VERSION
        return sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A scenario, and the settings that are varied: every combination is a point."""

    base: Scenario
    axes: Mapping[str, tuple[Any, ...]]
    """Setting (as `section.key`) -> its values."""

    def points(self) -> Iterator[tuple[dict[str, Any], Scenario]]:
        """Each point's settings, and its scenario."""
        for values in itertools.product(*self.axes.values()):
            settings = dict(zip(self.axes, values, strict=True))
            yield settings, with_settings(self.base, settings)


def load(path: Path) -> Sweep:
    """The scenario of a file. Raises `ScenarioError`."""
    try:
        table = plain_toml.loads(read_text(path))
    except Unreadable as error:
        raise ScenarioError(str(path), f"cannot be read: {error.reason}") from error
    except ValueError as error:
        raise ScenarioError(str(path), f"cannot be read: {error}") from error
    return parse(table)


def parse(table: Mapping[str, Any]) -> Sweep:
    """The scenario of a TOML document. Raises `ScenarioError`."""
    rest = dict(table)
    axes = rest.pop("sweep", {})
    if not isinstance(axes, dict):
        raise ScenarioError("sweep", "expected a table of settings and their values")
    base = read_table(Scenario, rest)
    _check(base)
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise ScenarioError(
                f"sweep.{key}", "expected a list of at least one value", hint='as in "fees.base_fee_gwei" = [10, 30]'
            )
    sweep = Sweep(base, {key: tuple(values) for key, values in axes.items()})
    if (count := math.prod(len(values) for values in axes.values())) > MOST_POINTS:
        raise ScenarioError("sweep", f"{count:,} combinations of values found, expected {MOST_POINTS:,} or fewer")
    for settings, _ in sweep.points():
        with_settings(base, settings)
    return sweep


def with_settings(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """The scenario with some settings changed; `attacker.0.claims` is the first attacker's. Raises `ScenarioError`."""
    plain = json.loads(json.dumps(asdict(scenario)))
    for key, value in settings.items():
        *path, last = key.split(".")
        place: Any = plain
        for part in path:
            try:
                place = place[_place(part)] if isinstance(place, list) else place[part]
            except (KeyError, ValueError, IndexError, TypeError):
                raise ScenarioError(f"sweep.{key}", f"there is no {part!r} to change") from None
        if not isinstance(place, dict) or last not in place:
            raise ScenarioError(f"sweep.{key}", "there is no such setting", hint='as in "attacker.0.claims"')
        place[last] = value
    changed = read_table(Scenario, plain)
    _check(changed)
    return changed


def _place(text: str) -> int:
    """A place in a list. Raises `ValueError`."""
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _check(scenario: Scenario) -> None:
    """What no single setting can say."""
    game, load, horizon_h = scenario.game, scenario.load, scenario.horizon_days * 24
    try:
        depths = scenario.depths
    except ValueError as error:
        raise ScenarioError("game.log2_steps", str(error)) from None
    if depths.max > MAX_DEPTH_LIMIT:
        raise ScenarioError("game.log2_steps", f"depth {depths.max} found, expected {MAX_DEPTH_LIMIT} or less")
    longest_s = max(2 * game.extension_h * 3_600, game.extension_h * 3_600 + game.challenge_period_s)
    if longest_s > game.max_clock_h * 3_600:
        raise ScenarioError(
            "game.extension_h", f"an extension of {longest_s:.0f} s does not fit a clock of {game.max_clock_h} h"
        )
    if scenario.level == "contract" and load.games > MOST_CONTRACT_GAMES:
        raise ScenarioError("level", f"at most {MOST_CONTRACT_GAMES} games on contracts")
    if scenario.node.kind == "anvil" and scenario.level != "contract":
        raise ScenarioError("node.kind", 'an Anvil executes contracts: expected level = "contract" with it')
    if scenario.node.faults and scenario.node.kind != "anvil":
        raise ScenarioError("node.faults", 'they are those of a node: expected node.kind = "anvil" with them')
    censorship, blocks = scenario.censorship, horizon_h * 3_600 / scenario.chain.block_s
    if censorship.share and censorship.budget_eth and blocks > MOST_BLOCKS:
        raise ScenarioError(
            "horizon_days", f"{blocks:,.0f} blocks found, expected {MOST_BLOCKS:,} or fewer where builders are bribed"
        )
    # Liars answer each other, too.
    liars = sum(attacker.strategy == "liar" for attacker in scenario.attacker)
    hostile = sum(2 * attacker.claims for attacker in scenario.attacker)
    events = load.games * (2 * depths.max * max(1, liars) ** 2 + hostile) + load.spam_per_hour * horizon_h
    if events > MOST_EVENTS:
        raise ScenarioError(
            "load", f"a trial would come to some {events:,.0f} claims and requests, expected {MOST_EVENTS:,} or fewer"
        )
    if len(scenario.name) > NAME_LENGTH:
        raise ScenarioError("name", f"{len(scenario.name):,} characters found, expected {NAME_LENGTH} or fewer")
    if not scenario.name or not all(letter.isalnum() or letter in "-_" for letter in scenario.name):
        raise ScenarioError("name", f"{scenario.name!r} found, expected letters, digits, hyphens")
