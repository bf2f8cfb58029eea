"""
Chains on which a command, an agent or a monitor has something to do, and who else plays there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opml_dispute.actors.player import play_round
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.contracts.oracle import NO_TERMS, RequestTerms
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.blob_tables import make_blob_tables
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.operator.case import open_case
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.operator.proposing import proposal_intents
from opml_dispute.primitives import Address, RequestId, StateRoot
from opml_dispute.trace.guest import guest_machine
from tests.conftest import TEST_TIMES, Chain
from tests.lies.oracle import Sent
from tests.support.blobs import ROOT, publish_wrong

ROLES: Final = frozenset({"challenger", "proposer", "resolver", "finalizer", "claimer"})
ROLE: Final = "challenger"
MIN_BOND_WEI: Final = 10**17
"""What a request demands of its proposer, where it does."""


@dataclass
class Scene:
    """A chain with games, and who else plays in them."""

    chain: Chain
    store: ModelStore
    name: str = ""
    roles: frozenset[str] = ROLES
    """Of the agent."""
    publications: list[bytes] = field(default_factory=list)
    """Of inputs in blobs."""
    liars: list[Seat] = field(default_factory=list)

    @property
    def games(self) -> list[Address]:
        system = self.chain.system()
        count = system.rpc.read(system.factory.game_count())
        return [system.rpc.read(system.factory.game_at(index)).address for index in range(count)]

    def turn(self) -> bool:
        """Whether a liar moved."""
        moved = [bool(play_round(seat, seat.table.trace).done) for seat in self.liars]
        return any(moved)

    def known(self) -> set[str]:
        """Every address that may be sent to."""
        system = self.chain.system()
        made = {system.proposer_bonds.address, system.defender_shares.address, system.input_blobs.address}
        return {*system.deployment.addresses.values(), *self.games, *made}

    def counts(self, sent: Iterable[Sent]) -> dict[str, int]:
        """How many transactions each of these senders has sent, with those that wait."""
        rpc, senders = self.chain.rpc, {one.sender for one in sent}
        return {one: int(rpc.request("eth_getTransactionCount", one, "pending"), 16) for one in senders}

    def stands(self) -> dict[str, Any]:
        """What the chain came to, as far as the agent has to do with it."""
        system, account = self.chain.system(), devnet.account(ROLE).address
        rpc = system.rpc
        found: dict[str, Any] = {}
        for address in self.games:
            game, contract = system.games.read(address), FaultDisputeGame(address)
            values = [bytes(claim.value) for claim in game.claims]
            # A proposal has a nonce of its own each time, and so an address.
            found[f"game about {game.request_id.hex()} by {game.root.claimant}"] = (
                game.status,
                sorted(
                    (
                        values[claim.parent_index] if claim.parent_index is not None else b"",
                        claim.position.gindex,
                        bytes(claim.value),
                        claim.claimant,
                        claim.is_resolved,
                        claim.countered_by or "",
                    )
                    for claim in game.claims
                ),
                rpc.read(contract.credit_wei(account)),
                rpc.read(contract.has_unlocked_credit(account)),
                rpc.read(system.proposer_bonds.bond_wei(address)),
            )
        found["deposit"] = rpc.read(system.proposer_bonds.deposit_wei(account))
        for index in range(rpc.read(system.oracle.request_count())):
            id_ = rpc.read(system.oracle.request_id_at(index))
            found[f"request {id_.hex()}"] = rpc.read(system.oracle.request_of(id_)).delivered_by
        for publication in self.publications:
            found[f"publication {publication.hex()}"] = rpc.read(system.input_blobs.publication(publication)).status
        return found


def _lie(scene: Scene, seed: int, *, terms: RequestTerms = NO_TERMS, fee_wei: int = 0) -> Seat:
    """A game that a liar opened."""
    system = scene.chain.system()
    request_id = ask_sample(system, scene.chain.sender("requester"), seed, scene.store, fee_wei=fee_wei, terms=terms)
    case = open_case(system, request_id, store=scene.store)
    faulty, sender = case.liar().find(seed), scene.chain.sender("proposer")
    address = _propose(scene, request_id, StateRoot(faulty.root_claim), case.program.node_count)
    table = Table(system, address, faulty.trace(guest_machine()))
    scene.liars.append(Seat(table, one_by_one(lambda intent: perform(intent, sender))))
    return scene.liars[-1]


def _right(scene: Scene, seed: int, *, terms: RequestTerms = NO_TERMS) -> Address:
    """A game about a right answer."""
    system = scene.chain.system()
    request_id = ask_sample(system, scene.chain.sender("requester"), seed, scene.store, fee_wei=10**16, terms=terms)
    case = open_case(system, request_id, store=scene.store)
    return _propose(scene, request_id, case.final_root, case.program.node_count)


def _propose(scene: Scene, request_id: RequestId, root: StateRoot, node_count: int) -> Address:
    """A game, with the bond that the request demands."""
    system, sender = scene.chain.system(), scene.chain.sender("proposer")
    intents = proposal_intents(system, request_id, root, node_count, proposer=sender.address, commits=False)
    receipt = [perform(intent, sender) for intent in intents][-1].receipt
    assert receipt is not None
    return system.factory.created_game(receipt)


def _play(scene: Scene, rounds: int) -> None:
    """The agent's account and the liars, by turns."""
    for seat in scene.liars:
        sender, system = scene.chain.sender(ROLE), scene.chain.system()
        case = open_case(system, system.games.constants(seat.table.address).request_id, store=scene.store)
        own = Seat(
            Table(system, seat.table.address, case.trace()),
            one_by_one(lambda intent, sender=sender: perform(intent, sender)),  # type: ignore[misc]
        )
        for turn in range(rounds):
            one = own if turn % 2 == 0 else seat
            if not play_round(one, one.table.trace).done:
                break


