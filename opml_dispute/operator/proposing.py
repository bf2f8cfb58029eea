"""
Proposing an answer: whether a game for it stands already, and if not, which transactions make one.

A game with the right root claim can be lost (its proposer was offline, or lost it on purpose) or discarded by the
guardian. `standing_game` skips such games; `proposal_intents` then makes another, which differs in its nonce. If the
request has a fee, the proposer commits to the proposal first: an account that copies the transaction which makes the
game then comes later and gets no fee (docs/game.md, "Requests"). An unused commitment costs only its gas, so a process
that dies between the two transactions is simply started again. An account that copies the whole call may make the same
game a moment earlier: the commitment is for 256 nonces, and the proposer makes its game with the next one.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Final

from opml_dispute.actors.words import short_hex
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.dispute import FaultDisputeGame, extra_data
from opml_dispute.chain.deploy import game_arguments
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.inference import games_of, proposal_intent
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address, RequestId, StateRoot

MOST_ATTEMPTS: Final = 256
"""Nonces that one commitment is for: they differ in their first byte (InferenceOracle.sol, `commitmentOf`)."""


class ProposalExists(OpmlError):
    """A game with this very root claim exists for the request, and can still deliver."""


class OtherGames(OpmlError):
    """The factory makes other games than the deployment's file says."""

    hint = "its owner changed the system: ask for the deployment file of now"


def standing_game(system: System, request_id: RequestId, root_claim: StateRoot) -> Address | None:
    """The oldest game of the request with this root claim that has not lost and was not discarded; None if none."""
    games = games_of(system, request_id)
    roots = system.rpc.read_each([FaultDisputeGame(game).root_claim() for game in games])
    same = [game for game, root in zip(games, roots, strict=True) if root == root_claim]
    for game in same:
        status, blacklisted, retired, respected = system.rpc.read_all(
            [
                FaultDisputeGame(game).status(),
                system.oracle.is_blacklisted(game),
                system.oracle.is_retired(game),
                system.oracle.is_respected(game),
            ]
        )
        if status != GameStatus.CHALLENGER_WINS and respected and not (blacklisted or retired):
            return game
    return None


def free_nonce(system: System, request_id: RequestId, root_claim: StateRoot) -> bytes:
    """The smallest nonce, from 0, with which no game of this root claim for the request was made."""
    number = 0
    while True:
        nonce = number.to_bytes(32, "big")
        if system.rpc.read(system.factory.game_of(root_claim, extra_data(request_id, nonce))) == ZERO_ADDRESS:
            return nonce
        number += 1


def proposal_intents(
    system: System,
    request_id: RequestId,
    root_claim: StateRoot,
    state_index: int,
    *,
    proposer: Address,
    commits: bool | None = None,
    again: bool = False,
) -> list[Intent]:
    """
    The transactions that propose S_`state_index` for a request, in order.

    `commits` says whether to commit first; None means: if the request has a fee. `again` proposes beside a game that
    stands. Raises `ProposalExists`, or `OtherGames` if the factory would make a game by other rules.
    """
    _expect_own_implementation(system)
    if not again and (standing := standing_game(system, request_id, root_claim)) is not None:
        raise ProposalExists(
            f"S_{state_index} = {short_hex(root_claim)} is proposed for this request already, as game {standing}",
            hint=f"defend it there: opml-dispute respond {standing}",
        )
    if commits is None:
        commits = system.rpc.read(system.oracle.request_of(request_id)).fee_wei > 0
    if not commits:
        nonce = free_nonce(system, request_id, root_claim)
        return [proposal_intent(system, request_id, root_claim, state_index, nonce=nonce)]
    # Random, so that the commitment to an answer that can be guessed does not tell which it is.
    tail = secrets.token_bytes(31)
    commitment = system.rpc.read(system.oracle.commitment_of(request_id, root_claim, bytes(1) + tail, proposer))
    committing = Intent(
        kind="commit",
        call=system.oracle.commit(commitment),
        will=f"Will commit to an answer of request {short_hex(request_id)}, so that who copies it gets no fee",
        did=lambda receipt: "Committed",
        facts={"request_id": request_id, "commitment": commitment},
    )

    def attempt(number: int) -> Intent:
        """The proposal with the nonce of that number: all have one commitment."""
        nonce = bytes([number]) + tail

        def otherwise(error: str) -> Intent | None:
            if error != "GameAlreadyExists" or number == MOST_ATTEMPTS - 1:
                return None
            made = system.rpc.read(system.factory.game_of(root_claim, extra_data(request_id, nonce)))
            is_own = system.rpc.read(FaultDisputeGame(made).creator()) == proposer
            return None if is_own else attempt(number + 1)

        proposal = proposal_intent(system, request_id, root_claim, state_index, nonce=nonce)
        return replace(proposal, otherwise=otherwise)

    return [committing, attempt(0)]


def _expect_own_implementation(system: System) -> None:
    implementation, arguments = system.rpc.read_all(
        [system.factory.game_implementation(), system.factory.game_arguments()]
    )
    own = system.deployment.addresses["game"]
    if implementation.lower() != own.lower() or arguments != game_arguments(system.deployment):
        raise OtherGames(f"the factory makes games of {implementation}, the deployment names {own}")
