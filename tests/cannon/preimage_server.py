"""
A pre-image server for preimages.c, written from docs/op-stack.md alone; `python preimage_server.py BEHAVIOUR LOG KEY`.

It holds what local pre-images 1 and 2 name only after their hints have come, and writes each hint to LOG. BEHAVIOUR is
"honest", "holds all", or the name of something that a server can do wrong. Standard library only: the caller gives the
Keccak-256 key.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time

KECCAK_DATA = bytes(range(100))
SHA256_DATA = b"sha256 data, of odd length!"


def read(descriptor: int, size: int) -> bytes:
    """Exactly so many bytes; ends the process when the other side has closed."""
    data = b""
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def main(behaviour: str, log: str, keccak_key: bytes) -> None:
    """Serves until the descriptors close."""
    sha256_key = b"\x04" + hashlib.sha256(SHA256_DATA).digest()[1:]
    held = {b"\x01" + bytes(30) + b"\x01": keccak_key, b"\x01" + bytes(30) + b"\x02": sha256_key}
    if behaviour == "holds all":
        held |= {keccak_key: KECCAK_DATA, sha256_key: SHA256_DATA}

    def take_hints() -> None:
        while True:
            hint = read(3, int.from_bytes(read(3, 4), "big"))
            with open(log, "ab") as file:
                file.write(hint + b"\n")
            if hint[:1] == b"k" and hint[1:] == keccak_key:
                held[keccak_key] = KECCAK_DATA
            if hint[:1] == b"s" and hint[1:] == sha256_key:
                held[sha256_key] = SHA256_DATA
            os.write(4, b"\0")

    print("a line on standard output", flush=True)
    threading.Thread(target=take_hints, daemon=True).start()
    while True:
        key = read(5, 32)
        if behaviour == "dies" and key[0] == 2:
            os._exit(9)
        if behaviour == "is slow" and key[0] == 2:
            time.sleep(1.0)
        data = held[key]
        if behaviour == "lies" and key[0] == 2:
            data = data[:-1] + bytes([data[-1] ^ 1])
        size = len(data) if not (behaviour == "is endless" and key[0] == 2) else 1 << 40
        if behaviour == "stops half-way" and key[0] == 2:
            os.write(6, size.to_bytes(8, "big") + data[:5])
            os._exit(0)
        os.write(6, size.to_bytes(8, "big") + data)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))
