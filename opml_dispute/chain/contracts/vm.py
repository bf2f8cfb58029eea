"""The contracts of contracts/src/vm: the verifier and its pre-image oracle."""

from __future__ import annotations

from opml_dispute.chain.contracts.contract import Contract
from opml_dispute.chain.rpc import Call
from opml_dispute.primitives import Address


class FPVM(Contract):
    """The verifier: runs one instruction."""

    artifact_name = "FPVM"

    def oracle(self) -> Call[Address]:
        """The pre-image oracle that it reads."""
        return self._call(Address, "oracle")

    def state_version(self) -> Call[int]:
        """The state version that it executes."""
        return self._call(int, "stateVersion")

    def step(self, state_data: bytes, proof: bytes, local_context: bytes) -> Call[bytes]:
        """Execute one instruction from its witness: the hash of the state after it."""
        return self._call(bytes, "step", state_data, proof, local_context)


class PreimageOracle(Contract):
    """Data that the VM reads, by its hash."""

    artifact_name = "PreimageOracle"

    def challenge_period_s(self) -> Call[int]:
        """The challenge period of a large pre-image, in seconds."""
        return self._call(int, "challengePeriod")

    def part_ok(self, key: bytes, offset: int) -> Call[bool]:
        """Whether that part of a pre-image is loaded."""
        return self._call(bool, "preimagePartOk", key, offset)
