"""
`opml-dispute preflight`: check that a game can be defended to its end from this computer.

`propose`, `challenge` and `respond` call `run_preflight` before they stake on a game for the first time; the command
shows the same checks one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from opml_dispute.actors.honest import consider
from opml_dispute.chain.amounts import duration, ether
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.games import BadAddress, parse_address
from opml_dispute.chain.requests import UnknownRequest, parse_hash
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import (
    ChainOptions,
    KeyOptions,
    ModelOptions,
    chain_options,
    json_option,
    key_options,
    model_options,
)
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import Session, load_account, open_case_of, open_system
from opml_dispute.engine.inference import Inference
from opml_dispute.errors import OpmlError
from opml_dispute.game.depths import Depths
from opml_dispute.generation.files import open_model
from opml_dispute.operator.case import Case
from opml_dispute.operator.checks import Check, Verdict
from opml_dispute.operator.inspection import made_up_inputs
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.preflight import ComputedHere, Prospect, expect_defensible, preflight
from opml_dispute.primitives import Address, ModelId, RequestId
from opml_dispute.printable import one_line

_MARKS = {Verdict.HOLDS: ("✓", "green"), Verdict.FAILS: ("✗", "red"), Verdict.UNKNOWN: ("?", "yellow")}


class WhatToCheck(OpmlError):
    """The argument names no game, request, model or file."""

    hint = "give the address of a game, the id of a request or a model, or a model's file"


def run_preflight(prospect: Prospect, session: Session, *, stake_anyway: bool) -> None:
    """
    Run every check and show those that fail or are unknown. Raises `NotDefensible` if one fails, unless `stake_anyway`.
    """
    output = session.output
    output.say("Preflight: can this game be defended to its end? …", style="dim")
    checks = list(preflight(prospect))
    for check in checks:
        output.fact(**_facts(check))
        if check.verdict is not Verdict.HOLDS:
            output.say(f"Preflight: {check.name}: {check.found}. What to do: {check.way_out}.", style="yellow")
    if stake_anyway:
        return
    expect_defensible(checks)
    output.say(f"Preflight: {sum(check.verdict is Verdict.HOLDS for check in checks)} checks hold.", style="dim")


def tell_of_unsure_fee(session: Session, record: RequestRecord) -> None:
    """A requester may take back the fee of an old request while its answer is still disputed."""
    times, now_s = session.system.deployment.times, session.system.rpc.head().timestamp
    if record.fee_wei == 0 or times.fee_is_sure(record.requested_at_s, now_s):
        return
    left_s = max(0, record.requested_at_s + times.reclaim_delay_s - now_s)
    session.output.say(
        f"The fee of {ether(record.fee_wei)} is not sure: the requester may take it back in {duration(left_s)}, and a "
        f"disputed answer is delivered after up to {duration(times.longest_to_delivery_s)}.",
        style="yellow",
    )
    session.output.fact(fee_is_sure=False)


@click.command("preflight", cls=Command)
@click.argument("subject", metavar="GAME|REQUEST|MODEL")
@click.option(
    "--side",
    type=click.Choice(["defend", "challenge"]),
    help="The role to check. Default: the honest side of a game, or the proposer before a game exists.",
)
@model_options
@chain_options
@key_options
@json_option
def preflight_command(
    subject: str,
    side: str | None,
    files: ModelOptions,
    chain: ChainOptions,
    key: KeyOptions,
    output: Output,
) -> None:
    """
    Check whether a game, or one about a request or a model, could be defended to its end from this computer.

    Example: opml-dispute preflight 0x5a… --from 0x70…
    """
    account = _account(key)
    prospect = _prospect(subject, side, account, files, chain)
    checks = []
    for check in preflight(prospect):
        checks.append(check)
        mark, colour = _MARKS[check.verdict]
        way_out = f"\n  {'':<14} {one_line(check.way_out)}" if check.way_out else ""
        output.show(Text.assemble((mark, colour), f" {check.name:<14} {one_line(check.found)}", way_out))
        output.fact(**_facts(check))
    failed = [check for check in checks if check.verdict is Verdict.FAILS]
    if failed:
        raise PreflightFailed(f"{len(failed)} of {len(checks)} checks failed: stake nothing on this", failed)
    unsure = [check.name for check in checks if check.verdict is Verdict.UNKNOWN]
    if unsure:
        held = f"{len(checks) - len(unsure)} of {len(checks)} checks hold and none fails"
        output.say(f"{held}; not certain: {', '.join(unsure)}.", style="yellow")
    else:
        output.say("All checks hold: a game can be defended from this computer.", style="green")


class PreflightFailed(OpmlError):
    """A check of the command failed."""

    def __init__(self, message: str, failed: list[Check]) -> None:
        super().__init__(message, hint=failed[0].way_out)


def _facts(check: Check) -> dict[str, Any]:
    return {"preflight": check.name, "verdict": check.verdict.value, "found": check.found, "way_out": check.way_out}


def _account(key: KeyOptions) -> Address | None:
    """The account whose funds are checked: the key's, else the one named by --from, else none."""
    if key.key_file is not None or key.keystore is not None or key.signer is not None:
        return load_account(key).address
    return None if key.expected is None else parse_address(key.expected, "an account's address")


