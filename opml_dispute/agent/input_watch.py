"""
The monitor's look at inputs in blobs: those of open requests, and of the requests that games in progress are about.

A node keeps blobs for some 18 days. An input that can be had no more cannot be computed by those who come later, and
one that is not what its root says was never there: both are told while the request or the game is still open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opml_dispute.agent.open_requests import OpenRequests
from opml_dispute.agent.publication_looks import PublicationLooks
from opml_dispute.chain.answers import Head
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.operator.blob_refuting import WrongPublication
from opml_dispute.primitives import Address, RequestId

AGAIN_S: Final = 6 * 3_600.0
"""After this time it is seen whether blobs that were there are there still, in seconds."""


@dataclass(frozen=True, slots=True)
class InputFinding:
    """What is wrong with one input in blobs."""

    is_missing: bool
    """Whether it can be had no more; else its blobs hold something else."""
    what: str
    """A sentence without its full stop."""
    game: Address | None
    """A game in progress about a request with this input."""


@dataclass(frozen=True, slots=True)
class InputReport:
    """The inputs in blobs at one look."""

    publications: int = 0
    """Those that stand."""
    findings: tuple[InputFinding, ...] = ()
    is_looked_at: bool = True
    """False where no source of blobs is named, so that nothing is known of them."""


class InputWatch:
    """Of one deployment."""

    def __init__(self, system: System, sources: Sequence[str], *, max_age_s: int, waits: bool) -> None:
        """`waits`: each look ends when every publication was looked at; else they are looked at one after another."""
        self._requests = OpenRequests(system, max_age_s=max_age_s)
        self._looks = PublicationLooks(system, sources, own_process=True, again_s=AGAIN_S)
        self._has_sources, self._waits = bool(sources), waits

    def close(self) -> None:
        """Ends what is on its way."""
        self._looks.close()

    def forget(self) -> None:
        """After a reorganisation: requests and publications may be others."""
        self._requests.forget()
        self._looks.forget()

    def look(self, head: Head, ids: Sequence[RequestId], games: Sequence[Game]) -> InputReport:
        """The report about the requests `ids` that are open, and those of `games`. Raises an `RpcError`."""
        open_ = self._requests.read(head, ids)
        roots = self._looks.roots_of(head, open_, [game.request_id for game in games])
        standing = self._looks.read(head, set(roots.values()))
        if not self._has_sources:
            return InputReport(len(standing), is_looked_at=False)
        if self._waits:
            self._looks.look_at_all(standing)
        else:
            self._looks.go_on(standing)
        disputed = {roots[game.request_id]: game.address for game in games}
        looks = [(standing[id_], look.outcome) for id_, look in self._looks.looks.items()]
        at_hand = {one.input_root for one, outcome in looks if outcome is None}
        findings = []
        for one, outcome in looks:
            name, game = f"publication 0x{one.publication_id.hex()} in blobs", disputed.get(one.input_root)
            where = "" if game is None else f", the input of game {game},"
            if isinstance(outcome, WrongPublication):
                what = f"{name}{where} does not hold the input 0x{one.input_root.hex()}"
                findings.append(InputFinding(is_missing=False, what=what, game=game))
            elif isinstance(outcome, OpmlError) and one.input_root not in at_hand:
                findings.append(
                    InputFinding(is_missing=True, what=f"{name}{where} cannot be had: {outcome}", game=game)
                )
        return InputReport(len(standing), tuple(findings))
