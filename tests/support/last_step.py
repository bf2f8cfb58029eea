"""
A game on the contracts in which nothing is left to do but one chosen step of the VM.

The liar of such a game says the truth up to that step and not after it (`bluff`), so bisection must end there. It is
about node 0 of the sample model, whose run has every kind of step that is of interest: `first_step` finds one.
"""

from __future__ import annotations

from collections.abc import Callable

from opml_dispute.actors.actions import Step
from opml_dispute.actors.honest import consider
from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.engine.vm import Machine
from opml_dispute.fpvm.witness import MEMORY_PROOF_BYTES, Proof
from opml_dispute.primitives import ML_THREAD_BYTES, item_data
from opml_dispute.trace.provider import GameTrace
from tests.support.bluff import Bluff
from tests.support.builders import HONEST, MALLORY, send, snapshot
from tests.support.contract_game import ContractGame
from tests.support.digits import digits_rules, digits_truth, guest, honest_inference

FULL_BYTES = ML_THREAD_BYTES + 32 + 3 * MEMORY_PROOF_BYTES
MAX_TURNS = 200


def first_step(is_wanted: Callable[[Machine], bool]) -> int:
    """The number of the first step of node 0's run before which the machine is as wanted."""
    start, end = honest_inference().state_root(0), honest_inference().state_root(1)
    machine = guest().fork()
    machine.set_local(2, start)
    machine.set_local(3, end)
    machine.set_local(6, item_data())
    machine.add_subtree(start, SEGMENT_LOG2, honest_inference().blocks_at(0))
    while not is_wanted(machine):
        assert not machine.exited, "the run has no such step"
        machine.run(1)
    return machine.step


class LastStep:
    """A game that has come to one step of node 0's run; the data that it reads are loaded."""

    def __init__(self, step: int) -> None:
        truth = digits_truth()
        bluff = Bluff(truth, first_wrong_state=0, first_wrong_step=step)
        self.game = ContractGame(digits_rules(), MALLORY, bluff.root_claim())
        self.action = self._play(truth, bluff)
        found = int.from_bytes(self.action.data.witness.state_data[99:107], "big")
        assert found == step, f"the game came to step {found}, not to {step}"

    def _play(self, *traces: GameTrace) -> Step:
        for turn in range(MAX_TURNS):
            name = (HONEST, MALLORY)[turn % 2]
            for action in consider(snapshot(self.game), traces[turn % 2], self.game.now).actions:
                if not isinstance(action, Step):
                    send(self.game, name, action)
                    continue
                assert name == HONEST, "the liar's own claims leave it no step"
                read = action.data.local_read
                if read is not None:
                    self.game.add_local_data(read.ident, action.claim_index, read.offset)
                return action
        raise AssertionError(f"no step after {MAX_TURNS} turns")

    def gas(self, *, compact: bool) -> tuple[int, int]:
        """Of the step's whole transaction, with a compact or the full proof: in a block of Cancun, and since Prague."""
        witness = self.action.data.witness
        proof = witness.proof
        if not compact:
            proof = Proof.decode(proof, ml=True).encode().ljust(FULL_BYTES, b"\0")
        gas, floor = self.game.step_gas(
            HONEST, self.action.claim_index, self.action.is_attack, witness.state_data, proof
        )
        return gas, max(gas, floor)
