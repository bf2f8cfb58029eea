"""`opml-dispute propose`: compute a request's answer and post it, or test whether checkers pay attention."""

from __future__ import annotations

import secrets
import shlex

import click

from opml_dispute.chain.requests import parse_request_id
from opml_dispute.cli.command_line import Command, expect_unused
from opml_dispute.cli.options import (
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
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import Session, open_case_of, store_of
from opml_dispute.operator.proposing import proposal_intents
from opml_dispute.primitives import RequestId, StateRoot


@click.command(cls=Command)
@click.argument("request_id")
@click.option(
    "--commit/--no-commit",
    "commits",
    default=None,
    help="Commit to the answer in a transaction of its own first. Default: only if the request has a fee.",
)
@click.option("--again", is_flag=True, help="Propose even if a game with this answer exists and can still deliver.")
@click.option(
    "--force-unavailable", is_flag=True, help="Propose even if no other account could fetch the model or the input."
)
@click.option(
    "--attention-test",
    "is_test",
    is_flag=True,
    help="Propose 32 random bytes, which no output gives, to see whether any checker counters them.",
)
@fault_option
@stake_option
@model_options
@chain_options
@sending_options
@json_option
def propose(
    request_id: str,
    commits: bool | None,
    again: bool,
    force_unavailable: bool,
    is_test: bool,
    fault: str | None,
    stake_anyway: bool,
    files: ModelOptions,
    chain: ChainOptions,
    sending: SendingOptions,
    output: Output,
) -> None:
    """
    Compute the inference of REQUEST_ID and propose its answer, with a bond.

    An answer whose game was lost or discarded is proposed again, as another game.

    Example: opml-dispute propose 0x91… --key-file me.key
    """
    wanted = parse_request_id(request_id)
    if is_test:
        expect_unused("makes no sense with --attention-test", ["fault", "commits", "again"])
    session = Session.open(chain, sending, output)
    case = open_case_of(session.system, wanted, files, session.output)
    if is_test:
        _test_attention(session, wanted, case.node_count)
        return
    from opml_dispute.cli.faults import open_trace  # it takes the VM, which is slow to import
    from opml_dispute.cli.words import keep_answer

    trace = open_trace(case, fault, output)
    root_claim = StateRoot(trace.root_claim())
    intents = proposal_intents(
        session.system,
        wanted,
        root_claim,
        case.node_count,
        proposer=session.sender.address,
        commits=commits,
        again=again,
    )
    if fault is None:
        if not force_unavailable:
            from opml_dispute.operator.outside_view import OutsideView

            view = OutsideView(store_of(output))
            if not view.expect_request(session.system, wanted, case.record, case.registered):
                output.say("Whether others can check this was not looked at: nothing may be fetched.", style="yellow")
        from opml_dispute.cli.words import show_words

        show_words(case, files.model, output)
        from opml_dispute.cli.preflight import proposal_prospect, run_preflight, tell_of_unsure_fee

        tell_of_unsure_fee(session, case.record)
        prospect = proposal_prospect(case, system=session.system, account=session.sender.address)
        run_preflight(prospect, session, stake_anyway=stake_anyway)
    for done in session.send_all(intents):
        if done.intent.kind != "propose":
            continue
        assert done.receipt is not None
        game = session.system.factory.created_game(done.receipt)
        keep_answer(case, trace, output)
        lie = "" if fault is None else f" --fault {shlex.quote(fault)}"
        output.say(f"Defend it with: opml-dispute respond {game} --watch{lie}")
        output.fact(game=game)


def _test_attention(session: Session, request_id: RequestId, node_count: int) -> None:
    """
    Propose random bytes as an answer.

    No output has them as the root of its state, so that they can never be delivered, whatever becomes of the game. To
    all who do not compute the inference they look like an answer.
    """
    root_claim = StateRoot(secrets.token_bytes(32))
    intents = proposal_intents(
        session.system, request_id, root_claim, node_count, proposer=session.sender.address, commits=False, again=False
    )
    for done in session.send_all(intents):
        if done.intent.kind == "propose":
            assert done.receipt is not None
            game = session.system.factory.created_game(done.receipt)
            session.output.say(
                "An attention test: do not defend it. The first account that counters it gets the bond, less the part "
                f"that is forfeited. If none does, the bond comes back with: opml-dispute resolve {game}"
            )
            session.output.fact(game=game, attention_test=True, root_claim=root_claim)
