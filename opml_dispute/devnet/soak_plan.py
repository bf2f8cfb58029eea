"""The parameters of a soak test, and what it came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from opml_dispute.errors import OpmlError


class BadPlan(OpmlError):
    """A soak that cannot be played."""


@dataclass(frozen=True)
class SoakPlan:
    """
    The parameters of a soak test.

    What goes wrong is spaced by time, so that a busy computer is not only ever starting processes, and by the number of
    games, since more games make more requests and take more time after each restart: `Spacing` in `soak_disturbances`.
    """

    seed: int = 1
    liars: int = 2
    """Wrong proposals, each with a liar who plays its game."""
    honest: int = 1
    """The number of right proposals by others, which the agent must not attack."""
    answered: int = 1
    """The requests that the agent has to answer itself; a liar attacks each answer."""
    head_start: int = 0
    """The claims that a liar's game has before the agents start, half of them by an earlier life of the agent."""
    workers: int = 2
    """Processes that compute for an agent."""
    life_s: float = 12.0
    """How long an agent's process lives on average, from half to one and a half times of it; 0: until the end."""
    speed: float = 2.0
    """How much faster than the world's the chain's clock runs. A move costs a killed agent seconds, not minutes."""
    outage_every_s: float = 25.0
    """How often the agents' node is away as one that restarts; 0: never."""
    outage_s: float = 2.0
    """The shortest time that it is away; the longest is two and a half times of it."""
    reorganise_every_s: float = 20.0
    """How often the chain loses its last one to three blocks, with the transactions in them; 0: never."""
    most_disturbances: int = 1 << 30
    """How often, at most, each of these comes: kills of one agent, outages, reorganisations."""
    empty_purse_s: float = 3.0
    """Seconds for which the agent's account is empty, once."""
    meddlers: tuple[str, ...] = ("freeloader", "latecomer")
    meddler_turns: int = 6
    faults: tuple[str, ...] = (
        *("http-429", "header-not-found", "stale-head", "lost-transaction", "sent-then-error", "pending-receipt"),
        *("rate-limited", "closed", "hanging", "sent-then-refused", "stale-nonce"),
    )
    """The faults of the agents' node: names of `FAULTS`."""
    every: int = 29
    """One request in so many meets a fault."""
    every_rare: int = 5
    """One in so many meets a fault that few requests can meet: around transactions, or for the latest block."""
    hang_s: float = 3.0
    """How long a request that gets no answer hangs."""
    patience_s: float = 600.0
    """Seconds after which an unfinished soak is aborted."""

    def __post_init__(self) -> None:
        if min(self.liars, self.honest, self.answered, self.head_start) < 0 or not self.requests:
            raise BadPlan(
                f"{self.liars} liars, {self.honest} honest proposers and {self.answered} requests to be answered: "
                "a soak needs one of them at least, and none may be negative",
                hint=None,
            )

    @property
    def requests(self) -> int:
        """All of them, each with one game in the end."""
        return self.liars + self.honest + self.answered

    @property
    def own_work(self) -> int:
        """The least that the agents do between two disturbances of a kind: claims, settlements, payments."""
        return 2 + self.requests // 4

    @property
    def fault_gap_s(self) -> float:
        """The shortest time between two faults of a kind."""
        return self.requests / 20


@dataclass
class SoakOutcome:
    """The outcome of a soak test."""

    requests: int = 0
    games: int = 0
    claims: int = 0
    moves: int = 0
    """Moves made by the agents."""
    answers: int = 0
    """Requests that the agents answered themselves."""
    delivered: int = 0
    """Outputs that the agents delivered."""
    kills: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    """Faults of the node, by their names."""
    empty_purses: int = 0
    outages: int = 0
    reorganisations: int = 0
    least_left_s: int = 1 << 62
    """The least time left, at any moment, for an answer that the agent had to make."""
    seconds: float = 0.0
    broken_rules: list[str] = field(default_factory=list)
    """Empty if all is well."""
