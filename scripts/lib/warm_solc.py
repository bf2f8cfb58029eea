"""
The Solidity compiler, kept running: where it is a Node.js program, starting it takes as long as compiling.

`WarmSolc.path` is an executable that Forge takes for solc: it hands its input to the process that runs. A native
compiler starts at once and is used as it is.

Before it runs tests that are chosen by name, Forge asks for the interfaces of all sources, which takes longer than one
contract does. A few such answers are kept, each for the same question: what is spoilt asks another one in between.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from opml_dispute.toolchain import programs

_MOST_COMPILATIONS: Final = 60
"""Then a new process: the old one's memory only grows."""

_SERVER: Final = """
const solc = require(process.argv[1]);
let left = Number(process.argv[3]);
const known = new Map();
const compile = (input) => {
  const kept = known.get(input);
  if (kept !== undefined) return kept;
  const output = solc.compile(input);
  --left;
  if (!input.includes('"evm.bytecode')) {
    if (known.size === 4) known.delete([...known.keys()][1]);  // the first question was about the project as it is
    known.set(input, output);
  }
  return output;
};
const server = require('net').createServer({ allowHalfOpen: true }, (connection) => {
  const parts = [];
  connection.on('data', (part) => parts.push(part));
  connection.on('error', () => {});
  connection.on('end', () => {
    connection.end(compile(Buffer.concat(parts).toString('utf8')));
    if (left <= 0) server.close();
  });
});
server.listen(process.argv[2]);
"""
_CLIENT: Final = """#!{python} -ISs
import os, socket, sys
if sys.argv[1:] == ["--version"]:
    print({version!r}, end="")
    sys.exit()
if "--standard-json" not in sys.argv:
    os.execv({solc!r}, [{solc!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as connection:
    try:
        connection.connect({address!r})
    except OSError:
        os.execv({solc!r}, [{solc!r}, *sys.argv[1:]])
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    while part := connection.recv(1 << 20):
        sys.stdout.buffer.write(part)
"""


class WarmSolc:
    """One process, for one compilation at a time."""

    def __init__(self, folder: Path) -> None:
        """`folder` gets the executable; its path is short enough for a socket's."""
        self._solc, self._address = programs.solc(), folder / "solc.socket"
        self._module = self._solc.parent / "node_modules" / "solc"
        self._process: subprocess.Popen[bytes] | None = None
        self.path = self._solc
        if self._module.is_dir():
            self.path = folder / "solc"
            # Forge asks for it before each run, and the compiler takes a second to tell.
            asked = subprocess.run([str(self._solc), "--version"], capture_output=True, text=True, check=True)
            client = _CLIENT.format(
                python=sys.executable, solc=str(self._solc), address=str(self._address), version=asked.stdout
            )
            self.path.write_text(client)
            self.path.chmod(0o755)

    def keep_running(self) -> None:
        """Starts the process if it is not there, or has ended."""
        if self.path == self._solc or (self._process is not None and self._process.poll() is None):
            return
        self._address.unlink(missing_ok=True)
        arguments = [str(self._module), str(self._address), str(_MOST_COMPILATIONS)]
        self._process = subprocess.Popen([str(programs.node().node), "-e", _SERVER, *arguments])
        deadline = time.monotonic() + 60
        while not self._address.exists() and time.monotonic() < deadline and self._process.poll() is None:
            time.sleep(0.05)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
