"""`opml-dispute finalize | output`: deliver a request's output, and prove parts of it to who needs them."""

from __future__ import annotations

import click

from opml_dispute.actors.words import short_hex
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.requests import parse_request_id, read_request
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import (
    ChainOptions,
    ModelOptions,
    SendingOptions,
    chain_options,
    json_option,
    model_options,
    sending_options,
)
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import Session, open_case_of, open_system
from opml_dispute.errors import OpmlError
from opml_dispute.operator.inference import (
    FailedInference,
    deliverable_game,
    delivery_intents,
    games_of,
    restoring_intents,
)

LEAF_BYTES = 32
MOST_PART_BYTES = 1 << 16
"""A larger part would not fit into a consumer's transaction."""


class NoSuchPart(OpmlError):
    """The output has no such part, or the request no such item."""


@click.command(cls=Command)
@click.argument("request_id")
@model_options
@chain_options
@sending_options
@json_option
def finalize(
    request_id: str, files: ModelOptions, chain: ChainOptions, sending: SendingOptions, output: Output
) -> None:
    """
    Deliver the output of REQUEST_ID, proven by a game that survived, and call its consumer.

    Example: opml-dispute finalize 0x91… --key-file me.key
    """
    wanted = parse_request_id(request_id)
    session = Session.open(chain, sending, output)
    record = read_request(session.system, wanted)
    if record.delivered_by != ZERO_ADDRESS:
        output.say(f"Delivered already, by game {record.delivered_by}.")
        output.fact(request_id=wanted, delivered_by=record.delivered_by, output_root=record.output_root)
        return
    deliverable_game(session.system, wanted)  # before the work: there is one at all
    case = open_case_of(session.system, wanted, files, session.output)
    game = deliverable_game(session.system, wanted, case.final_root)
    output.say(f"Request {short_hex(wanted)} is computed, and game {game} has survived with its root.")
    restoring = restoring_intents(session.system, games_of(session.system, wanted), [session.sender.address])
    session.send_all([*restoring, *delivery_intents(session.system, case, game)])


@click.command("output", cls=Command)
@click.argument("request_id")
@click.option("--offset", type=click.IntRange(min=0), default=0, show_default=True, help="The part's first byte.")
@click.option(
    "--bytes",
    "size_bytes",
    type=click.IntRange(1, MOST_PART_BYTES),
    default=LEAF_BYTES,
    show_default=True,
    help="How many bytes must be in the part: it is the least aligned power of two that holds them.",
)
@click.option("--item", type=click.IntRange(min=0), help="Of a batch: which item's output.")
@model_options
@chain_options
@json_option
def prove_output(
    request_id: str,
    offset: int,
    size_bytes: int,
    item: int | None,
    files: ModelOptions,
    chain: ChainOptions,
    output: Output,
) -> None:
    """
    Prove a part of the output of REQUEST_ID by the root that was delivered.

    Computes the inference, and shows the part and the siblings that lead from it to the root: the arguments of
    `outputRootWith` and of a consumer that calls it. Nothing is sent.

    Example: opml-dispute output 0x91… --offset 4096 --bytes 64
    """
    wanted = parse_request_id(request_id)
    system = open_system(chain)
    case = open_case_of(system, wanted, files, output)
    if (item is None) != (case.item_count == 1):
        what = f"a batch of {case.item_count} items" if item is None else "no batch"
        raise NoSuchPart(
            f"request 0x{wanted.hex()} is {what}", hint="name an item with --item for a batch, and only then"
        )
    if item is None:
        status, image, known = case.status, b"" if case.status else case.output_image, case.record.output_root
    else:
        if item >= case.item_count:
            raise NoSuchPart(f"the batch has no item {item}", hint=f"its items are 0 to {case.item_count - 1}")
        result = case.results[item]
        status, image = result.status, result.output_image
        known = system.rpc.read(system.oracle.item_output_root(wanted, item))
    if status != 0:
        raise FailedInference(
            f"the inference failed with status {status}: it has no output",
            hint="nothing was delivered for it, and nothing can be proven",
        )
    if offset + size_bytes > len(image):
        raise NoSuchPart(
            f"the output has {len(image):,} bytes, so none at {offset:,} to {offset + size_bytes - 1:,}",
            hint="what is where: opml-dispute model list",
        )
    from opml_dispute.engine.output_part import output_part  # arrays, which are slow to import

    part = output_part(image, offset, size_bytes)
    if len(part.content) > MOST_PART_BYTES:
        middle = (offset + size_bytes - 1) >> (part.log2_size - 1) << (part.log2_size - 1)
        raise NoSuchPart(
            f"the least part that holds these bytes has {len(part.content):,}, and a transaction carries "
            f"{MOST_PART_BYTES:,}",
            hint=f"prove them in two parts: up to {middle - 1} and from {middle} on",
        )
    if known == bytes(32):
        output.say("Nothing was delivered yet: the root is what this computer computes.", style="yellow")
    elif known != part.root:
        raise NoSuchPart(
            f"the root delivered is 0x{known.hex()}, and the one computed here 0x{part.root.hex()}",
            hint="check this computer with `opml-dispute doctor`",
        )
    output.say(f"Root of the output: 0x{part.root.hex()}")
    output.say(f"Part: {len(part.content):,} bytes at {part.offset:,}, under a subtree of {1 << part.log2_size:,}")
    output.raw(f"offset    {part.offset}\npart      0x{part.content.hex()}\n")
    output.raw(f"siblings  [{','.join('0x' + sibling.hex() for sibling in part.siblings)}]\n")
    output.fact(
        request_id=wanted,
        item=item,
        output_root=part.root,
        is_delivered=known == part.root,
        offset=part.offset,
        part=part.content,
        siblings=[bytes(sibling) for sibling in part.siblings],
    )
