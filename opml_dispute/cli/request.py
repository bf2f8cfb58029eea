"""`opml-dispute request`: ask for an inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from opml_dispute.chain.amounts import BadAmount, parse_wei
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.examples import DigitReader
from opml_dispute.chain.contracts.oracle import RegisteredModel, RequestTerms
from opml_dispute.chain.deploy import MAX_CALLBACK_GAS
from opml_dispute.chain.games import parse_address
from opml_dispute.chain.requests import parse_hash
from opml_dispute.chain.system import System
from opml_dispute.cli.command_line import Command, Number, expect_unused
from opml_dispute.cli.input_publication import input_way, publish_found, tell_first
from opml_dispute.cli.options import (
    ChainOptions,
    FileName,
    SendingOptions,
    Uri,
    chain_options,
    input_options,
    json_option,
    sending_options,
)
from opml_dispute.cli.output import Output
from opml_dispute.cli.prompts import PromptOptions, prompt_options
from opml_dispute.cli.publication import PublicationOptions, publication_options
from opml_dispute.cli.session import Session
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import ALL_BPS
from opml_dispute.game.shares import MAX_DEFENDERS_BPS
from opml_dispute.operator.inference import most_output_bytes, new_request_id, request_intent
from opml_dispute.primitives import Address, ModelId
from opml_dispute.reading import Unreadable, read_bytes
from opml_dispute.writing import Unwritable, write_result

MOST_BOND_WEI = (1 << 96) - 1
"""A request has 12 bytes for the bond that it demands."""


_ROUNDING = 1e-6
"""How far a hundred times a percentage with two decimals may be from a whole number."""


class WhichModel(OpmlError):
    """The model of a request is not clear."""

    hint = "name it with --model-id; list the models: opml-dispute model list"


@click.command(cls=Command)
@input_options
@click.option("--input-image", type=FileName(), metavar="FILE", help="A ready input image instead.")
@click.option(
    "--batch",
    type=FileName(),
    metavar="FILE",
    help="2 to 256 inputs, answered by one game: a .npy array of them, or their images one behind the other.",
)
@prompt_options
@click.option(
    "--model",
    type=FileName(),
    metavar="FILE",
    help="For --prompt: the model's file, if its vocabulary is not kept on this computer.",
)
@click.option(
    "--model-id",
    metavar="HEX",
    help="The model of the request. Default: the only one registered; with --sample, the sample model.",
)
@click.option("--fee", default="0", metavar="AMOUNT", help="The proposer's fee, like 0.05eth. Default: none.")
@click.option("--callback", metavar="ADDRESS", help="A consumer contract that is called with the output.")
@click.option(
    "--callback-gas",
    type=click.IntRange(0, MAX_CALLBACK_GAS),
    default=150_000,
    show_default=True,
    help="The gas limit of that call.",
)
@click.option(
    "--output-by-root",
    is_flag=True,
    help="Deliver the output's root, for parts to be proven later. Always so for more than a transaction can carry.",
)
@click.option(
    "--min-bond",
    default="0",
    metavar="AMOUNT",
    help="What a proposer has to lock on its answer, like 2eth. Default: only the root claim's bond.",
)
@click.option(
    "--defenders-share",
    type=Number(0, 100 * MAX_DEFENDERS_BPS / ALL_BPS),
    metavar="PERCENT",
    default=0.0,
    help="Part of the fee that those who defend the answer get at most, like 20. Default: the fee is the proposer's.",
)
@click.option("--by-root", type=Uri(), metavar="URI", help="Send the input's root only, with the URI of its image.")
@publication_options
@click.option(
    "--in-parts/--whole",
    "in_parts",
    default=None,
    help="Publish the input in parts of 64 KiB first. Default: only if it has more than 96 KiB.",
)
@click.option("--save-image", type=FileName(), metavar="FILE", help="Write the input image to a file.")
@click.option("--reader", is_flag=True, help="Make the request through the example consumer, which stores the digit.")
@chain_options
@sending_options
@json_option
def request(
    inputs: tuple[str, ...],
    sample: int | None,
    input_image: Path | None,
    batch: Path | None,
    asked: PromptOptions,
    model: Path | None,
    model_id: str | None,
    fee: str,
    callback: str | None,
    callback_gas: int,
    output_by_root: bool,
    min_bond: str,
    defenders_share: float,
    by_root: str | None,
    publication: PublicationOptions,
    in_parts: bool | None,
    save_image: Path | None,
    reader: bool,
    chain: ChainOptions,
    sending: SendingOptions,
    output: Output,
) -> None:
    """
    Request an inference.

    Example: opml-dispute request --sample 7 --fee 0.01eth --key-file me.key
    """
    fee_wei, min_bond_wei, defenders_bps = parse_wei(fee), _bond_wei(min_bond), _defenders_bps(defenders_share)
    _expect_one_source({"--input": inputs, "--sample": sample, "--input-image": input_image}, asked, model, batch)
    _expect_one_way(reader, batch, by_root, publication, in_parts, callback, model_id)
    if reader and (output_by_root or min_bond_wei or defenders_bps):
        raise click.UsageError(
            "--reader fixes the terms: leave out --output-by-root, --min-bond and --defenders-share, or --reader"
        )
    if defenders_bps and not fee_wei:
        raise click.UsageError("--defenders-share divides the fee, and none is offered: give one with --fee")
    consumer_to_call = ZERO_ADDRESS if callback is None else parse_address(callback, "the address of a consumer")
    session = Session.open(chain, sending, output)
    system = session.system
    consumer = _reader(system) if reader else None
    if consumer is None:
        wanted = _which_model(system, model_id, sample, output)
    else:
        wanted = system.rpc.read(DigitReader(consumer).model_id())
    if not system.rpc.read(system.registry.is_registered(wanted)):
        raise WhichModel(f"model 0x{wanted.hex()} is not registered")
    known = system.rpc.read(system.registry.model(wanted))
    if batch is None:
        image, items = _input_of(known, wanted, inputs, sample, input_image, asked, model, output), 1
    else:
        image, items = _batch_of(known, batch, fee_wei)
    if callback is not None:
        system.rpc.expect_code(consumer_to_call, "the consumer that --callback names")
    if save_image is not None:
        _write_file(save_image, image)
    # The example consumer, and a batch, take their inputs whole.
    splits = False if reader or items > 1 else in_parts
    way = input_way(session, publication, image, by_root=by_root, in_parts=splits)
    intent = request_intent(
        system,
        wanted,
        image,
        fee_wei=fee_wei,
        terms=RequestTerms(
            callback=consumer_to_call,
            callback_gas=0 if callback is None else callback_gas,
            output_by_root=output_by_root or known.output_bytes > most_output_bytes(items),
            min_bond_wei=min_bond_wei,
            defenders_bps=defenders_bps,
        ),
        reader=consumer,
        input_uri=way.uri,
        item_count=items,
    )
    tell_first(session, known, items, way, fee_wei, calls=callback is not None)
    if way.blobs is not None:
        publish_found(session, publication, way, image)
    for done in session.send_all([intent] if way.blobs is not None else [*way.intents, intent]):
        if done.intent.kind != "request":
            continue
        assert done.receipt is not None
        request_id = new_request_id(system, done.receipt)
        output.say(f"Answer it with: opml-dispute propose 0x{request_id.hex()}")
        output.fact(request_id=request_id)


def _batch_of(known: RegisteredModel, file: Path, fee_wei: int) -> tuple[bytes, int]:
    """The input images of a batch, one behind the other, and how many. Raises `BadBatch`."""
    from opml_dispute.cli.batches import expect_batch, read_batch
    from opml_dispute.operator.model_description import slots_from_json

    images = read_batch(file, slots_from_json(known.inputs, known.input_bytes), known.input_bytes)
    expect_batch(images, fee_wei)
    return b"".join(images), len(images)


def _input_of(
    known: RegisteredModel,
    model_id: ModelId,
    inputs: tuple[str, ...],
    sample: int | None,
    input_image: Path | None,
    asked: PromptOptions,
    model: Path | None,
    output: Output,
) -> bytes:
    """The input image, in whichever way it is given. Raises `WhichModel` if it is not one of the model's."""
    if input_image is not None:
        image = _read_file(input_image, known.input_bytes)
    elif asked.text is not None:
        image = _prompt_image(known, asked, model_id, model, output)
    else:
        image = _tensor_image(known, inputs, sample)
    if len(image) != known.input_bytes:
        raise WhichModel(
            f"the input has {len(image):,} bytes, but the model takes {known.input_bytes:,}",
            hint="give another input; what a model takes: opml-dispute model list",
        )
    return image


