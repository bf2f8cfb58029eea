"""
Proposing an answer: whether a game for it stands already, and if not, which transactions make one.

A game with the right root claim can be lost (its proposer was offline, or lost it on purpose) or discarded by the
guardian. `standing_game` skips such games; `proposal_intents` then makes another, which differs in its nonce. If the
request has a fee, the proposer commits to the proposal first: an account that copies the transaction which makes the
game then comes later and gets no fee (docs/game.md, "Requests"). An unused commitment costs only its gas, so a process
that dies between the two transactions is simply started again. An account that copies the whole call may make the same
game a moment earlier: the commitment is for 256 nonces, and the proposer makes its game with the next one.

If the request demands a bond of its proposer, what is missing of it is deposited first of all (`deposit_intents`). A
deposit that was not locked serves the next proposal, or is taken back with `opml-dispute deposit --withdraw`.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Final

from opml_dispute.actors.words import short_hex
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.dispute import NO_NONCE, FaultDisputeGame, extra_data
from opml_dispute.chain.deploy import other_games
from opml_dispute.chain.request_terms import expect_terms
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import DepositChange
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.operator.deposits import deposit_intents
from opml_dispute.operator.inference import games_of, proposal_intent
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.own_proposals import own_proposals, signed_proposals
from opml_dispute.primitives import Address, RequestId, StateRoot

MOST_ATTEMPTS: Final = 256
"""Nonces that one commitment is for: they differ in their first byte (InferenceOracle.sol, `commitmentOf`)."""


MOST_GAMES: Final = 1_000
"""Games about one answer that are looked past for a free nonce."""


class ProposalExists(OpmlError):
    """A game with this very root claim exists for the request, and can still deliver."""


class OtherGames(OpmlError):
    """The factory makes other games than the deployment's file says."""

    hint = "its owner changed the system: ask for the deployment file of now"


class TooManyGames(OpmlError):
    """No nonce is free: each game costs its maker a bond, so a node says that, and no chain."""

    hint = "use another --rpc-url, or propose without --no-commit"


def standing_game(system: System, request_id: RequestId, root_claim: StateRoot) -> Address | None:
    """
    The oldest game of the request with this root claim that has not lost and was not discarded; None if none.

    One wrong answer of a node must not have a bond locked beside a game that stands. So games are looked for in places
    that have nothing to do with each other, and one counts no more only if two functions say so.
    """
    first, plain = system.rpc.read_all(
        [
            system.oracle.first_proposal(request_id, root_claim),
            system.factory.game_of(root_claim, extra_data(request_id, NO_NONCE)),
        ]
    )
    games = games_of(system, request_id)
    roots = system.rpc.read_each([FaultDisputeGame(game).root_claim() for game in games])
    same = [game for game, root in zip(games, roots, strict=True) if root == root_claim]
    recorded = [game for game in (first, plain) if game != ZERO_ADDRESS]
    return next((game for game in dict.fromkeys([*same, *recorded]) if _still_counts(system, game)), None)


def moved_to(system: System, game: Game) -> Address | None:
    """
    Where the same answer is proposed now, if a reorganisation took a game back: a game's address depends on the block
    before it. None if the game is where it was, or is nowhere yet.
    """
    if system.rpc.code(game.address):
        return None
    return standing_game(system, game.request_id, StateRoot(bytes(game.root.value)))


def _still_counts(system: System, address: Address) -> bool:
    game, oracle = FaultDisputeGame(address), system.oracle
    status, resolved_at_s, blacklisted, retired, proper, respected, was_respected = system.rpc.read_all(
        [
            game.status(),
            game.resolved_at_s(),
            oracle.is_blacklisted(address),
            oracle.is_retired(address),
            oracle.is_proper(address),
            oracle.is_respected(address),
            game.was_respected(),
        ]
    )
    is_lost = status == GameStatus.CHALLENGER_WINS and resolved_at_s > 0
    is_discarded = (blacklisted or retired) and not proper
    return not is_lost and not is_discarded and (respected or was_respected)


def free_nonce(system: System, request_id: RequestId, root_claim: StateRoot) -> bytes:
    """The smallest nonce, from 0, with which no game of this root claim was made. Raises `TooManyGames`."""
    for number in range(MOST_GAMES):
        nonce = number.to_bytes(32, "big")
        if system.rpc.read(system.factory.game_of(root_claim, extra_data(request_id, nonce))) == ZERO_ADDRESS:
            return nonce
    raise TooManyGames(f"{system.rpc.url} names a game for each of the first {MOST_GAMES} nonces of this answer")


