"""The contracts of contracts/src/examples."""

from __future__ import annotations

from opml_dispute.chain.contracts.contract import Contract
from opml_dispute.chain.rpc import Call
from opml_dispute.primitives import ModelId, RequestId


class DigitReader(Contract):
    """The example consumer: keeps the digit that a delivered inference found."""

    artifact_name = "DigitReader"

    def read(self, image: bytes) -> Call[RequestId]:
        """Request the digit that an image shows; value: the fee."""
        return self._call(RequestId, "read", image)

    def model_id(self) -> Call[ModelId]:
        """The model that it requests."""
        return self._call(ModelId, "modelId")

    def digit_of(self, request_id: bytes) -> Call[int]:
        """The digit of an image; reverts with NotRead before its delivery."""
        return self._call(int, "digitOf", request_id)