def _prospect(
    subject: str, side: str | None, account: Address | None, files: ModelOptions, chain: ChainOptions
) -> Prospect:
    """The prospect of the argument: a game, a request, a registered model, or a file."""
    if _is_file(subject):
        program = open_model(Path(subject), files.binding)
        depths = Depths.for_model(program.node_count, program.log2_steps)
        computed = ComputedHere(program, Inference(program, made_up_inputs(program)))
        return Prospect(program, computed, depths, side != "challenge")
    raw = parse_hash(subject)
    if raw is not None:
        return _of_hash(raw, side, account, files, chain)
    try:
        address = parse_address(subject, "a game, a request, a model or a file")
    except BadAddress as error:
        if error.hint == BadAddress.hint:
            raise WhatToCheck(f"{subject} names no game, request, model or file") from None
        raise
    system = open_system(chain)
    head = system.rpc.head()
    game = system.games.read(address, at=head)
    case = open_case_of(system, game.request_id, files)
    is_right = bytes(case.final_root) == bytes(game.root.value)
    # Of a liar's part only the depths are known: its next moves are not.
    is_honest = side is None or (side == "defend") == is_right
    return Prospect(
        case.program,
        case,
        game.depths,
        defends=is_right if side is None else side == "defend",
        item_count=case.item_count,
        system=system,
        constants=system.games.constants(address),
        game=game,
        account=account,
        plan=consider(game, case.trace(), head.timestamp) if is_honest else None,
    )


def _is_file(subject: str) -> bool:
    try:
        return Path(subject).is_file()
    except (OSError, ValueError):
        return False  # longer than a file name may be, or with a null byte


def _of_hash(
    raw: bytes, side: str | None, account: Address | None, files: ModelOptions, chain: ChainOptions
) -> Prospect:
    system = open_system(chain)
    try:
        case = open_case_of(system, RequestId(raw), files)
    except UnknownRequest:
        model_id = ModelId(raw)
        if not system.rpc.read(system.registry.is_registered(model_id)):
            raise WhatToCheck(f"0x{raw.hex()} is neither a request nor a registered model of this deployment") from None
        registered = system.rpc.read(system.registry.model(model_id))
        program = ModelStore.default().program(model_id, registered, file=files.model, binding=files.binding)
        computed = ComputedHere(program, Inference(program, made_up_inputs(program)))
        depths = Depths(registered.split_depth, registered.max_depth)
        return Prospect(program, computed, depths, side != "challenge", system=system, account=account)
    return proposal_prospect(case, system=system, account=account, defends=side != "challenge")


def proposal_prospect(case: Case, *, system: Any, account: Address | None, defends: bool = True) -> Prospect:
    """The prospect of a game about a request that does not exist yet."""
    return Prospect(
        case.program,
        case,
        case.depths,
        defends,
        item_count=case.item_count,
        min_bond_wei=case.record.min_bond_wei,
        output_by_root=case.record.output_by_root,
        must_succeed=defends,
        system=system,
        account=account,
    )
