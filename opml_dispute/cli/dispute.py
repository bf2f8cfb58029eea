"""`opml-dispute challenge | respond | move`: the moves of a game."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from opml_dispute.actors.actions import Move, Step
from opml_dispute.actors.honest import Decision, Opinion, consider
from opml_dispute.actors.player import Round, affordable, play_round
from opml_dispute.actors.words import short_hex
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.games import parse_address
from opml_dispute.chain.requests import parse_hash
from opml_dispute.chain.reverts import HINTS
from opml_dispute.cli.command_line import Command, Number, expect_unused
from opml_dispute.cli.options import (
    GAME,
    ChainOptions,
    ModelOptions,
    SendingOptions,
    chain_options,
    fault_option,
    json_option,
    model_options,
    sending_options,
    stake_option,
)
from opml_dispute.cli.output import Output, duration, ether
from opml_dispute.cli.session import Session, open_case_of
from opml_dispute.devnet import anvil as devnet
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import required_bond_wei
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.rules import IllegalMove, check_move
from opml_dispute.operator.inference import restoring_intents
from opml_dispute.operator.play import Look, Seat, Table, move_intent
from opml_dispute.operator.proposing import moved_to
from opml_dispute.operator.settle import STATUS_WORDS
from opml_dispute.operator.watch import LONGEST_PAUSE_S, TAKEN_BACK_S, persistently, watch
from opml_dispute.primitives import Address, Hash32
from opml_dispute.trace.provider import WrongInference

if TYPE_CHECKING:
    from opml_dispute.operator.case import Case

_LOOKS: Final = 3
"""How often a watcher reads a game and its request anew before it believes that they are not of one inference."""


class ClockRanOut(OpmlError):
    """The clock has run out on every claim that should be answered."""

    hint = "no move is left in this game; settle it with: opml-dispute resolve"


class BadValue(OpmlError):
    """A claim's value that cannot be read."""

    hint = "write it as 0x and 64 hexadecimal digits"


@click.command(cls=Command)
@click.argument("game")
@stake_option
@model_options
@chain_options
@sending_options
@json_option
def challenge(
    game: str,
    stake_anyway: bool,
    files: ModelOptions,
    chain: ChainOptions,
    sending: SendingOptions,
    output: Output,
) -> None:
    """
    Compute the inference of GAME, and attack its root claim if it is wrong.

    Example: opml-dispute challenge 0x5a… --key-file me.key
    """
    address = parse_address(game, GAME)
    session = Session.open(chain, sending, output)
    case, table = _table(session, address, files, None)
    state = session.system.games.read(address)
    right = table.trace.root_claim()
    _expect_not_lost(state, right)
    _expect_in_progress(session, address)
    from opml_dispute.cli.words import show_words  # arrays are imported late, so that help does not wait for them

    show_words(case, files.model, output)
    if right == state.root.value:
        output.say(
            f"Claim 0 says S_{state.node_count} is {short_hex(right)}, and so it is here: nothing to challenge.",
            style="green",
        )
        output.fact(game=address, root_claim=state.root.value, computed=right, correct=True)
        return
    output.fact(game=address, root_claim=state.root.value, computed=right, correct=False)
    look = table.look()
    attacks = [action for action in look.plan.actions if isinstance(action, Move) and action.parent_index == 0]
    if not attacks:
        _expect_time(look)
        output.say(f"The root claim is wrong, and attacked already. Go on with: opml-dispute respond {address}")
        return
    _preflight(session, case, look.game, look.plan, stake_anyway=stake_anyway)
    session.send_all(list(table.intents(look.game, look.head.timestamp, attacks)))
    output.say(f"Go on with: opml-dispute respond {address} --watch")


