"""
An agent at a node that lies for a while: a lie costs time, never a game, a bond or a payment.

`Scene` is a chain on which an agent has something to do. `Watch` plays it: passes at an honest node, passes at one
that tells one lie, a turn of the other players, and passes at an honest node again until nothing is left to send.
Whatever the lie was, the chain then stands as it does without it.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opml_dispute.actors.player import play_round
from opml_dispute.agent.agent import Agent
from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.lease import Lease
from opml_dispute.agent.log import make_log
from opml_dispute.agent.memory import Memory
from opml_dispute.agent.metrics import Metrics
from opml_dispute.availability.fetching import FetchPolicy
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.contracts.oracle import NO_TERMS
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import connect
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.blob_tables import make_blob_tables
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.errors import OpmlError
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.primitives import Address
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.testing.node_lies import Lie, Teller
from opml_dispute.trace.guest import guest_machine
from tests.conftest import TEST_TIMES, Chain
from tests.lies.hurried import HurriedTime
from tests.lies.oracle import Sent, sent_by, wrong_with, wrong_words
from tests.support.blobs import ROOT, publish_wrong

ROLES: Final = frozenset({"challenger", "proposer", "resolver", "finalizer", "claimer"})
ROLE: Final = "challenger"
MOST_PASSES: Final = 60
PAUSE_S: Final = 240.0
"""Between two passes: as much as an agent waits after many troubles."""
CHAIN_PAUSE_S: Final = 60
"""By the chain's clock: the clocks of these games are short."""
FORGIVEN_S: Final = 3_600.0
"""What a lie may cost, once it is not told any more: a third of the usual extension of a clock."""
LOOK_S: Final = 30.0
"""That looking at small blobs takes at most."""
TURNS: Final = 3
"""Of the liars, in which the agent has to answer."""


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
            )
        for index in range(rpc.read(system.oracle.request_count())):
            id_ = rpc.read(system.oracle.request_id_at(index))
            found[f"request {id_.hex()}"] = rpc.read(system.oracle.request_of(id_)).delivered_by
        for publication in self.publications:
            found[f"publication {publication.hex()}"] = rpc.read(system.input_blobs.publication(publication)).status
        return found


def _lie(scene: Scene, seed: int) -> Seat:
    """A game that a liar opened."""
    system = scene.chain.system()
    request_id = ask_sample(system, scene.chain.sender("requester"), seed, scene.store)
    case = open_case(system, request_id, store=scene.store)
    faulty, sender = case.liar().find(seed), scene.chain.sender("proposer")
    done = perform(proposal_intent(system, request_id, faulty.root_claim, case.program.node_count), sender)
    assert done.receipt is not None
    address = system.factory.created_game(done.receipt)
    table = Table(system, address, faulty.trace(guest_machine()))
    scene.liars.append(Seat(table, one_by_one(lambda intent: perform(intent, sender))))
    return scene.liars[-1]


def _right(scene: Scene, seed: int) -> None:
    """A game about a right answer, and a request without an answer."""
    system = scene.chain.system()
    request_id = ask_sample(system, scene.chain.sender("requester"), seed, scene.store, fee_wei=10**16)
    case = open_case(system, request_id, store=scene.store)
    perform(
        proposal_intent(system, request_id, case.final_root, case.program.node_count), scene.chain.sender("proposer")
    )


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
    one.__name__: one for one in (opened, begun, deep, late, over, unlocked, several, published)
}


@dataclass
class Played:
    """What one agent did, and how the chain stands."""

    stands: dict[str, Any]
    sent: list[Sent]
    said: str
    teller: Teller
    bugs: list[str]
    passed_s: float
    known: set[str]
    """Whom it may have sent to."""
    counts: dict[str, int]
    """How many transactions its account had sent in the end."""


def _looked(agent: Agent) -> bool:
    """Whether a thread of the agent had blobs to look at; it has done so then."""
    running = agent._refuter._looks._running
    if running is None:
        return False
    running[1].exception(LOOK_S)
    return True


@contextmanager
def put_back(chain: Chain) -> Iterator[None]:
    """What is done to the chain meanwhile is undone."""
    snapshot = chain.rpc.request("evm_snapshot")
    try:
        yield
    finally:
        chain.rpc.request("evm_setAutomine", True)
        chain.rpc.request("evm_revert", snapshot)


