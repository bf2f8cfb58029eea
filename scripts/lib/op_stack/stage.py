"""
A local chain on which op-challenger plays: a request, a wrong and a right answer, a liar in each game.

`OpStage.open` deploys and makes the games, `start` starts the OP Stack's programs and the liars, `play` waits until
both games are over, `problems` says what was not as it should be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lib.op_stack.wiretap import Wiretap

from opml_dispute.actors.player import play_round
from opml_dispute.chain.deployment import Deployment
from opml_dispute.chain.rpc import Ask
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System, connect
from opml_dispute.devnet import anvil as devnet
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.operator.case import open_case
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.operator.settle import read_settlement
from opml_dispute.primitives import Address, RequestId
from opml_dispute.trace.guest import guest_machine

SAMPLE: Final = 7
LIES: Final = {"wrong answer": 2, "right answer": 3}
"""The games, by what was proposed in them, and the seed of the fault by which the liar in each of them plays."""

EXPECTED: Final = {
    ("op-challenger", "Failed to read last step from disk cache"): "it looks for the file before it first makes it",
    ("op-challenger", "Requested proof was after the program exited"): "it asks for the last state of a run like this",
    ("op-dispute-mon", "Found unclaimed credit"): "op-challenger takes its bonds some seconds after it may",
    ("op-dispute-mon", "Forecasting unexpected game result"): "a lie stands until it is answered",
    (
        "op-dispute-mon",
        "Claim unresolved after clock expiration",
    ): "op-challenger settles claim after claim, a block each",
}
"""Warnings that these programs write in a game as it should be."""

OF_BONDS: Final = ("Insufficient collateral", "Credit above expected amount", "Credit withdrawn early")
"""What the monitor says of bonds; it compares several answers about one block."""

_SETTLED_S: Final = 180
"""After the clocks of a game have run out, its claims are settled and its bonds paid within this time."""


@dataclass
class OpStage:
    """The chain, the games, and all that runs."""

    folder: Path
    anvil: devnet.Anvil
    system: System
    deployment: Path
    clock_s: int
    request_id: str
    games: dict[str, Address]
    taps: dict[str, Wiretap]
    environment: dict[str, str]
    running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)
    opml_cannon: str = str(Path(sys.executable).with_name("opml-cannon"))
    opml_dispute: str = str(Path(sys.executable).with_name("opml-dispute"))

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, bonds: str, clock_s: int) -> Iterator[OpStage]:
        """A fresh chain with the request, its two games, and the rollup server of docs/op-stack.md."""
        with ExitStack() as ending:
            anvil = devnet.Anvil.spawn()
            ending.callback(anvil.stop)
            deployment = folder / "deployment.json"
            environment = dict(
                os.environ, OPML_HOME=str(folder / "home"), OPML_RPC_URL=anvil.url, OPML_DEPLOYMENT=str(deployment)
            )
            for role in devnet.ROLES:
                (folder / f"{role}.key").write_text(devnet.key_hex(devnet.ROLES.index(role)))
            call = _Caller(folder, environment)
            delays = ("--finality-delay", "20s", "--withdrawal-delay", "20s", "--challenge-period", "20s")
            times = ("--max-clock", f"{clock_s}s", "--clock-extension", "20s", *delays)
            call("deploy", "--examples", "--bonds", bonds, *times, "--key-file", "deployer.key")
            devnet.warp(anvil.rpc, 2)
            asked = call("request", "--sample", str(SAMPLE), "--key-file", "requester.key")
            request_id = str(asked["request_id"])
            environment["OPML_REQUEST"] = request_id
            stage = cls(
                folder=folder,
                anvil=anvil,
                system=connect(anvil.rpc, Deployment.load(deployment)),
                deployment=deployment,
                clock_s=clock_s,
                request_id=request_id,
                games={},
                taps={},
                environment=environment,
            )
            ending.callback(stage._end)
            lie = ("--fault", f"seed={LIES['wrong answer']}")
            stage.games["wrong answer"] = call("propose", request_id, *lie, "--key-file", "proposer.key")["game"]
            stage.games["right answer"] = call("propose", request_id, "--key-file", "deployer.key")["game"]
            # op-challenger waits for blocks, and takes the time from this computer.
            anvil.rpc.request("evm_setIntervalMining", 1)
            rollup = stage._serve_rollup()
            stage.taps["l1"] = ending.enter_context(Wiretap(anvil.url))
            stage.taps["rollup"] = ending.enter_context(Wiretap(rollup))
            yield stage

    def start(self, programs: Mapping[str, str]) -> None:
        """op-challenger and op-dispute-mon."""
        load = [self.opml_cannon, "load-elf", "--type", "opml-ml", "--out", "prestate.bin.gz", "--meta", ""]
        subprocess.run(load, cwd=self.folder, env=self.environment, check=True)
        l1, rollup = self.taps["l1"].url, self.taps["rollup"].url
        factory = self.system.deployment.addresses["factory"]
        (self.folder / "datadir").mkdir()
        challenger = [programs["op-challenger"], "--l1-eth-rpc", l1, "--l1-beacon", l1]
        challenger += ["--private-key", devnet.key_hex(devnet.ROLES.index("challenger"))]
        challenger += ["--game-factory-address", factory, "--game-allowlist", ",".join(self.games.values())]
        challenger += ["--game-types", "cannon", "--datadir", "datadir"]
        challenger += ["--rollup-rpc", rollup, "--l2-eth-rpc", rollup]
        challenger += ["--cannon-bin", self.opml_cannon, "--cannon-server", self.opml_dispute]
        challenger += ["--cannon-prestate", "prestate.bin.gz"]
        challenger += ["--cannon-rollup-config", "/dev/null", "--cannon-l2-genesis", "/dev/null"]
        challenger += ["--num-confirmations", "1", "--txmgr.receipt-query-interval", "1s", "--http-poll-interval", "1s"]
        challenger += ["--log.format", "json"]
        self._spawn("op-challenger", challenger)
        monitor = [programs["op-dispute-mon"], "--l1-eth-rpc", l1, "--game-factory-address", factory]
        monitor += ["--rollup-rpc", rollup, "--monitor-interval", "5s", "--log.format", "json"]
        monitor += ["--honest-actors", self.account("challenger")]
        self._spawn("op-dispute-mon", monitor)

    def account(self, role: str) -> Address:
        """One of the local chain's accounts."""
        return devnet.account(role).address

    def game(self, name: str) -> Game:
        """The game as it stands."""
        return self.system.games.read(self.games[name])

    def play(self) -> None:
        """Plays the liars until both games are over and op-challenger has its bonds, or until that takes too long."""
        deadline = time.monotonic() + 3 * self.clock_s + _SETTLED_S
        shown, liars = "", self._liars()
        while time.monotonic() < deadline:
            games = {name: self.game(name) for name in self.games}
            for name, game in games.items():
                # Once it is about one instruction the liar leaves the rest, the settling too, to op-challenger.
                if all(claim.position.depth < game.depths.max for claim in game.claims):
                    play_round(liars[name], liars[name].table.trace)
            line = "; ".join(
                f"{name}: {len(game.claims)} claims, {game.status.name.lower().replace('_', ' ')}"
                for name, game in games.items()
            )
            if line != shown:
                print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
                shown = line
            over = all(game.status != GameStatus.IN_PROGRESS for game in games.values())
            if over and not self.owed_wei():
                time.sleep(10)  # the monitor looks once more
                return
            time.sleep(1)

    def owed_wei(self) -> int:
        """What op-challenger has not got yet."""
        payees = [self.account("challenger")]
        settled = [read_settlement(self.system, game, payees) for game in self.games.values()]
        return sum(credit.owed_wei for settlement in settled for credit in settlement.credits)

    def problems(self) -> list[str]:
        """What is not as it should be, one sentence each."""
        found = []
        wanted = {"wrong answer": GameStatus.CHALLENGER_WINS, "right answer": GameStatus.DEFENDER_WINS}
        honest = self.account("challenger")
        for name, status in wanted.items():
            game = self.game(name)
            if game.status != status:
                found.append(f"the game about the {name} ended with {game.status.name}, expected {status.name}")
            lost = [claim.index for claim in game.claims if claim.claimant == honest and claim.countered_by]
            if lost:
                found.append(f"op-challenger lost its claims {lost} in the game about the {name}")
            deepest = [claim for claim in game.claims if claim.position.depth == game.depths.max]
            if not deepest:
                found.append(f"the game about the {name} did not come down to one instruction")
            # The last claim is the defender's: the right one stands without a step.
            if name == "wrong answer" and not any(claim.countered_by == honest for claim in deepest):
                found.append("no step of op-challenger's was accepted")
        if owed := self.owed_wei():
            found.append(f"op-challenger has not been paid {owed} wei")
        slips = self.slips()
        if slips:
            print(f"the local chain answered {slips} calls about a block from the state of a later one")
        for program in ("op-challenger", "op-dispute-mon"):
            found += [
                f"{program} logged: {line}" for line in self.complaints(program, but_for=OF_BONDS if slips else ())
            ]
        return found

    def slips(self) -> int:
        """
        How many calls about a block by its hash were not answered from that block's state, as asking again shows.

        Anvil does so now and then when it mines a block in the same moment.
        """
        heard = [one for one in self.taps["l1"].heard if one.method == "eth_call" and isinstance(one.params[1], dict)]
        answered = [one for one in heard if "result" in one.answer]
        again = self.anvil.rpc.outcomes([Ask(one.method, one.params) for one in answered])
        return sum(now != one.answer["result"] for now, one in zip(again, answered, strict=True))

    def log(self, program: str) -> list[dict[str, Any]]:
        """The lines that one of the OP Stack's programs logged."""
        lines = (self.folder / f"{program}.log").read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def complaints(self, program: str, *, but_for: Sequence[str] = ()) -> list[str]:
        """Its errors and warnings, each once, with how often it came."""
        counts: dict[str, int] = {}
        for line in self.log(program):
            if line["lvl"] not in {"info", "debug", "trace"} and not (
                (program, line["msg"]) in EXPECTED or line["msg"] in but_for
            ):
                text = f"{line['lvl']} {line['msg']}: {line.get('err', '')}"
                counts[text] = counts.get(text, 0) + 1
        return [f"{text} ({count} times)" for text, count in counts.items()]

    def _liars(self) -> dict[str, Seat]:
        """One in each game: the proposer of the wrong answer, and an attacker of the right one."""
        store = ModelStore(self.folder / "home" / "models")
        case = open_case(self.system, RequestId(bytes.fromhex(self.request_id[2:])), store=store)
        sender = Sender(self.anvil.rpc, devnet.account("proposer"))
        act = one_by_one(lambda intent: perform(intent, sender))
        traces = {name: case.liar().find(seed).trace(guest_machine()) for name, seed in LIES.items()}
        return {name: Seat(Table(self.system, self.games[name], trace), act) for name, trace in traces.items()}

    def _serve_rollup(self) -> str:
        log = self.folder / "serve-rollup.log"
        self._spawn("serve-rollup", [self.opml_dispute, "serve-rollup", self.request_id, "--port", "0", "--json"])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in log.read_text().splitlines():
                if line.startswith("{") and "url" in (fact := json.loads(line)):
                    return str(fact["url"])
            time.sleep(0.2)
        raise SystemExit(f"serve-rollup did not start: {log.read_text()}")

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        self.running.append((name, process))

    def _end(self) -> None:
        for _, process in self.running:
            process.terminate()
        for _, process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Caller:
    """Calls opml-dispute in the stage's folder, and answers the last fact that it prints."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment

    def __call__(self, *arguments: str) -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("opml-dispute")), *arguments, "--json"]
        done = subprocess.run(command, cwd=self._folder, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        facts: dict[str, Any] = {}
        for line in done.stdout.splitlines():
            facts |= json.loads(line)
        return facts
