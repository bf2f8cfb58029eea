"""`opml-dispute run`: run an inference natively, and with --vm in the VM too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import numpy as np
import numpy.typing as npt

from opml_dispute.cli.command_line import Command
from opml_dispute.cli.inputs import read_inputs
from opml_dispute.cli.options import FileName, binding_options, input_options, json_option
from opml_dispute.cli.output import Output
from opml_dispute.cli.prompts import PromptOptions, prompt_options
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.inference_status import status_words
from opml_dispute.errors import OpmlError
from opml_dispute.generation.files import open_model
from opml_dispute.generation.names import ANSWER, SOURCES
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.models import DIGITS
from opml_dispute.printable import one_line
from opml_dispute.trace.guest import run_node_in_vm

_LONGEST_NAME: Final = 100
"""Characters of a file name made from a tensor's name."""


class VmDisagrees(OpmlError):
    """The VM computed another state than the native run: a bug of this package."""

    hint = "this must never happen: please report it, with model and input"


class InferenceFailed(OpmlError):
    """The inference ended in an error, so its outputs have no meaning."""

    hint = "the state root commits to the failure; give another input, or correct the model"


class CannotSave(OpmlError):
    """An output cannot be written."""

    hint = "give --save a folder that can be written to"


@click.command(cls=Command)
@click.argument("file", type=FileName(), default=DIGITS)
@binding_options
@input_options
@prompt_options
@click.option("--vm", is_flag=True, help="Run every node in the VM too, and compare the states.")
@click.option("--save", type=FileName(), metavar="DIR", help="Write each output into this folder, as NAME.npy.")
@json_option
def run(
    file: Path,
    binding: Binding,
    inputs: tuple[str, ...],
    sample: int | None,
    asked: PromptOptions,
    vm: bool,
    save: Path | None,
    output: Output,
) -> None:
    """
    Run FILE (default: the sample digit reader) on an input, and show outputs and state root.

    Example: opml-dispute run --sample 7 --vm
    """
    if asked.text is not None and (inputs or sample is not None):
        raise click.UsageError("--prompt gives the input: leave out --input and --sample")
    if save is not None:
        _make_folder(save)
    if asked.text is None:
        program = open_model(file, binding)
        inference = Inference(program, read_inputs(program.inputs, inputs, sample))
        started = time.perf_counter()
        inference.run_to(program.node_count)
        ran_s = time.perf_counter() - started
    else:
        from opml_dispute.cli.answering import run_prompt

        program, inference, ran_s = run_prompt(file, binding, asked, output)
    started = time.perf_counter()
    root = inference.state_root(program.node_count)
    committed_s = time.perf_counter() - started
    results = inference.outputs() if inference.status == 0 else {}
    for name, value in results.items():
        if name == ANSWER and asked.text is not None:
            continue  # shown in words
        shown = np.array2string(value, precision=6, threshold=40, max_line_width=output.width)
        output.show(f"{one_line(name)} = {shown}")
    if asked.text is None and program.inputs[0].name in SOURCES and ANSWER in results:
        _show_heard(file, results[ANSWER], output)
    saved = {} if save is None else _save(results, save)
    output.say(f"S_{program.node_count} = 0x{root.hex()}")
    output.say(f"{program.node_count} nodes in {ran_s * 1e3:.2f} ms, committed in {committed_s * 1e3:.2f} ms")
    for name, path in saved.items():
        output.say(f"Saved {name} in {path}")
    output.fact(
        outputs={name: value.tolist() for name, value in results.items()},
        state_root=root,
        status=inference.status,
        nodes=program.node_count,
        run_seconds=ran_s,
        commit_seconds=committed_s,
        saved={name: str(path) for name, path in saved.items()},
    )
    if vm:
        _run_in_vm(program, inference, output)
    if inference.status != 0:
        node = inference.fault_node
        raise InferenceFailed(f"the inference failed at node {node}: {status_words(inference.status)}")


def _show_heard(file: Path, answer: npt.NDArray[Any], output: Output) -> None:
    """The answer to sound in words, if the model's files have a tokenizer."""
    from opml_dispute.generation.files import language_of, takes_text
    from opml_dispute.generation.refusals import NoTokenizer
    from opml_dispute.generation.talk import spoken

    try:
        words = language_of(file).text(spoken(answer.tolist())) if takes_text(file) else None
    except NoTokenizer:
        words = None
    if words is not None:
        output.say(f"Heard: {one_line(words)}")
        output.fact(answer=words)


def _run_in_vm(program: Program, inference: Inference, output: Output) -> None:
    """Run every node in the VM too. Raises `VmDisagrees`."""
    for index, node in enumerate(program.nodes):
        started = time.perf_counter()
        vm_run = run_node_in_vm(inference, index)
        seconds = time.perf_counter() - started
        if not vm_run.agrees:
            raise VmDisagrees(f"node {index} ({node.op_type}) ends in another state in the VM")
        output.say(f"node {index:>3} {node.op_type:<12} {vm_run.steps:>12,} VM steps in {seconds:.2f} s: same state")
        output.fact(node=index, op=node.op_type, vm_steps=vm_run.steps, vm_seconds=seconds, agrees=True)


def _make_folder(folder: Path) -> None:
    """Make the folder before anything is computed, so that a wrong path is noticed at once. Raises `CannotSave`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise CannotSave(f"cannot make the folder {folder}: {_words(error)}") from None


def _save(results: Mapping[str, npt.NDArray[Any]], folder: Path) -> dict[str, Path]:
    """Write each output into a file of its own, directly in `folder`. Raises `CannotSave`."""
    saved: dict[str, Path] = {}
    for name, value in results.items():
        path = folder / f"{file_name(name, taken={path.stem for path in saved.values()})}.npy"
        try:
            np.save(path, value, allow_pickle=False)
        except OSError as error:
            raise CannotSave(f"cannot write {path}: {_words(error)}") from None
        saved[name] = path
    return saved


def file_name(name: str, *, taken: set[str]) -> str:
    """
    A tensor's name as the name of a file, without its ending; never one of `taken`, never a way out of the folder.

    A model chooses its tensors' names freely.

    >>> file_name("scores", taken=set()), file_name("../../y", taken=set()), file_name("", taken=set())
    ('scores', '%2E%2E%2F%2E%2E%2Fy', 'output')
    >>> file_name("A", taken={"a"})
    'A-2'
    """
    safe = quote(name, safe=" ()[]+,@=", errors="backslashreplace")
    if name.startswith("."):
        safe = safe.replace(".", "%2E")
    safe = safe[:_LONGEST_NAME] or "output"
    folded, number, result = {other.lower() for other in taken}, 1, safe
    while result.lower() in folded:
        number += 1
        result = f"{safe}-{number}"
    return result


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