def place_of(error: BaseException) -> str:
    """Where an error came from."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "" if place is None else f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"


class Watch:
    """The same scene again and again; the chain is put back each time."""

    def __init__(self, scene: Scene, folder: Path, *, passes: Sequence[int] = (0, 1)) -> None:
        """`passes`: those at an honest node before the lie, that are wanted."""
        self.scene, self.folder = scene, folder
        self.honest = {first: self.play(None, true_passes=first) for first in passes}
        assert all(not played.bugs for played in self.honest.values()), [one.bugs for one in self.honest.values()]

    def play(self, lie: Lie | None, *, true_passes: int) -> Played:
        """A new agent: so many passes at an honest node first, then two at one that lies, then on at an honest one."""
        teller, stream, chain = Teller(), io.StringIO(), self.scene.chain
        if lie is not None:
            teller.others = self.honest[true_passes].teller.others
        bugs: list[str] = []
        with (
            put_back(self.scene.chain),
            tempfile.TemporaryDirectory(dir=self.folder) as own,
            FaultProxy(chain.anvil.url, edit=teller) as proxy,
            HurriedTime() as time,
        ):
            system = connect(Rpc(proxy.url), chain.deployment)
            account = devnet.account(ROLE)
            config = AgentConfig(
                rpc_urls=(proxy.url,),
                deployment=chain.deployment_file,
                roles=self.scene.roles,
                fetch=FetchPolicy(blobs=(chain.anvil.url,)),
                state=Path(own) / "agent.sqlite",
                second_opinion=False,
                workers=0,
                preflight=False,
            )
            agent = Agent(
                config,
                system,
                Sender(system.rpc, account, chain_id=chain.deployment.chain_id, folder=Path(own)),
                memory=Memory(config.state, system.deployment.chain_id),
                store=self.scene.store,
                log=make_log(stream, as_json=True),
                metrics=Metrics(),
                lease=Lease(system.deployment.chain_id, account.address),
            )

            def one_pass() -> bool:
                try:
                    sent = agent.run_pass()
                    return _looked(agent) or sent
                except OpmlError as error:
                    agent.log.warning("trouble", what=str(error))
                    return False
                except Exception as error:
                    bugs.append(f"{type(error).__name__}: {error} at {place_of(error)}")
                return True

            def until_quiet(for_s: float = 0.0) -> None:
                quiet_s = 0.0
                for _ in range(MOST_PASSES):
                    chain.warp(CHAIN_PAUSE_S)
                    if one_pass():
                        quiet_s = 0.0
                    elif quiet_s >= for_s:
                        return
                    time.sleep(PAUSE_S)
                    quiet_s += PAUSE_S
                bugs.append(f"{MOST_PASSES} passes, and no end")

            try:
                turns = TURNS
                for _ in range(true_passes):
                    until_quiet()
                    self.scene.turn()
                    turns -= 1
                teller.lie = lie
                for _ in range(2):
                    chain.warp(CHAIN_PAUSE_S)
                    one_pass()
                teller.lie = None
                until_quiet(FORGIVEN_S)
                for _ in range(turns):
                    self.scene.turn()
                    until_quiet()
            finally:
                agent.lease.give_back()
                agent.close()
                agent.memory.close()
            sent = sent_by(teller.sent)
            return Played(
                self.scene.stands(),
                sent,
                stream.getvalue(),
                teller,
                bugs,
                time.passed_s,
                self.scene.known(),
                self.scene.counts(sent),
            )

    def wrong(self, lie: Lie, *, true_passes: int) -> list[str]:
        """What is wrong with what an agent did to whom this was said."""
        honest = self.honest[true_passes]
        try:
            played = self.play(lie, true_passes=true_passes)
        except OpmlError as error:
            return [f"the agent could not be made: {error}"]
        found = list(played.bugs)
        for what, stands in honest.stands.items():
            if played.stands.get(what) != stands:
                found.append(f"{what} does not stand as it should")
        found += wrong_with(
            played.sent,
            honest=honest.sent,
            chain_id=self.scene.chain.deployment.chain_id,
            known=played.known,
            counts=played.counts,
        )
        found += wrong_words(played.said, [devnet.key_hex(devnet.ROLES.index(ROLE))[2:]])
        return found


def scene_of(chain: Chain, folder: Path, name: str) -> Scene:
    """Sets a chain up."""
    scene = Scene(chain, ModelStore(folder / "models"), name)
    SCENES[name](scene)
    return scene