def opened(scene: Scene) -> None:
    """A wrong answer and a right one, both undisputed, and an open request."""
    _lie(scene, 3)
    _right(scene, 4)
    ask_sample(scene.chain.system(), scene.chain.sender("requester"), 5, scene.store, fee_wei=10**16)


def begun(scene: Scene) -> None:
    """A dispute in the ML phase, in which the agent owes an answer."""
    _lie(scene, 3)
    _play(scene, 4)


def deep(scene: Scene) -> None:
    """A dispute about an instruction, in which the agent owes the step."""
    _lie(scene, 3)
    _play(scene, 200)


def late(scene: Scene) -> None:
    """Two disputes whose clocks are over, to be settled."""
    _lie(scene, 3)
    _lie(scene, 4)
    _play(scene, 3)
    scene.chain.warp(TEST_TIMES.max_clock_s + 1)


def over(scene: Scene) -> None:
    """A dispute that is settled, whose bonds can be unlocked."""
    late(scene)
    _settle(scene)


def _settle(scene: Scene) -> None:
    """By an account that gets nothing, until it is final."""
    for address in scene.games:
        game = scene.chain.system().games.read(address)
        sender, contract = scene.chain.sender("deployer"), FaultDisputeGame(address)
        sender.send(contract.settle([claim.index for claim in reversed(game.claims)]))
    scene.chain.warp(TEST_TIMES.finality_delay_s + 1)


def unlocked(scene: Scene) -> None:
    """The same, unlocked, so that the bonds can be taken."""
    over(scene)
    for address in scene.games:
        scene.chain.sender("deployer").send(FaultDisputeGame(address).claim_credit(devnet.account(ROLE).address))
    scene.chain.warp(TEST_TIMES.withdrawal_delay_s + 1)


DEMANDING: Final = RequestTerms(min_bond_wei=MIN_BOND_WEI, defenders_bps=2_000)


def demanding(scene: Scene) -> None:
    """As `opened`, with requests that demand bonds of their proposers, and share their fees with defenders."""
    _lie(scene, 3, terms=DEMANDING, fee_wei=10**16)
    _right(scene, 4, terms=DEMANDING)
    ask_sample(scene.chain.system(), scene.chain.sender("requester"), 5, scene.store, fee_wei=10**16, terms=DEMANDING)


def demanded(scene: Scene) -> None:
    """Two disputes that are settled, one about each kind of answer, with demanded bonds to be paid out."""
    _lie(scene, 3, terms=DEMANDING, fee_wei=10**16)
    _play(scene, 3)
    _right(scene, 4, terms=DEMANDING)
    scene.chain.warp(TEST_TIMES.max_clock_s + 1)
    _settle(scene)


def several(scene: Scene) -> None:
    """Three wrong answers, one of them disputed already, and a right one."""
    _lie(scene, 3)
    _play(scene, 4)
    _lie(scene, 4)
    _lie(scene, 6)
    _right(scene, 5)


def published(scene: Scene) -> None:
    """A request about an input in blobs, and a wrong publication of it, for an agent that only refutes."""
    chain = scene.chain
    make_blob_tables(chain.anvil.url)
    system = chain.system()
    model_id = system.rpc.read(system.registry.model_id_at(0))
    chain.sender("requester").send(system.oracle.request_by_root(model_id, ROOT, "blobs:", NO_TERMS))
    scene.publications.append(publish_wrong(chain, 5))
    scene.roles = frozenset({"refuter"})


SCENES: Final[dict[str, Callable[[Scene], None]]] = {
    one.__name__: one for one in (opened, begun, deep, late, over, unlocked, several, published, demanding, demanded)
}


def scene_of(chain: Chain, folder: Path, name: str) -> Scene:
    """Sets a chain up."""
    scene = Scene(chain, ModelStore(folder / "models"), name)
    SCENES[name](scene)
    return scene