@click.command(cls=Command)
@click.argument("game")
@click.option("--watch", "is_watching", is_flag=True, help="Repeat every few seconds until the game is over.")
@click.option("--interval", type=Number(0.1, 86_400), default=12.0, show_default=True, metavar="S", help="For --watch.")
@fault_option
@stake_option
@model_options
@chain_options
@sending_options
@json_option
def respond(
    game: str,
    is_watching: bool,
    interval: float,
    fault: str | None,
    stake_anyway: bool,
    files: ModelOptions,
    chain: ChainOptions,
    sending: SendingOptions,
    output: Output,
) -> None:
    """
    Make every move that an honest player has to make in GAME now, steps included.

    With --watch the command repeats this until the game is over, and settles the game. On a public chain it watches on
    for a quarter of an hour then, since a reorganisation could take the end back.

    Example: opml-dispute respond 0x5a… --watch --key-file me.key
    """
    address = parse_address(game, GAME)
    if not is_watching:
        expect_unused("counts only together with --watch", ["interval"])
    if is_watching:
        expect_unused("makes no sense with --watch, which looks at the chain anew all the time", ["confirmations"])

        def open_all() -> tuple[Session, Table]:
            session = Session.open(chain, sending, output)
            case, table = _table(session, address, files, fault)
            state, now_s = table.snapshot()
            if _is_first_stake(state, session, fault):
                plan = consider(state, table.trace, now_s)
                _preflight(session, case, state, plan, stake_anyway=stake_anyway)
            return session, table

        for looks_left in reversed(range(_LOOKS)):
            session, table = persistently(
                open_all,
                lambda sentence: output.trouble(f"{sentence}."),
                interval_s=interval,
                pause=time.sleep,
            )
            try:
                _watch(session, table, interval, fault)
                return
            except WrongInference as error:
                if not looks_left:
                    raise
                # So it is if the node erred once, too: about what is read once, when a game is first met.
                output.say(f"{error}; reading all of it again in {duration(int(LONGEST_PAUSE_S))}.", style="yellow")
                time.sleep(LONGEST_PAUSE_S)
    session = Session.open(chain, sending, output)
    case, table = _table(session, address, files, fault)
    _expect_in_progress(session, address)
    look = table.look()
    if _is_first_stake(look.game, session, fault) and any(isinstance(action, Move) for action in look.plan.actions):
        _preflight(session, case, look.game, look.plan, stake_anyway=stake_anyway)
    lost = lost_claims(look.game, look.plan.opinions, session.sender.address)
    if lost:
        bonds_wei = sum(claim.bond_wei for claim in lost)
        named, them = ", ".join(str(claim.index) for claim in lost), "it" if len(lost) == 1 else "them"
        output.say(
            f"{'Claim' if len(lost) == 1 else 'Claims'} {named} of yours {'is' if len(lost) == 1 else 'are'} wrong by "
            f"what is computed here, and cannot be defended: the bond of {ether(bonds_wei)} on {them} goes to a player "
            f"who counters {them}.",
            style="yellow",
        )
    output.fact(game=address, owed=len(look.plan.actions), lost_claims=[claim.index for claim in lost])
    if not _play(session, table, look, fault):
        _expect_time(look)
        output.say("Nothing is left to answer." if lost else "Nothing to answer: every claim that matters is answered.")


@click.command(cls=Command)
@click.argument("game")
@click.option(
    "--attack/--defend", "is_attack", required=True, help="Disagree with the claim (attack) or agree with it (defend)."
)
@click.option("--claim", "index", type=click.IntRange(0), required=True, metavar="I", help="The claim to answer.")
@click.option("--value", required=True, metavar="HEX", help="The value to claim: a state root or a state hash.")
@chain_options
@sending_options
@json_option
def move(
    game: str, is_attack: bool, index: int, value: str, chain: ChainOptions, sending: SendingOptions, output: Output
) -> None:
    """
    Make one chosen move, whether or not it is right.

    Example: opml-dispute move 0x5a… --attack --claim 0 --value 0x44ab…
    """
    address = parse_address(game, GAME)
    raw = parse_hash(value)
    if raw is None:
        raise BadValue(f"{value!r} is not a claim: expected 32 bytes")
    session = Session.open(chain, sending, output)
    head = session.system.rpc.head()
    state = session.system.games.read(address, at=head)
    try:
        position = check_move(state, index, raw, is_attack=is_attack, now_s=head.timestamp)
    except IllegalMove as illegal:
        illegal.hint = illegal.hint or HINTS.get(illegal.contract_error)
        raise
    contract = FaultDisputeGame(address)
    bond_wei = session.system.rpc.read(contract.required_bond_wei(position))
    planned = required_bond_wei(position.depth, state.depths.max, state.terms)
    disputed = state.claim(index).value
    action = Move(index, disputed, is_attack, Hash32(raw), position, planned, reason="")
    session.send_all([move_intent(contract, state, head.timestamp, action, bond_wei)])


