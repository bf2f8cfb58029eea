"""
qemu-mips64, the other machine that runs our test programs: for their output, and for their whole final state.

`run` starts a program and waits for it. `final_state` stops it at an address, by qemu's debugger interface (GDB's
remote protocol), and reads every register and the memory asked for. Where qemu is not installed, `find` answers None.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WHY_SKIPPED: Final = (
    "qemu-mips64 is not installed (Debian: apt-get install qemu-user); the host's digests were compared"
)

PACKET_BYTES: Final = 1024
"""Memory is read in pieces of this size: qemu's packets hold 4096 characters."""

GENERAL, LO, HI, PC, FLOAT, FCSR = 0, 33, 34, 37, 38, 70
"""Where registers stand in GDB's list for MIPS."""


@dataclass(frozen=True, slots=True)
class CpuState:
    """The registers of a processor at rest, and parts of its memory."""

    registers: tuple[int, ...]
    """R[0] .. R[31]."""
    pc: int
    hi: int
    lo: int
    fprs: tuple[int, ...]
    """The low 32 bits of F[0] .. F[31]."""
    conditions: int
    """FCSR's condition codes, in place; its other bits are not looked at."""
    memory: tuple[bytes, ...]
    """The ranges asked for, in order."""


def find() -> str | None:
    """The emulator's path, if it is installed."""
    return shutil.which("qemu-mips64") or shutil.which("qemu-mips64-static")


def run(emulator: str, elf: Path) -> tuple[bytes, int]:
    """Output and exit code of a program."""
    done = subprocess.run([emulator, str(elf)], capture_output=True, timeout=120)
    return done.stdout, done.returncode


def final_state(emulator: str, elf: Path, stop_at: int, ranges: Sequence[tuple[int, int]]) -> CpuState:
    """The state of a program when it comes to the address `stop_at`, with the memory in `ranges`: (address, size)."""
    path = elf.with_suffix(".gdb")
    path.unlink(missing_ok=True)
    process = subprocess.Popen(
        [emulator, "-g", str(path), str(elf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with _connect(path, process) as connection:
            debugger = _Debugger(connection)
            debugger.run_to(stop_at)
            return debugger.state(ranges)
    finally:
        process.kill()
        process.wait()
        path.unlink(missing_ok=True)


def _connect(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    deadline = time.monotonic() + 20
    while True:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            if process.poll() is not None or time.monotonic() > deadline:
                connection.close()
                raise
            time.sleep(0.01)
        else:
            return connection


class _Debugger:
    """The few commands of GDB's remote protocol that are needed here."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._pending = connection, b""

    def run_to(self, address: int) -> None:
        """Go on until the program counter is `address`."""
        assert self._ask(f"Z0,{address:x},4") == b"OK", "qemu sets a breakpoint"
        answer = self._ask("c")
        assert answer.startswith(b"T05"), f"the program stops at the breakpoint, not with {answer!r}"

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of memory."""
        pieces = []
        for at in range(address, address + size, PACKET_BYTES):
            answer = self._ask(f"m{at:x},{min(PACKET_BYTES, address + size - at):x}")
            pieces.append(bytes.fromhex(answer.decode()))
        return b"".join(pieces)

    def state(self, ranges: Sequence[tuple[int, int]]) -> CpuState:
        """All registers, and some memory."""
        raw = bytes.fromhex(self._ask("g").decode())
        values = [int.from_bytes(raw[at : at + 8], "big") for at in range(0, len(raw), 8)]
        return CpuState(
            registers=tuple(values[GENERAL : GENERAL + 32]),
            pc=values[PC],
            hi=values[HI],
            lo=values[LO],
            fprs=tuple(value & 0xFFFFFFFF for value in values[FLOAT : FLOAT + 32]),
            conditions=values[FCSR] & 0xFE800000,
            memory=tuple(self.read(address, size) for address, size in ranges),
        )

    def _ask(self, command: str) -> bytes:
        self._connection.sendall(f"${command}#{sum(command.encode()) % 256:02x}".encode())
        while True:
            start, end = self._pending.find(b"$"), self._pending.find(b"#")
            if start != -1 and len(self._pending) >= end + 3 > 2:
                answer, self._pending = self._pending[start + 1 : end], self._pending[end + 3 :]
                self._connection.sendall(b"+")
                return answer
            received = self._connection.recv(65536)
            assert received, "qemu keeps the connection open"
            self._pending += received
