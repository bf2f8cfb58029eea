"""
Inputs in blobs that are not what they are said to be, refuted for their bonds (docs/game.md, "Inputs in blobs").

`Refuter.refute` looks in each pass at the publications of the open requests' inputs. Another process
(`operator.blob_process`) fetches blobs and computes on them, one publication at a time, so that no game waits for a
slow source or a large publication. A wrong publication is refuted if its bond pays for the gas: a commitment in one
pass, the refutation in a later one. Which of the two is due follows from the chain, and a publication that was refuted
stands no more, so an agent that was killed in between refutes once all the same.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.agent.open_requests import RoundRobin
from opml_dispute.agent.processes import run_process
from opml_dispute.availability.blobs import BlobsMissing
from opml_dispute.chain.amounts import about_ether, ether
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.input_blobs import BlobPublication, PublicationTerms, publication_terms, publications_of
from opml_dispute.chain.reverts import Reverted
from opml_dispute.errors import OpmlError
from opml_dispute.operator.blob_process import blob_order_text, read_found
from opml_dispute.operator.blob_refuting import (
    WrongPublication,
    bill_of,
    commit_intent,
    expect_place,
    fault_at,
    refute_intent,
    wrong_publication,
)
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
class _Look:
    """What is known about the blobs of one publication."""

    outcome: WrongPublication | OpmlError | None = None
    """Its fault, why it could not be looked at, or None: it is right."""
    tries: int = 0
    again_at_s: float = 0.0
    """Of `time.monotonic`: when it is looked at once more, if it could not be."""


class Refuter:
    """Of one deployment."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._rotation = RoundRobin.anywhere()
        self._standing: dict[bytes, list[BlobPublication]] = {}
        """By input roots, as last read."""
        self._looks: dict[bytes, _Look] = {}
        """By publications."""
        self._running: tuple[bytes, Future[WrongPublication | None]] | None = None
        self._terms: PublicationTerms | None = None
        self._ending = threading.Event()

    def close(self) -> None:
        """Ends what is on its way."""
        self._ending.set()

    def forget(self) -> None:
        """After a reorganisation: another publication may have this id. What is being looked at is looked at again."""
        self._standing.clear()
        self._looks.clear()
        self._running = None

    def refute(self, now: Pass, open_: Mapping[RequestId, RequestRecord]) -> None:
        """
        Looks at the next publication, and takes the next step against each that is wrong.

        What cannot be read, had, or paid for by its bond is a trouble of this pass and keeps nothing else waiting.
        """
        try:
            terms = self._terms_of_publishers()
            standing = self._read(now, {bytes(record.input_root) for record in open_.values()})
        except OpmlError as error:
            now.trouble("Inputs in blobs cannot be read", error)
            return
        self._collect()
        self._looks = {id_: look for id_, look in self._looks.items() if id_ in standing}
        self._look_at_next(standing)
        wrong = 0
        for id_, look in self._looks.items():
            if isinstance(look.outcome, WrongPublication):
                wrong += 1
                self._act(now, look.outcome, terms.reward_wei if standing[id_].holds_bond else 0)
            elif look.outcome is not None:
                now.trouble(f"Publication 0x{id_.hex()} cannot be looked at", look.outcome)
        self._context.metrics.publications_wrong.set(wrong)

    def _terms_of_publishers(self) -> PublicationTerms:
        """They are fixed for the contract's life."""
        if self._terms is None:
            self._terms = publication_terms(self._context.system.rpc, self._context.system.input_blobs)
        return self._terms

    # ---- the publications that stand ----

    def _read(self, now: Pass, roots: set[bytes]) -> dict[bytes, BlobPublication]:
        """Publications of these roots by their ids: those that stand, some of the roots read anew."""
        rpc, contract = self._context.system.rpc, self._context.system.input_blobs
        self._standing = {root: found for root, found in self._standing.items() if root in roots}
        taken = self._rotation.take(sorted(roots), ROOTS_A_PASS)
        due = dict.fromkeys([*taken, *(root for root, found in self._standing.items() if self._is_wrong(found))])
        counts = rpc.read_each([contract.publication_count(root) for root in due], at=now.head)
        for root, count in zip(due, counts, strict=True):
            self._standing[root] = publications_of(rpc, contract, root) if count else []
        return {one.publication_id: one for found in self._standing.values() for one in found}

    def _is_wrong(self, found: Sequence[BlobPublication]) -> bool:
        looks = [self._looks.get(one.publication_id) for one in found]
        return any(look is not None and isinstance(look.outcome, WrongPublication) for look in looks)

    # ---- looking at their blobs ----

    def _look_at_next(self, standing: Mapping[bytes, BlobPublication]) -> None:
        if self._running is not None:
            return
        now_s = time.monotonic()
        due = [id_ for id_ in standing if self._is_due(self._looks.get(id_), now_s)]
        if not due:
            return
        # Those with a bond first: they pay for being looked at. Then those that were not tried so often.
        tries = {id_: self._looks[id_].tries if id_ in self._looks else 0 for id_ in due}
        chosen = min(due, key=lambda id_: (not standing[id_].holds_bond, tries[id_]))
        self._running = chosen, self._in_background(standing[chosen])

    @staticmethod
    def _is_due(look: _Look | None, now_s: float) -> bool:
        if look is None:
            return True
        return isinstance(look.outcome, OpmlError) and now_s >= look.again_at_s

    def _collect(self) -> None:
        if self._running is None or not self._running[1].done():
            return
        id_, found = self._running
        self._running = None
        look = self._looks.setdefault(id_, _Look())
        try:
            look.outcome = found.result()
        except OpmlError as error:
            look.outcome = error
            look.tries += 1
            pause_s = min(_FIRST_PAUSE_S * 2 ** min(look.tries - 1, 20), _LONGEST_PAUSE_S)
            look.again_at_s = time.monotonic() + pause_s
        else:
            self._context.log.info("looked at publication", publication="0x" + id_.hex(), right=look.outcome is None)

    # ---- refuting ----

    def _act(self, now: Pass, fault: WrongPublication, reward_wei: int) -> None:
        """The commitment, or in a later block the refutation."""
        context, name = self._context, f"Publication 0x{fault.publication.publication_id.hex()} is wrong"
        refutation = refute_intent(context.system, fault, reward_wei)
        try:
            due = commit_intent(context.system, fault, context.sender.address) or refutation
            cost_wei = bill_of(context.sender, fault, due)
            kept_wei = context.config.reserve_wei + sum(context.committed_wei.values())
            free_wei = max(0, context.system.rpc.balance_wei(context.sender.address) - kept_wei)
        except Reverted as refusal:
            # A commitment counts from the next block on; what another account refuted first is not looked at again.
            if refusal.name not in {"RefutationNotCommitted", *refutation.done_already}:
                now.trouble(name, refusal)
            return
        except OpmlError as error:
            now.trouble(name, error)
            return
        if cost_wei > reward_wei:
            now.trouble(name, f"refuting it can cost {about_ether(cost_wei)} of gas, and pays {ether(reward_wei)}")
        elif cost_wei > free_wei:
            now.trouble(name, f"refuting it can cost {about_ether(cost_wei)} of gas, and {ether(free_wei)} are free")
        else:
            context.act(now, None, [due])

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
                self._context.log.exception("bug")
                found.set_exception(BlobsMissing(f"a bug of this package: {error!r}", passes=True))

        threading.Thread(target=look, name="blobs", daemon=True).start()
        return found

    def _look_at(self, publication: BlobPublication) -> WrongPublication | None:
        """None if it is right. Raises `BlobsMissing`, or an `RpcError`."""
        place, config = expect_place(self._context.system, publication), self._context.config
        if not config.workers:  # as everything else, in the agent's own process
            found = fault_at(place, publication.input_root, config.fetch.blobs, timeout_s=_FETCH_S)
            return None if found is None else wrong_publication(publication, place, found)
        given = blob_order_text(place, publication.input_root, config.fetch.blobs, timeout_s=_FETCH_S)
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
