"""
An agent at a node that lies for a while: a lie costs time, never a game, a bond or a payment.

`Watch` plays a scene: passes at an honest node, passes at one
that tells one lie, a turn of the other players, and passes at an honest node again until nothing is left to send.
Whatever the lie was, the chain then stands as it does without it.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opml_dispute.agent.agent import Agent
from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.lease import Lease
from opml_dispute.agent.log import make_log
from opml_dispute.agent.memory import Memory
from opml_dispute.agent.metrics import Metrics
from opml_dispute.availability.fetching import FetchPolicy
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import connect
from opml_dispute.devnet import anvil as devnet
from opml_dispute.errors import OpmlError
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.testing.node_lies import Lie, Teller
from tests.conftest import Chain
from tests.lies.hurried import HurriedTime
from tests.lies.oracle import Sent, sent_by, wrong_with, wrong_words
from tests.lies.scenes import ROLE, Scene

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
