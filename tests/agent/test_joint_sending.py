"""Transactions of many games go out together, each result to its game; the first to come waits for no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opml_dispute.actors.actions import ResolveClaim
from opml_dispute.actors.honest import consider
from opml_dispute.actors.player import URGENT_S
from opml_dispute.agent.joint_sending import JointSending, Outcome
from opml_dispute.agent.lease import Lease
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.sender import IN_FLIGHT
from opml_dispute.errors import OpmlError
from opml_dispute.operator.intents import Done, Intent
from opml_dispute.operator.play import Table
from opml_dispute.operator.settle import resolution_intent
from opml_dispute.primitives import Address
from tests.agent.test_agent import CHALLENGER, Unattended, game_of, lie
from tests.conftest import Chain

GAMES = [Address(f"0x{number:040x}") for number in range(20)]


def intents_of(game: Address, count: int) -> list[Intent]:
    return [resolution_intent(FaultDisputeGame(game), ResolveClaim(index, "")) for index in range(count)]


class Node:
    """Takes what is sent; a transaction is mined once `mines` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[list[Address]] = []
        self.mines = threading.Event()
        self.error = error
        self._alone = threading.Lock()

    def send_all(self, intents: Sequence[tuple[Address, Intent]]) -> Sequence[Outcome]:
        assert self._alone.acquire(blocking=False), "one thread at a time sends"
        self.sent.append([game for game, _ in intents])
        self.mines.wait(10)
        self._alone.release()
        if self.error is not None:
            raise self.error
        return [Done(intent, None) for _, intent in intents]


def waiting(node: Node, sending: JointSending, count: int) -> None:
    """Returns once the first is being sent, and all others wait."""
    deadline = time.monotonic() + 10
    while len(sending._waiting) < count or not node.sent:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_comes_while_others_are_sent_goes_out_together_and_each_gets_its_own_results() -> None:
    node = Node()
    sending = JointSending(node.send_all)
    handed = {game: intents_of(game, 1 + number % 3) for number, game in enumerate(GAMES)}
    with ThreadPoolExecutor(len(GAMES)) as threads:
        futures = {game: threads.submit(sending.send, game, intents) for game, intents in handed.items()}
        waiting(node, sending, len(GAMES) - 1)
        node.mines.set()
        outcomes = {game: future.result() for game, future in futures.items()}
    for game, intents in handed.items():
        assert [outcome.intent for outcome in outcomes[game] if isinstance(outcome, Done)] == intents
    assert len(set(node.sent[0])) == 1, "the first waits for no other"
    assert sum(len(sent) for sent in node.sent) == sum(len(intents) for intents in handed.values())
    assert all(len(sent) <= IN_FLIGHT + 2 for sent in node.sent)
    assert len(node.sent) <= 5


def test_failure_reaches_all_whose_transactions_it_concerned_and_nobody_hangs() -> None:
    node = Node(OpmlError("the node is away"))
    sending = JointSending(node.send_all)
    with ThreadPoolExecutor(len(GAMES)) as threads:
        futures = [threads.submit(sending.send, game, intents_of(game, 1)) for game in GAMES]
        waiting(node, sending, len(GAMES) - 1)
        node.mines.set()
        assert all(isinstance(future.exception(20), OpmlError) for future in futures)
    node.error = None
    assert len(sending.send(GAMES[0], intents_of(GAMES[0], 2))) == 2


@pytest.fixture
def unattended(chain: Chain, tmp_path: Path) -> Iterator[Unattended]:
    found = Unattended(chain, tmp_path).start()
    yield found
    found.end()


@pytest.mark.slow
def test_moves_of_many_games_share_blocks(chain: Chain, tmp_path: Path, unattended: Unattended) -> None:
    """On a chain with a block every two seconds: each game by itself takes one."""
    seats = [lie(chain, tmp_path, seed)[0] for seed in (3, 4, 5, 6, 7, 8)]
    other = Lease(chain.deployment.chain_id, CHALLENGER)
    assert other.take()
    unattended.agent.run_pass()  # computes, and may not act
    other.give_back()
    chain.rpc.request("evm_setAutomine", False)
    chain.rpc.request("evm_setIntervalMining", 2)
    try:
        unattended.agent.run_pass()
    finally:
        chain.rpc.request("evm_setIntervalMining", 0)
        chain.rpc.request("evm_setAutomine", True)
    games = [game_of(chain, seat) for seat in seats]
    assert [[claim.claimant for claim in game.claims[1:]] for game in games] == [[CHALLENGER]] * len(seats)
    assert len({claim.clock.timestamp_s for game in games for claim in game.claims[1:]}) <= 3, "blocks"


def test_move_whose_clock_runs_out_is_urgent(chain: Chain, tmp_path: Path) -> None:
    """It is paid for being mined sooner; one with time left is not."""
    seat, case = lie(chain, tmp_path, 3)
    table = Table(chain.system(), seat.table.address, case.trace())
    game, now_s = table.snapshot()
    actions = consider(game, table.trace, now_s).actions
    late_s = now_s + game.clocks.max_clock_s - URGENT_S
    assert [intent.is_urgent for intent in table.intents(game, now_s, actions)] == [False]
    assert [intent.is_urgent for intent in table.intents(game, late_s + 1, actions)] == [True]
