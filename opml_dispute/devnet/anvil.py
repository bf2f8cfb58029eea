"""
Starting, finding, warping and stopping a local Anvil.

`start` runs one in the background and leaves `devnet.json` (its process, when that started, its URL) in its folder; any
later process finds it there: with `owned` if the process is still that one, with `running` if it also answers. `Anvil`
is the node itself, for demo and tests too: its accounts come from a fixed, publicly known phrase, so they are the same
everywhere and have no value on other chains. `warp` moves a local chain's clock.

The contracts are deployed by `deploy`.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opml_dispute.chain.keys import KEY_VARIABLE, PASSWORD_VARIABLE, Account
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcUnreachable
from opml_dispute.errors import OpmlError
from opml_dispute.home import CannotWrite, expect_writable, home, write_json
from opml_dispute.reading import Unreadable, read_json
from opml_dispute.toolchain import programs

MNEMONIC = "test test test test test test test test test test test junk"
"""Anvil's own phrase, which is publicly known: its accounts are for local chains only."""

CHAIN_ID = 31337
DEFAULT_PORT = 8545
STATES_KEPT: Final = 128
"""Blocks whose state can be asked for, as at an ordinary node."""

START_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 5.0
"""Seconds without an answer after which a local chain counts as frozen."""

ROLES = ("deployer", "requester", "proposer", "challenger")
"""The first accounts, by their roles in the devnet and the demo."""


_PR_SET_PDEATHSIG = 1

_CHILDREN: list[subprocess.Popen[bytes]] = []
"""References to the child processes: Python warns about a running one without a reference."""


class DevnetProblem(OpmlError):
    """The local chain could not be started, or the node is not a local Anvil."""

    hint = "check Anvil itself: opml-dispute doctor --offline"


class NoDevnet(OpmlError):
    """No local chain of this package is running."""

    hint = "start one: opml-dispute devnet start"


_KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)
"""The phrase's first accounts, written out since deriving them takes a library that is slow to import."""


def key_hex(index: int) -> str:
    """Private key of the phrase's account number `index` (0 to 3), as hex with 0x."""
    return "0x" + _KEYS[index]


def account(role: str) -> Account:
    """The local chain's account for one of `ROLES`."""
    return Account.from_hex(key_hex(ROLES.index(role)), f"account {role}")


@dataclass(frozen=True)
class Anvil:
    """A running Anvil."""

    pid: int
    url: str

    @classmethod
    def spawn(
        cls,
        *,
        port: int = 0,
        log: Path | None = None,
        block_time_s: int | None = None,
        network: str | None = None,
        genesis_s: int | None = None,
        outlives: bool = False,
    ) -> Anvil:
        """
        Start one and wait until it answers; port 0 takes a free one. `network` names rules other than Ethereum's;
        `genesis_s` is the first block's time, by default now.

        Unless it `outlives` this process, it ends together with it, even if this process is killed. Raises
        `DevnetProblem` if it does not come up, `ToolMissing` if there is no Anvil and it cannot be fetched.
        """
        port = port or free_port()
        if _port_answers(port):
            raise DevnetProblem(
                f"port {port} is taken by another program", hint="choose another: --port N, or stop that program"
            )
        command = [str(programs.anvil()), "--port", str(port), "--mnemonic", MNEMONIC, "--silent"]
        command += ["--enable-tx-gas-limit"]  # as on a public chain: 2^24 gas a transaction (EIP-7825)
        # By default Anvil writes the whole state to a file for each block, and a killed one leaves the files behind.
        command += ["--prune-history", str(STATES_KEPT)]
        if block_time_s is not None:
            command += ["--block-time", str(block_time_s)]
        if network is not None:
            command += ["--network", network]
        if genesis_s is not None:
            command += ["--timestamp", str(genesis_s)]
        try:
            output = log.open("wb") if log is not None else subprocess.DEVNULL
        except OSError as error:
            raise CannotWrite(f"cannot write {log}: {error.strerror}") from None
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if outlives else _die_with_parent,
                # It may outlive this process, and does not need the operator's secrets.
                env={name: text for name, text in os.environ.items() if name not in (KEY_VARIABLE, PASSWORD_VARIABLE)},
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise DevnetProblem(f"cannot start {command[0]}: {getattr(error, 'strerror', None) or error}") from None
        _CHILDREN.append(process)
        if not isinstance(output, int):
            output.close()
        anvil = cls(process.pid, f"http://127.0.0.1:{port}")
        try:
            anvil._await_answer(process, log)
        except BaseException:
            anvil.stop()
            raise
        return anvil

    def _await_answer(self, process: subprocess.Popen[bytes], log: Path | None) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                said = log.read_text(errors="replace").strip().splitlines()[-1:] if log is not None else []
                raise DevnetProblem(
                    f"Anvil ended at once with code {process.returncode}" + (f": {said[0]}" if said else "")
                )
            try:
                Rpc(self.url, timeout_s=2.0).chain_id()
            except RpcUnreachable:
                time.sleep(0.02)
            else:
                return
        raise DevnetProblem(f"Anvil did not answer at {self.url} within {START_TIMEOUT_S:.0f} s")

    @property
    def rpc(self) -> Rpc:
        """A connection to the node."""
        return Rpc(self.url)

    def stop(self) -> None:
        """
        End the process and wait until it is gone; does nothing if it is gone already.

        The whole process group is ended: the program anvil may be a launcher with the node as its child.
        """
        for sign, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self.pid, sign)
            except (ProcessLookupError, PermissionError):
                return
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                if not is_alive(self.pid):
                    return
                time.sleep(0.02)


