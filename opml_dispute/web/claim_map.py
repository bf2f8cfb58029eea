"""
A game's tree of claims, drawn: depth from left to right, one lane for each line of argument.

A claim's deepest answer continues its lane, other answers open lanes below. `lay_out` gives the places, `draw_map` the
SVG. Up to `MAX_LINKED` claims are dots that lead to their row; more are drawn as a few paths, so that a browser draws
ten thousand as fast as ten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from opml_dispute.actors.words import subject
from opml_dispute.game.claim import Claim, Game

MAX_LINKED: Final = 400
STEP: Final = 26
"""Between two depths, in units of the drawing."""
LANE: Final = 26
"""Between two lanes, where there is room for it."""
TALLEST: Final = 900
MARGIN_X: Final = 18
TOP: Final = 34
BOTTOM: Final = 16

_Place = Callable[[Claim], tuple[int, float]]
"""Where a claim's dot is, in units of the drawing."""


@dataclass(frozen=True)
class Layout:
    """Where each claim stands."""

    lane_of: tuple[int, ...]
    """By claim index; the root claim is in lane 0."""
    lanes: int


def lay_out(game: Game) -> Layout:
    """The lanes of a game's claims."""
    deepest = [claim.position.depth for claim in game.claims]
    for claim in reversed(game.claims):
        if claim.parent_index is not None:
            deepest[claim.parent_index] = max(deepest[claim.parent_index], deepest[claim.index])
    lane_of = [0] * len(game.claims)
    lanes, waiting = 1, [(0, 0)]
    while waiting:
        index, lane = waiting.pop()
        if lane < 0:
            lane, lanes = lanes, lanes + 1
        lane_of[index] = lane
        # The deepest answer, the earliest of several, continues the lane. The stack gives the last first: what
        # continues must be placed before the lanes of its siblings are opened.
        replies = sorted((reply.index for reply in game.replies(index)), key=lambda reply: (deepest[reply], -reply))
        waiting += [(reply, -1) for reply in replies[:-1]] + [(reply, lane) for reply in replies[-1:]]
    return Layout(tuple(lane_of), lanes)


def draw_map(game: Game, right: Mapping[int, bool]) -> Markup:
    """The tree as SVG; `right` says of the claims that were judged whether they are right."""
    layout = lay_out(game)
    gap = min(float(LANE), TALLEST / layout.lanes)
    width = 2 * MARGIN_X + STEP * game.depths.max
    height = round(TOP + BOTTOM + gap * (layout.lanes - 1)) + 12

    def place(claim: Claim) -> tuple[int, float]:
        return MARGIN_X + STEP * claim.position.depth, round(TOP + gap * layout.lane_of[claim.index] + 6, 2)

    parts = [
        f'<svg class="map" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(_described(game))}">'
    ]
    parts += _scale(game, height)
    edges = []
    for claim in game.claims[1:]:
        parent = game.parent(claim)
        assert parent is not None
        (x1, y1), (x2, y2) = place(parent), place(claim)
        radius = min(8.0, (y2 - y1) / 2)
        edges.append(f"M{x1} {y1}" + (f"V{y2 - radius}q0 {radius} {radius} {radius}" if y2 > y1 else "") + f"H{x2}")
    parts.append(f'<path class="edge" d="{"".join(edges)}"/>')
    dots = _linked if len(game.claims) <= MAX_LINKED else _massed
    parts += dots(game, right, place, gap)
    parts.append("</svg>")
    return Markup("".join(parts))


def _described(game: Game) -> str:
    deepest = max(claim.position.depth for claim in game.claims)
    return (
        f"The tree of {len(game.claims):,} claims, {deepest} of {game.depths.max} moves deep. "
        "The list below says the same in words."
    )


def _scale(game: Game, height: int) -> list[str]:
    """The two phases, and the line between them."""
    split = MARGIN_X + STEP * game.depths.split + STEP // 2
    end = MARGIN_X + STEP * game.depths.max
    return [
        f'<line class="split" x1="{split}" y1="4" x2="{split}" y2="{height - 4}"/>',
        f'<text class="phase" x="{split - 8}" y="15" text-anchor="end">graph</text>',
        f'<text class="phase" x="{split + 8}" y="15">one node, in the VM</text>',
        f'<line class="end" x1="{end}" y1="24" x2="{end}" y2="{height - 4}"/>',
    ]


def kind_of(claim: Claim, right: Mapping[int, bool]) -> str:
    """The class names of a claim: whose side it is on, and whether it is right."""
    side = "defender" if claim.position.depth % 2 == 0 else "challenger"
    verdict = right.get(claim.index)
    return f"{side} {'unjudged' if verdict is None else 'right' if verdict else 'wrong'}"


def _linked(game: Game, right: Mapping[int, bool], place: _Place, gap: float) -> list[str]:
    parts = []
    for claim in game.claims:
        x, y = place(claim)
        kind = kind_of(claim, right)
        title = escape(f"claim {claim.index}: {subject(game, claim)}, {kind.split()[1]}")
        parts.append(
            f'<a href="#claim-{claim.index}" tabindex="-1"><title>{title}</title>'
            f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="{max(2.0, min(6.5, gap / 2 - 1)):g}"/></a>'
        )
    return parts


def _massed(game: Game, right: Mapping[int, bool], place: _Place, gap: float) -> list[str]:
    """All dots of a kind as one path of lines without length, whose round caps show."""
    kinds: dict[str, list[str]] = {}
    for claim in game.claims:
        x, y = place(claim)
        kinds.setdefault(kind_of(claim, right), []).append(f"M{x} {y}h0")
    return [f'<path class="dots {kind}" d="{"".join(marks)}"/>' for kind, marks in sorted(kinds.items())]
