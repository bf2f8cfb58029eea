"""
Commands at a node that lies: documented exit codes, an end within minutes, no stake on a false belief.

`Commands` runs the command lines of a scene, in this process, first at an honest node, then as often as one likes
with a lie. The chain and the user's folder are put back each time.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from opml_dispute.cli import COMMANDS, EXIT_BUG, EXIT_INTERRUPTED, cli, execute
from opml_dispute.devnet import anvil as devnet
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.testing.node_lies import Lie, Teller
from tests.lies.hurried import HurriedTime
from tests.lies.oracle import DOCUMENTED_CODES, LONGEST_S, Sent, sent_by, wrong_with, wrong_words
from tests.lies.scenes import Scene

REAL_S: Final = 120
"""Seconds that a command may compute."""
MOST_BYTES: Final = 1 << 30
"""By which a command's memory may grow."""
URL_SECRET: Final = "4f1c0de9b7a84d1fa8d1e7c2b5a90321"
SLOWLY: Final = ", slowly"
"""Ends the names of commands whose chain has a block only when the last one is so old:"""
SLOW_BLOCK_S: Final = 12.0
WATCHED_S: Final = 400.0
"""How long a watcher is let watch."""


class Endless(BaseException):
    """A command took too long."""


@dataclass
class Ran:
    """What one command did."""

    code: int
    text: str
    sent: list[Sent]
    teller: Teller
    passed_s: float
    grew_bytes: int
    known: set[str]
    """Whom it may have sent to."""
    counts: dict[str, int]
    """How many transactions each sender had sent in the end."""


def command_lines(scene: Scene) -> dict[str, list[str]]:
    """The commands that have something to do in a scene, by name."""
    games, system = scene.games, scene.chain.system()
    request = (
        "0x" + system.rpc.read(system.oracle.request_id_at(system.rpc.read(system.oracle.request_count()) - 1)).hex()
    )
    game = games[0] if games else ""
    right = "0x" + system.games.read(games[1]).request_id.hex() if len(games) > 1 else ""
    always = {
        "show": ["show", game],
        "list": ["list"],
        "monitor": ["monitor", "--once", "--json"],
        "resolve": ["resolve", game, "--key-file", "challenger"],
    }
    if scene.name == "published":
        return {
            "monitor": always["monitor"],
            "refute": ["input", "refute", request, "--blobs", scene.chain.anvil.url, "--key-file", "challenger"],
        }
    if scene.name in ("opened", "demanding"):
        return always | {
            "list requests": ["list", "--requests"],
            "challenge": ["challenge", game, "--key-file", "challenger"],
            "challenge a right answer": ["challenge", games[1], "--key-file", "challenger"],
            "propose what stands": ["propose", right, "--key-file", "challenger"],
            "preflight of a game": ["preflight", game, "--key-file", "challenger"],
            "preflight of a request": ["preflight", request],
            "propose": ["propose", request, "--key-file", "proposer", "--no-commit"],
            "propose, committed": ["propose", request, "--key-file", "proposer"],
            "request": ["request", "--sample", "1", "--key-file", "requester"],
            "request by the reader": [
                "request",
                "--sample",
                "1",
                "--reader",
                "--fee",
                "0.01eth",
                "--key-file",
                "requester",
            ],
            "finalize": ["finalize", request, "--key-file", "proposer"],
            "models": ["model", "list"],
            "doctor": ["doctor"],
            "deposit": ["deposit", "--key-file", "proposer"],
            "take the deposit back": ["deposit", "--withdraw", "--key-file", "proposer"],
        }
    if scene.name in ("begun", "deep", "several"):
        return always | {
            "respond": ["respond", game, "--key-file", "challenger"],
            "respond, watching": ["respond", game, "--watch", "--key-file", "challenger"],
            "respond without sending": ["respond", game, "--dry-run", "--key-file", "challenger"],
            "state": ["vm", "state", "--game", game],
        }
    return always | {"finalize": ["finalize", request, "--key-file", "proposer"]}