@dataclass(frozen=True)
class Devnet:
    """The background chain that `start` started."""

    anvil: Anvil
    folder: Path

    @property
    def deployment_file(self) -> Path:
        """The path of its deployment file."""
        return self.folder / "deployment.json"

    def key_file(self, role: str) -> Path:
        """The path of the key file of one of `ROLES`."""
        return self.folder / f"{role}.key"


def devnet_folder() -> Path:
    """The folder of the background chain's files."""
    return home() / "devnet"


def start(*, port: int = DEFAULT_PORT, block_time_s: int | None = None) -> Devnet:
    """
    Start the background chain and write its files; deploys nothing.

    Raises `DevnetProblem` if one runs already or none can be started, `CannotWrite` if its files cannot be written;
    nothing is left running then.
    """
    found = owned()
    if found is not None:
        raise DevnetProblem(
            f"a local chain is running already at {found.anvil.url} (process {found.anvil.pid})",
            hint="stop it first: opml-dispute devnet stop",
        )
    folder = devnet_folder()
    note = folder / "devnet.json"
    expect_writable(note)
    try:
        for stale in (note, folder / "deployment.json"):
            stale.unlink(missing_ok=True)
        for index, role in enumerate(ROLES):
            path = folder / f"{role}.key"
            path.touch(mode=0o600)
            path.write_text(key_hex(index) + "\n")
    except OSError as error:
        raise CannotWrite(f"cannot write the files of the local chain in {folder}: {error.strerror}") from None
    anvil = Anvil.spawn(port=port, log=folder / "anvil.log", block_time_s=block_time_s, outlives=True)
    try:
        write_json(note, {"pid": anvil.pid, "started": _started(anvil.pid), "url": anvil.url})
    except BaseException:
        anvil.stop()
        raise
    return Devnet(anvil, folder)


MAX_PID = 2**31 - 1
"""The largest process id; a larger number in a damaged file would be refused by the system."""


def owned() -> Devnet | None:
    """The background chain, if the process that `start` started is still alive, whether or not it answers."""
    folder = devnet_folder()
    try:
        state = read_json(folder / "devnet.json")
        pid, url = state["pid"], state["url"]
        started = state.get("started")
    except (Unreadable, AttributeError, KeyError, TypeError):
        return None
    if not isinstance(pid, int) or not isinstance(url, str) or not 0 < pid <= MAX_PID:
        return None
    if re.fullmatch(r"http://127\.0\.0\.1:[0-9]{1,5}", url) is None:
        return None
    # Process ids are reused: this must be the same process, not another Anvil with its id.
    if not is_alive(pid) or not _is_anvil(pid) or started != _started(pid):
        return None
    return Devnet(Anvil(pid, url), folder)


