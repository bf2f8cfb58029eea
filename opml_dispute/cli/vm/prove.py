"""`opml-dispute vm prove`: show the witness of one step, and let the contract verify it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from opml_dispute.cli.command_line import Command, expect_unused
from opml_dispute.cli.options import ChainOptions, json_option
from opml_dispute.cli.output import Output, gas
from opml_dispute.cli.vm.opening import open_source
from opml_dispute.cli.vm.selection import RunSelection, run_options
from opml_dispute.cli.vm.source import NoSuchStep, Source, way_out
from opml_dispute.cli.vm.words import claim_lines, next_instruction
from opml_dispute.engine.vm import Machine, VmError
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.witness import Proof

if TYPE_CHECKING:
    from opml_dispute.engine.vm import StepWitness

_KECCAK, _SHA256, _LOCAL = 2, 4, 1
"""Types of pre-image keys: their first byte."""


class ContractDisagrees(OpmlError):
    """The contract computed another state than the engine: a bug of this package."""

    hint = "this must never happen: please report it, with what --json prints"


class CannotVerify(OpmlError):
    """The contract cannot execute this step here."""


@click.command(cls=Command)
@run_options()
@click.option(
    "--step",
    type=click.IntRange(min=0),
    metavar="K",
    help="The step to prove, by the state before it. Default with --game: the step before the claim's state.",
)
@click.option("--compact", is_flag=True, help="Leave the roots of zero subtrees out of the proof.")
@click.option("--verify-onchain", is_flag=True, help="Let the contract execute the step, and compare.")
@click.option(
    "--deployed", is_flag=True, help="With --verify-onchain: call the deployed contract (--rpc-url, --deployment)."
)
@json_option
def prove(
    run: RunSelection, step: int | None, compact: bool, verify_onchain: bool, deployed: bool, output: Output
) -> None:
    """
    Show the witness of a step; with --verify-onchain, let the contract execute it.

    The contract runs in this process (package pyrevm), or with --deployed as a read-only call on a chain.
    Example: opml-dispute vm prove --node 3 --sample 7 --step 1200 --compact --verify-onchain
    """
    if not verify_onchain:
        expect_unused("counts only together with --verify-onchain", ["deployed"])
    source = open_source(run)
    if step is None:
        if source.claimed is None:
            raise NoSuchStep("no step was named", hint="give --step K")
        step = max(0, source.claimed.step - 1)
    machine = source.at(step)
    try:
        witness = machine.step_witness(compact=compact)
    except VmError as error:
        error.hint = error.hint or way_out(error.reason, ml=machine.ml)
        raise
    encoding = "compact" if compact else "full"
    lines = [f"step {step:,} of {source.name}", *claim_lines(source, step + 1, witness.post_hash)]
    following = next_instruction(machine)
    if following is not None:
        lines.append(f"instruction  {following}")
    lines.append(f"post hash    0x{witness.post_hash.hex()}")
    lines += _proof_lines(witness, encoding, machine)
    if witness.preimage is not None:
        lines.append(f"reads        pre-image 0x{witness.preimage.key.hex()} at {witness.preimage.offset}")
    lines += [f"stateData    0x{witness.state_data.hex()}", f"proof        0x{witness.proof.hex()}"]
    output.show(Text("\n".join(lines)))
    read = witness.preimage
    output.fact(
        step=step,
        instruction=following,
        state_data=witness.state_data,
        proof=witness.proof,
        encoding=encoding,
        proof_bytes=len(witness.proof),
        post_hash=witness.post_hash,
        preimage=None if read is None else {"key": read.key, "offset": read.offset},
    )
    if verify_onchain:
        _verify(source, witness, machine.ml, run.chain if deployed else None, output)


def _proof_lines(witness: StepWitness, encoding: str, machine: Machine) -> list[str]:
    """The parts of the proof, in lines."""
    if machine.exited:
        return ["proof        0 bytes: the program has exited, so the step changes nothing and needs no proof"]
    parts = Proof.decode(witness.proof, ml=machine.ml)
    lines = [f"proof        {len(witness.proof):,} bytes, {encoding}: thread {parts.thread.thread_id}"]
    for number, shown in enumerate(parts.memory_proofs):
        what = "leaf" if shown.log2_size == 5 else f"subtree of 2^{shown.log2_size} bytes"
        lines.append(f"  memory {number}   {what} 0x{shown.root.hex()}, {len(shown.siblings)} siblings")
    return lines


def _verify(source: Source, witness: StepWitness, ml: bool, chain: ChainOptions | None, output: Output) -> None:
    """Execute the step with the contract; raises `ContractDisagrees` if its result is not the engine's."""
    if chain is not None:
        answer, facts, where = _ask_node(witness, ml, chain)
    else:
        answer, facts, where = _ask_here(source, witness, ml)
    if answer != witness.post_hash:
        found = "refuses the step" if answer is None else f"says 0x{answer.hex()}"
        why = facts.get("refusal", where)
        raise ContractDisagrees(f"the contract {found} ({why}); the engine says 0x{witness.post_hash.hex()}")
    said = f"The contract ({where}) computes the same state."
    if "execution_gas" in facts:
        said += f" {gas(facts['execution_gas'])} for the step, {gas(facts['calldata_gas'])} for its data."
    output.say(said, style="green")
    output.fact(contract_agrees=True, where=where, post_hash=answer, **facts)


def _ask_here(source: Source, witness: StepWitness, ml: bool) -> tuple[bytes | None, dict[str, Any], str]:
    from opml_dispute.testing.evm_verifier import Verifier

    verifier = Verifier(ml=ml)
    read = witness.preimage
    if read is not None:
        data = source.preimages[read.key]
        if read.key[0] == _KECCAK:
            verifier.load_keccak256(data, read.offset)
        elif read.key[0] == _SHA256:
            verifier.load_sha256(data, read.offset)
        else:
            assert read.key[0] == _LOCAL, "no other pre-image was given"
            ident = int.from_bytes(read.key[1:], "big")
            verifier.load_local(ident, data.ljust(32, b"\0"), len(data), read.offset)
    verdict = verifier.step(witness.state_data, witness.proof)
    facts: dict[str, Any] = {"execution_gas": verdict.execution_gas, "calldata_gas": verdict.calldata_gas}
    if verdict.refusal is not None:
        facts["refusal"] = str(verdict.refusal)
    return verdict.post, facts, "in this process"


def _ask_node(witness: StepWitness, ml: bool, chain: ChainOptions) -> tuple[bytes | None, dict[str, Any], str]:
    from opml_dispute.chain.contracts.vm import FPVM
    from opml_dispute.chain.reverts import Reverted
    from opml_dispute.cli.session import open_system

    if not ml:
        raise CannotVerify("the deployed contract runs ML states, this is a base state", hint="leave --deployed out")
    if witness.preimage is not None:
        raise CannotVerify(
            f"the step reads pre-image 0x{witness.preimage.key.hex()}, which the deployed oracle has from a game only",
            hint="leave --deployed out, to let the contract run in this process",
        )
    system = open_system(chain)
    fpvm = FPVM(system.deployment.addresses["vm"])
    try:
        answer = system.rpc.read(fpvm.step(witness.state_data, witness.proof, bytes(32)))
    except Reverted as refusal:
        return None, {"refusal": str(refusal)}, ""
    return answer, {}, f"{fpvm.address} on chain {system.deployment.chain_id}"
