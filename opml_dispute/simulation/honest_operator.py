"""
The honest operator: the honest actor itself, with a machine, a purse and a connection that have limits.

For each game `_play` does what the real watcher does: compute the answer, look at the chain, let `actors.honest`
decide, send what it decided, settle what is ripe, wait. The decisions are the real actor's; the simulation covers what
is between a decision and the chain:

* its view is late (`rpc.lag_s`), fails for a while, lacks the newest claim, or has it wrong;
* its machine computes an inference or a VM run in its own time, on so many cores at once, is sometimes off, and loses
  its VM runs with each restart;
* its purse may be empty, and it waits for low fees while its clock allows.

Several games share cores and purse. What is most urgent is sent first.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

import simpy

from opml_dispute.actors.actions import Action, Move, Resolution, Settle, Step
from opml_dispute.actors.honest import Decision, consider, resolution_actions
from opml_dispute.game.claim import Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.primitives import Address, Hash32
from opml_dispute.simulation.chain import PRIORITY_HONEST, Chain, Transaction
from opml_dispute.simulation.cores import ORDINARY, URGENT, Cores
from opml_dispute.simulation.outages import DAY_S, Outages
from opml_dispute.simulation.scenario import Scenario
from opml_dispute.simulation.symbolic import Trace

RETRY_S = 3_600
"""How long it waits before it tries again what its purse did not allow: only a payout can change that."""

URGENT_S = 3_600
"""With less time left than this, it does not wait for a lower fee."""


@dataclass(slots=True)
class Diary:
    """The events of one operator."""

    missed: int = 0
    """Answers that came too late: claims of a game, at its end."""
    starved: int = 0
    """Times at which its purse did not allow an action."""
    blind: int = 0
    """Games that it could not play because the data were withheld."""
    unchecked: int = 0
    vm_runs: int = 0
    inferences: int = 0
    restarts: int = 0


@dataclass(slots=True)
class Seat:
    """The operator's place in one game."""

    game: Address
    trace: Trace
    in_flight: set[tuple[Any, ...]] = field(default_factory=set)
    runs: set[tuple[int, bool]] = field(default_factory=set)
    """VM runs that are done, by (claim at the split depth, whether it is attacked)."""
    missed: set[str] = field(default_factory=set)


