"""
When an operator is away: random outages, drawn as time goes on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

DAY_S = 86_400


@dataclass
class Outages:
    """Outages that begin at random, `per_day` a day, and last `mean_s` on average."""

    per_day: float
    mean_s: float
    chance: random.Random

    def __post_init__(self) -> None:
        self._start_s, self._end_s = 0.0, 0.0
        self._draw()

    def back_at_s(self, now_s: float) -> float:
        """When what is looked for at `now_s` can be had: now, or the end of the outage."""
        if not self.per_day:
            return now_s
        while self._end_s <= now_s:
            self._draw()
        return self._end_s if self._start_s <= now_s else now_s

    def _draw(self) -> None:
        if self.per_day:
            self._start_s = self._end_s + self.chance.expovariate(self.per_day / DAY_S)
            self._end_s = self._start_s + self.chance.expovariate(1 / self.mean_s)
