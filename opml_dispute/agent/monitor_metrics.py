"""
What a monitor saw at its last look, as Prometheus metrics.

The names, labels and units are op-dispute-mon's where they mean the same, after a prefix of our own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram

from opml_dispute import __version__
from opml_dispute.agent.credits import OwedCredit
from opml_dispute.agent.monitor import KINDS, Report
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.resolve import game_resolvable, resolvable, winner_if_resolved_now

WEI_PER_ETHER: Final = 10**18

AGREEMENT_LABELS: Final = ("status", "completion", "result_correctness", "root_agreement")
CREDIT_LABELS: Final = ("credit", "withdrawable")
CLAIM_LABELS: Final = ("resolved", "clock", "game_time_period", "resolvable")


class MonitorMetrics:
    """One monitor's figures."""

    def __init__(self, *, stale_s: float = 600.0) -> None:
        """Without a look for `stale_s` the monitor is not healthy."""
        self.registry = CollectorRegistry()
        self._stale_s, self._trouble = stale_s, "no look has ended yet"
        self._last_look = time.monotonic()
        self._gauges()
        self.duration = Histogram(
            "opml_monitor_monitor_duration_seconds",
            "Time taken by one look at all games",
            buckets=(1, 10, 30, 60, 120, 180, 300, 600),
            registry=self.registry,
        )
        self._gauge("info", "1, with the version as its label", "version").labels(__version__).set(1)
        self.up = self._gauge("up", "1 once the first look has ended")

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"opml_monitor_{name}", what, labels, registry=self.registry)

    def _gauges(self) -> None:
        gauge = self._gauge
        self._agreement = gauge(
            "games_agreement", "Games by whether their result agrees with this computer", *AGREEMENT_LABELS
        )
        self._unjudged = gauge("games_unjudged", "Games in progress whose root cannot be computed here")
        self._resolution = gauge("resolution_status", "Games by how far they have come", "completion", "max_duration")
        self._claims = gauge("claims", "Claims by their clocks and the half of the game's time", *CLAIM_LABELS)
        self._honest_claims = gauge(
            "honest_actor_claims", "Claims of accounts that should be right", "honest_actor_address", "state"
        )
        self._honest_bonds = gauge(
            "honest_actor_bonds", "Their bonds, in ETH: posted, lost, won", "honest_actor_address", "state"
        )
        vault = ("delayedWETH", "balance")
        self._required = gauge(
            "bond_collateral_required", "ETH owed through a vault: open bonds, unpaid credits", *vault
        )
        self._available = gauge("bond_collateral_available", "ETH that a vault and its games have", *vault)
        self._credits = gauge(
            "credits", "Unpaid credits beside what the claims award, and whether the vault pays now", *CREDIT_LABELS
        )
        self._withdrawals = gauge(
            "withdrawal_requests",
            "Unlocked credits by whether the vault has what the game owes",
            "delayedWETH",
            "credits",
        )
        self._shares = gauge(
            "defender_shares", "Parts of fees for those who defended answers, in ETH: kept, paid, held, short", "state"
        )
        self._demanded = gauge(
            "demanded_bonds", "Bonds that requests demand, in ETH: locked, unreleased, deposited, held, short", "state"
        )
        self._latest = gauge("latest_proposal", "When the latest game of each kind was made", "root_agreement")
        self._failed = gauge("failed_games", "Games that could not be read")
        self._ignored = gauge("ignored_games", "Games older than the window")
        self._alerts = gauge("alerts", "What a person should look at, by kind (docs/agent.md)", "kind")
        self._time_left = gauge(
            "wrong_result_seconds_left", "Least time to answer in a game that is about to end wrongly; +Inf if none is"
        )
        self._lag = gauge("endpoint_lag_blocks", "Blocks that the first endpoint is behind the furthest")
        self._paused = gauge("paused", "1 while the guardian has paused the system")
        self._head_block = gauge("head_block", "The block of the last look")
        self._head_time = gauge("head_timestamp", "When that block was made")

    def failed(self, reason: str) -> None:
        """A look came to nothing."""
        self._trouble = reason

    def show(self, report: Report, seconds: float) -> None:
        """Everything of one look."""
        self._trouble, self._last_look = "", time.monotonic()
        self.up.set(1)
        self.duration.observe(seconds)
        games = [standing.game for standing in report.standings]
        self._show_agreement(report)
        self._set(
            self._resolution, Counter(_progress(game, report.head.timestamp) for game in [*games, *report.finished])
        )
        self._set(self._claims, Counter(_claim_states(games, report.head.timestamp)))
        for account, tally in report.honest.items():
            for state, claims in (
                ("pending", tally.pending_claims),
                ("valid", tally.valid_claims),
                ("invalid", tally.invalid_claims),
            ):
                self._honest_claims.labels(account, state).set(claims)
            for state, wei in (("pending", tally.pending_wei), ("lost", tally.lost_wei), ("won", tally.won_wei)):
                self._honest_bonds.labels(account, state).set(wei / WEI_PER_ETHER)
        for one in report.collateral:
            is_enough = one.available_wei >= one.required_wei
            for balance, holds in (("sufficient", is_enough), ("insufficient", not is_enough)):
                self._required.labels(one.vault, balance).set(one.required_wei / WEI_PER_ETHER if holds else 0)
                self._available.labels(one.vault, balance).set(one.available_wei / WEI_PER_ETHER if holds else 0)
        self._set(self._credits, Counter(_credit_state(credit, report.head.timestamp) for credit in report.credits))
        unlocked = [credit for credit in report.credits if credit.withdrawal is not None]
        self._set(
            self._withdrawals,
            Counter((credit.vault, "matching" if credit.matches else "divergent") for credit in unlocked),
        )
        demanded = report.demanded
        for state, wei in (
            ("locked", demanded.locked_wei),
            ("unreleased", demanded.unreleased_wei),
            ("deposited", demanded.deposits_wei),
            ("held", demanded.available_wei),
            ("short", max(0, demanded.required_wei - demanded.available_wei)),
        ):
            self._demanded.labels(state).set(wei / WEI_PER_ETHER)
        shares = report.shares
        for state, wei in (
            ("kept", shares.kept_wei),
            ("paid", shares.paid_wei),
            ("held", shares.available_wei),
            ("short", max(0, shares.required_wei - shares.available_wei)),
        ):
            self._shares.labels(state).set(wei / WEI_PER_ETHER)
        self._failed.set(report.failed)
        self._ignored.set(report.ignored)
        for kind in KINDS:
            self._alerts.labels(kind).set(report.count(kind))
        left = [alert.seconds_left or 0 for alert in report.alerts if alert.kind == "wrong_result_stands"]
        self._time_left.set(min(left, default=float("inf")))
        self._lag.set(report.lag_blocks)
        self._paused.set(int(report.is_paused))
        self._head_block.set(report.head.number)
        self._head_time.set(report.head.timestamp)

    def _show_agreement(self, report: Report) -> None:
        found: Counter[tuple[str, ...]] = Counter()
        latest = {"agree": 0, "disagree": 0}
        for game in (*(standing.game for standing in report.standings), *report.finished):
            right = report.roots.get(game.request_id)
            if right is None:
                continue
            agrees = bytes(right) == bytes(game.root.value)
            found[_agreement(game, agrees=agrees)] += 1
            word = "agree" if agrees else "disagree"
            latest[word] = max(latest[word], game.created_at_s)
        self._set(self._agreement, found)
        for word, created_at_s in latest.items():
            self._latest.labels(word).set(created_at_s)
        self._unjudged.set(sum(standing.right is None for standing in report.standings))

    def _set(self, gauge: Gauge, counts: Counter[tuple[str, ...]]) -> None:
        """Sets what was counted, and to zero what is no longer there."""
        for labels in {tuple(sample.labels.values()) for sample in next(iter(gauge.collect())).samples} - counts.keys():
            gauge.labels(*labels).set(0)
        for labels, count in counts.items():
            gauge.labels(*labels).set(count)

    def health(self) -> str | None:
        """Whether a look ended lately."""
        silent_s = time.monotonic() - self._last_look
        return None if silent_s < self._stale_s else f"no look has ended for {silent_s:.0f} s"

    def readiness(self) -> str | None:
        """Whether the last look succeeded."""
        return self._trouble or None


