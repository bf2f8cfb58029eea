"""
agent.toml: the agent's key, its roles, and its limits.

`AgentConfig.load` reads a file and refuses unknown keys, so that a typing error cannot switch a limit off.
docs/agent.md, "The configuration", explains every key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from opml_dispute import plain_toml
from opml_dispute.availability.fetching import ALLOWED, FetchPolicy, read_blobs_at, read_gateway
from opml_dispute.availability.store import QUOTA_BYTES
from opml_dispute.chain.amounts import parse_wei
from opml_dispute.chain.games import parse_address
from opml_dispute.chain.requests import parse_hash
from opml_dispute.errors import OpmlError
from opml_dispute.home import home
from opml_dispute.plain_toml import in_few_characters
from opml_dispute.primitives import Address
from opml_dispute.reading import Unreadable, read_text

ROLES: Final = ("proposer", "challenger", "resolver", "claimer", "finalizer", "refuter")
DEFENCES: Final = ("own", "right")

_LOCAL: Final[tuple[str, ...]] = ("http://127.0.0.1:8545",)

T = TypeVar("T")


class BadConfig(OpmlError):
    """The configuration cannot be read, or names something that does not exist."""

    hint = 'docs/agent.md, "The configuration", lists every key with its meaning'


@dataclass(frozen=True)
class AgentConfig:
    """The configuration of one agent."""

    rpc_urls: tuple[str, ...]
    """The first is used; the others are compared with it."""
    deployment: Path
    roles: frozenset[str]
    key_file: Path | None = None
    keystore: Path | None = None
    password_file: Path | None = None
    signer: str | None = None
    """URL of a remote signer that keeps the key."""
    address: Address | None = None
    """The address that the key must belong to, and that a signer with several keys is to use."""
    interval_s: float = 12.0
    """Seconds between two passes when nothing is left to do."""
    state: Path = Path("agent.sqlite")
    dry_run: bool = False
    """Do everything except sending."""
    defend: str = "own"
    """The right root claims to defend: those of the agent's own address ("own"), or all ("right")."""
    games: frozenset[Address] | None = None
    """Only these games; None: all."""
    models: frozenset[bytes] | None = None
    """Only requests of these models are answered; None: all whose file is here."""
    min_fee_wei: int = 0
    """Requests that pay less are not answered."""
    max_bond_wei: int | None = None
    """Requests that demand a larger bond of their proposer are not answered; None: no limit but the treasury's."""
    max_age_s: int = 28 * 86_400
    """Older games and requests are ignored."""
    max_at_risk_wei: int | None = None
    """Bonds of the agent that are not yet paid back, in all games together; None: no limit but the balance."""
    max_per_game_wei: int | None = None
    reserve_wei: int = 0
    """The balance in wei that must stay in the account."""
    max_fee_wei: int | None = None
    """The limit of the gas price in wei; None: the sender's default."""
    claim_for: tuple[Address, ...] = ()
    """Further addresses whose bonds the agent pays out."""
    max_lag_blocks: int = 10
    """The number of blocks that the first endpoint may be behind the furthest one."""
    listen: tuple[str, int] | None = None
    """The address at which metrics and health are served."""
    workers: int = 2
    """Processes that compute, or actors of a cluster; 0: the agent's own process."""
    worker_memory_bytes: int | None = None
    """What each may hold."""
    compute_timeout_s: float = 3_600.0
    """After which a worker that gives no answer is replaced."""
    ray: str | None = None
    """Address of a Ray cluster whose actors compute, or "auto"."""
    fetch: FetchPolicy = field(default_factory=FetchPolicy)
    """How models and inputs that are not here are fetched."""
    fetch_quota_bytes: int = QUOTA_BYTES
    """For what was fetched."""
    answer_unavailable: bool = False
    """Answer requests whose model or input no other account could fetch."""
    second_opinion: bool = True
    """Recompute with another build of the engine before the first bond in a game."""
    preflight: bool = True
    """Check before the first bond that the game can be played to its end from this computer."""

    @classmethod
    def load(cls, path: Path) -> AgentConfig:
        """Read a file; relative paths are relative to its folder. Raises `BadConfig`."""
        try:
            raw = plain_toml.loads(read_text(path))
        except Unreadable as error:
            raise BadConfig(f"cannot read the configuration {path}: {error.reason}", hint="check the path") from None
        except ValueError as error:
            raise BadConfig(f"the configuration {path} cannot be read: {error}") from None
        return _Reader(raw, path).config()


