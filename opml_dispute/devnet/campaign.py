"""
Random games between an honest party and a liar on a local chain, which the honest party must win without a loss.

`play_game` makes a request about a random digit, makes the proposer or the challenger a liar by a random fault
(`actors.liars`), lets third parties move (`meddlers`) and the honest parties' node fail, plays and settles the whole
game, and checks its end by `RULES`. The same seed gives the same game.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opml_dispute.actors.actions import Move, Step
from opml_dispute.actors.liars import FaultyInference, NoFaultFound, changes_anything
from opml_dispute.actors.player import Round
from opml_dispute.chain.contracts.oracle import NO_TERMS, RequestTerms
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System, connect
from opml_dispute.devnet.meddlers import MEDDLERS
from opml_dispute.devnet.self_play import play_out, settle_out
from opml_dispute.engine.segment import input_image
from opml_dispute.game.bond import forfeited_wei
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.model.files import Binding
from opml_dispute.models import digit_samples
from opml_dispute.operator.case import Case, open_case
from opml_dispute.operator.inference import new_request_id, proposal_intent, request_intent
from opml_dispute.operator.intents import Done, Intent, perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.operator.settle import Settlement, read_settlement
from opml_dispute.primitives import Address, ModelId, RequestId
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.trace.guest import guest_machine

ROLES = ("proposer", "challenger")

LIARS = ("proposer", "challenger", "none")
"""The role that plays by a faulty trace."""

ACCOMPLICE = "deployer"
"""The account that the meddlers share."""

MEDDLING_ROUNDS = 12


@dataclass(frozen=True)
class Outcome:
    """One finished game."""

    seed: int
    liar: str
    """One of `LIARS`."""
    meddlers: tuple[str, ...]
    fault: str
    node_index: int
    game: Game
    moves: int
    steps: int
    refused: int
    """Actions that the chain refused."""
    struck: int
    """The number of faults of the honest party's node."""
    gas: int
    staked_wei: Mapping[str, int]
    paid_wei: Mapping[str, int]
    honest: frozenset[Address]
    broken_rules: tuple[str, ...]
    """The names of the broken rules; empty if all hold."""


def honest_roles(liar: str) -> tuple[str, ...]:
    """The honest roles, if `liar` is the other."""
    return tuple(role for role in ROLES if role != liar)


def rule_truth_wins(outcome: Outcome) -> bool:
    """The root claim must stand if and only if its proposer is honest."""
    wanted = GameStatus.CHALLENGER_WINS if outcome.liar == "proposer" else GameStatus.DEFENDER_WINS
    return outcome.game.status == wanted


def rule_no_honest_claim_falls(outcome: Outcome) -> bool:
    """No claim of an honest player may fall: it would lose its bond."""
    return not [c for c in outcome.game.claims if c.claimant in outcome.honest and c.countered_by is not None]


def rule_the_honest_get_their_bonds_back(outcome: Outcome) -> bool:
    """Honest players must get all their bonds back: honest play must not cost money."""
    return all(outcome.paid_wei[role] >= outcome.staked_wei[role] for role in honest_roles(outcome.liar))


def rule_bonds_add_up(outcome: Outcome) -> bool:
    """The sum of the stakes must equal the payments and the forfeited parts of lost bonds, to the wei."""
    game = outcome.game
    lost = [claim.bond_wei for claim in game.claims if claim.bond_falls_to is not None]
    forfeited = sum(forfeited_wei(bond_wei, game.terms) for bond_wei in lost)
    return sum(outcome.paid_wei.values()) + forfeited == sum(outcome.staked_wei.values())


def rule_all_is_settled(outcome: Outcome) -> bool:
    """Every claim, the game and every bond must be settled."""
    return all(claim.is_resolved for claim in outcome.game.claims)


RULES: tuple[Callable[[Outcome], bool], ...] = (
    rule_truth_wins,
    rule_no_honest_claim_falls,
    rule_the_honest_get_their_bonds_back,
    rule_bonds_add_up,
    rule_all_is_settled,
)


@dataclass
class _Books:
    """The moves, gas and payments of a game."""

    gas: int = 0
    moves: int = 0
    steps: int = 0
    refused: int = 0
    owed_wei: dict[Address, int] = field(default_factory=dict)

    def count_round(self, role: str, round_: Round) -> None:
        """Count a role's actions in one turn."""
        self.moves += sum(isinstance(action, Move) for action in round_.done)
        self.steps += sum(isinstance(action, Step) for action in round_.done)
        self.refused += len(round_.refused)

    def note_credits(self, settlement: Settlement) -> None:
        """Note the highest credit of each account."""
        for credit in settlement.credits:
            self.owed_wei[credit.recipient] = max(self.owed_wei.get(credit.recipient, 0), credit.owed_wei)


