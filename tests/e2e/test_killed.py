"""Any process may die between any two transactions: the process that takes over finishes the game; nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from opml_dispute.actors.player import play_round
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Order, Receipt
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.case import Case, open_case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import Intent, perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.operator.settle import read_settlement, settle_intents
from opml_dispute.primitives import Address
from opml_dispute.trace.guest import guest_machine
from opml_dispute.trace.split import SplitTrace
from tests.conftest import TEST_TIMES, Chain


class Killed(BaseException):
    """The process ended here."""


class Mortal(Sender):
    """Dies after its first transaction, without reporting it."""

    def send_all(self, orders: Sequence[Order]) -> list[Receipt | OpmlError]:
        super().send_all(orders)
        raise Killed


def wrong_proposal(chain: Chain, tmp_path: Path, seed: int) -> tuple[Address, Case, str]:
    """A game that a liar opened; its case, and the fault."""
    system, store = chain.system(), ModelStore(tmp_path)
    request_id = ask_sample(system, chain.sender("requester"), seed, store)
    case = open_case(system, request_id, store=store)
    faulty = case.liar().find(seed)
    intent = proposal_intent(system, request_id, faulty.root_claim, case.program.node_count)
    done = perform(intent, chain.sender("proposer"))
    assert done.receipt is not None
    return system.factory.created_game(done.receipt), case, str(faulty.fault)


def transactions(chain: Chain, role: str) -> int:
    return int(chain.rpc.request("eth_getTransactionCount", devnet.account(role).address, "latest"), 16)


def one_life(chain: Chain, address: Address, trace: SplitTrace, role: str) -> bool:
    """A new process looks at the chain, sends one transaction and dies; False if it finds nothing to do."""
    sender = Mortal(chain.rpc, devnet.account(role))
    sender.settle()

    def act(intent: Intent) -> None:
        perform(intent, sender)

    try:
        round_ = play_round(Seat(Table(chain.system(), address, trace), one_by_one(act)), trace)
    except Killed:
        return True
    assert not round_.done
    return False


def test_players_that_die_after_every_transaction_play_the_same_game(chain: Chain, tmp_path: Path) -> None:
    """One life a transaction, on both sides; the game is as long as an undisturbed one, and the truth wins."""
    address, case, fault = wrong_proposal(chain, tmp_path, seed=3)
    faulty = case.liar().find(3)
    assert str(faulty.fault) == fault
    before = {role: transactions(chain, role) for role in ("proposer", "challenger")}
    lives = 0
    while True:
        alive = [
            one_life(chain, address, trace, role)
            for role, trace in (("challenger", case.trace()), ("proposer", faulty.trace(guest_machine())))
        ]
        lives += sum(alive)
        if not any(alive):
            break
    game = chain.system().games.read(address)
    assert len(game.claims) == game.depths.max + 1, "no move is missing, none was made twice"
    assert game.claims[-1].countered_by == devnet.account("challenger").address
    sent = sum(transactions(chain, role) - count for role, count in before.items())
    assert sent == lives
    assert sent in (game.depths.max + 1, game.depths.max + 2), "a move a depth, the step, perhaps its local data"
    settle_dying(chain, address)


def settle_dying(chain: Chain, address: Address) -> None:
    """Resolution and payment, one life a transaction."""
    challenger = devnet.account("challenger")
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s):
        chain.warp(delay_s)
        while intents := settle_intents(read_settlement(chain.system(), address, [challenger.address])):
            with pytest.raises(Killed):
                perform(intents[0], Mortal(chain.rpc, challenger))
    settlement = read_settlement(chain.system(), address, [challenger.address])
    assert settlement.game.status == GameStatus.CHALLENGER_WINS
    assert settlement.is_closed
    assert settlement.credits[0].owed_wei == 0
    assert settlement.credits[0].withdrawal.amount_wei == 0


@pytest.mark.slow
def test_a_watching_command_killed_at_any_moment_goes_on(chain: Chain, tmp_path: Path) -> None:
    """`respond --watch` of both sides as real processes, killed by SIGKILL again and again."""
    address, _, fault = wrong_proposal(chain, tmp_path, seed=5)
    environment = dict(
        os.environ,
        OPML_RPC_URL=chain.anvil.url,
        OPML_DEPLOYMENT=str(chain.deployment_file),
        OPML_HOME=str(tmp_path / "home"),
    )

    def watch(role: str, *options: str) -> subprocess.Popen[bytes]:
        key = tmp_path / f"{role}.key"
        key.write_text(devnet.key_hex(devnet.ROLES.index(role)))
        command = [sys.executable, "-m", "opml_dispute", "respond", address, "--watch", "--interval", "0.1"]
        return subprocess.Popen(
            [*command, "--key-file", str(key), *options],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    deadline = time.monotonic() + 100
    lives_s = iter([1.7, 1.9, 2.1, 2.4])  # long enough to come to a few moves, short enough to be cut off in the middle
    kills = 0
    while True:
        players = [watch("challenger"), watch("proposer", "--fault", fault)]
        until = time.monotonic() + next(lives_s, 60)
        try:
            while time.monotonic() < until:
                game = chain.system().games.read(address)
                if game.claims[-1].countered_by is not None:
                    break
                time.sleep(0.1)
        finally:
            for player in players:
                player.send_signal(signal.SIGKILL)
                player.wait()
        kills += 1
        if game.claims[-1].countered_by is not None:
            break
        assert time.monotonic() < deadline, f"still at claim {len(game.claims) - 1} after {kills} lives"
    assert kills > 1
    assert len(game.claims) == game.depths.max + 1
    assert game.claims[-1].countered_by == devnet.account("challenger").address


def test_the_devnet_file_of_a_dead_chain_is_no_chain(own_home: Path) -> None:
    """A devnet that was killed leaves its file behind; the next command is not fooled, and can start anew."""
    chain = devnet.start(port=devnet.free_port())
    assert devnet.running() is not None
    os.killpg(chain.anvil.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while devnet.is_alive(chain.anvil.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert json.loads((chain.folder / "devnet.json").read_text())["pid"] == chain.anvil.pid
    assert devnet.running() is None
    again = devnet.start(port=devnet.free_port())
    assert devnet.running() is not None
    devnet.stop()
    assert devnet.running() is None
    assert not devnet.is_alive(again.anvil.pid)


def test_a_chain_of_a_killed_demo_dies_with_it(tmp_path: Path) -> None:
    """Not even SIGKILL leaves an orphan behind."""
    program = (
        "from opml_dispute.devnet.anvil import Anvil; import time; print(Anvil.spawn().pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert devnet.is_alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while devnet.is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not devnet.is_alive(child)