def with_slow_ones(lines: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same, and those that send once more, on a chain that lets transactions wait."""
    return lines | {
        name + SLOWLY: line for name, line in lines.items() if "--key-file" in line and "--watch" not in line
    }


class Commands:
    """Of one scene."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self.folder = scene, folder
        self.keys = {}
        for role in devnet.ROLES:
            path = folder / f"{role}.key"
            path.write_text(devnet.key_hex(devnet.ROLES.index(role)))
            path.chmod(0o600)
            self.keys[role] = str(path)
        self.lines = with_slow_ones(command_lines(scene))
        for name in COMMANDS:  # all that pauses is loaded before time is hurried
            cli.get_command(click.Context(cli), name)
        self.home = folder / "home-before"
        self.home.mkdir(exist_ok=True)
        os.environ.update(OPML_DEPLOYMENT=str(scene.chain.deployment_file), COLUMNS="400", NO_COLOR="1")
        self._honest: dict[str, Ran] = {}

    def honest(self, name: str) -> Ran:
        """What a command does at an honest node; what it computes once is kept."""
        if name not in self._honest:
            self._run(name, Teller(), keep=True)
            ran = self._honest[name] = self._run(name, Teller())
            assert ran.code != EXIT_BUG, (name, ran.text)
        return self._honest[name]

    @contextmanager
    def _put_back(self, *, keep: bool) -> Iterator[Path]:
        rpc, home = self.scene.chain.rpc, self.folder / "home"
        snapshot = rpc.request("evm_snapshot")
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.home, home, symlinks=True)
        before = os.environ.get("OPML_HOME")
        os.environ["OPML_HOME"] = str(home)
        try:
            yield home
        finally:
            if before is None:
                del os.environ["OPML_HOME"]
            else:
                os.environ["OPML_HOME"] = before
            if keep:
                shutil.rmtree(home / "sending", ignore_errors=True)
                shutil.rmtree(self.home)
                shutil.copytree(home, self.home, symlinks=True)
            rpc.request("evm_setAutomine", True)
            rpc.request("evm_revert", snapshot)

    def _run(self, name: str, teller: Teller, *, keep: bool = False, lasts_s: float | None = None) -> Ran:
        line = self.lines[name]
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        watches = "--watch" in line
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        block_s = SLOW_BLOCK_S if name.endswith(SLOWLY) else None
        mined_until_s = 0.0

        def slept(passed_s: float) -> None:
            nonlocal mined_until_s
            if block_s is not None and passed_s > mined_until_s + block_s:
                mined_until_s = passed_s
                self.scene.chain.rpc.request("evm_mine")
            if lasts_s is not None and passed_s > lasts_s:
                teller.lie = None
            if watches and passed_s > WATCHED_S + (lasts_s or 0):
                raise KeyboardInterrupt
            if passed_s > LONGEST_S:
                raise Endless(f"{passed_s:.0f} s")

        arguments = [self.keys.get(part, part) if "--key-file" in line else part for part in line]
        with (
            self._put_back(keep=keep),
            FaultProxy(self.scene.chain.anvil.url, edit=teller) as proxy,
            HurriedTime(slept) as time,
            _deadline(REAL_S),
            redirect_stdout(out),
            redirect_stderr(out),
        ):
            self.scene.chain.rpc.request("evm_setAutomine", block_s is None)
            os.environ["OPML_RPC_URL"] = f"{proxy.url}/v3/{URL_SECRET}"
            code = execute(arguments)
            crash = self.folder / "home" / "crash.log"
            known, sent = self.scene.known(), sent_by(teller.sent)
            counts = self.scene.counts(sent)
            text = out.buffer.getvalue().decode(errors="surrogateescape")
            if crash.exists():
                text += f"\n[{' | '.join(crash.read_text().strip().splitlines()[-7:])}]"
        grew = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        return Ran(code, text, sent, teller, time.passed_s, grew, known, counts)

    def lies(self, name: str) -> list[Lie]:
        """Every lie about what a command is answered."""
        return self.honest(name).teller.lies()

    def wrong(self, name: str, lie: Lie, *, left: int | None) -> list[str]:
        """What is wrong with what a command did to which a lie was told, so often."""
        honest, teller = self.honest(name), Teller(lie, left)
        teller.others = honest.teller.others
        watches = "--watch" in self.lines[name]
        try:
            ran = self._run(name, teller, lasts_s=60.0 if watches else None)
        except Endless as error:
            return [f"took {error}"]
        found = []
        if ran.code not in DOCUMENTED_CODES | ({EXIT_INTERRUPTED} if watches else set()):
            found.append(f"exit code {ran.code}: {ran.text[-900:]}")
        if watches and {one.order for one in honest.sent} - {one.order for one in ran.sent}:
            found.append(f"did not do what it should once the lie had passed: {ran.text[-600:]}")
        if ran.grew_bytes > MOST_BYTES:
            found.append(f"took {ran.grew_bytes >> 20} MiB more")
        found += wrong_with(
            ran.sent,
            honest=honest.sent,
            chain_id=self.scene.chain.deployment.chain_id,
            known=ran.known,
            counts=ran.counts,
        )
        secrets = [URL_SECRET, *(devnet.key_hex(number)[2:] for number in range(len(devnet.ROLES)))]
        return found + wrong_words(ran.text, secrets)


@contextmanager
def _deadline(seconds: int) -> Iterator[None]:
    """`Endless` in the main thread after so many real seconds."""

    def ring(*_: object) -> None:
        raise Endless(f"{seconds} s of computing")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
