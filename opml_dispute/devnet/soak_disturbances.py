"""
What goes wrong in a soak test besides the faults of single requests: kills, a node that is away, reorganisations, an
empty purse.

Each kind has a `Spacing`: it comes again when its time is over and when the agents have got so much done since it came
last. On a busy computer a process may need longer to start than it lives, and a soak would only measure that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from opml_dispute.chain.rpc import Rpc
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.soak_agents import AgentProcess
from opml_dispute.devnet.soak_plan import SoakOutcome, SoakPlan
from opml_dispute.primitives import Address
from opml_dispute.testing.fault_proxy import FaultProxy

CLOCK_EVERY_S: Final = 5.0

DEEPEST: Final = 3
"""The most blocks that a reorganisation takes back."""


def bury(rpc: Rpc) -> None:
    """What is on the chain now is beyond what a reorganisation takes back."""
    for _ in range(DEEPEST + 1):
        rpc.request("evm_mine")


class Spacing:
    """When something may happen again."""

    def __init__(self, seconds: float, work: int, most: int) -> None:
        """
        After so many seconds, and after the agents have done so much, `most` times; never, if `seconds` is 0.
        """
        self._seconds, self._work, self._left = seconds or float("inf"), work, most
        self._due_at, self._due_from = 0.0, 0

    def restart(self, done: int, *, seconds: float | None = None) -> None:
        """The time and the work begin to count, when the agents have `done` so much; `seconds` may be others once."""
        self._due_at = time.monotonic() + (self._seconds if seconds is None else seconds)
        self._due_from = done + self._work

    def is_due(self, done: int) -> bool:
        """Whether it is to happen now; it then counts as done."""
        if self._left <= 0 or time.monotonic() < self._due_at or done < self._due_from:
            return False
        self._left -= 1
        return True


class Disturbances:
    """Everything that goes wrong around the agents, as time and their work go on."""

    def __init__(
        self,
        rpc: Rpc,
        proxy: FaultProxy,
        agents: Sequence[AgentProcess],
        account: Address,
        plan: SoakPlan,
        outcome: SoakOutcome,
        tell: Callable[[str], None],
    ) -> None:
        """`account` is the agents'."""
        self._rpc, self._proxy, self._agents, self._account = rpc, proxy, agents, account
        self._plan, self._outcome, self._tell = plan, outcome, tell
        self._chance = random.Random(plan.seed)
        self._kills = [Spacing(1.0, plan.own_work, plan.most_disturbances) for _ in agents]
        self._outage = Spacing(plan.outage_every_s, plan.own_work, plan.most_disturbances)
        self._reorganisation = Spacing(plan.reorganise_every_s, plan.own_work, plan.most_disturbances)
        for spacing in (self._outage, self._reorganisation):
            spacing.restart(0)
        self._up_at = self._filled_at = 0.0
        self._full_wei = 0
        self._clock_at = time.monotonic()

    def go_on(self, done: int) -> None:
        """Kills the agents whose time has come, starts what does not run, and lets node and chain misbehave."""
        self.keep_agents(done)
        now = time.monotonic()
        if self._proxy.is_down:
            self._proxy.is_down = now < self._up_at
        elif self._outage.is_due(done):
            away_s = self._chance.uniform(1, 2.5) * self._plan.outage_s
            self._proxy.is_down, self._up_at = True, now + away_s
            self._outcome.outages += 1
            self._outage.restart(done, seconds=away_s + self._plan.outage_every_s)
        if self._full_wei and now >= self._filled_at:
            self.fill_purse()
        self._let_time_pass()
        if self._reorganisation.is_due(done):
            self._reorganisation.restart(done)
            devnet.reorganise(self._rpc, self._chance.randint(1, DEEPEST))
            self._outcome.reorganisations += 1

    def keep_agents(self, done: int) -> None:
        """Kills the agents whose time has come, and starts what does not run."""
        for number, (agent, spacing) in enumerate(zip(self._agents, self._kills, strict=True)):
            if time.monotonic() > agent.dies_at and spacing.is_due(done):
                agent.kill()
                self._outcome.kills += 1
            life_s = self._chance.uniform(0.5, 1.5) * self._plan.life_s or float("inf")
            if agent.start(life_s):
                # `dies_at` is its time. By their work the agents die in turn: else none of them would ever be warm.
                is_first, share = not self._outcome.kills, number * self._plan.own_work // len(self._agents)
                spacing.restart(done + (share if is_first else 0), seconds=0.0)

    def empty_purse(self) -> None:
        """Takes the agents' money for a while, once."""
        if self._outcome.empty_purses or not self._plan.empty_purse_s:
            return
        self._outcome.empty_purses = 1
        self._full_wei = self._rpc.balance_wei(self._account)
        self._filled_at = time.monotonic() + self._plan.empty_purse_s
        self._set_balance(0)
        self._tell("the agents' account is empty")

    def fill_purse(self) -> None:
        """Gives the money back, if it was taken."""
        if self._full_wei:
            self._set_balance(self._full_wei)
            self._full_wei = 0
            self._tell("the agents' account is full again")

    def _set_balance(self, wei: int) -> None:
        self._rpc.request("anvil_setBalance", self._account, hex(wei))
        bury(self._rpc)  # a reorganisation puts back the balances of the block that it goes back to, these too

    def _let_time_pass(self) -> None:
        """The chain's clock goes on faster than the world's; seldom, since each time is a block."""
        now = time.monotonic()
        if now - self._clock_at >= CLOCK_EVERY_S:
            ahead_s = int((self._plan.speed - 1) * (now - self._clock_at))
            self._clock_at = now
            devnet.warp(self._rpc, ahead_s)
