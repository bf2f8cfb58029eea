"""
Lies tried at random, and what was wrong: for the short profile of the tests and the long run of scripts/sweep-lies.

A case is a scene, who is lied to (a command's name, or an agent after so many passes), and the lie. The same seed draws
the same cases, where the package asks its node the same questions.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from opml_dispute.testing.node_lies import Lie
from tests.conftest import Chain
from tests.lies.commands import Commands
from tests.lies.lookers import Lookout
from tests.lies.scenes import scene_of
from tests.lies.watchers import Watch

AGENTS = {"agent, from its start": 0, "agent, later": 1}
"""With the passes before the lie."""

MONITORS = {"monitor, from its start": 0, "monitor, later": 1}
"""With the looks before the lie."""


@dataclass(frozen=True)
class Case:
    """One lie told to one party."""

    scene: str
    who: str
    lie: Lie
    once: bool
    """To a command: whether only the first such answer is changed."""

    def __str__(self) -> str:
        return f"{self.scene}: {self.who}: {self.lie}{' once' if self.once else ''}"


class Sweep:
    """Of one scene, set up on a chain."""

    def __init__(self, chain: Chain, folder: Path, scene: str) -> None:
        self.scene = scene_of(chain, folder, scene)
        self.commands, self.watch = Commands(self.scene, folder), Watch(self.scene, folder)
        self._folder = folder
        self._lies = {name: self.watch.honest[passes].teller.lies() for name, passes in AGENTS.items()}

    @cached_property
    def lookout(self) -> Lookout:
        """Of the monitor."""
        return Lookout(self.scene, self._folder)

    def lies(self, who: str) -> list[Lie]:
        """Every lie that can be told to a party."""
        if who not in self._lies:
            self._lies[who] = self.lookout.honest.teller.lies() if who in MONITORS else self.commands.lies(who)
        return self._lies[who]

    @property
    def count(self) -> int:
        """Of all cases with the parties that were drawn until now."""
        return sum(len(lies) * (1 if who in AGENTS | MONITORS else 2) for who, lies in self._lies.items())

    def draw(self, seed: int, *, whom: tuple[str, ...] = ()) -> Iterator[Case]:
        """Cases without end; of these parties only, if some are named. Half of them are an agent's or a monitor's."""
        chance = random.Random(f"{seed} {self.scene.name}")
        unattended = AGENTS | MONITORS
        names = [name for name in (*unattended, *self.commands.lines) if not whom or name in whom]
        agents = [name for name in names if name in unattended]
        commands = [name for name in names if name not in unattended]
        while True:
            who = chance.choice(agents if agents and (not commands or chance.random() < 0.5) else commands)
            yield Case(self.scene.name, who, chance.choice(self.lies(who)), who in commands and chance.random() < 0.5)

    def wrong(self, case: Case) -> list[str]:
        """What is wrong with what was done."""
        if case.who in AGENTS:
            return self.watch.wrong(case.lie, true_passes=AGENTS[case.who])
        if case.who in MONITORS:
            return self.lookout.wrong(case.lie, true_looks=MONITORS[case.who])
        return self.commands.wrong(case.who, case.lie, left=1 if case.once else None)

    def try_until(self, cases: Iterator[Case], end: float, known: set[str]) -> Iterator[tuple[Case, list[str]]]:
        """Tries what is not `known` until a time of `time.monotonic`."""
        for case in cases:
            if time.monotonic() >= end:
                return
            if str(case) not in known:
                known.add(str(case))
                yield case, self.wrong(case)
