"""
Whether others can have what a game would be about: the model and the input, fetched afresh, as another computer would.

An answer that no other account can check cannot be challenged either, so it is worth little to its consumer.
`expect_model` and `expect_input` fetch what a registration and a request name, and hold it against the root. What went
well within a day is not fetched again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from opml_dispute.availability.fetching import CannotFetch
from opml_dispute.availability.store import input_name, program_name
from opml_dispute.chain.contracts.oracle import RegisteredModel, RequestRecord
from opml_dispute.chain.requests import InputByRoot, request_image
from opml_dispute.chain.system import System
from opml_dispute.chain.transport import public_url
from opml_dispute.errors import OpmlError
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import ModelId, RequestId

RECHECK_S: Final = 86_400
"""How long it counts that others could have fetched something."""


class NotCheckable(OpmlError):
    """Others could not have a model or an input."""


@dataclass(frozen=True)
class OutsideView:
    """What another computer finds, by one store's policy."""

    store: ModelStore
    trusts_earlier: bool = True
    """Whether a fetch of the last day counts."""

    def expect_model(self, model_id: ModelId, registered: RegisteredModel) -> bool:
        """Whether it was checked: not if nothing may be fetched. Raises `NotCheckable` if others cannot have it."""
        if self.store.is_sample(registered):
            return True  # the package brings it
        name, uri = program_name(registered.model_root), registered.uri
        if not uri:
            raise NotCheckable("the model was registered without a URI", hint=_HINT)
        if self.store.fetcher.policy.allow == "nothing":
            return False
        if not self.is_fresh(name, uri):
            try:
                self.store.fetch_program(model_id, registered)
            except OpmlError as error:
                raise NotCheckable(
                    f"the model cannot be had from {public_url(uri)}: {_why(error)}", hint=_HINT
                ) from None
        return True

    def expect_input(self, root: bytes, uri: str, size_bytes: int) -> bool:
        """The same for an input that the chain knows by its root only."""
        if not uri:
            raise NotCheckable("the request names no URI for its input", hint=_HINT)
        if self.store.fetcher.policy.allow == "nothing":
            return False
        if not self.is_fresh(input_name(root), uri):
            try:
                self.store.fetch_image(root, uri, size_bytes)
            except OpmlError as error:
                raise NotCheckable(
                    f"the input cannot be had from {public_url(uri)}: {_why(error)}", hint=_HINT
                ) from None
        return True

    def expect_request(
        self, system: System, request_id: RequestId, record: RequestRecord, registered: RegisteredModel
    ) -> bool:
        """Both, for a request; an input that the chain has in full needs nothing."""
        was_checked = self.expect_model(record.model_id, registered)
        try:
            request_image(system, request_id, record)
        except InputByRoot as by_root:
            checked = self.expect_input(bytes(record.input_root), by_root.uri, registered.input_bytes)
            return was_checked and checked
        return was_checked

    def is_fresh(self, name: str, uri: str) -> bool:
        """Whether this very URI gave this file within the last day, if that counts."""
        seen = self.store.contents.origin(name) if self.trusts_earlier else None
        return seen is not None and seen.uri == uri and abs(time.time() - seen.fetched_at_s) < RECHECK_S


_HINT: Final = "nobody else could check the answer; to propose it all the same: --force-unavailable"


def _why(error: OpmlError) -> str:
    return error.reason if isinstance(error, CannotFetch) else str(error)
