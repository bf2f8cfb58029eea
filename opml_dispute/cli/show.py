"""`opml-dispute list | show`: list the games, and show one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opml_dispute.actors.disputed_range import DisputedRange, disputed_range, frontier
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.games import parse_address
from opml_dispute.chain.requests import parse_request_id, read_request
from opml_dispute.chain.system import System
from opml_dispute.chain.times import utc
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.gameview import claim_facts, claim_tree
from opml_dispute.cli.options import GAME, ChainOptions, FileName, chain_options, json_option
from opml_dispute.cli.output import Output, ether, short
from opml_dispute.cli.session import open_system
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.game.resolve import forecast
from opml_dispute.operator.inference import games_of
from opml_dispute.operator.settle import STATUS_WORDS
from opml_dispute.operator.shares import GameShare, read_share
from opml_dispute.primitives import Address

if TYPE_CHECKING:
    from opml_dispute.cli.words import GameWords


class NotInWords(OpmlError):
    """A claimed answer was given for a game that is about none in words."""

    hint = "leave out --claimed, or use the model here first: opml-dispute challenge GAME --model FILE --dry-run"


@click.command("list", cls=Command)
@click.option("--request", "request_id", metavar="HEX", help="Only the games of this request.")
@click.option("--requests", is_flag=True, help="List the requests instead.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="The most entries to list, newest first.",
)
@chain_options
@json_option
def list_games(request_id: str | None, requests: bool, limit: int, chain: ChainOptions, output: Output) -> None:
    """
    List the games, newest first; with --requests, the requests.

    Example: opml-dispute list --limit 5
    """
    if requests and request_id is not None:
        raise click.UsageError("both --request and --requests were given; the first lists games, the second requests")
    wanted = None if request_id is None else parse_request_id(request_id)
    system = open_system(chain)
    if requests:
        _list_requests(system, limit, output)
        return
    if wanted is None:
        addresses = _newest_games(system, limit)
    else:
        read_request(system, wanted)
        addresses = list(reversed(games_of(system, wanted)))[:limit]
    per_game = 6
    games = [FaultDisputeGame(address) for address in addresses]
    answers = system.rpc.read_all(
        [
            call
            for game in games
            for call in (
                game.status(),
                game.created_at_s(),
                game.request_id(),
                game.root_claim(),
                game.claim_count(),
                game.creator(),
            )
        ]
    )
    rows = []
    for index, address in enumerate(addresses):
        status, created_s, request, root, claims, creator = answers[per_game * index : per_game * (index + 1)]
        made = utc(created_s).removesuffix(" UTC")
        words = STATUS_WORDS[status]
        rows.append((address, made, short(request), short(root), short(creator), str(claims), words))
        output.fact(
            game=address,
            created_at=created_s,
            request_id=request,
            root_claim=root,
            proposer=creator,
            claims=claims,
            status=status.name,
        )
    if addresses:
        output.table(("game", "made", "request", "root claim", "proposer", "claims", "status"), rows)
    else:
        output.say("There are no games.")


def _list_requests(system: System, limit: int, output: Output) -> None:
    count = system.rpc.read(system.oracle.request_count())
    indices = range(count - 1, max(-1, count - 1 - limit), -1)
    ids = system.rpc.read_each([system.oracle.request_id_at(index) for index in indices])
    records = system.rpc.read_each([system.oracle.request_of(request_id) for request_id in ids])
    rows = []
    for request_id, record in zip(ids, records, strict=True):
        delivered = None if record.delivered_by == ZERO_ADDRESS else record.delivered_by
        made = utc(record.requested_at_s).removesuffix(" UTC")
        rows.append(
            (
                "0x" + request_id.hex(),
                made,
                short(record.model_id),
                short(record.requester),
                ether(record.fee_wei),
                ether(record.min_bond_wei),
                f"{record.defenders_bps / 100:g} %",
                short(delivered) if delivered else "not yet",
            )
        )
        output.fact(
            request_id=request_id,
            requested_at=record.requested_at_s,
            model_id=record.model_id,
            requester=record.requester,
            fee_wei=record.fee_wei,
            min_bond_wei=record.min_bond_wei,
            defenders_bps=record.defenders_bps,
            output_by_root=record.output_by_root,
            delivered_by=delivered,
        )
    if ids:
        columns = ("request", "made", "model", "requester", "fee", "demanded bond", "for defenders", "delivered by")
        output.table(columns, rows)
    else:
        output.say("There are no requests.")


def _newest_games(system: System, limit: int) -> list[Address]:
    count = system.rpc.read(system.factory.game_count())
    indices = range(count - 1, max(-1, count - 1 - limit), -1)
    return [entry.address for entry in system.rpc.read_each([system.factory.game_at(index) for index in indices])]


@click.command(cls=Command)
@click.argument("game")
@click.option(
    "--claimed",
    metavar="TEXT",
    help="Of a language model: the answer that the proposer claims, to check by the root claim; or its tokens as a "
    "list in JSON.",
)
@click.option("--html", "html_file", type=FileName(), metavar="FILE", help="Save the game as one HTML file instead.")
@chain_options
@json_option
def show(game: str, claimed: str | None, html_file: Path | None, chain: ChainOptions, output: Output) -> None:
    """
    Show GAME: its claims, clocks and bonds, its phase, and the nodes or instructions still in dispute.

    Of an answer in words, show the prompt, both answers as far as they are known, and which token is in question. The
    chain holds only the root of the claimed answer: --claimed checks a text against it.

    With --html the page of `explore` is saved as one self-contained file; results are recomputed as far as possible.

    Example: opml-dispute show 0x5a…
    """
    address = parse_address(game, GAME)
    system = open_system(chain)
    if html_file is not None and claimed is not None:
        raise click.UsageError("both --html and --claimed were given; the page shows no claimed answer")
    if html_file is not None:
        _save(system, address, html_file, output)
        return
    head = system.rpc.head()
    state = system.games.read(address, at=head)
    turning = frontier(state)
    disputed = disputed_range(state, turning)
    outcome = forecast(state)
    bonds_wei = sum(claim.bond_wei for claim in state.claims)
    share = read_share(system, state, at=head)
    words = _words(system, state, disputed, claimed)
    if claimed is not None and words is None:
        raise NotInWords(
            "--claimed was given, but the game is about no answer in words, or its model is not on this computer"
        )
    output.show(claim_tree(state, head.timestamp))
    output.show(
        "\n".join(
            [
                f"status     {STATUS_WORDS[state.status]}",
                f"request    0x{state.request_id.hex()}",
                f"depths     split {state.depths.split}, max {state.depths.max}",
                f"in dispute {disputed.sentence}" if state.in_progress else "in dispute nothing: the game is over",
                f"bonds      {ether(bonds_wei)} on {len(state.claims)} claims",
                f"forecast   {STATUS_WORDS[outcome.winner]}",
                *_share_lines(share),
                *(words.lines if words else ()),
            ]
        )
    )
    for claim in state.claims:
        output.fact(game=address, **claim_facts(state, claim, head.timestamp))
    output.fact(
        game=address,
        status=state.status.name,
        request_id=state.request_id,
        node_count=state.node_count,
        split_depth=state.depths.split,
        max_depth=state.depths.max,
        claims=len(state.claims),
        bonds_wei=bonds_wei,
        in_dispute=disputed.facts if state.in_progress else None,
        forecast=outcome.winner.name,
        payouts_wei=dict(outcome.payouts_wei),
        defenders_bps=share.defenders_bps,
        share_wei=share.share_wei,
        rewards_wei=dict(share.rewards_wei),
        reward_prospects_wei=dict(share.prospects_wei),
        words=words and asdict(words),
    )


def _share_lines(share: GameShare) -> list[str]:
    """What defenders of the game got of the fee, and may get; nothing if the request shares no fee."""
    if not share.defenders_bps:
        return []
    lines = [
        f"share      up to {share.defenders_bps / 100:g} % of the fee for defenders; {ether(share.share_wei)} kept"
    ]
    lines += [f"           {ether(wei)} of it to {who}" for who, wei in share.rewards_wei.items()]
    if share.may_grow:
        lines += [
            f"           {ether(wei)} to {who} if this game, as it stands, delivers"
            for who, wei in share.prospects_wei.items()
        ]
    return lines


def _words(system: System, game: Game, disputed: DisputedRange, claimed: str | None) -> GameWords | None:
    """What a game about a language model's answer is about, if this computer has the model."""
    # Not above: a model is compiled and run only where its words were kept.
    from opml_dispute.cli.words import game_words

    return game_words(system, game, disputed, claimed)


def _save(system: System, address: Address, path: Path, output: Output) -> None:
    # Imported late: only here are models compiled and run.
    from opml_dispute.agent.local_cases import LocalCases
    from opml_dispute.operator.model_store import ModelStore
    from opml_dispute.web.pages import Explorer
    from opml_dispute.web.saving import save_game

    cases = LocalCases(system, ModelStore.default(), workers=1)
    explorer = Explorer(system, cases)
    try:
        size_bytes = save_game(explorer, address, path)
    finally:
        explorer.close()
        cases.close()
    output.say(f"Saved {path} ({size_bytes:,} bytes).", style="green")
    output.fact(game=address, file=str(path), size_bytes=size_bytes)
