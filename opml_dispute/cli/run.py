"""`opml-dispute run`: an inference here, natively, and if wished once more in the VM."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from opml_dispute.cli.inputs import input_options, read_inputs
from opml_dispute.cli.options import json_option
from opml_dispute.cli.output import Output
from opml_dispute.engine.inference import Inference
from opml_dispute.errors import OpmlError
from opml_dispute.model.files import parse_dims, read_model
from opml_dispute.models import DIGITS
from opml_dispute.trace.guest import run_node_in_vm


class VmDisagrees(OpmlError):
    """The VM came to another state than the native run: a bug of ours."""

    hint = "this must never happen: please report it, with model and input"


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=DIGITS)
@click.option("--dim", "dims", multiple=True, metavar="NAME=N", help="The size of a symbolic dimension.")
@input_options
@click.option("--vm", is_flag=True, help="Run every node in the VM too, and compare.")
@click.option("--save", type=click.Path(path_type=Path), metavar="DIR", help="Write each output there, as NAME.npy.")
@json_option
def run(
    file: Path,
    dims: tuple[str, ...],
    inputs: tuple[str, ...],
    sample: int | None,
    vm: bool,
    save: Path | None,
    output: Output,
) -> None:
    """
    Run FILE (default: the sample digit reader) on an input, and show outputs and state root.

    Example: opml-dispute run --sample 7 --vm
    """
    program = read_model(file, parse_dims(dims))
    arrays = read_inputs(program.inputs, inputs, sample)
    started = time.perf_counter()
    inference = Inference(program, arrays)
    inference.run_to(program.node_count)
    ran_s = time.perf_counter() - started
    started = time.perf_counter()
    root = inference.state_root(program.node_count)
    committed_s = time.perf_counter() - started
    results = inference.outputs()
    for name, value in results.items():
        output.show(f"{name} = {np.array2string(value, precision=6, threshold=40)}")
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            np.save(save / f"{name}.npy", value)
    if inference.status != 0:
        output.say(f"The inference failed at node {inference.fault_node}: status {inference.status}.", style="yellow")
    output.say(f"S_{program.node_count} = 0x{root.hex()}")
    output.say(f"{program.node_count} nodes in {ran_s * 1e3:.2f} ms, committed in {committed_s * 1e3:.2f} ms")
    output.fact(
        outputs={name: value.tolist() for name, value in results.items()},
        state_root=root,
        status=inference.status,
        nodes=program.node_count,
        run_seconds=ran_s,
        commit_seconds=committed_s,
    )
    if not vm:
        return
    for index, node in enumerate(program.nodes):
        started = time.perf_counter()
        vm_run = run_node_in_vm(inference, index)
        seconds = time.perf_counter() - started
        if not vm_run.agrees:
            raise VmDisagrees(f"node {index} ({node.op_type}) ends in another state in the VM")
        output.say(f"node {index:>3} {node.op_type:<12} {vm_run.steps:>12,} VM steps in {seconds:.2f} s: same state")
        output.fact(node=index, op=node.op_type, vm_steps=vm_run.steps, vm_seconds=seconds, agrees=True)
