"""
What may be needed, had before it is: models and inputs of requests that no game is about yet.

A wrong answer to a request can be proposed at any time, and then a clock runs. So the agent brings the model and the
input of a request here when it first sees the request, some at a time, and tells what it cannot have while there is
still time to look for it. The models of `policy.models` are brought even before they are asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opml_dispute.agent.casework import StillComputing
from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import ModelId, RequestId

AT_ONCE: Final = 16
"""Requests that are looked after in one pass."""
GLANCE_S: Final = 1.0
"""How long a pass waits for them: games come first."""


class Stock:
    """What is at hand for the requests of one deployment."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._settled: set[RequestId] = set()
        """At hand, delivered, or too old to matter."""
        self._models: list[ModelId] = [ModelId(raw) for raw in sorted(context.config.models or ())]
        self._turn = 0
        self.missing: dict[str, str] = {}
        """What cannot be had, with the reasons, by the names of models and requests."""

    def look_after(self, now: Pass, ids: Sequence[RequestId], *, patience_s: float = GLANCE_S) -> None:
        """Some of what is missing is brought; what cannot be had is a trouble of this pass."""
        if not self._context.config.roles & {"challenger", "proposer"}:
            return
        self._look_at_models(now, patience_s)
        open_ids = [request_id for request_id in ids if request_id not in self._settled]
        if not open_ids:
            return
        start = self._turn % len(open_ids)
        chosen = [*open_ids[start:], *open_ids[:start]][:AT_ONCE]
        self._turn = start + len(chosen)
        chosen = self._still_open(now, chosen)
        casework = self._context.casework
        outcomes = casework.each(casework.work, {id_: (id_,) for id_ in chosen}, patience_s=patience_s)
        for request_id, outcome in outcomes.items():
            self._note(f"Request 0x{request_id.hex()}", outcome)
            if not isinstance(outcome, OpmlError):
                self._settled.add(request_id)
        self._tell(now)

    def _still_open(self, now: Pass, ids: Sequence[RequestId]) -> list[RequestId]:
        """Those that were not delivered, and are not too old; the others are settled."""
        system, oldest = self._context.system, now.head.timestamp - self._context.config.max_age_s
        records = system.rpc.read_each([system.oracle.request_of(id_) for id_ in ids], at=now.head)
        over = {
            id_
            for id_, record in zip(ids, records, strict=True)
            if record.delivered_by != ZERO_ADDRESS or record.requested_at_s < oldest
        }
        self._settled |= over
        for request_id in over:
            self.missing.pop(f"Request 0x{request_id.hex()}", None)
        return [id_ for id_ in ids if id_ not in over]

    def _look_at_models(self, now: Pass, patience_s: float) -> None:
        casework = self._context.casework
        outcomes = casework.each(casework.model, {id_: (id_,) for id_ in self._models}, patience_s=patience_s)
        for model_id, outcome in outcomes.items():
            self._note(f"Model 0x{model_id.hex()}", outcome)
            if not isinstance(outcome, OpmlError):
                self._models.remove(model_id)

    def _note(self, name: str, outcome: object) -> None:
        if isinstance(outcome, OpmlError):
            if not isinstance(outcome, StillComputing):
                self.missing[name] = str(outcome)
        else:
            self.missing.pop(name, None)

    def _tell(self, now: Pass) -> None:
        for name, reason in self.missing.items():
            now.trouble(f"{name}, for when it is needed", reason)
        self._context.metrics.missing.set(len(self.missing))