def _table(session: Session, address: Address, files: ModelOptions, fault: str | None) -> tuple[Case, Table]:
    """The game and the trace to play by: the honest one, or with a fault a liar's."""
    constants = session.system.games.constants(address)
    case = open_case_of(session.system, constants.request_id, files, session.output)
    if (constants.node_count, constants.item_count) != (case.node_count, case.item_count):
        raise OtherInference(
            f"the game {address} is about {constants.node_count} nodes in {constants.item_count} items, and its "
            f"request about {case.node_count} in {case.item_count}"
        )
    session.output.say(f"Computing {case.node_count} nodes …", style="dim")
    from opml_dispute.cli.faults import open_trace  # it imports the VM, which is slow

    return case, Table(session.system, address, open_trace(case, fault, session.output))


def _is_first_stake(game: Game, session: Session, fault: str | None) -> bool:
    """Whether the account has no stake in the game yet. A liar, which is for testing, needs no preflight."""
    is_staked = any(claim.claimant == session.sender.address for claim in game.claims)
    return fault is None and game.in_progress and not is_staked


def _preflight(session: Session, case: Case, game: Game, plan: Decision, *, stake_anyway: bool) -> None:
    """Run the preflight before the first stake in a game. Raises `NotDefensible`."""
    from opml_dispute.cli.preflight import run_preflight
    from opml_dispute.operator.preflight import Prospect

    prospect = Prospect(
        case.program,
        case,
        game.depths,
        defends=bytes(case.final_root) == bytes(game.root.value),
        item_count=case.item_count,
        system=session.system,
        constants=session.system.games.constants(game.address),
        game=game,
        account=session.sender.address,
        plan=plan,
    )
    run_preflight(prospect, session, stake_anyway=stake_anyway)


def _seat(session: Session, table: Table, fault: str | None) -> Seat:
    """The seat of this player. A liar, which is for testing, keeps no funds back for its most important lines."""
    return Seat(table, session.send_each, account=session.sender.address if fault is None else None)


def _play(session: Session, table: Table, look: Look, fault: str | None) -> bool:
    """Send the plan's actions and say whether there were any. Raises the first failure after all were tried."""
    for sentence in (*look.plan.missed, *(f"{item.error}" for item in look.plan.unjudged)):
        session.output.say(sentence, style="yellow")
    seat = _seat(session, table, fault)
    moves, kept = affordable(seat, look.game, look.plan)
    outcomes = seat.send_all([action for action in look.plan.actions if isinstance(action, Step) or action in moves])
    failures = [outcome for outcome in (*outcomes, *(reason for _, reason in kept)) if outcome is not None]
    for failure in failures[1:]:
        session.output.say(str(failure), style="yellow")
    if failures:
        raise failures[0]
    return bool(look.plan.actions)


