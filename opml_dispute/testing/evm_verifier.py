"""
The verifier contract without a chain: FPVM and its pre-image oracle, deployed into an EVM inside this process.

`Verifier.step` runs one VM instruction exactly as the chain would and answers with a `StepVerdict`: the state hash, or
why the contract refused, and the gas. Pre-images are loaded first (`load_keccak256`, `load_sha256`, `load_local`)
and forgotten all at once (`forget_preimages`).

`Verifier.step_vector` makes it a `fpvm.vectors.Stepper`, to be held against the engine.

This is for testing, fuzzing and measuring, thousands of steps a second; it needs `pyrevm`, which the package itself
does not depend on. Real steps are sent by `sender`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eth_abi.abi import encode

from opml_dispute.chain.artifacts import Artifact, load_artifact
from opml_dispute.chain.reverts import Meaning, describe_revert
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import BASE_VERSION, ML_VERSION, Address, Hash32, StateHash
from opml_dispute.testing.vectors import GAME, Load, Vector

if TYPE_CHECKING:
    import pyrevm

TRANSACTION_GAS: Final = 21_000
DEPLOYER: Final = Address("0x00000000000000000000000000000000De91043E")
MIN_PROPOSAL_SIZE: Final = 126_000
CHALLENGE_PERIOD_S: Final = 86_400

_REVERT = re.compile(r"Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}")


class EvmMissing(OpmlError):
    """`pyrevm` is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the in-process EVM needs the package pyrevm, which is not installed",
            hint="install the development dependencies: pip install -e '.[dev]'",
        )


class LocalKeyMismatch(Exception):
    """The oracle put local data under another key than a vector says: our bug, or the vector's."""


class EvmHalted(Exception):
    """
    The EVM stopped otherwise than by a revert (out of gas, invalid opcode, …).

    No step may end so, whatever its input: our bug, not the caller's.
    """


@dataclass(frozen=True)
class StepVerdict:
    """What came of one step."""

    post: StateHash | None
    """Hash of the next state; None if the contract reverted."""

    refusal: Meaning | None
    """Why it reverted; None if it did not."""

    gas_used: int
    """Of the whole transaction, before refunds."""

    calldata_gas: int
    """Thereof for calldata: 16 per non-zero byte, 4 per zero byte (EIP-2028)."""

    @property
    def execution_gas(self) -> int:
        """Gas of the contract's own work, without calldata and the transaction's base price."""
        return self.gas_used - self.calldata_gas - TRANSACTION_GAS


