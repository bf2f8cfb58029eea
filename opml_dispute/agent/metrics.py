"""
What an agent is doing, for machines: Prometheus metrics, health and readiness (`exposition` serves them).

The names are op-challenger's where they mean the same, after a prefix of our own; amounts are in wei and say so.
"""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from opml_dispute import __version__

STALE_S: Final = 600.0
"""Seconds after which an agent without a completed pass is not healthy."""


class Metrics:
    """One agent's figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.up = Gauge("opml_agent_up", "1 while the agent runs", registry=own)
        self.acting = Gauge(
            "opml_agent_acting", "1 if the agent may send: lease held and endpoints agree", registry=own
        )
        self.passes = Counter("opml_agent_passes", "Passes over the deployment", ["outcome"], registry=own)
        self.pass_seconds = Histogram(
            "opml_agent_pass_seconds",
            "Duration of a pass",
            buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800),
            registry=own,
        )
        self.tracked_games = Gauge("opml_agent_tracked_games", "Games by their state", ["status"], registry=own)
        self.games_unjudged = Gauge(
            "opml_agent_games_unjudged", "Games whose root cannot be computed here", registry=own
        )
        self.missing = Gauge(
            "opml_agent_missing",
            "Models and requests that this computer cannot have what computing takes of",
            registry=own,
        )
        self.disagreements = Gauge(
            "opml_agent_games_disagree",
            "Games in progress whose root claim is wrong by this computer",
            registry=own,
        )
        self.publications_wrong = Gauge(
            "opml_agent_publications_wrong",
            "Inputs in blobs that are wrong by this computer, and not refuted",
            registry=own,
        )
        self.sent = Counter("opml_agent_transactions", "Transactions sent", ["kind"], registry=own)
        self.moves = Counter("opml_agent_moves", "Attacks and defences made", registry=own)
        self.steps = Counter("opml_agent_steps", "Instructions that the chain was made to run", registry=own)
        self.bonds_claimed = Counter("opml_agent_bonds_claimed", "Payments of bonds fetched", registry=own)
        self.bond_claim_failures = Counter(
            "opml_agent_bond_claim_failures", "Payments of bonds that failed and will be tried again", registry=own
        )
        self.highest_acted_l1_block = Gauge(
            "opml_agent_highest_acted_l1_block", "The last block at which a pass came to its end", registry=own
        )
        self.info = Gauge("opml_agent_info", "1, with the version as its label", ["version"], registry=own)
        self.info.labels(__version__).set(1)
        self.failed = Counter("opml_agent_failed_actions", "Actions that failed and will be tried again", registry=own)
        self.bonds_pending = Gauge("opml_agent_bonds_pending_wei", "Own bonds in games in progress", registry=own)
        self.share_paid = Counter(
            "opml_agent_shares_paid_wei", "Parts of fees paid for defending to the addresses served", registry=own
        )
        self.bond_paid = Counter("opml_agent_bonds_paid_wei", "Bonds withdrawn for the addresses served", registry=own)
        self.balance = Gauge("opml_agent_balance_wei", "The account's balance", registry=own)
        self.next_deadline = Gauge(
            "opml_agent_next_deadline_seconds",
            "Least time left on a clock that this agent must watch",
            registry=own,
        )
        self.endpoint_lag = Gauge("opml_agent_endpoint_lag_blocks", "Blocks behind the furthest endpoint", registry=own)
        self.last_pass_ended = time.monotonic()
        self.may_act = False

    def count(self, kind: str, *, succeeded: bool) -> None:
        """One transaction, by the kind of its intent."""
        if succeeded:
            self.sent.labels(kind).inc()
        if kind in ("attack", "defend") and succeeded:
            self.moves.inc()
        elif kind == "step" and succeeded:
            self.steps.inc()
        elif kind == "withdraw-credit":
            (self.bonds_claimed if succeeded else self.bond_claim_failures).inc()

    def health(self) -> str | None:
        """Whether a pass completed recently."""
        silent_s = time.monotonic() - self.last_pass_ended
        return None if silent_s < STALE_S else f"no pass has ended for {silent_s:.0f} s"

    def readiness(self) -> str | None:
        """Whether the agent may act."""
        return None if self.may_act else "watching only"