def proposal_intents(
    system: System,
    request_id: RequestId,
    root_claim: StateRoot,
    state_index: int,
    *,
    proposer: Address,
    commits: bool | None = None,
    again: bool = False,
    patience_s: float | None = None,
) -> list[Intent]:
    """
    The transactions that propose S_`state_index` for a request, in order.

    `commits` says whether to commit first; None means: if the request has a fee. `again` proposes beside a game that
    stands. A node that does not show what was proposed from here is waited for during `patience_s`, by default as for
    any other answer. Raises `ProposalExists`, `OtherGames` if the factory would make a game by other rules,
    `WrongTerms` if the request's terms are not those of its id, `ProposalUnseen`, and `DepositInDoubt`.
    """
    _expect_own_implementation(system)
    if patience_s is None:
        patience_s = system.rpc.patience_s
    known = frozenset(signed_proposals(system, request_id, root_claim, proposer))
    only_nonce = None if again else _nonce_to_replace(system, request_id, root_claim, state_index, proposer, patience_s)

    intents = _new_proposal(system, request_id, root_claim, state_index, proposer, commits)
    own_tail = next(bytes(intent.facts["nonce"])[1:] for intent in intents if intent.kind == "propose")

    def expect_alone() -> None:
        """What another process signed for this answer since it was looked for makes a game beside this one."""
        signed = signed_proposals(system, request_id, root_claim, proposer).items()
        others = [hash_ for hash_, extra in signed if hash_ not in known and not extra.endswith(own_tail)]
        if others and not again:
            raise ProposalExists(
                f"another process proposes S_{state_index} = {short_hex(root_claim)} for this request at this moment, "
                f"by transaction 0x{others[0].hex()}",
                hint="run the command again: it finds the game",
            )

    first, *others = [replace(intent, expect_alone=expect_alone) for intent in intents]
    return [replace(first, only_nonce=only_nonce), *others]


def _nonce_to_replace(
    system: System,
    request_id: RequestId,
    root_claim: StateRoot,
    state_index: int,
    proposer: Address,
    patience_s: float,
) -> int | None:
    """
    The nonce under which the same was signed here and is not mined; None if none was. Raises as `proposal_intents`.
    """
    standing, only_nonce = standing_game(system, request_id, root_claim), None
    if standing is None:
        own = own_proposals(system, request_id, root_claim, proposer, patience_s=patience_s)
        standing = next((game for game in own.games if _still_counts(system, game)), None)
        only_nonce = own.only_nonce
    if standing is not None:
        raise ProposalExists(
            f"S_{state_index} = {short_hex(root_claim)} is proposed for this request already, as game {standing}",
            hint=f"defend it there: opml-dispute respond {standing}",
        )
    return only_nonce


def _new_proposal(
    system: System,
    request_id: RequestId,
    root_claim: StateRoot,
    state_index: int,
    proposer: Address,
    commits: bool | None,
) -> list[Intent]:
    """The transactions of `proposal_intents`. Raises `WrongTerms` and `DepositInDoubt`."""
    record = system.rpc.read(system.oracle.request_of(request_id))
    expect_terms(system, request_id, record)
    depositing = deposit_intents(system, record.min_bond_wei, proposer)
    locked = DepositChange(system.proposer_bonds.address, -record.min_bond_wei) if record.min_bond_wei else None
    if commits is None:
        commits = record.fee_wei > 0
    if not commits:
        nonce = free_nonce(system, request_id, root_claim)
        proposal = proposal_intent(system, request_id, root_claim, state_index, nonce=nonce)
        return [*depositing, replace(proposal, deposit=locked)]
    # Random, so that the commitment to an answer that can be guessed does not tell which it is.
    tail = secrets.token_bytes(31)
    commitment = system.rpc.read(system.oracle.commitment_of(request_id, root_claim, bytes(1) + tail, proposer))
    committing = Intent(
        kind="commit",
        call=system.oracle.commit(commitment),
        will=f"Will commit to an answer of request {short_hex(request_id)}, so that a copy of it gets no fee",
        did=lambda receipt: "Committed",
        facts={"request_id": request_id, "commitment": commitment},
    )

    def lost_commitment() -> Intent | None:
        """
        A reorganisation may take it back, and let the proposal have its nonce: then the answer would be open to all,
        and the fee belong to the fastest. A second one, for a node that lags, costs only its gas.
        """
        return None if system.rpc.read(system.oracle.committed_at(commitment)) else committing

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
        return replace(proposal, before=lost_commitment, otherwise=otherwise, deposit=locked)

    return [*depositing, committing, attempt(0)]


def _expect_own_implementation(system: System) -> None:
    implementation, arguments = system.rpc.read_all(
        [system.factory.game_implementation(), system.factory.game_arguments()]
    )
    difference = other_games(system.deployment, implementation, arguments)
    if difference is not None:
        raise OtherGames(difference)