class Operator:
    """An honest operator with one account."""

    def __init__(self, chain: Chain, address: Address, scenario: Scenario, chance: random.Random) -> None:
        self.chain, self.env, self.address, self.scenario = chain, chain.env, address, scenario
        self.settings = scenario.honest
        self.chance = chance
        self.diary = Diary()
        self._promised_wei = 0.0
        self.cores = Cores(self.env, self.settings.cores)
        self._machine = Outages(self.settings.offline_per_day, self.settings.offline_h * 3_600, chance)
        self._seats: list[Seat] = []
        if self.settings.restarts_per_day:
            self.env.process(self._restart(self.settings.restarts_per_day / DAY_S))
        self._endpoint = Outages(scenario.rpc.gaps_per_day, scenario.rpc.gap_h * 3_600, chance)

    def watch(self, game: Address, trace: Trace, *, checks_first: bool, data_after_s: float | None = 0.0) -> None:
        """Plays in `game` from now on. `data_after_s` None: model or input never become available."""
        if data_after_s is None:
            self.diary.blind += 1
            return
        seat = Seat(game, trace)
        self._seats.append(seat)
        self.env.process(self._play(seat, checks_first, data_after_s))

    def check_request(self) -> None:
        """A request without a wrong answer still costs an inference."""
        self.env.process(self.cores.work(self.settings.inference_s, ORDINARY))

    def _play(self, seat: Seat, checks_first: bool, data_after_s: float) -> Any:
        if data_after_s:
            yield self.env.timeout(data_after_s)
        yield self.env.timeout(self.chance.uniform(0, self.settings.poll_s))
        if checks_first:
            yield from self._wait_until_able()
            self.diary.inferences += 1
            yield from self.cores.work(self.settings.inference_s, ORDINARY)
        table = self.chain.tables[seat.game]
        while table.referee.game.in_progress:
            yield from self._wait_until_able()
            changed = table.changed
            game = self._look(seat)
            now_s = int(self.env.now)
            plan = consider(game, seat.trace, now_s)
            seat.missed.update(plan.missed)
            if (run := self._needed_run(seat, game, plan)) is not None:
                self.diary.vm_runs += 1
                yield from self.cores.work(self.settings.vm_run_s, URGENT)
                seat.runs.add(run)
                continue
            starved = self._send_all(seat, game, plan, now_s)
            starved = self._send_resolutions(seat, resolution_actions(game, now_s)) or starved
            stale = game is not table.referee.game
            yield self._next_look(game, now_s, changed, soon=stale, starved=starved)
            yield self.env.timeout(self.scenario.rpc.lag_s + self.chance.uniform(0, self.settings.poll_s))
        self.diary.missed += len(seat.missed)

    def _restart(self, per_s: float) -> Any:
        """At random times: what is only in memory is lost, and computed again when it is needed."""
        while True:
            yield self.env.timeout(self.chance.expovariate(per_s))
            self.diary.restarts += 1
            for seat in self._seats:
                seat.runs.clear()

    # --- seeing ---

    def _wait_until_able(self) -> Any:
        """Until machine and endpoint are both there."""
        while True:
            now_s = self.env.now
            back_s = max(self._machine.back_at_s(now_s), self._endpoint.back_at_s(now_s))
            if back_s <= now_s:
                return
            yield self.env.timeout(back_s - now_s)

    def _look(self, seat: Seat) -> Game:
        referee = self.chain.tables[seat.game].referee
        game = referee.view(self.env.now - self.scenario.rpc.lag_s)
        hidden = self.scenario.rpc.hidden_share
        if hidden and len(game.claims) > 1 and self.chance.random() < hidden:
            return referee.game.as_of(len(game.claims) - 1, marked={})
        false = self.scenario.rpc.false_share
        if false and self.chance.random() < false:
            view = referee.game.as_of(len(game.claims), marked={})
            newest = view.claims[-1]
            value = Hash32(bytes(newest.value[:1]) + self.chance.randbytes(31))  # the first byte may be a VM status
            return replace(view, claims=(*view.claims[:-1], replace(newest, value=value)))
        return game

    def _next_look(self, game: Game, now_s: int, changed: simpy.Event, *, soon: bool, starved: bool) -> simpy.Event:
        """
        When there may be something new to do: the game changed, or a clock runs out.

        `soon`: the view was late, so there may be more to see. `starved`: the purse stopped something.
        """
        due_s = min(
            (
                time_left_s(game, claim.index, now_s)
                for claim in game.claims
                if not claim.is_resolved and all(reply.is_resolved for reply in game.replies(claim.index))
            ),
            default=0.0,
        )
        wait_s = max(float(self.scenario.chain.block_s), self.settings.poll_s, 0.0 if soon else due_s)
        if starved:
            wait_s = max(self.settings.poll_s, min(wait_s, RETRY_S) if due_s else RETRY_S)
        return self.env.any_of([changed, self.env.timeout(wait_s)])

    # --- acting ---

    def _needed_run(self, seat: Seat, game: Game, plan: Decision) -> tuple[int, bool] | None:
        """The VM run that the first planned action needs and that has not been made."""
        for action in plan.actions:
            run = _run_of(game, action)
            if run is not None and run not in seat.runs and _key(action) not in seat.in_flight:
                return run
        return None

    def _send_all(self, seat: Seat, game: Game, plan: Decision, now_s: int) -> bool:
        """Sends what is planned, most urgent first; whether the purse stopped it."""
        waiting = [action for action in plan.actions if _key(action) not in seat.in_flight]
        waiting.sort(key=lambda action: _left_s(game, action, now_s))
        settling_wei = self.chain.gas.settle_claim * (len(game.claims) + len(waiting)) * self.chain.base_fee_wei()
        for action in waiting:
            cost_wei = self.chain.cost_wei(self.chain.tables[seat.game].referee, action)
            # What settling will cost is kept back: a bond that cannot be fetched is lost.
            if self._spendable_wei < cost_wei + settling_wei:
                self.diary.starved += 1
                return True
            self._send(seat, action, self.cheap_at_s(_left_s(game, action, now_s)), cost_wei)
        return False

    def _send_resolutions(self, seat: Seat, actions: list[Resolution]) -> bool:
        """Settles what is ripe, or as much of it as the purse allows; whether the purse allowed nothing."""
        for action in actions:
            if _key(action) in seat.in_flight:
                continue
            gas = self.chain.gas
            affordable = self._spendable_wei / self.chain.base_fee_wei() if self.chain.base_fee_wei() else math.inf
            if affordable < gas.settle_base + gas.settle_claim:
                self.diary.starved += 1
                return True
            if isinstance(action, Settle):
                most = min(len(action.claim_indices), (affordable - gas.settle_base) / gas.settle_claim)
                action = replace(action, claim_indices=action.claim_indices[: int(most)])
            cost_wei = self.chain.cost_wei(self.chain.tables[seat.game].referee, action)
            self._send(seat, action, self.cheap_at_s(math.inf), cost_wei)
        return False

    @property
    def _spendable_wei(self) -> float:
        """What is neither spent nor promised to transactions in flight."""
        return self.chain.purses[self.address].available_wei - self._promised_wei

    def cheap_at_s(self, left_s: float) -> float:
        """When to send: now, or when the fee falls below the cap, as far as patience and the clock's rest allow."""
        cap_wei = self.settings.fee_cap_gwei * 1e9
        if not cap_wei or self.chain.base_fee_wei() <= cap_wei:
            return self.env.now
        latest_s = self.env.now + min(self.settings.patience_h * 3_600, max(0.0, left_s - URGENT_S))
        cheap_s = self.chain.cheap_from_s(cap_wei)
        return min(latest_s, cheap_s if cheap_s is not None else latest_s)

    def _send(self, seat: Seat, action: Action, not_before_s: float, cost_wei: float) -> None:
        key = _key(action)
        seat.in_flight.add(key)
        self._promised_wei += cost_wei
        transaction = self.chain.send(
            self.address, seat.game, action, is_honest=True, priority=PRIORITY_HONEST, not_before_s=not_before_s
        )
        self.env.process(self._follow(seat, key, transaction, cost_wei))

    def _follow(self, seat: Seat, key: tuple[Any, ...], transaction: Transaction, cost_wei: float) -> Any:
        """Until the transaction is in a block, and that block in the operator's own view."""
        yield transaction.done
        self._promised_wei -= cost_wei
        if self.scenario.rpc.lag_s:
            yield self.env.timeout(self.scenario.rpc.lag_s)
        seat.in_flight.discard(key)


def _key(action: Action) -> tuple[Any, ...]:
    if isinstance(action, Move):
        return ("move", action.parent_index, action.is_attack, action.value)
    if isinstance(action, Step):
        return ("step", action.claim_index)
    return ("settle",)


def _left_s(game: Game, action: Action, now_s: int) -> float:
    """The time left for an action; a step has as long as the claim above its leaf."""
    index = action.parent_index if isinstance(action, Move) else action.claim_index if isinstance(action, Step) else 0
    return time_left_s(game, index, now_s)


def _run_of(game: Game, action: Action) -> tuple[int, bool] | None:
    """The VM run that an action rests on: that of the claim at the split depth above it; None above the split."""
    if isinstance(action, Move):
        claim = game.claims[action.parent_index]
        if claim.position.depth < game.depths.split:
            return None
        if claim.position.depth == game.depths.split:
            return claim.index, action.is_attack
    elif isinstance(action, Step):
        claim = game.claims[action.claim_index]
    else:
        return None
    while claim.position.depth > game.depths.execution_root:
        assert claim.parent_index is not None, "an execution root stands below the split depth"
        claim = game.claims[claim.parent_index]
    assert claim.parent_index is not None, "an execution root answers a claim"
    return claim.parent_index, game.is_attack(claim)