class _Reader:
    """Takes keys out of the tables; the keys left at the end are unknown ones."""

    def __init__(self, raw: dict[str, Any], path: Path) -> None:
        self._path = path
        self._tables: dict[str, dict[str, Any]] = {}
        for name, table in raw.items():
            if not isinstance(table, dict):
                raise self.bad(name, "must be in a table, as [agent] or [chain]")
            self._tables[name] = dict(table)

    def bad(self, name: str, what: str) -> BadConfig:
        return BadConfig(f"{self._path}: {name} {what}")

    def take(self, name: str, read: Callable[[Any], T], default: T) -> T:
        """The value of "table.key", or `default` if it is absent. Raises `BadConfig`."""
        table, _, key = name.partition(".")
        content = self._tables.get(table, {})
        if key not in content:
            return default
        value = content.pop(key)
        try:
            return read(value)
        except OpmlError as error:
            raise self.bad(name, f"is {in_few_characters(value, 100)}: {error}") from None
        except (TypeError, ValueError) as error:
            raise self.bad(name, f"is {in_few_characters(value, 100)}: expected {error}") from None

    def config(self) -> AgentConfig:
        no_roles: tuple[str, ...] = ()
        roles = self.take("agent.roles", _strings, no_roles)
        if not roles or set(roles) - set(ROLES):
            raise self.bad("agent.roles", f"must name at least one of {', '.join(ROLES)}, and nothing else")
        rpc_urls = self.take("chain.rpc", _urls, _LOCAL)
        deployment = self.take("chain.deployment", self._file, None)
        if deployment is None:
            raise self.bad("chain.deployment", "is missing: the file that `opml-dispute deploy` wrote")
        config = AgentConfig(
            rpc_urls=rpc_urls,
            deployment=deployment,
            roles=frozenset(roles),
            key_file=self.take("key.file", self._file, None),
            keystore=self.take("key.keystore", self._file, None),
            password_file=self.take("key.password_file", self._file, None),
            signer=self.take("key.signer", _url, None),
            address=self.take("key.address", _one_address, None),
            interval_s=self.take("agent.interval", _seconds(0.1, 3600.0), 12.0),
            state=self.take("agent.state", self._file, None) or home() / "agents" / f"{self._path.stem}.sqlite",
            dry_run=self.take("agent.dry_run", _truth, False),
            workers=self.take("compute.workers", _count(0, 256), 2),
            worker_memory_bytes=self.take("compute.memory", _size, None),
            compute_timeout_s=self.take("compute.timeout", _seconds(1, 604_800), 3_600.0),
            ray=self.take("compute.ray", _cluster, None),
            fetch=self._fetch_policy(),
            fetch_quota_bytes=self.take("fetch.quota", _size, QUOTA_BYTES),
            answer_unavailable=self.take("policy.answer_unavailable", _truth, False),
            second_opinion=self.take("agent.second_opinion", _truth, True),
            preflight=self.take("agent.preflight", _truth, True),
            defend=self.take("policy.defend", _one_of(DEFENCES), "own"),
            games=self.take("policy.games", _addresses, None),
            models=self.take("policy.models", _hashes, None),
            min_fee_wei=self.take("policy.min_fee", _wei, 0),
            max_bond_wei=self.take("policy.max_bond", _wei, None),
            max_age_s=self.take("policy.max_age_days", _count(1, 3650), 28) * 86_400,
            max_at_risk_wei=self.take("treasury.max_at_risk", _wei, None),
            max_per_game_wei=self.take("treasury.max_per_game", _wei, None),
            reserve_wei=self.take("treasury.reserve", _wei, 0),
            max_fee_wei=self.take("treasury.max_fee_per_gas", _wei, None),
            claim_for=tuple(sorted(self.take("claims.addresses", _addresses, None) or ())),
            max_lag_blocks=self.take("chain.max_lag_blocks", _count(0, 10_000), 10),
            listen=self.take("metrics.listen", parse_endpoint, None),
        )
        if config.ray is not None and config.workers == 0:
            raise self.bad("compute.workers", "is 0, but compute.ray names a cluster: expected at least 1 actor")
        if "refuter" in config.roles and not config.fetch.blobs:
            raise self.bad("fetch.blobs", "is missing: the role refuter looks at blobs, at a beacon API or in a folder")
        left = [f"{table}.{key}" for table, content in self._tables.items() for key in content]
        if "agent.workers" in left:
            raise self.bad("agent.workers", "is now called compute.workers: write it in a table [compute]")
        if left:
            raise self.bad(left[0], "is not a key of the agent's configuration")
        return config

    def _fetch_policy(self) -> FetchPolicy:
        default = FetchPolicy.of_environment()
        return FetchPolicy(
            allow=self.take("fetch.allow", _one_of(ALLOWED), default.allow),
            gateways=self.take("fetch.gateways", _gateways, default.gateways),
            blobs=self.take("fetch.blobs", _blob_sources, default.blobs),
            max_bytes=self.take("fetch.max_size", _size, default.max_bytes),
            timeout_s=self.take("fetch.timeout", _seconds(1, 604_800), default.timeout_s),
        )

    def _file(self, value: Any) -> Path | None:
        if not isinstance(value, str) or not value:
            raise ValueError("the name of a file")
        try:
            return self._path.parent / Path(value).expanduser()
        except RuntimeError:  # as Python says that it knows no such account
            raise ValueError("the home folder of an account of this computer after ~") from None


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of strings")
    return tuple(value)