def _watch(session: Session, table: Table, interval_s: float, fault: str | None) -> None:
    """Play rounds until the game is over."""
    known: list[Game] = []

    def tell(sentence: str) -> None:
        session.output.trouble(f"{sentence}.")
        with suppress(OpmlError):
            for other in [moved_to(session.system, game) for game in known]:
                if other is not None:
                    again = f"respond {other} --watch"
                    session.output.say(f"A reorganisation moved this game to {other}: opml-dispute {again}")

    if session.dry_run:
        play_round(_seat(session, table, fault), table.trace)
        return

    told = set[str]()
    waited_at = set[int]()

    def say_that_it_waits(round_: Round) -> None:
        """Once for each number of claims, so that a command that waits for hours does not look like one that hangs."""
        claims = len(round_.game.claims)
        if round_.is_idle and not round_.unjudged and round_.game.in_progress and claims not in waited_at:
            waited_at.add(claims)
            count = "1 claim" if claims == 1 else f"{claims} claims"
            way = f"opml-dispute show {round_.game.address}"
            session.output.say(f"Nothing is due now ({count}); waiting. The clocks are shown by: {way}", style="dim")

    def after_round(round_: Round) -> None:
        secure_fee(round_)
        say_that_it_waits(round_)

    def secure_fee(round_: Round) -> None:
        """Of a proposal that was passed over. A failure must not end the defence: the next round tries again."""
        own, address = session.sender.address, round_.game.address
        known[:] = [round_.game]
        if round_.game.root.claimant != own:
            return
        try:
            intents = restoring_intents(session.system, [address], [own])
            failures = [outcome for outcome in session.send_each(intents) if isinstance(outcome, OpmlError)]
        except OpmlError as error:
            failures = [error]
        for sentence in {f"The fee of this proposal is not secured yet: {error}" for error in failures} - told:
            told.add(sentence)
            tell(sentence)

    ended = watch(
        _seat(session, table, fault),
        table.trace,
        interval_s=interval_s,
        tell=tell,
        after_round=after_round,
        is_settled=_Settled(session),
        pause=time.sleep,
    )
    session.output.say(f"The game is over: {STATUS_WORDS[ended.status]}.")
    session.output.say(f"Get its bonds paid out with: opml-dispute resolve {ended.address}")


class _Settled:
    """Whether the end of a game is too old to be taken back by a reorganisation; tells once what is waited for."""

    def __init__(self, session: Session) -> None:
        self._session, self._told = session, set[int]()

    def __call__(self, game: Game) -> bool:
        system = self._session.system
        if system.deployment.chain_id == devnet.CHAIN_ID:
            return True  # a local chain stands still where nothing is sent to it
        left_s = game.resolved_at_s + TAKEN_BACK_S - system.rpc.head().timestamp
        if left_s > 0 and game.resolved_at_s not in self._told:
            self._told.add(game.resolved_at_s)
            self._session.output.say(
                f"The game is over: {STATUS_WORDS[game.status]}. Watching on for {duration(left_s)}, since a "
                "reorganisation could take that back",
                style="dim",
            )
        return left_s <= 0


def _expect_in_progress(session: Session, address: Address) -> None:
    state = session.system.games.read(address)
    if not state.in_progress:
        raise GameOver(f"the game {address} is over: {STATUS_WORDS[state.status]}")


def _expect_not_lost(state: Game, right: bytes) -> None:
    """Raises `GameOver`, with a hint, if the right answer has lost this game."""
    if state.status == GameStatus.CHALLENGER_WINS and state.root.value == right:
        raise GameOver(
            f"the game {state.address} is over, and the right answer {short_hex(right)} has lost it",
            hint=f"propose it again: opml-dispute propose 0x{state.request_id.hex()}",
        )


class OtherInference(OpmlError):
    """A game and its request, as the node gives them, are not about the same inference."""

    is_told_by_node = True

    hint = "the RPC endpoint returned wrong data: use another --rpc-url"


class GameOver(OpmlError):
    """The game is resolved: nothing can be played in it."""

    hint = "pay out what it owes with: opml-dispute resolve"


def _expect_time(look: Look) -> None:
    """Raises `ClockRanOut` if something should have been answered and can no longer be."""
    if look.plan.missed and not look.plan.actions:
        raise ClockRanOut(" ".join(look.plan.missed))


def lost_claims(game: Game, opinions: Sequence[Opinion], claimant: Address) -> list[Claim]:
    """The claims of `claimant` that a computation found wrong, in the order of the game."""
    wrong = {opinion.claim_index for opinion in opinions if not opinion.agrees}
    return [claim for claim in game.claims if claim.index in wrong and claim.claimant == claimant]