class Verifier:
    """FPVM, base or ML, and a PreimageOracle, in an EVM of their own."""

    def __init__(self, *, ml: bool) -> None:
        """
        Deploys both contracts.

        Raises `EvmMissing` without pyrevm, `ArtifactMissing` before the contracts were compiled.
        """
        try:
            import pyrevm
        except ImportError:
            raise EvmMissing from None
        self.ml = ml
        # A contract may have any size here, so that it may be compiled without the optimizer.
        cfg = pyrevm.CfgEnv(limit_contract_code_size=2**24)
        self._evm: pyrevm.EVM = pyrevm.EVM(spec_id="CANCUN", gas_limit=2**62, env=pyrevm.Env(cfg=cfg))
        self._evm.set_balance(DEPLOYER, 10**24)
        self._oracle_abi, self._fpvm_abi = load_artifact("PreimageOracle"), load_artifact("FPVM")
        self.oracle = self._deploy(self._oracle_abi, MIN_PROPOSAL_SIZE, CHALLENGE_PERIOD_S)
        self.fpvm = self._deploy(self._fpvm_abi, self.oracle, ML_VERSION if ml else BASE_VERSION)
        self._fresh = self._evm.snapshot()
        self._has_preimages = False

    def step(
        self, state_data: bytes, proof: bytes, local_context: bytes = bytes(32), *, caller: Address = GAME
    ) -> StepVerdict:
        """
        One instruction, from its witness.

        Raises `EvmHalted` if the contract ends in a way that no input may cause.
        """
        data = _call_data(self._fpvm_abi, "step", state_data, proof, local_context)
        calldata_gas = 4 * data.count(0) + 16 * (len(data) - data.count(0))
        try:
            returned = bytes(self._evm.message_call(caller, self.fpvm, data))
        except RuntimeError as error:
            if (revert := _REVERT.fullmatch(str(error))) is None:
                raise EvmHalted(str(error)) from error
            return StepVerdict(None, describe_revert(bytes.fromhex(revert[2])), int(revert[1]), calldata_gas)
        result = self._evm.result
        assert result is not None, "a call has a result"
        assert len(returned) == 32, "step returns one word"
        return StepVerdict(StateHash(returned), None, result.gas_used, calldata_gas)

    def step_vector(self, vector: Vector) -> StateHash | None:
        """
        A vector's step, with an oracle that holds the vector's loads and nothing else.

        Raises `ValueError` for a vector of the other state version.
        """
        if vector.ml != self.ml:
            raise ValueError(f"the vector is of state version {vector.version}, but this verifier's ml is {self.ml}")
        if vector.loads or self._has_preimages:
            self.forget_preimages()
        for part in vector.loads:
            self._load(part, vector)
        return self.step(vector.state, vector.proof, vector.context, caller=vector.caller).post

    def load_keccak256(self, preimage: bytes, offset: int) -> None:
        """The part at `offset` of a pre-image that is known by its Keccak-256 hash."""
        self._send(GAME, "loadKeccak256PreimagePart", offset, preimage)

    def load_sha256(self, preimage: bytes, offset: int) -> None:
        """The part at `offset` of a pre-image that is known by its SHA-256 hash."""
        self._send(GAME, "loadSha256PreimagePart", offset, preimage)

    def load_local(
        self,
        ident: int,
        word: bytes,
        size_bytes: int,
        offset: int,
        *,
        local_context: bytes = bytes(32),
        sender: Address = GAME,
    ) -> Hash32:
        """The part at `offset` of `sender`'s own datum `ident`, the first `size_bytes` of `word`; answers its key."""
        return Hash32(self._send(sender, "loadLocalData", ident, local_context, word, size_bytes, offset))

    @property
    def last_gas_used(self) -> int:
        """Of the last transaction, whole, before refunds."""
        result = self._evm.result
        assert result is not None, "a transaction has a result"
        return int(result.gas_used)

    def forget_preimages(self) -> None:
        """Back to an oracle without data."""
        self._evm.revert(self._fresh)
        self._fresh = self._evm.snapshot()
        self._has_preimages = False

    def _load(self, part: Load, vector: Vector) -> None:
        if part.kind == "keccak":
            return self.load_keccak256(part.preimage, part.offset)
        key = self.load_local(
            part.ident,
            part.preimage,
            part.size_bytes,
            part.offset,
            local_context=part.context,
            sender=part.sender or vector.caller,
        )
        if part.key is not None and key != part.key:
            raise LocalKeyMismatch(f"{vector.name}: found key 0x{key.hex()}, expected 0x{part.key.hex()}")
        return None

    def _deploy(self, artifact: Artifact, *arguments: Any) -> Address:
        code = artifact.bytecode + encode(artifact.constructor_inputs, arguments)
        return Address(self._evm.deploy(DEPLOYER, code))

    def _send(self, sender: Address, function: str, *arguments: Any) -> bytes:
        self._has_preimages = True
        return bytes(self._evm.message_call(sender, self.oracle, _call_data(self._oracle_abi, function, *arguments)))


class VerifierPair:
    """A `fpvm.vectors.Stepper` for files that mix vectors of both state versions."""

    def __init__(self) -> None:
        """Deploys a base and an ML verifier; raises what `Verifier` raises."""
        self._verifiers = {ml: Verifier(ml=ml) for ml in (False, True)}

    def step_vector(self, vector: Vector) -> StateHash | None:
        """A vector's step, by the verifier of its state version."""
        return self._verifiers[vector.ml].step_vector(vector)


def _call_data(artifact: Artifact, function: str, *arguments: Any) -> bytes:
    signature = artifact.functions[function]
    return signature.selector + encode(signature.inputs, arguments)
