"""`opml-dispute model`: inspect models, register them on the chain, and list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from opml_dispute.cli.command_line import Group
from opml_dispute.cli.facts import ModelNotSupported, inspection_lines, show_inspection, show_obstacles
from opml_dispute.cli.options import (
    ChainOptions,
    FileName,
    SendingOptions,
    Uri,
    binding_options,
    chain_options,
    json_option,
    sending_options,
)
from opml_dispute.cli.output import Output
from opml_dispute.cli.publication import PublicationOptions, check_model, model_uri, publication_options
from opml_dispute.cli.session import Session, open_system, store_of
from opml_dispute.generation.facts import LanguageFacts, language_facts
from opml_dispute.generation.files import compile_language_model, is_language_model, open_model, read_language_model
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import ModelError, UnsupportedOp, UnsupportedType
from opml_dispute.model.survey import Obstacle, survey
from opml_dispute.models import DIGITS
from opml_dispute.operator.inspection import inspect_program, obstacles_by_operator
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import ModelStore, registration
from opml_dispute.primitives import ModelId


@click.group(cls=Group)
def model() -> None:
    """Inspect, register and list models."""


_FILE = click.argument("file", type=FileName(), default=DIGITS)


@model.command()
@_FILE
@binding_options
@click.option(
    "--nodes", "shown", type=click.IntRange(min=0), default=20, metavar="N", help="List the N costliest nodes."
)
@click.option("--time/--no-time", "timed", default=True, help="Run the model natively, and show the time.")
@click.option("--html", "page", type=FileName(), metavar="PAGE", help="Save its graph with all costs as an HTML file.")
@json_option
def inspect(file: Path, binding: Binding, shown: int, timed: bool, page: Path | None, output: Output) -> None:
    """
    Compile FILE (default: the sample digit reader) and show its program, and the cost of a dispute about it.

    With --html its computation graph is drawn in one self-contained file, with the cost of every operation.

    Example: opml-dispute model inspect model.onnx --dim batch=1
    """
    program, language = _compile(file, binding, output)
    inspection = inspect_program(program, timed=timed)
    show_inspection(file, inspection, shown, output, language)
    if page is not None:
        # Imported late: the template engine is needed for this only.
        from opml_dispute.web.model_page import save_model

        size_bytes = save_model(file.name, inspection, inspection_lines(inspection, language), page)
        output.say(f"Saved {page} ({size_bytes:,} bytes).", style="green")
        output.fact(page=str(page), page_bytes=size_bytes)


def _compile(file: Path, binding: Binding, output: Output) -> tuple[Program, LanguageFacts | None]:
    """The program, and what is known of a language model. Raises `ModelNotSupported` with all obstacles shown."""
    if is_language_model(file):
        language_model = read_language_model(file)
        program = compile_language_model(language_model, binding, file.name)
        return program, language_facts(language_model, program)
    try:
        return open_model(file, binding), None
    except (UnsupportedOp, UnsupportedType) as refusal:
        _refuse(
            file, survey(file, binding.dims, binding.constants, binding.max_sizes, binding.seed_input), refusal, output
        )


def _refuse(file: Path, obstacles: Sequence[Obstacle], refusal: ModelError, output: Output) -> NoReturn:
    """Show why a model cannot be compiled. Raises `ModelNotSupported`, or `refusal` if there is another reason."""
    if not obstacles:
        raise refusal
    show_obstacles(obstacles, output)
    output.fact(file=str(file), unsupported=[asdict(obstacle) for obstacle in obstacles])
    raise ModelNotSupported(file.name, obstacles_by_operator(obstacles))


@model.command()
@_FILE
@binding_options
@click.option("--uri", type=Uri(), metavar="URI", help="The URI from which other operators can fetch the file.")
@publication_options
@chain_options
@sending_options
@json_option
def register(
    file: Path,
    binding: Binding,
    uri: str | None,
    publication: PublicationOptions,
    chain: ChainOptions,
    sending: SendingOptions,
    output: Output,
) -> None:
    """
    Register the model in FILE (default: the sample digit reader) on the chain.

    Example: opml-dispute model register model.onnx --uri ipfs://… --key-file me.key
    """
    if uri is not None and publication.target is not None:
        raise click.UsageError("--uri says where the file is, and --publish puts it somewhere: give one of them")
    program = open_model(file, binding)
    session = Session.open(chain, sending, output)
    uri = model_uri(publication, program, uri, output)
    description = describe_model(program, uri)
    registry = session.system.registry
    model_id = ModelId(session.system.rpc.read(registry.model_id_of(description)))
    check_model(publication, store_of(output), model_id, program, uri, output)
    if not session.dry_run:
        # This comes before the payment: a registration is of little use here if its program cannot be kept.
        ModelStore.default().keep(program)
        ModelStore.default().keep_vocabulary(model_id, file)
    if session.system.rpc.read(registry.is_registered(model_id)):
        output.say(f"Registered already, as model 0x{model_id.hex()}.")
        output.fact(model_id=model_id, registered=False)
    else:
        session.send_all(
            [
                Intent(
                    kind="register-model",
                    call=registration(registry, program, description),
                    will=f"Will register {file.name}: {program.node_count} nodes, root 0x{program.model_root.hex()}",
                    did=lambda receipt: f"Registered as model 0x{model_id.hex()}",
                    facts={"model_id": model_id, "model_root": program.model_root},
                )
            ]
        )


@model.command("list")
@chain_options
@json_option
def list_models(chain: ChainOptions, output: Output) -> None:
    """
    List the registered models, newest first.

    Example: opml-dispute model list
    """
    system = open_system(chain)
    count = system.rpc.read(system.registry.model_count())
    ids = system.rpc.read_range(system.registry.model_id_at, range(count)[::-1])
    models = system.rpc.read_each([system.registry.model(model_id) for model_id in ids])
    rows = []
    for model_id, known in zip(ids, models, strict=True):
        sizes = (f"{known.input_bytes:,} B", f"{known.output_bytes:,} B")
        rows.append(("0x" + model_id.hex(), str(known.node_count), f"2^{known.log2_steps}", *sizes, known.uri))
        output.fact(
            model_id=model_id,
            model_root=known.model_root,
            nodes=known.node_count,
            log2_steps=known.log2_steps,
            inputs=known.inputs,
            outputs=known.outputs,
            uri=known.uri,
        )
    output.table(("model", "nodes", "steps, at most", "input", "output", "URI"), rows)
    if not models:
        output.say("No model is registered. Register one with: opml-dispute model register FILE")
