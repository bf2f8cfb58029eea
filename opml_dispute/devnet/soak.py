"""
A soak test: the unattended agent against liars, meddlers, a faulty node and kills, on a local chain.

`soak` opens games by liars and by honest proposers, lets an agent play them through a `FaultProxy`, kills it again and
again while a second agent with the same key waits for its place, takes the node away for seconds, reorganises the
chain, empties the agent's purse for a while, and lets the chain's clock run faster than the world's. When no player
owes a move any more the clocks run out, and the agent has to settle every game and fetch every bond. What must hold at
the end are the rules of `SoakOutcome.broken_rules`; the chain alone tells.

The agents are processes of their own, started by the command that operators use.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opml_dispute.actors.actions import Action
from opml_dispute.actors.honest import consider
from opml_dispute.actors.player import play_round
from opml_dispute.chain.game_cache import GameCache
from opml_dispute.chain.keys import KEY_VARIABLE
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.devnet.meddlers import MEDDLERS
from opml_dispute.devnet.soak_plan import SoakOutcome, SoakPlan
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.clock import time_left_s
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import Done, Intent, perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.operator.settle import Settlement, read_settlements, settle_intents, waiting
from opml_dispute.primitives import Address, StateRoot
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.trace.guest import guest_machine
from opml_dispute.trace.split import SplitTrace

Tell = Callable[[str], None]

TRACE_BYTES: Final = 64 << 20
"""What the machines of one trace may keep here: there may be hundreds of traces."""


class _Process:
    """The process of one agent."""

    def __init__(self, config: Path, home: Path, log: Path) -> None:
        self._config, self._home, self._log = config, home, log
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = self.dies_at = 0.0

    def start(self, life_s: float) -> None:
        """Start a process that is to live for `life_s` seconds, if none runs."""
        if self.process is not None and self.process.poll() is None:
            return
        self.started_at = time.monotonic()
        self.dies_at = self.started_at + life_s
        environment = {name: text for name, text in os.environ.items() if name != KEY_VARIABLE}
        command = [sys.executable, "-m", "opml_dispute", "agent", "run", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment | {"OPML_HOME": str(self._home)},
            )

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end(self) -> int:
        """SIGTERM; the exit code, or -9 if it did not end."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9


@dataclass
class _Match:
    """One game, with the liar's seat if a liar opened it."""

    address: Address
    truth: SplitTrace
    liar: Seat | None
    liar_saw: Game | None = None
    """The game in which the liar had nothing to do."""
    judged: Game | None = None
    owed: Sequence[Action] = ()
    """What the agent had to do in the game `judged`."""


