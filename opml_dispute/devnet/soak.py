"""
A soak test: the unattended agent against liars, meddlers, a faulty node and kills, on a local chain.

`soak` makes requests: some that liars answer, some that honest proposers answer, some that the agent has to answer
itself and a liar attacks (`soak_games`). It lets the agent play all games through a `FaultProxy`, kills it again and
again while a second agent with the same key waits for its place, takes the node away for seconds, reorganises the
chain, empties the agent's purse for a while (`soak_disturbances`), and lets the chain's clock run faster than the
world's.
When no player owes a move any more the clocks run out, and the agent has to settle every game, fetch every bond and
deliver every output. What must hold at the end are the rules of `SoakOutcome.broken_rules`; the chain alone tells.

The agents are processes of their own, started by the command that operators use (`soak_agents`).
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.system import System
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.meddlers import MEDDLERS
from opml_dispute.devnet.soak_agents import AgentProcess, two_agents
from opml_dispute.devnet.soak_disturbances import Disturbances, bury
from opml_dispute.devnet.soak_games import Arena, Kind, Match
from opml_dispute.devnet.soak_plan import SoakOutcome, SoakPlan
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.intents import Done, Intent, perform
from opml_dispute.operator.play import Table
from opml_dispute.operator.settle import Settlement, read_settlements, settle_intents, waiting
from opml_dispute.testing.fault_proxy import FaultProxy

Tell = Callable[[str], None]

TELL_EVERY_S = 30.0
_LOOKS = 40
"""How often what the games owe is read again if it cannot be read."""


class _Soak:
    def __init__(self, system: System, folder: Path, plan: SoakPlan, tell: Tell) -> None:
        self.system, self.plan, self.tell = system, plan, tell
        self.chance = random.Random(plan.seed)
        self.outcome = SoakOutcome()
        self.account = devnet.account("challenger").address
        self.arena = Arena(system, plan, self.outcome, folder, self.account, self._broken)
        self.deadline = time.monotonic() + plan.patience_s
        self.meddler_turns = plan.meddler_turns
        self._done = 0
        """The most that the agents had done at any time: what a reorganisation took back counts once."""
        self._tell_at = 0.0

    # ---- the parts ----

    def play(self, disturbances: Disturbances) -> None:
        """Play until no move is due and no request is left to be answered."""
        quiet, done_before = 0, self._look()
        while quiet < 5 and not self._is_over("play"):
            done = self._look()
            moved = self._meddle() or self.arena.move_liars()
            owed = self.arena.owed() + self.arena.unanswered
            quiet = 0 if moved or owed else quiet + 1
            if done > done_before + self.plan.requests // 4:
                disturbances.empty_purse()
            disturbances.go_on(done)
            self._report(f"{owed} moves are owed")
            time.sleep(0.2)
        disturbances.fill_purse()
        self.tell(f"no move is due; {self.outcome.kills} kills so far")

    def _look(self, payments: int = 0) -> int:
        self.arena.look()
        self._done = max(self._done, self.arena.own_work + payments)
        return self._done

    def _report(self, what: str) -> None:
        if time.monotonic() < self._tell_at:
            return
        self._tell_at = time.monotonic() + TELL_EVERY_S
        games = self.arena.games.values()
        self.tell(
            f"{what}; {len(games)} games, {sum(len(game.claims) for game in games)} claims, "
            f"{sum(not game.in_progress for game in games)} games over; {self.outcome.kills} kills, "
            f"{self.outcome.outages} outages, {self.outcome.reorganisations} reorganisations"
        )

    def _meddle(self) -> bool:
        if not self.meddler_turns or not self.plan.meddlers or not self.arena.matches:
            return False
        self.meddler_turns -= 1
        match = self.chance.choice(list(self.arena.matches.values()))
        table = Table(self.system, match.address, self.arena.truth(match.asked))
        return bool(MEDDLERS[self.chance.choice(self.plan.meddlers)](table, self._act_as_meddler, self.chance))

    def _act_as_meddler(self, intent: Intent) -> Done:
        return perform(intent, self.arena.senders["deployer"])

    def settle(self, disturbances: Disturbances) -> None:
        """The clocks run out; until every bond of the agent is paid out and every output delivered."""
        bury(self.system.rpc)
        payments = 0
        while not self._is_over("settle"):
            done = self._look(payments)
            settlements = self._settlements()
            credits_ = [credit for settlement in settlements for credit in settlement.credits]
            payments = sum(credit.is_unlocked + (credit.is_unlocked and not credit.owed_wei) for credit in credits_)
            due = [settle_intents(settlement) for settlement in settlements]
            waits = [left for settlement in settlements if (left := waiting(settlement)) is not None]
            if not any(due) and not waits and not self.arena.undelivered():
                return
            if not any(due) and waits:
                longest_s = max(left.seconds for left in waits)
                self.tell(f"{longest_s:,} s pass")
                devnet.warp(self.system.rpc, longest_s)
            disturbances.go_on(done)
            self._report(f"{sum(map(bool, due))} games are to be settled")
            time.sleep(0.3)

    def _settlements(self) -> list[Settlement]:
        """What the games owe to the agent, as of the last look, or of one that is made here."""
        for left in range(_LOOKS, -1, -1):
            games = list(self.arena.games.values())
            found = read_settlements(self.system, games, [self.account], at=self.arena.head)
            failed = next((settlement for settlement in found if isinstance(settlement, OpmlError)), None)
            if failed is None:
                break
            if not left:
                raise failed
            # The chain was reorganised, or Anvil was just making a block: it then shows the next block's state as this
            # one's, in which a game is resolved later than now.
            time.sleep(0.1)
            self.arena.look()
        return [settlement for settlement in found if isinstance(settlement, Settlement)]

    # ---- what must hold ----

    def judge(self) -> None:
        """Check the rules for each game and each request."""
        self.arena.look()
        self.outcome.requests = len(self.arena.asked)
        for match, settlement in zip(self.arena.matches.values(), self._settlements(), strict=True):
            self._judge_game(match, settlement)
        made = Counter(match.asked.request_id for match in self.arena.matches.values())
        records = self.system.rpc.read_each([self.system.oracle.request_of(id_) for id_ in self.arena.asked])
        for asked, record in zip(self.arena.asked.values(), records, strict=True):
            name = f"request 0x{asked.request_id.hex()}"
            if made[asked.request_id] != 1:
                self._broken(f"{name}: {made[asked.request_id]} games were made for it, not one")
            if record.delivered_by != ZERO_ADDRESS:
                self.outcome.delivered += 1
            if (record.delivered_by == ZERO_ADDRESS) != (asked.kind is Kind.LIAR):
                self._broken(f"{name}: {'an' if asked.kind is Kind.LIAR else 'no'} output was delivered")

    def _judge_game(self, match: Match, settlement: Settlement) -> None:
        game, kind = self.arena.games[match.address], match.asked.kind
        own = [claim for claim in game.claims if claim.claimant == self.account]
        wanted = GameStatus.CHALLENGER_WINS if kind is Kind.LIAR else GameStatus.DEFENDER_WINS
        self.outcome.games += 1
        self.outcome.claims += len(game.claims)
        self.outcome.moves += len(own)
        self.outcome.answers += kind is Kind.AGENT
        rules = {
            "a bond of the agent was not fetched": any(
                credit.owed_wei or credit.withdrawal.amount_wei for credit in settlement.credits
            ),
            f"the truth did not win ({game.status.name})": game.status != wanted,
            "a claim of the agent fell": any(claim.countered_by is not None for claim in own),
            "the agent never came": kind is not Kind.OTHER and not own,
            "the agent attacked a right root claim": kind is Kind.OTHER and bool(own),
            "the agent's answer is wrong": kind is Kind.AGENT and bytes(game.root.value) != match.asked.final_root,
            "the agent answered one claim twice": len(own)
            != len({(claim.parent_index, claim.position) for claim in own}),
        }
        for rule, is_broken in rules.items():
            if is_broken:
                self._broken(f"{match.address}: {rule}")

    def _broken(self, rule: str) -> None:
        if rule not in self.outcome.broken_rules:
            self.outcome.broken_rules.append(rule)
            self.tell(f"BROKEN: {rule}")

    def _is_over(self, part: str) -> bool:
        if time.monotonic() < self.deadline:
            return False
        self._broken(f"no end of {part} within {self.plan.patience_s:g} s")
        return True


def soak(
    system: System, deployment: Path, folder: Path, plan: SoakPlan, *, tell: Tell = lambda sentence: None
) -> SoakOutcome:
    """
    Run one soak test on a local chain whose clock can be moved. `deployment` is its deployment file; all files are
    written to `folder`.
    """
    started = time.monotonic()
    run = _Soak(system, folder, plan, tell)
    run.arena.open()
    tell(f"{plan.requests} requests are made")
    with FaultProxy(
        system.rpc.url,
        plan.faults,
        every=plan.every,
        every_rare=plan.every_rare,
        gap_s=plan.fault_gap_s,
        hang_s=plan.hang_s,
    ) as proxy:
        key = devnet.key_hex(devnet.ROLES.index("challenger"))
        agents = two_agents(folder, url=proxy.url, deployment=deployment, key=key, workers=plan.workers)
        disturbances = Disturbances(system.rpc, proxy, agents, run.account, plan, run.outcome, tell)
        try:
            disturbances.keep_agents(0)
            run.play(disturbances)
            run.settle(disturbances)
            _end(agents, run)
        finally:
            for agent in agents:
                agent.kill()
        run.outcome.struck = proxy.struck
    run.judge()
    run.outcome.seconds = time.monotonic() - started
    return run.outcome


def _end(agents: list[AgentProcess], run: _Soak) -> None:
    if -signal.SIGKILL in [agent.end() for agent in agents]:
        run._broken("an agent did not end within 30 s of SIGTERM")