def _agreement(game: Game, *, agrees: bool) -> tuple[str, ...]:
    """The values of `AGREEMENT_LABELS`, as op-dispute-mon writes them."""
    defends = winner_if_resolved_now(game) == GameStatus.DEFENDER_WINS
    root = "agree" if agrees else "disagree"
    side = "defender" if defends else "challenger"
    end = "ahead" if game.in_progress else "wins"
    completion = "in_progress" if game.in_progress else "complete"
    correctness = "correct" if defends == agrees else "incorrect"
    return f"{root}_{side}_{end}", completion, correctness, root


def _credit_state(credit: OwedCredit, now_s: int) -> tuple[str, ...]:
    """The values of `CREDIT_LABELS`."""
    return credit.comparison, "withdrawable" if credit.is_withdrawable(now_s) else "non_withdrawable"


def _progress(game: Game, now_s: int) -> tuple[str, ...]:
    reached = now_s - game.created_at_s >= 2 * game.clocks.max_clock_s
    duration = "max_duration" if reached else "before_max_duration"
    if not game.in_progress:
        return "complete", duration
    return "resolvable" if game_resolvable(game, now_s) else "in_progress", duration


def _claim_states(games: list[Game], now_s: int) -> Iterator[tuple[str, ...]]:
    """The values of `CLAIM_LABELS` for every claim of games in progress."""
    for game in games:
        can_settle = set(resolvable(game, now_s))
        half = "first_half" if now_s - game.created_at_s < game.clocks.max_clock_s else "second_half"
        for claim in game.claims:
            yield _claim_state(game, claim, now_s, half, claim.index in can_settle)


def _claim_state(game: Game, claim: Claim, now_s: int, half: str, can_settle: bool) -> tuple[str, ...]:
    return (
        "resolved" if claim.is_resolved else "unresolved",
        "expired" if time_left_s(game, claim.index, now_s) == 0 else "not_expired",
        half,
        "resolvable" if can_settle else "unresolvable",
    )
