"""
A game for people at a terminal: its tree of claims.

`claim_tree` draws all claims with their sides, bonds and clocks, `claim_facts` says the same for scripts. Both are pure
functions of a game and a time.
"""

from __future__ import annotations

from typing import Any

from rich.text import Text
from rich.tree import Tree

from opml_dispute.actors.disputed_range import disputed_range
from opml_dispute.actors.words import short_hex, subject
from opml_dispute.cli.output import duration, ether, short
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.resolve import forecast


def claim_words(game: Game, claim: Claim) -> str:
    """One claim in a line, without its bond and clock."""
    if claim.parent_index is None:
        move = "proposes"
    else:
        move = f"{'attacks' if game.is_attack(claim) else 'defends'} {claim.parent_index}"
    return f"{claim.index}  {short(claim.claimant)} {move}: {subject(game, claim)} is {short_hex(claim.value)}"


def claim_tree(game: Game, now_s: int) -> Tree:
    """The tree of all claims, answers below the claims they answer; green on the root's side, red on the other."""
    outcome = forecast(game)
    top = Tree(_claim_line(game, game.root, outcome.countered_by[0], now_s), guide_style="dim")
    # A dispute is mostly one long chain of answers, and indenting each would soon exceed the screen's width. So only
    # answers that have siblings are indented; a single answer follows at the same level.
    nodes, containers = {0: top}, {0: top}
    for claim in game.claims[1:]:
        assert claim.parent_index is not None
        is_alone = len(game.replies(claim.parent_index)) == 1
        containers[claim.index] = (containers if is_alone else nodes)[claim.parent_index]
        line = _claim_line(game, claim, outcome.countered_by[claim.index], now_s)
        nodes[claim.index] = containers[claim.index].add(line)
    return top


def _claim_line(game: Game, claim: Claim, falls_to: str | None, now_s: int) -> Text:
    side = "green" if claim.position.depth % 2 == 0 else "red"
    line = Text(claim_words(game, claim), style=side, overflow="fold")
    line.append(f"  bond {ether(claim.bond_wei)}", style="dim")
    line.append(f"  {_standing(game, claim, falls_to, now_s)}", style="dim")
    return line


def _standing(game: Game, claim: Claim, falls_to: str | None, now_s: int) -> str:
    if claim.paid_back and claim.countered_by is not None:
        return f"resolved: paid back, then stepped on by {short(claim.countered_by)}"
    if claim.is_resolved:
        return "resolved: stands" if claim.countered_by is None else f"resolved: fell to {short(claim.countered_by)}"
    if claim.countered_by is not None:
        return f"stepped on by {short(claim.countered_by)}"
    left_s = time_left_s(game, claim.index, now_s)
    clock = f"{duration(left_s)} to answer" if left_s else "no time left to answer"
    return clock if falls_to is None else f"{clock}; would fall to {short(falls_to)}"


def claim_facts(game: Game, claim: Claim, now_s: int) -> dict[str, Any]:
    """One claim for scripts."""
    return {
        "claim": claim.index,
        "parent": claim.parent_index,
        "claimant": claim.claimant,
        "position": claim.position.gindex,
        "depth": claim.position.depth,
        "value": claim.value,
        "bond_wei": claim.bond_wei,
        "countered_by": claim.countered_by,
        "resolved": claim.is_resolved,
        "paid_back": claim.paid_back,
        "time_left_s": time_left_s(game, claim.index, now_s),
        "about": subject(game, claim),
        **disputed_range(game, claim).facts,
    }
