"""The agents of a soak test: processes of their own, started by the command that operators use, with one key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from opml_dispute.chain.keys import KEY_VARIABLE

PROPOSES_FROM = "0.001 ether"
"""The least fee of a request that the agents answer."""


class AgentProcess:
    """The process of one agent, again and again."""

    def __init__(self, config: Path, home: Path, log: Path) -> None:
        self._config, self._home, self._log = config, home, log
        self._process: subprocess.Popen[bytes] | None = None
        self.dies_at = float("inf")
        """By `time.monotonic`."""

    def start(self, life_s: float) -> bool:
        """Start a process that is to live for `life_s` seconds; False if one runs."""
        if self._process is not None and self._process.poll() is None:
            return False
        self.dies_at = time.monotonic() + life_s
        environment = {name: text for name, text in os.environ.items() if name != KEY_VARIABLE}
        command = [sys.executable, "-m", "opml_dispute", "agent", "run", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment | {"OPML_HOME": str(self._home)},
            )
        return True

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> int:
        """SIGTERM; the exit code, or -9 if it did not end."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


def two_agents(folder: Path, *, url: str, deployment: Path, key: str, workers: int) -> list[AgentProcess]:
    """Two agents with one key and all roles, each with a memory of its own; neither is started."""
    path = folder / "challenger.key"
    path.touch(mode=0o600)
    path.write_text(key)
    agents = []
    for name in ("first", "second"):
        config = folder / f"{name}.toml"
        config.write_text(
            f'[chain]\nrpc = "{url}"\ndeployment = "{deployment}"\n[key]\nfile = "{path.name}"\n'
            '[agent]\nroles = ["proposer", "challenger", "resolver", "claimer", "finalizer"]\n'
            f'interval = 0.3\nstate = "{name}.sqlite"\nsecond_opinion = false\npreflight = false\n'
            f'[policy]\nmin_fee = "{PROPOSES_FROM}"\nanswer_unavailable = true\n[compute]\nworkers = {workers}\n'
        )
        agents.append(AgentProcess(config, folder / "home", folder / f"{name}.log"))
    return agents
