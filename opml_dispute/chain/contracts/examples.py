"""The contracts of contracts/src/examples."""

from __future__ import annotations

from collections.abc import Sequence

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


class ValueReader(Contract):
    """The example consumer of an output that is delivered by its root: it reads parts that are proven to it."""

    artifact_name = "ValueReader"

    def ask_about(self, input_root: bytes, input_uri: str, *, min_bond_wei: int = 0) -> Call[RequestId]:
        """Request the output for an input that is given by its root; value: the fee."""
        return self._call(RequestId, "askAbout", input_root, input_uri, min_bond_wei)

    def values_at(self, request_id: bytes, part: bytes, offset: int, siblings: Sequence[bytes]) -> Call[list[int]]:
        """The binary32 numbers of a part of the output, as bits; reverts with NotInOutput unless it stands there."""
        return self._call(list, "valuesAt", request_id, part, offset, list(siblings))