# Arrays are slow to import, and the chain is read first: so the functions that make input images import them.


def _prompt_image(
    known: RegisteredModel, asked: PromptOptions, model_id: ModelId, model: Path | None, output: Output
) -> bytes:
    from opml_dispute.cli.words import prompt_image, vocabulary_for
    from opml_dispute.operator.model_description import slots_from_json

    inputs = slots_from_json(known.inputs, known.input_bytes)
    outputs = slots_from_json(known.outputs, known.output_bytes)
    return prompt_image(inputs, outputs, asked, vocabulary_for(model_id, model), output)


def _tensor_image(known: RegisteredModel, inputs: tuple[str, ...], sample: int | None) -> bytes:
    from opml_dispute.cli.inputs import read_inputs
    from opml_dispute.engine.segment import input_image
    from opml_dispute.operator.model_description import slots_from_json

    slots = slots_from_json(known.inputs, known.input_bytes)
    return input_image(slots, read_inputs(slots, inputs, sample))


def _expect_at_most_one(sources: Mapping[str, object]) -> None:
    ways = [name for name, value in sources.items() if value not in (None, ())]
    if len(ways) > 1:
        raise click.UsageError(f"both {' and '.join(ways)} were given; one of them gives the input")


def _expect_one_source(
    sources: Mapping[str, object], asked: PromptOptions, model: Path | None, batch: Path | None
) -> None:
    """The input is given in one way."""
    _expect_at_most_one({**sources, "--prompt": asked.text, "--batch": batch})
    if asked.text is None and model is not None:
        raise click.UsageError("--model says how to read a prompt: give one with --prompt")