def running() -> Devnet | None:
    """The background chain, if its process is alive and answers."""
    devnet = owned()
    if devnet is None:
        return None
    try:
        Rpc(devnet.anvil.url, timeout_s=ANSWER_TIMEOUT_S, patience_s=0.0).chain_id()
    except OpmlError:
        return None
    return devnet


def expect_running() -> Devnet:
    """The background chain. Raises `NoDevnet`, or `DevnetProblem` if it does not answer."""
    found = owned()
    if found is None:
        raise NoDevnet("no local chain of ours is running")
    devnet = running()
    if devnet is None:
        raise DevnetProblem(
            f"the local chain at {found.anvil.url} (process {found.anvil.pid}) does not answer",
            hint="stop it: opml-dispute devnet stop",
        )
    return devnet


def stop() -> Devnet:
    """
    Stop the background chain, even one that no longer answers.

    Raises `NoDevnet` if there is none, `DevnetProblem` if the process cannot be stopped; its file is then kept.
    """
    devnet = owned()
    if devnet is None:
        _forget()
        raise NoDevnet(
            "no local chain of ours is running", hint="nothing to stop; start one with: opml-dispute devnet start"
        )
    devnet.anvil.stop()
    if is_alive(devnet.anvil.pid):
        raise DevnetProblem(
            f"process {devnet.anvil.pid} of the local chain does not end", hint=f"end it: kill -9 {devnet.anvil.pid}"
        )
    _forget()
    return devnet


def _forget() -> None:
    try:
        (devnet_folder() / "devnet.json").unlink(missing_ok=True)
    except OSError:
        return  # the process is gone, so the file names none


# ---- the chain's clock ----


def warp(rpc: Rpc, seconds: int) -> int:
    """
    Move a local chain's clock forward, mine a block, and answer the new time.

    Raises `DevnetProblem` on a chain that is no Anvil: a real chain's time cannot be moved.
    """
    expect_anvil(rpc)
    wanted = rpc.head().timestamp + seconds
    rpc.request("evm_increaseTime", seconds)
    rpc.request("evm_mine")
    if rpc.head().timestamp < wanted:  # blocks at a fixed distance: the clock follows them alone
        rpc.request("evm_setNextBlockTimestamp", wanted)
        rpc.request("evm_mine")
    return rpc.head().timestamp


def reorganise(rpc: Rpc, depth: int) -> None:
    """
    Replaces the newest `depth` blocks by as many empty ones, whose time is that of the block before them.

    Their transactions are lost until they are sent again, and a balance that was set meanwhile is what it was.
    """
    rpc.request("anvil_reorg", depth, [])


def expect_anvil(rpc: Rpc) -> None:
    """Raises `DevnetProblem` unless the node is an Anvil."""
    version = str(rpc.request("web3_clientVersion"))
    if not version.lower().startswith("anvil"):
        raise DevnetProblem(
            f"{rpc.url} is {version}, not a local Anvil: its clock cannot be moved",
            hint="only a local Anvil's clock can be moved; on this chain, wait",
        )


# ---- processes and files ----


def _die_with_parent() -> None:
    """Called in the child before it executes Anvil: the kernel is to end it when the parent ends. Does nothing outside
    Linux."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        return


def is_alive(pid: int) -> bool:
    """Whether a process with this id runs; a zombie does not."""
    for child in _CHILDREN:
        if child.pid == pid:
            return child.poll() is None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:4]
    except OSError:
        return True


def _started(pid: int) -> str | None:
    """The start time of a process, in the system's units; None if the system does not report it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return None


def _is_anvil(pid: int) -> bool:
    """Whether the process's name is Anvil's."""
    try:
        return b"anvil" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # there is no /proc here: the RPC's answer must suffice


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _port_answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
