"""
The sample digit reader as a game's subject: its program, one input, the true trace, and the real VM as the chain.

`DigitsTable` is a game over it, on the contract itself (`contract_game`) or in memory: there moves, clocks and bonds
are `reference_game`'s, and a step is `step_from_witness`, which does what the verifier contract does.
"""

from __future__ import annotations

from functools import cache

from opml_dispute.actors.liars import Liar
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.vm import Machine, preimage_part, step_from_witness
from opml_dispute.game.depths import Depths
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.models import DIGITS, digit_samples
from opml_dispute.primitives import Address
from opml_dispute.toolchain.native import guest_path
from opml_dispute.trace.split import SplitTrace
from tests.support.builders import HONEST
from tests.support.contract_game import ContractGame
from tests.support.reference_game import ReadLocal, ReferenceGame, Reverted, Rules


@cache
def digits_program() -> Program:
    return compile_model(DIGITS)


@cache
def digits_image(sample: int = 0) -> bytes:
    """One picture, as the INPUT section holds it."""
    images, _ = digit_samples()
    picture: bytes = images[sample].astype(">f4").tobytes()
    return picture


@cache
def honest_inference(sample: int = 0) -> Inference:
    return Inference(digits_program(), digits_image(sample))


@cache
def guest() -> Machine:
    """The VM at the absolute prestate."""
    return Machine.from_elf(guest_path().read_bytes(), ml=True)


@cache
def digits_liar(sample: int = 0) -> Liar:
    return Liar(digits_program(), digits_image(sample), honest_inference(sample), guest())


def real_vm(state_data: bytes, proof: bytes, read_local: ReadLocal) -> bytes:
    """One step as the chain runs it; its refusals are reverts."""

    def preimage(key: bytes, offset: int) -> bytes | None:
        return preimage_part(read_local(int.from_bytes(key[1:], "big"), offset), offset)

    outcome = step_from_witness(state_data, proof, preimage, ml=True)
    if outcome.post_hash is None:
        raise Reverted(str(outcome))
    return outcome.post_hash


def digits_rules(sample: int = 0) -> Rules:
    """What a game about one picture is created with."""
    program = digits_program()
    depths = Depths.for_model(program.node_count, program.log2_steps)
    return Rules(
        max_depth=depths.max,
        split_depth=depths.split,
        node_count=program.node_count,
        starting_root=honest_inference(sample).state_root(0),
        absolute_prestate=guest().state_hash(),
    )


def digits_truth(sample: int = 0) -> SplitTrace:
    """The true trace, made anew: as after a restart."""
    return SplitTrace(honest_inference(sample), guest(), node_count=digits_program().node_count)


class DigitsTable:
    """A game about one picture."""

    def __init__(self, root_claim: bytes, proposer: Address, *, sample: int = 0, on_contract: bool = False) -> None:
        self.truth = digits_truth(sample)
        self.reference: ReferenceGame | ContractGame
        if on_contract:
            self.reference = ContractGame(digits_rules(sample), proposer, root_claim)
        else:
            self.reference = ReferenceGame(digits_rules(sample), real_vm, proposer, root_claim)


def honest_table(sample: int = 0, *, on_contract: bool = False) -> DigitsTable:
    """A game that an honest proposer started."""
    root_claim = honest_inference(sample).state_root(digits_program().node_count)
    return DigitsTable(root_claim, HONEST, sample=sample, on_contract=on_contract)