def _expect_one_way(
    reader: bool,
    batch: Path | None,
    by_root: str | None,
    publication: PublicationOptions,
    in_parts: bool | None,
    callback: str | None,
    model_id: str | None,
) -> None:
    """The request goes one way, and no option is without effect on it."""
    if by_root is not None and publication.target is not None:
        raise click.UsageError("--by-root says where the image is, and --publish puts it somewhere: give one of them")
    published = {"--by-root": by_root, "--publish": publication.target, "--in-parts": in_parts}
    if reader:
        _expect_none(
            {**published, "--callback": callback, "--model-id": model_id, "--batch": batch},
            "--reader fixes these parts of the request",
            "--reader",
        )
    if batch is not None:
        _expect_none(published, "a batch is sent whole", "--batch")
    if by_root is not None or publication.target is not None:
        expect_unused("does not go together with --by-root and --publish", ["in_parts"])
    if callback is None:
        expect_unused("counts only together with --callback", ["callback_gas"])


def _expect_none(clashing: Mapping[str, object], reason: str, other: str) -> None:
    named = [name for name, value in clashing.items() if value is not None]
    if named:
        raise click.UsageError(f"{reason}: leave out {' and '.join(named)}, or {other}")


def _bond_wei(text: str) -> int:
    """What `--min-bond` says, in wei. Raises `BadAmount`."""
    wei = parse_wei(text)
    if wei > MOST_BOND_WEI:
        raise BadAmount(f"a bond of {text} is more than a request can demand", hint="give a smaller --min-bond")
    return wei


def _defenders_bps(percent: float) -> int:
    """What `--defenders-share` says, in ten-thousandths. Raises `BadAmount`."""
    bps = round(100 * percent)
    if abs(bps - 100 * percent) > _ROUNDING:
        raise BadAmount(
            f"a share of {percent:g} % has more than two decimals", hint="give it in steps of 0.01 %, like 12.5"
        )
    return bps


def _read_file(path: Path, size_bytes: int) -> bytes:
    try:
        return read_bytes(path, max_bytes=size_bytes)
    except Unreadable as error:
        raise WhichModel(f"cannot read the input image {path}: {error.reason}", hint="check the path") from None


def _write_file(path: Path, content: bytes) -> None:
    try:
        write_result(path, content)
    except Unwritable as error:
        raise WhichModel(str(error), hint="give a path that can be written to") from None


def _reader(system: System) -> Address:
    from opml_dispute.devnet.samples import READER  # it imports the compiler

    address = system.deployment.addresses.get(READER)
    if address is None:
        raise WhichModel("this deployment has no example consumer", hint="deploy with --examples, or give --callback")
    return address


def _which_model(system: System, text: str | None, sample: int | None, output: Output) -> ModelId:
    """The model that is asked: the one that is named, else the only one, else the one that the sample is of."""
    if text is not None:
        raw = parse_hash(text)
        if raw is None:
            raise WhichModel(f"{text} is not a model id: that is 0x and 64 hexadecimal digits")
        return ModelId(raw)
    count = system.rpc.read(system.registry.model_count())
    if count == 1:
        return system.rpc.read(system.registry.model_id_at(0))
    if sample is not None:
        from opml_dispute.devnet.samples import sample_model_id  # it imports the compiler

        model_id = sample_model_id(system)
        if model_id is not None:
            output.say(f"Of the {count} registered models, the sample is of 0x{model_id.hex()}.")
            return model_id
    raise WhichModel(f"there are {count} registered models, and none was named")
