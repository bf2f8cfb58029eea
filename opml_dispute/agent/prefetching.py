"""
Models and inputs of requests that no game is about yet, fetched before they are needed.

A wrong answer to a request can be proposed at any time, and then a clock runs. So the agent fetches the model and
the input of a request when it first sees the request, some at a time, and tells what it cannot have while there is
still time to look for it. The models of `policy.models` are fetched even before a request names them.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import Final

from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.agent.open_requests import RoundRobin
from opml_dispute.agent.remote_cases import StillComputing
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import ModelId, RequestId

AT_ONCE: Final = 16
"""Requests whose files are fetched in one pass: so many of those to be answered, and so many others."""
PREFETCH_PATIENCE_S: Final = 1.0
"""How long a pass waits for them: games come first."""


class Prefetcher:
    """What is at hand for the requests of one deployment."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self.at_hand: set[RequestId] = set()
        """Open requests that everything is here for."""
        self._models: list[ModelId] = [ModelId(raw) for raw in sorted(context.config.models or ())]
        self._rotations = RoundRobin.anywhere(), RoundRobin.anywhere()
        self._lacking: dict[bytes, tuple[str, str]] = {}

    @property
    def missing(self) -> dict[str, str]:
        """What cannot be had, with the reasons, by the names of models and requests."""
        return dict(self._lacking.values())

    def prefetch(
        self,
        now: Pass,
        ids: Collection[RequestId],
        *,
        to_answer: Container[RequestId] = (),
        patience_s: float = PREFETCH_PATIENCE_S,
    ) -> None:
        """
        Fetches some of what is missing for these requests; what cannot be had is a trouble of this pass.

        Hundreds of requests that others answer keep none waiting that is `to_answer`.
        """
        if not self._context.config.roles & {"challenger", "proposer"}:
            return
        self.at_hand.intersection_update(ids)
        self._lacking = {key: told for key, told in self._lacking.items() if key in ids or key in self._models}
        cases = self._context.cases
        models = cases.each(cases.prefetch_model, {id_: (id_,) for id_ in self._models}, patience_s=patience_s)
        for model_id, outcome in models.items():
            if self._note(f"Model 0x{model_id.hex()}", model_id, outcome):
                self._models.remove(model_id)
        parts = [id_ for id_ in ids if id_ in to_answer], [id_ for id_ in ids if id_ not in to_answer]
        wanted = [
            id_
            for rotation, part in zip(self._rotations, parts, strict=True)
            for id_ in rotation.take([id_ for id_ in part if id_ not in self.at_hand], AT_ONCE)
        ]
        requests = cases.each(cases.prefetch, {id_: (id_,) for id_ in wanted}, patience_s=patience_s)
        for request_id, outcome in requests.items():
            if self._note(f"Request 0x{request_id.hex()}", request_id, outcome):
                self.at_hand.add(request_id)
        for name, reason in self.missing.items():
            now.trouble(f"{name}, for when it is needed", reason)
        self._context.metrics.missing.set(len(self.missing))

    def _note(self, name: str, key: bytes, outcome: object) -> bool:
        """Whether it is at hand."""
        if isinstance(outcome, StillComputing):
            return False
        if isinstance(outcome, OpmlError):
            self._lacking[key] = name, str(outcome)
            return False
        self._lacking.pop(key, None)
        return True