class _Soak:
    def __init__(self, system: System, deployment: Path, folder: Path, plan: SoakPlan, tell: Tell) -> None:
        self.system, self.folder, self.plan, self.tell = system, folder, plan, tell
        self.chance = random.Random(plan.seed)
        self.outcome = SoakOutcome()
        self.senders = {role: Sender(system.rpc, devnet.account(role)) for role in devnet.ROLES}
        self.agent_address = devnet.account("challenger").address
        self.matches: list[_Match] = []
        self.games: dict[Address, Game] = {}
        """As they were in the last look."""
        self._cache = GameCache(system.games)
        self._head = system.rpc.head()
        self.agents: list[_Process] = []
        self.deadline = time.monotonic() + plan.patience_s
        self.meddler_turns = plan.meddler_turns
        self._deployment = deployment
        self._progress = 0
        self._progress_at = 0.0
        """When anything was moved, settled or paid last."""
        self._proxy: FaultProxy | None = None
        self._clock_at = self._outage_at = self._reorganise_at = float("inf")

    # ---- the parts ----

    def open_games(self) -> None:
        """Make one request and one game for each liar and each honest proposer."""
        store = ModelStore(self.folder / "models")
        for number in range(self.plan.liars + self.plan.honest):
            sample = (self.plan.seed * 31 + number) % 300
            case = open_case(
                self.system, ask_sample(self.system, self.senders["requester"], sample, store), store=store
            )
            truth = case.trace()
            truth.runs.budget_bytes = TRACE_BYTES
            is_liar = number < self.plan.liars
            faulty = case.liar().find(self.plan.seed + number) if is_liar else None
            root = case.final_root if faulty is None else faulty.root_claim
            sender = self.senders["proposer"]
            address = self._propose(case.request_id, StateRoot(root), case.program.node_count, sender)
            seat = None
            if faulty is not None:
                lie = faulty.trace(guest_machine())
                lie.runs.budget_bytes = TRACE_BYTES
                seat = self._seat(address, lie, sender)
                self._play_ahead(seat, self._seat(address, truth, self.senders["challenger"]))
            self.matches.append(_Match(address, truth, seat))
        self._bury()

    def _seat(self, address: Address, trace: SplitTrace, sender: Sender) -> Seat:
        return Seat(Table(self.system, address, trace), one_by_one(lambda intent: perform(intent, sender)))

    def _play_ahead(self, liar: Seat, agent: Seat) -> None:
        """Until the game has so many claims as the plan says, and the agent owes an answer."""
        while len(play_round(liar, liar.table.trace).game.claims) < self.plan.head_start:
            play_round(agent, agent.table.trace)

    def _bury(self) -> None:
        """What is on the chain now is beyond what a reorganisation takes back."""
        for _ in range(4):
            self.system.rpc.request("evm_mine")

    def _propose(self, request_id: bytes, root: StateRoot, node_count: int, sender: Sender) -> Address:
        done = perform(proposal_intent(self.system, request_id, root, node_count), sender)  # type: ignore[arg-type]
        assert done.receipt is not None
        return self.system.factory.created_game(done.receipt)

    def start_agents(self, url: str) -> None:
        """Start two agents with one key, each with a memory of its own."""
        key = self.folder / "challenger.key"
        key.touch(mode=0o600)
        key.write_text(devnet.key_hex(devnet.ROLES.index("challenger")))
        for name in ("first", "second"):
            config = self.folder / f"{name}.toml"
            config.write_text(
                f'[chain]\nrpc = "{url}"\ndeployment = "{self._deployment}"\n[key]\nfile = "{key.name}"\n'
                f'[agent]\nroles = ["challenger", "resolver", "claimer"]\ninterval = 0.3\nstate = "{name}.sqlite"\n'
                f"second_opinion = false\npreflight = false\n[compute]\nworkers = {self.plan.workers}\n"
            )
            agent = _Process(config, self.folder / "home", self.folder / f"{name}.log")
            agent.start(self._life_s())
            self.agents.append(agent)

    def trouble(self) -> None:
        """
        Kills the agents whose time has come, starts what does not run, and lets node and chain misbehave.

        None of it happens twice before something has gone on: on a busy computer a process may need longer to start
        than it lives, and a soak would only measure that.
        """
        now = time.monotonic()
        for agent in self.agents:
            if now > agent.dies_at and self._progress_at > agent.started_at:
                agent.kill()
                self.outcome.kills += 1
            agent.start(self._life_s())
        proxy = self._proxy
        if proxy is not None and now > self._outage_at and (proxy.is_down or self._progress_at > self._outage_at):
            proxy.is_down = not proxy.is_down
            self.outcome.outages += proxy.is_down
            self._outage_at = now + (self.chance.uniform(2, 5) if proxy.is_down else self.plan.outage_every_s)

    def _look(self) -> None:
        """Reads what has changed in the games."""
        for left in range(20, -1, -1):
            head = self.system.rpc.head()
            found = self._cache.refresh([match.address for match in self.matches], head)
            failed = [game for game in found.values() if isinstance(game, OpmlError)]
            if not failed:
                self.games = {address: game for address, game in found.items() if not isinstance(game, OpmlError)}
                self._head = head
                break
            if not left:
                raise failed[0]
            time.sleep(0.1)  # the chain was reorganised while it was read
        self._note_progress(0)

    def _note_progress(self, payments: int) -> None:
        """What a reorganisation took back, and was done again, is no progress."""
        claims = [claim for game in self.games.values() for claim in game.claims]
        over = sum(not game.in_progress for game in self.games.values())
        progress = len(claims) + sum(claim.is_resolved for claim in claims) + over + payments
        if progress > self._progress:
            self._progress, self._progress_at = progress, time.monotonic()

    def _settlements(self) -> list[Settlement]:
        """What the games owe to the agent, as of the last look."""
        games = [self.games[match.address] for match in self.matches]
        found = read_settlements(self.system, games, [self.agent_address], at=self._head)
        for settlement in found:
            if isinstance(settlement, OpmlError):
                raise settlement
        return [settlement for settlement in found if isinstance(settlement, Settlement)]

    def _life_s(self) -> float:
        return self.chance.uniform(0.5, 1.5) * self.plan.life_s or float("inf")

    def _let_time_pass(self) -> None:
        """The chain's clock goes on, and now and then its last blocks are lost."""
        now = time.monotonic()
        if now - self._clock_at >= 1:
            ahead_s = int((self.plan.speed - 1) * (now - self._clock_at))
            self._clock_at = now
            devnet.warp(self.system.rpc, ahead_s)
        if self._progress_at > self._reorganise_at:
            self._reorganise_at = now + self.plan.reorganise_every_s
            self.system.rpc.request("anvil_reorg", self.chance.randint(1, 3), [])
            self.outcome.reorganisations += 1

    def play(self) -> None:
        """Play until no move is due."""
        self._clock_at = now = time.monotonic()
        if self.plan.outage_every_s:
            self._outage_at = now + self.plan.outage_every_s
        if self.plan.reorganise_every_s:
            self._reorganise_at = now + self.plan.reorganise_every_s
        empty_until = 0.0
        full_wei = self.system.rpc.balance_wei(self.agent_address)
        quiet, claims_before = 0, 0
        while quiet < 5 and not self._is_over("play"):
            self._look()
            self.trouble()
            moved = self._move_liars()
            owed = sum(self._owed(match) for match in self.matches)
            quiet = 0 if moved or owed else quiet + 1
            claims = sum(len(game.claims) for game in self.games.values())
            claims_before = claims_before or claims
            if not self.outcome.empty_purses and claims > claims_before + 3 * self.plan.liars:
                self.outcome.empty_purses, empty_until = 1, time.monotonic() + self.plan.empty_purse_s
                self._set_balance(0)
                self.tell("the agent's account is empty")
            if empty_until and time.monotonic() > empty_until:
                empty_until = 0.0
                self._set_balance(full_wei)
                self.tell("the purse is full again")
            self._let_time_pass()
            time.sleep(0.2)
        if empty_until:
            self._set_balance(full_wei)
        self.tell(f"no move is due; {self.outcome.kills} kills so far")

    def _set_balance(self, wei: int) -> None:
        self.system.rpc.request("anvil_setBalance", self.agent_address, hex(wei))

    def _move_liars(self) -> bool:
        moved = False
        for match in self.matches:
            if match.liar is not None and match.liar_saw != self.games[match.address]:
                round_ = play_round(match.liar, match.liar.table.trace)
                match.liar_saw = round_.game if round_.is_idle else None
                moved = bool(round_.done or round_.failed) or moved
        if self.meddler_turns and self.plan.meddlers:
            self.meddler_turns -= 1
            match, name = self.chance.choice(self.matches), self.chance.choice(self.plan.meddlers)
            table = Table(self.system, match.address, match.truth)
            moved = bool(MEDDLERS[name](table, self._act_as_meddler, self.chance)) or moved
        return moved

    def _act_as_meddler(self, intent: Intent) -> Done:
        return perform(intent, self.senders["deployer"])

    def _owed(self, match: _Match) -> int:
        """The moves that the agent has to make in a game; the time left for them, and missed moves, are noted."""
        game = self.games[match.address]
        if match.liar is None and all(claim.claimant != self.agent_address for claim in game.claims):
            return 0
        if match.owed or match.judged != game:
            plan = consider(game, match.truth, self._head.timestamp)
            match.judged, match.owed = game, plan.actions
            if plan.missed:
                self._broken(f"{match.address}: {plan.missed[0]}")
        for action in match.owed:
            index = getattr(action, "parent_index", getattr(action, "claim_index", 0))
            self.outcome.least_left_s = min(self.outcome.least_left_s, time_left_s(game, index, self._head.timestamp))
        return len(match.owed)

    def settle(self) -> None:
        """The clocks run out; until every bond of the agent is paid out."""
        self._bury()
        while not self._is_over("settle"):
            self._look()
            self.trouble()
            settlements = self._settlements()
            credits_ = [credit for settlement in settlements for credit in settlement.credits]
            self._note_progress(
                sum(credit.is_unlocked + (credit.is_unlocked and not credit.owed_wei) for credit in credits_)
            )
            due = [settle_intents(settlement) for settlement in settlements]
            waits = [left for settlement in settlements if (left := waiting(settlement)) is not None]
            if not any(due) and not waits:
                return
            if not any(due):
                longest = max(left.seconds for left in waits)
                self.tell(f"{longest:,} s pass")
                devnet.warp(self.system.rpc, longest)
            self._let_time_pass()
            time.sleep(0.3)

    # ---- what must hold ----

    def judge(self) -> None:
        """Check the rules for each game."""
        self._look()
        for match, settlement in zip(self.matches, self._settlements(), strict=True):
            game = self.games[match.address]
            own = [claim for claim in game.claims if claim.claimant == self.agent_address]
            wanted = GameStatus.DEFENDER_WINS if match.liar is None else GameStatus.CHALLENGER_WINS
            self.outcome.games += 1
            self.outcome.claims += len(game.claims)
            self.outcome.moves += len(own)
            if any(credit.owed_wei or credit.withdrawal.amount_wei for credit in settlement.credits):
                self._broken(f"{match.address}: a bond of the agent was not fetched")
            if game.status != wanted:
                self._broken(f"{match.address}: the truth did not win ({game.status.name})")
            if any(claim.countered_by is not None for claim in own):
                self._broken(f"{match.address}: a claim of the agent fell")
            if match.liar is not None and not own:
                self._broken(f"{match.address}: the agent never came")
            if match.liar is None and own:
                self._broken(f"{match.address}: the agent attacked a right root claim")
            places = [(claim.parent_index, claim.position) for claim in own]
            if len(places) != len(set(places)):
                self._broken(f"{match.address}: the agent answered one claim twice")

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
    run = _Soak(system, deployment, folder, plan, tell)
    run.open_games()
    with FaultProxy(system.rpc.url, plan.faults, every=plan.every, every_rare=plan.every_rare, hang_s=5.0) as proxy:
        run._proxy = proxy
        run.start_agents(proxy.url)
        try:
            run.play()
            run.settle()
            codes = [agent.end() for agent in run.agents]
            if -signal.SIGKILL in codes:
                run._broken("an agent did not end within 30 s of SIGTERM")
        finally:
            for agent in run.agents:
                agent.kill()
        run.outcome.struck = proxy.struck
    run.judge()
    run.outcome.seconds = time.monotonic() - started
    return run.outcome
