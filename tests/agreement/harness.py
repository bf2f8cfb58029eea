"""What the tests of this folder share: the contracts in an EVM, and quick ways to a step on chain."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import Machine, StepWitness
from opml_dispute.testing.evm_verifier import Verifier
from opml_dispute.testing.made_up_state import EMPTY_STACK, MadeUpState

FLOATS_AT = 298
"""Where F[0] stands in a thread witness."""
LEFT_STACK_AT = 116
"""Where the left stack's root stands in the state witness."""
CONTEXT = b"\x07" * 32
"""The local context that a game would give to this run."""


@cache
def verifier(*, ml: bool) -> Verifier:
    """The contracts of one state version, deployed once a process."""
    return Verifier(ml=ml)


def give(witness: StepWitness, preimages: dict[bytes, bytes], *, ml: bool) -> None:
    """Loads what the step reads, as a game does before it lets the chain step."""
    if witness.preimage is None:
        return
    key, offset = witness.preimage.key, witness.preimage.offset
    data = preimages[key]
    if key[0] == 1:
        ident = int.from_bytes(key[1:], "big")
        verifier(ml=ml).load_local(ident, data.ljust(32, b"\0"), len(data), offset, local_context=CONTEXT)
    else:
        verifier(ml=ml).load_keccak256(data, offset)


def check_step(machine: Machine, *, compact: bool, preimages: dict[bytes, bytes] | None = None) -> None:
    """The machine's next step, proven to the contract, then run; all three post-states agree."""
    witness = machine.step_witness(compact=compact)
    give(witness, preimages or {}, ml=machine.ml)
    assert witness.state_data == machine.witness()
    machine.run(1)
    verdict = verifier(ml=machine.ml).step(witness.state_data, witness.proof, CONTEXT)
    assert verdict.post == witness.post_hash == machine.state_hash(), f"step {machine.step}: {verdict.refusal}"


class FloatProbe:
    """
    Runs one instruction on any operands, on chain, much faster than a `MadeUpState` for each: only the thread changes.

    Operands go into F[2], F[3] and F[4]; the instruction writes F[1] or, if it compares, condition code 0.
    """

    def __init__(self, insn: int) -> None:
        vector = MadeUpState(ml=True, insn=insn).vector()
        self._case = MadeUpState(ml=True, insn=insn)
        self._state, self._proof = vector.state, vector.proof

    def gives(self, operands: tuple[int, ...], *, result: int | None = None, fcsr: int = 0) -> bool:
        """Whether F[1] (unless None) and FCSR have these values afterwards, and nothing else changed."""
        floats = (0, 0, *operands, *(0,) * (30 - len(operands)))
        before = self._thread(floats, fcsr=0, pc=self._case.pc)
        state = self._state[:LEFT_STACK_AT] + _stack(before) + self._state[LEFT_STACK_AT + 32 :]
        found = verifier(ml=True).step(state, before + self._proof[len(before) :]).post
        if result is not None:
            floats = (0, result, *floats[2:])
        after = self._thread(floats, fcsr=fcsr, pc=self._case.pc + 4)
        expected = bytearray(state)
        expected[99:107] = expected[107:115] = (1).to_bytes(8, "big")  # step, slice
        expected[LEFT_STACK_AT : LEFT_STACK_AT + 32] = _stack(after)
        return found == b"\x03" + keccak256(bytes(expected))[1:]

    def _thread(self, floats: tuple[int, ...], *, fcsr: int, pc: int) -> bytes:
        return replace(self._case, floats=floats, fcsr=fcsr, pc=pc).thread()


def _stack(thread: bytes) -> bytes:
    return keccak256(EMPTY_STACK + keccak256(thread))
