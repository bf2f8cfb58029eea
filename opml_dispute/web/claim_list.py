"""
A game's claims as a nested list: what the drawing shows, in words.

Most of a dispute is one long chain of answers, so a single answer follows the claim that it answers, and only answers
that have siblings are nested below it. Of a game of thousands of claims the list has the most important (`MAX_ROWS`):
the chain to the deepest claim, the running clocks, and the newest claims. Omitted claims are counted in their places,
and `numbered_rows` gives any part of all claims, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from opml_dispute.actors.disputed_range import frontier
from opml_dispute.actors.words import short_hex, subject
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.resolve import Forecast
from opml_dispute.primitives import Address
from opml_dispute.web.claim_map import kind_of

MAX_ROWS: Final = 250
_MAX_CLOCKS: Final = 80
_MAX_NEWEST: Final = 40


@dataclass
class ClaimRow:
    """One claim, ready to be shown."""

    claim: Claim
    kind: str
    """Class names: side and verdict."""
    move: str
    """"proposes", "attacks" or "defends"."""
    about: str
    """The state that its value is about."""
    value: str
    expected: str | None
    """The value that this computer computes there, if the claim is wrong."""
    problem: str | None
    """Why it could not be judged."""
    left_s: int | None
    """Seconds in which it can be answered; None if that is over or makes no sense any more."""
    standing: str
    """Its state, or its result if no further move is made."""
    goes_to: Address | None
    """The account that gets its bond, or would get it."""
    answers: list[ClaimRow] = field(default_factory=list)
    """Answers that have siblings."""
    left_out: int = 0
    """Answers to it that are not in the list."""

    @property
    def side(self) -> str:
        """The side that it is on."""
        return self.kind.split()[0]

    @property
    def verdict(self) -> str:
        """Whether it is right by this computer's result: "right", "wrong" or "unjudged"."""
        return self.kind.split()[1]


@dataclass(frozen=True)
class Reading:
    """The input of rows: one game at one time, and the findings about it."""

    game: Game
    now_s: int
    outcome: Forecast
    right: Mapping[int, bool]
    expected: Mapping[int, bytes]
    problems: Mapping[int, str]


def claim_row(reading: Reading, claim: Claim) -> ClaimRow:
    """One claim of a game."""
    game, index = reading.game, claim.index
    falls_to = reading.outcome.countered_by[index]
    left_s = None
    if claim.is_resolved or not game.in_progress:
        standing = "stands" if claim.countered_by is None else "fell"
    elif claim.countered_by is not None:
        standing = "refuted by a step"
    else:
        left_s = time_left_s(game, index, reading.now_s)
        standing = "would stand" if falls_to is None else "would fall"
    move = "proposes" if claim.parent_index is None else "attacks" if game.is_attack(claim) else "defends"
    expected = reading.expected.get(index)
    return ClaimRow(
        claim,
        kind_of(claim, reading.right),
        move,
        subject(game, claim),
        short_hex(claim.value),
        None if expected is None or expected == claim.value else short_hex(expected),
        reading.problems.get(index),
        left_s,
        standing,
        claim.claimant if falls_to is None else falls_to,
    )


def nested_rows(reading: Reading) -> list[ClaimRow]:
    """The list: the root claim and what follows it; at most about `MAX_ROWS` claims."""
    game = reading.game
    shown = {claim.index for claim in game.claims} if len(game.claims) <= MAX_ROWS else _most_important(reading)
    top: list[ClaimRow] = []
    rows: dict[int, ClaimRow] = {}
    containers: dict[int, list[ClaimRow]] = {}
    for claim in game.claims:
        if claim.index not in shown:
            if claim.parent_index in rows:
                rows[claim.parent_index].left_out += 1
            continue
        row = rows[claim.index] = claim_row(reading, claim)
        if claim.parent_index is None:
            container = top
        elif len(game.replies(claim.parent_index)) == 1:
            container = containers[claim.parent_index]
        else:
            container = rows[claim.parent_index].answers
        container.append(row)
        containers[claim.index] = container
    return top


def numbered_rows(reading: Reading, start: int, count: int) -> list[ClaimRow]:
    """`count` claims from claim `start` on, in the order in which they were made."""
    return [claim_row(reading, claim) for claim in reading.game.claims[start : start + count]]


def running_clocks(reading: Reading) -> list[Claim]:
    """Claims without an answer that can still be answered, the least time first."""
    game = reading.game
    if not game.in_progress:
        return []
    open_ = [
        (left_s, claim.index)
        for claim in game.claims
        if not claim.is_resolved
        and claim.countered_by is None
        and not game.replies(claim.index)
        and (left_s := time_left_s(game, claim.index, reading.now_s)) > 0
    ]
    return [game.claims[index] for _, index in sorted(open_)]


def _most_important(reading: Reading) -> set[int]:
    game = reading.game
    wanted = [frontier(game), *running_clocks(reading)[:_MAX_CLOCKS], *game.claims[-_MAX_NEWEST:]]
    shown: set[int] = set()
    for claim in wanted:
        line = list(_line_to(game, claim, shown))
        if len(shown) + len(line) <= MAX_ROWS:
            shown.update(line)
    return shown


def _line_to(game: Game, claim: Claim | None, known: set[int]) -> Iterable[int]:
    """A claim and those above it, as far as they are not known."""
    while claim is not None and claim.index not in known:
        yield claim.index
        claim = game.parent(claim)
