"""
A pre-image server, written from docs/op-stack.md alone; `python preimage_server.py BEHAVIOUR LOG FOLDER`.

FOLDER holds a file for each pre-image, named by its key in hexadecimal. What is not local is given out only after its
hint has come: "h" and the key; each hint is written to LOG. BEHAVIOUR is "honest", "needs no hints", or the name of
something that a server can do wrong. Standard library only. server.go is the same program.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time


def read(descriptor: int, size: int) -> bytes:
    """Exactly so many bytes; ends the process when the other side has closed."""
    data = b""
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def write(descriptor: int, data: bytes) -> None:
    """All of it: a pipe may take less at a time."""
    while data:
        data = data[os.write(descriptor, data) :]


def main(behaviour: str, log: str, folder: str) -> None:
    """Serves until the descriptors close."""
    hinted = set[bytes]()

    def take_hints() -> None:
        while behaviour != "takes no hints":
            hint = read(3, int.from_bytes(read(3, 4), "big"))
            with open(log, "ab") as file:
                file.write(hint.hex().encode() + b"\n")
            hinted.add(hint[1:])
            write(4, b"\0")

    print("a line on standard output", flush=True)
    threading.Thread(target=take_hints, daemon=True).start()
    while True:
        key = read(5, 32)
        if behaviour == "dies" and key[0] == 2:
            os._exit(9)
        if behaviour == "leaves a child" and key[0] == 2:
            if os.fork():
                os._exit(0)  # the child keeps the pipes open
            time.sleep(20.0)
        if behaviour == "stalls" and key[0] == 2:
            time.sleep(60.0)
        if behaviour == "drips" and key[0] == 2:
            write(6, (1 << 20).to_bytes(8, "big"))
            while True:
                write(6, b".")
                time.sleep(0.05)
        if behaviour == "is slow" and key[0] == 2:
            time.sleep(1.0)
        if key[0] != 1 and key not in hinted and behaviour != "needs no hints":
            sys.exit(f"no hint came for {key.hex()}")
        with open(os.path.join(folder, key.hex()), "rb") as file:
            data = file.read()
        if behaviour == "lies" and key[0] == 2:
            data = data[:-1] + bytes([data[-1] ^ 1])
        size = len(data) if not (behaviour == "is endless" and key[0] == 2) else 1 << 40
        if behaviour == "stops half-way" and key[0] == 2:
            write(6, size.to_bytes(8, "big") + data[:5])
            os._exit(0)
        write(6, size.to_bytes(8, "big") + data)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # how a client ends it
    main(*sys.argv[1:])
