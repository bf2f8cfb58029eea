"""
The bonds and gas that a game may still cost an honest player, line by line.

A *line* is a place where the other side can continue: a move that the honest side has to make, or an honest claim
without an answer. If the other side continues there to the last step, the honest side pays for a claim at every second
depth (`line_wei`). Several wrong claims at one level are several lines. A further wrong claim opens a line that is not
counted yet; its maker pays a bond for it, and the next look counts it. Lines are ordered by what they protect.

`within` selects the moves that an account can afford: funds for the lines that protect most are set aside down to their
ends before anything is spent on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from opml_dispute.actors.actions import Move
from opml_dispute.actors.priority import DECIDES_THE_GAME_WEI
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import BondTerms, required_bond_wei

if TYPE_CHECKING:
    from opml_dispute.actors.honest import Decision
    from opml_dispute.game.claim import Game


class KeptForMore(OpmlError):
    """A move is not made now, because its funds may be needed for moves that protect more."""

    hint = "add funds to the account: the move is made as soon as they are there"


@dataclass(frozen=True, slots=True)
class Line:
    """A place where the other side can continue, or where its claim is answered next."""

    depth: int
    """The depth of the honest side's next claim in it."""
    move: Move | None
    """The move that makes that claim, if it is due now."""
    protected_wei: int
    """The amount that is lost with it, as `priority` counts."""

    @property
    def decides(self) -> bool:
        """Whether the result of the game depends on it."""
        return self.protected_wei >= DECIDES_THE_GAME_WEI


@dataclass(frozen=True, slots=True)
class SpendableFunds:
    """The funds of an account."""

    balance_wei: int
    move_gas_wei: int
    """What sending a move costs, in wei: gas, and on a rollup its data."""


@runtime_checkable
class HasPurse(Protocol):
    """A player's view of a game that knows its account's funds."""

    def purse(self) -> SpendableFunds | None:
        """None if it does not."""
        ...


@lru_cache(maxsize=4096)
def line_wei(first_depth: int, max_depth: int, terms: BondTerms, move_gas_wei: int = 0) -> int:
    """The bonds of claims at every second depth from the first to the last, and as often the gas of a move."""
    depths = range(first_depth, max_depth + 1, 2)
    return sum(required_bond_wei(depth, max_depth, terms) + move_gas_wei for depth in depths)


def rest_wei(game: Game, lines: Sequence[Line], move_gas_wei: int = 0) -> int:
    """The cost of lines down to their ends, in wei."""
    return sum(line_wei(line.depth, game.depths.max, game.terms, move_gas_wei) for line in lines)


def deciding(plan: Decision) -> list[Line]:
    """The lines on which the game's result depends."""
    return [line for line in plan.lines if line.decides]


def within(game: Game, plan: Decision, purse: SpendableFunds) -> tuple[list[Move], list[tuple[Move, KeptForMore]]]:
    """The moves of a plan that the account can afford, and those that are left out for lack of funds, each with the
    reason."""
    left_wei = purse.balance_wei
    made: list[Move] = []
    kept: list[tuple[Move, KeptForMore]] = []
    for line in plan.lines:
        if line.move is not None:
            # The first deciding move is tried in any case: the cost of gas is an estimate.
            is_first = line.decides and left_wei == purse.balance_wei
            if not is_first and line.move.bond_wei + purse.move_gas_wei > left_wei:
                kept.append((line.move, _reason(line.move, purse, left_wei)))
                continue
            made.append(line.move)
        left_wei -= min(left_wei, rest_wei(game, [line], purse.move_gas_wei))
    return made, kept


def _reason(move: Move, purse: SpendableFunds, left_wei: int) -> KeptForMore:
    return KeptForMore(
        f"the answer to claim {move.parent_index} takes {move.bond_wei + purse.move_gas_wei} wei, and {left_wei} of "
        f"{purse.balance_wei} are not needed for what protects more"
    )