def ask_sample(
    system: System,
    sender: Sender,
    sample: int,
    store: ModelStore,
    *,
    fee_wei: int = 0,
    terms: RequestTerms = NO_TERMS,
) -> RequestId:
    """Make a request to the only registered model about one of the sample digits."""
    model_id = ModelId(system.rpc.read(system.registry.model_id_at(0)))
    registered = system.rpc.read(system.registry.model(model_id))
    program = store.program(model_id, registered, file=None, binding=Binding())
    image = input_image(program.inputs, {program.inputs[0].name: digit_samples()[0][sample : sample + 1]})
    done = perform(request_intent(system, model_id, image, fee_wei=fee_wei, terms=terms), sender)
    assert done.receipt is not None
    return new_request_id(system, done.receipt)


def play_game(
    system: System,
    senders: Mapping[str, Sender],
    store: ModelStore,
    seed: int,
    *,
    liar: str,
    meddlers: Sequence[str] = (),
    faults: Sequence[str] = (),
) -> Outcome:
    """
    Play one game, from the request to the last payment; `liar` is one of `LIARS`.

    `meddlers` are of `meddlers.MEDDLERS`, with the account `ACCOMPLICE`. With `faults` the honest parties reach the
    chain through a `testing.fault_proxy`. Raises the errors of playing; a broken rule is reported, not raised.
    """
    chance = random.Random(seed)
    request_id = ask_sample(system, senders["requester"], chance.randrange(len(digit_samples()[0])), store)
    case = open_case(system, request_id, store=store)
    faulty = _faulty_inference(case, chance) if liar in ROLES else None
    everybody, books = (*ROLES, ACCOMPLICE), _Books()
    with FaultProxy(system.rpc.url, faults, every=23) as proxy:
        shaky = connect(Rpc(proxy.url, timeout_s=5.0), system.deployment)
        honest = honest_roles(liar)
        systems = {role: shaky if faults and role in honest else system for role in everybody}
        acting = {
            role: senders[role] if systems[role] is system else Sender(shaky.rpc, senders[role].account, timeout_s=20.0)
            for role in everybody
        }

        def act(role: str, intent: Intent) -> Done:
            done = perform(intent, acting[role])
            if done.receipt is not None:
                books.gas += done.receipt.gas_used
            return done

        root = faulty.root_claim if faulty is not None and liar == "proposer" else case.final_root
        done = act("proposer", proposal_intent(system, request_id, root, case.program.node_count))
        assert done.receipt is not None
        address = system.factory.created_game(done.receipt)
        truth = case.trace()
        traces = {} if faulty is None else {liar: faulty.trace(guest_machine())}
        seats = {
            role: Seat(Table(systems[role], address, traces.get(role, truth)), one_by_one(_actor(act, role)))
            for role in reversed(ROLES)
        }
        # The accomplice acts in every round of the game, and for some rounds after the two players have no move left.
        for _ in range(MEDDLING_ROUNDS if meddlers else 0):
            books.moves += _meddle(meddlers, Table(system, address, truth), _actor(act, ACCOMPLICE), chance)
            play_out(seats, after_round=books.count_round, rounds=2)
        play_out(seats, after_round=books.count_round)
        addresses = {role: senders[role].address for role in everybody}
        settle_out(system, address, addresses, act, settled=books.note_credits)
    end = read_settlement(system, address, addresses.values())
    # Both from the chain: of a transaction that was sent through a failing node there may be no receipt.
    staked_wei = {role: sum(c.bond_wei for c in end.game.claims if c.claimant == addresses[role]) for role in everybody}
    left_wei = {credit.recipient: credit.owed_wei for credit in end.credits}
    paid_wei = {role: books.owed_wei.get(addresses[role], 0) - left_wei[addresses[role]] for role in everybody}
    outcome = Outcome(
        seed=seed,
        liar=liar,
        meddlers=tuple(meddlers),
        fault=str(faulty.fault) if faulty is not None else "",
        node_index=faulty.fault.node_index if faulty is not None else -1,
        game=end.game,
        moves=books.moves,
        steps=books.steps,
        refused=books.refused,
        struck=sum(proxy.struck.values()),
        gas=books.gas,
        staked_wei=staked_wei,
        paid_wei=paid_wei,
        honest=frozenset(addresses[role] for role in honest),
        broken_rules=(),
    )
    return replace(outcome, broken_rules=tuple(rule.__name__ for rule in RULES if not rule(outcome)))


def _meddle(meddlers: Sequence[str], table: Table, act: Callable[[Intent], Done], chance: random.Random) -> int:
    """Let every meddler act once, and answer the number of their moves."""
    return sum(MEDDLERS[name](table, act, chance) for name in meddlers)


def _actor(act: Callable[[str, Intent], Done], role: str) -> Callable[[Intent], Done]:
    return lambda intent: act(role, intent)


def _faulty_inference(case: Case, chance: random.Random) -> FaultyInference:
    """A faulty inference with the fault in a random node, or in any node if a few hundred flips of that one change
    nothing."""
    liar, seed = case.liar(), chance.randrange(1 << 32)
    try:
        node_index = chance.randrange(case.program.node_count)
        return liar.find(seed, goal=changes_anything, node_index=node_index, attempts=60)
    except NoFaultFound:
        return liar.find(seed, goal=changes_anything)
