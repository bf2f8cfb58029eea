"""
A machine whose hints go to a pre-image server and whose requests for pre-images are answered while it runs.

`Supplied.advance` runs the machine. `Preimages` is the source of answers: a `server.PreimageServer`, or data at hand.
"""

from __future__ import annotations

from typing import Protocol

from opml_dispute.engine.vm import Machine, Stop, StopKind
from opml_dispute.errors import OpmlError


class Preimages(Protocol):
    """A source of pre-images: a `server.PreimageServer`, or data at hand."""

    def hint(self, hint: bytes) -> None:
        """Receive a hint about later requests."""
        ...

    def fetch(self, key: bytes) -> bytes:
        """The pre-image of a 32-byte key; raises an `OpmlError` if there is none."""
        ...


class NoServer(OpmlError):
    """The program asks for a pre-image, and there is no server to answer."""

    hint = "give the pre-image server's command after --"


class BeyondTheEnd(OpmlError):
    """The program reads behind the end of a pre-image: there is no next state. Cannon ends with exit code 2 here."""

    exit_code = 2
    hint = "this is the program's error, or the server gave it fewer bytes than it counts on"


class Supplied:
    """A machine together with its source of pre-images."""

    def __init__(self, machine: Machine, server: Preimages | None) -> None:
        """Let the machine keep hints from now on; a hint of which a part was written before is completed."""
        self.machine = machine
        self.key, self.preimage = b"", b""
        """The key and the data of the pre-image last supplied."""
        self._server = server
        machine.collect_hints(machine.unfinished_hint)

    def advance(self, max_steps: int) -> Stop:
        """
        Run the machine as `Machine.run` does, and pass every hint on.

        A stop of the kind `UNKNOWN_PREIMAGE` says that the pre-image was supplied just now: run again to go on. Raises
        `NoServer`, `BeyondTheEnd`, and what the server raises.
        """
        stop = self.machine.run(max_steps)
        for hint in self.machine.take_hints():
            if self._server is not None:
                self._server.hint(hint)
        if stop.kind == StopKind.UNKNOWN_PREIMAGE:
            self.supply()
        return stop

    def supply(self) -> None:
        """
        Give the machine the pre-image that it reads now.

        Raises `NoServer`, `BeyondTheEnd`, and what the server raises.
        """
        now = self.machine.scalars
        if self._server is None:
            raise NoServer(f"the program asks for the pre-image of 0x{now.preimage_key.hex()} at step {now.step:,}")
        if self.key != now.preimage_key:
            self.key, self.preimage = now.preimage_key, self._server.fetch(now.preimage_key)
        if now.preimage_offset >= len(self.preimage) + 8:
            raise BeyondTheEnd(
                f"the program reads the pre-image of 0x{self.key.hex()} from byte {now.preimage_offset:,} "
                f"at step {now.step:,}; with its length it has {len(self.preimage) + 8:,} bytes"
            )
        self.machine.add_preimage(self.key, self.preimage)