def _urls(value: Any) -> tuple[str, ...]:
    urls = (value,) if isinstance(value, str) else _strings(value)
    if not urls or not all(re.match(r"https?://", url) for url in urls):
        raise ValueError("one URL, or a list of them, each beginning with http:// or https://")
    return urls


def _url(value: Any) -> str | None:
    if not isinstance(value, str) or re.match(r"https?://", value) is None:
        raise ValueError("a URL that begins with http:// or https://")
    return value


def _one_address(value: Any) -> Address | None:
    if not isinstance(value, str):
        raise ValueError("an address in quotes")
    return parse_address(value, "an address")


def _addresses(value: Any) -> frozenset[Address]:
    return frozenset(parse_address(text, "an address") for text in _strings(value))


def _hashes(value: Any) -> frozenset[bytes]:
    found = [parse_hash(text) for text in _strings(value)]
    if None in found:
        raise ValueError("a list of model ids, each 0x and 64 hexadecimal digits")
    return frozenset(item for item in found if item is not None)


def _wei(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError('an amount in quotes, as "0.5 ether" or "20 gwei"')
    return parse_wei(value.replace("ether", "").strip() if value.endswith("ether") else value)


def _gateways(value: Any) -> tuple[str, ...]:
    return tuple(read_gateway(text) for text in _strings(value))


def _blob_sources(value: Any) -> tuple[str, ...]:
    return tuple(read_blobs_at(text) for text in _strings(value))


def _cluster(value: Any) -> str | None:
    if not isinstance(value, str) or not re.fullmatch(r"auto|[^\s:/]+:[0-9]{1,5}", value):
        raise ValueError('"auto", or the address of a Ray cluster, as "10.0.0.1:6379"')
    return value


def _size(value: Any) -> int:
    found = re.fullmatch(r"([0-9]{1,15})(?: (KiB|MiB|GiB|TiB))?", value) if isinstance(value, str) else None
    if found is None or not int(found[1]):
        raise ValueError('a size in quotes, as "512 MiB" or "4 GiB"')
    return int(found[1]) << {None: 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[found[2]]


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _seconds(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError(f"seconds from {least:g} to {most:g}")
        return float(value)

    return read


def _count(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return read


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return read


def parse_endpoint(value: Any) -> tuple[str, int]:
    """Host and port of "host:port". Raises `ValueError`, which says what is expected."""
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError('an address and a port, as "127.0.0.1:7300"')
    return host, int(port)
