"""
The requests that may still be answered or delivered, and whose turn it is.

A request that was delivered, or that is older than `policy.max_age_days`, is read seldom: some of those in each pass.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.system import System
from opml_dispute.primitives import RequestId

T = TypeVar("T")

AGAIN_A_PASS: Final = 16
"""Requests that are over, and are read again all the same."""


class OpenRequests:
    """Of one deployment."""

    def __init__(self, system: System, *, max_age_s: int) -> None:
        self._system, self._max_age_s = system, max_age_s
        self._over: set[RequestId] = set()
        self._rotation = RoundRobin()

    def read(self, head: Head, ids: Sequence[RequestId]) -> Mapping[RequestId, RequestRecord]:
        """Those of `ids` that are open at `head`, in order. Raises an `RpcError` if they cannot be read."""
        # What is over is looked at again, some in each pass: a node may have erred when it said so.
        again = set(self._rotation.take([id_ for id_ in ids if id_ in self._over], AGAIN_A_PASS))
        asked = [id_ for id_ in ids if id_ in again or id_ not in self._over]
        records = self._system.rpc.read_each([self._system.oracle.request_of(id_) for id_ in asked], at=head)
        oldest = head.timestamp - self._max_age_s
        found = {
            id_: record
            for id_, record in zip(asked, records, strict=True)
            if record.delivered_by == ZERO_ADDRESS and record.requested_at_s >= oldest
        }
        self._over.difference_update(found)
        self._over.update(id_ for id_ in asked if id_ not in found)
        return found

    def forget(self) -> None:
        """After a reorganisation: a delivery may have been undone."""
        self._over.clear()


class RoundRobin:
    """Takes some of many in turn, so that those which fail keep none waiting for ever."""

    def __init__(self, start: int = 0) -> None:
        self._next = start

    @classmethod
    def anywhere(cls) -> RoundRobin:
        """Begins at any place: a process that is killed again and again comes to all of them, too."""
        return cls(random.randrange(1 << 30))

    def take(self, items: Sequence[T], most: int) -> list[T]:
        """At most `most`, after those that were taken last."""
        if not items:
            return []
        start = self._next % len(items)
        taken = [*items[start:], *items[:start]][:most]
        self._next = start + len(taken)
        return taken
