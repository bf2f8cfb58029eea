"""
The cores of a simulated machine: a limited amount of work at a time; the rest waits.

Work that a running game waits for goes before the checking of new proposals, which is done in the order in which they
came: before it is checked, a wrong proposal looks like any other.
"""

from __future__ import annotations

import heapq
from typing import Any

import simpy

URGENT, ORDINARY = 0, 1


class Cores:
    """A number of cores; work is `yield from cores.work(seconds, urgency)`."""

    # WHY NOT simpy.PriorityResource: it sorts its queue at each request, and a drowning machine has a long one.
    def __init__(self, env: simpy.Environment, count: int) -> None:
        self.env, self.free = env, count
        self.busy_s = 0.0
        """Core time used."""
        self.waited_s = 0.0
        """Time that work has waited for a core."""
        self._line: list[tuple[int, int, simpy.Event]] = []
        self._order = 0

    def work(self, seconds: float, urgency: int) -> Any:
        """A process that ends when the work is done."""
        asked_s = self.env.now
        if self.free:
            self.free -= 1
        else:
            self._order += 1
            turn = self.env.event()
            heapq.heappush(self._line, (urgency, self._order, turn))
            yield turn  # an agent that is done leaves its core to the next in line
        self.waited_s += self.env.now - asked_s
        self.busy_s += seconds
        if seconds:
            yield self.env.timeout(seconds)
        if self._line:
            heapq.heappop(self._line)[2].succeed()
        else:
            self.free += 1
