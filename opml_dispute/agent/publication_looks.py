"""
What is known about publications in blobs: which stand for an input, and whether their blobs hold it.

`PublicationLooks` reads the publications of input roots from the chain, and looks at them one at a time while
everything else goes on. The agent refutes what it finds wrong (`refuting`), the monitor tells of it (`input_watch`).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from opml_dispute.agent.log import Log
from opml_dispute.agent.open_requests import RoundRobin
from opml_dispute.agent.processes import run_process
from opml_dispute.availability.blobs import BlobsMissing
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.input_blobs import BlobPublication, publications_of
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.operator.blob_process import blob_order_text, read_found
from opml_dispute.operator.blob_refuting import WrongPublication, expect_place, fault_at, wrong_publication
from opml_dispute.primitives import RequestId

ROOTS_A_PASS: Final = 200
"""Inputs whose publications are looked for in one pass."""
_FETCH_S: Final = 600.0
_COMPUTE_S: Final = 600.0
"""For the openings, and for a machine that is busy."""
_COMMAND: Final = (sys.executable, "-m", "opml_dispute.operator.blob_process")
_FIRST_PAUSE_S: Final = 60.0
_LONGEST_PAUSE_S: Final = 3_600.0


@dataclass
class BlobLook:
    """What is known about the blobs of one publication."""

    outcome: WrongPublication | OpmlError | None = None
    """Its fault, why it could not be looked at, or None: it is right."""
    tries: int = 0
    """Looks in a row that came to nothing."""
    again_at_s: float = 0.0
    """Of `time.monotonic`: when it is looked at once more."""


class PublicationLooks:
    """Of one deployment."""

    def __init__(
        self,
        system: System,
        sources: Sequence[str],
        log: Log | None = None,
        *,
        own_process: bool,
        again_s: float = float("inf"),
    ) -> None:
        """
        Blobs are fetched from `sources` (beacon APIs, folders) and looked at by an own process or a thread of this one;
        what was right is looked at again after `again_s`, for a source may lose it.
        """
        self._system, self._sources, self._log = system, tuple(sources), log
        self._own_process, self._again_s = own_process, again_s
        self._rotation = RoundRobin.anywhere()
        self._roots: dict[RequestId, bytes] = {}
        """Input roots of requests that were asked for singly."""
        self._standing: dict[bytes, list[BlobPublication]] = {}
        """By input roots, as last read."""
        self.looks: dict[bytes, BlobLook] = {}
        """By publications."""
        self._running: tuple[bytes, Future[WrongPublication | None]] | None = None
        self._ending = threading.Event()

    def close(self) -> None:
        """Ends what is on its way."""
        self._ending.set()

    def forget(self) -> None:
        """After a reorganisation: another publication may have this id. What is being looked at is looked at again."""
        self._roots.clear()
        self._standing.clear()
        self.looks.clear()
        self._running = None

    # ---- the publications that stand ----

    def roots_of(
        self, head: Head, open_: Mapping[RequestId, RequestRecord], disputed: Iterable[RequestId]
    ) -> dict[RequestId, bytes]:
        """
        The input roots of the open requests, and of those that games in progress are about: a request may be delivered,
        or too old to be answered, while a game about it goes on. Raises an `RpcError`.
        """
        others = [id_ for id_ in dict.fromkeys(disputed) if id_ not in open_]
        self._roots = {id_: self._roots[id_] for id_ in others if id_ in self._roots}
        unknown = [id_ for id_ in others if id_ not in self._roots]
        records = self._system.rpc.read_each([self._system.oracle.request_of(id_) for id_ in unknown], at=head)
        self._roots.update((id_, bytes(one.input_root)) for id_, one in zip(unknown, records, strict=True))
        return {id_: bytes(record.input_root) for id_, record in open_.items()} | self._roots

    def read(self, head: Head, roots: set[bytes]) -> dict[bytes, BlobPublication]:
        """
        Publications of these roots by their ids: those that stand, some of the roots read anew. Raises an `RpcError`.

        What is known of those that stand no more is forgotten.
        """
        rpc, contract = self._system.rpc, self._system.input_blobs
        self._standing = {root: found for root, found in self._standing.items() if root in roots}
        taken = self._rotation.take(sorted(roots), ROOTS_A_PASS)
        due = dict.fromkeys([*taken, *(root for root, found in self._standing.items() if self._is_wrong(found))])
        counts = rpc.read_each([contract.publication_count(root) for root in due], at=head)
        for root, count in zip(due, counts, strict=True):
            self._standing[root] = publications_of(rpc, contract, root) if count else []
        standing = {one.publication_id: one for found in self._standing.values() for one in found}
        self._collect()
        self.looks = {id_: look for id_, look in self.looks.items() if id_ in standing}
        return standing

    def _is_wrong(self, found: Sequence[BlobPublication]) -> bool:
        looks = [self.looks.get(one.publication_id) for one in found]
        return any(look is not None and isinstance(look.outcome, WrongPublication) for look in looks)

    # ---- looking at their blobs ----

    def go_on(self, standing: Mapping[bytes, BlobPublication]) -> None:
        """Begins to look at the next publication, if none is being looked at."""
        if self._running is not None:
            return
        now_s = time.monotonic()
        due = [id_ for id_ in standing if self._is_due(self.looks.get(id_), now_s)]
        if not due:
            return
        # Those with a bond first: they pay for being looked at. Then those that were not tried so often.
        tries = {id_: self.looks[id_].tries if id_ in self.looks else 0 for id_ in due}
        chosen = min(due, key=lambda id_: (not standing[id_].holds_bond, tries[id_]))
        self._running = chosen, self._in_background(standing[chosen])

    def look_at_all(self, standing: Mapping[bytes, BlobPublication]) -> None:
        """Looks once at each publication that was not looked at yet, and waits for it."""
        while any(id_ not in self.looks for id_ in standing):
            self.go_on({id_: one for id_, one in standing.items() if id_ not in self.looks})
            if self._running is not None:
                self._running[1].exception()
            self._collect()

    @staticmethod
    def _is_due(look: BlobLook | None, now_s: float) -> bool:
        if look is None:
            return True
        return not isinstance(look.outcome, WrongPublication) and now_s >= look.again_at_s

    def _collect(self) -> None:
        if self._running is None or not self._running[1].done():
            return
        id_, found = self._running
        self._running = None
        look = self.looks.setdefault(id_, BlobLook())
        try:
            look.outcome = found.result()
        except OpmlError as error:
            look.outcome = error
            look.tries += 1
            pause_s = min(_FIRST_PAUSE_S * 2 ** min(look.tries - 1, 20), _LONGEST_PAUSE_S)
            look.again_at_s = time.monotonic() + pause_s
        else:
            look.tries, look.again_at_s = 0, time.monotonic() + self._again_s
            if self._log is not None:
                self._log.info("looked at publication", publication="0x" + id_.hex(), right=look.outcome is None)

    def _in_background(self, publication: BlobPublication) -> Future[WrongPublication | None]:
        """
        What refutes a publication, in time.

        WHY NOT a pool of threads: the interpreter waits for those at its end, and a source may be silent for minutes.
        """
        found: Future[WrongPublication | None] = Future()

        def look() -> None:
            try:
                found.set_result(self._look_at(publication))
            except OpmlError as error:
                found.set_exception(error)
            except Exception as error:
                if self._log is not None:
                    self._log.exception("bug")
                found.set_exception(BlobsMissing(f"a bug of this package: {error!r}", passes=True))

        threading.Thread(target=look, name="blobs", daemon=True).start()
        return found

    def _look_at(self, publication: BlobPublication) -> WrongPublication | None:
        """None if it is right. Raises `BlobsMissing`, or an `RpcError`."""
        place = expect_place(self._system, publication)
        if not self._own_process:
            found = fault_at(place, publication.input_root, self._sources, timeout_s=_FETCH_S)
            return None if found is None else wrong_publication(publication, place, found)
        given = blob_order_text(place, publication.input_root, self._sources, timeout_s=_FETCH_S)
        try:
            result = run_process(_COMMAND, given=given, timeout_s=_FETCH_S + _COMPUTE_S, ending=self._ending)
            shown = read_found(result.out)
        except TimeoutError:
            raise BlobsMissing(f"looking at them took longer than {_FETCH_S + _COMPUTE_S:.0f} s") from None
        except OSError as error:
            raise BlobsMissing(f"no process can be started to look at them: {error.strerror}", passes=True) from None
        except ValueError:
            raise BlobsMissing("the process that looks at them ended without an answer", passes=True) from None
        return None if shown is None else wrong_publication(publication, place, shown)
