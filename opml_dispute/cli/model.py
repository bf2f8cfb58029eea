"""`opml-dispute model`: what a model becomes, and telling the chain about it."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table as RichTable

from opml_dispute.chain.intents import Intent
from opml_dispute.chain.models import ModelStore, describe, parse_dims, read_model, registration
from opml_dispute.cli.options import ChainOptions, SendingOptions, chain_options, json_option, sending_options
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import Session, open_system
from opml_dispute.game.depths import Depths
from opml_dispute.model.program import Program, TensorSpec
from opml_dispute.models import DIGITS
from opml_dispute.primitives import ModelId


@click.group()
def model() -> None:
    """ONNX models: inspect and register them."""


_FILE = click.argument("file", type=click.Path(path_type=Path), default=DIGITS)
_DIM = click.option("--dim", "dims", multiple=True, metavar="NAME=N", help="The size of a symbolic dimension.")


@model.command()
@_FILE
@_DIM
@click.option("--nodes/--no-nodes", default=True, help="List the nodes.")
@json_option
def inspect(file: Path, dims: tuple[str, ...], nodes: bool, output: Output) -> None:
    """
    Compile FILE (default: the sample digit reader) and show the program.

    Example: opml-dispute model inspect model.onnx --dim batch=1
    """
    program = read_model(file, parse_dims(dims))
    depths = Depths.for_model(program.node_count, program.step_bound)
    if nodes:
        output.show(_node_table(program))
    output.show(
        "\n".join(
            [
                f"model root   0x{program.model_root.hex()}",
                f"nodes        {program.node_count}, at most {program.step_bound:,} VM steps each",
                f"weights      {program.weights_bytes:,} bytes",
                *(f"input        {_tensor(spec)}" for spec in program.inputs),
                *(f"output       {_tensor(spec)}" for spec in program.outputs),
                f"game         split depth {depths.split}, max depth {depths.max}",
                *(f"note         {note}" for note in program.notes),
            ]
        )
    )
    output.fact(
        file=str(file),
        model_root=program.model_root,
        nodes=program.node_count,
        step_bound=program.step_bound,
        weights_bytes=program.weights_bytes,
        inputs=[_tensor(spec) for spec in program.inputs],
        outputs=[_tensor(spec) for spec in program.outputs],
        split_depth=depths.split,
        max_depth=depths.max,
        notes=list(program.notes),
    )


def _node_table(program: Program) -> RichTable:
    table = RichTable("node", "ONNX", "name", "kernel", "tile", "VM steps, at most", box=None, header_style="bold")
    for index, node in enumerate(program.nodes):
        tile = f"{node.tile + 1}/{node.tiles}" if node.tiles > 1 else ""
        table.add_row(str(index), node.op_type, node.name, node.kernel, tile, f"{node.estimated_steps:,}")
    return table


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype.name.lower()}{list(spec.shape)}"


@model.command()
@_FILE
@_DIM
@click.option("--uri", default="", metavar="URI", help="Where others can fetch the file.")
@chain_options
@sending_options
@json_option
def register(
    file: Path, dims: tuple[str, ...], uri: str, chain: ChainOptions, sending: SendingOptions, output: Output
) -> None:
    """
    Register the model in FILE (default: the sample digit reader) on the chain.

    Example: opml-dispute model register model.onnx --uri ipfs://… --key-file me.key
    """
    program = read_model(file, parse_dims(dims))
    session = Session.open(chain, sending, output)
    description = describe(program, uri)
    registry = session.system.registry
    model_id = ModelId(session.system.rpc.read(registry.model_id_of(description)))
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
    if not session.dry_run:
        ModelStore.default().keep(model_id, program)


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
    ids = system.rpc.read_each([system.registry.model_id_at(index) for index in reversed(range(count))])
    models = system.rpc.read_each([system.registry.model(model_id) for model_id in ids])
    table = RichTable("model", "nodes", "steps, at most", "input", "output", "URI", box=None, header_style="bold")
    for model_id, known in zip(ids, models, strict=True):
        sizes = (f"{known.input_bytes:,} B", f"{known.output_bytes:,} B")
        table.add_row("0x" + model_id.hex(), str(known.node_count), f"{known.step_bound:,}", *sizes, known.uri)
        output.fact(
            model_id=model_id,
            model_root=known.model_root,
            nodes=known.node_count,
            step_bound=known.step_bound,
            inputs=known.inputs,
            outputs=known.outputs,
            uri=known.uri,
        )
    output.show(table)
    if not models:
        output.say("No model is registered. Register one with: opml-dispute model register FILE")
