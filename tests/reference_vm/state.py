"""State, thread and proof as bytes, and the arithmetic that all of the machine uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from opml_dispute.engine.hashing import keccak256

U64: Final = (1 << 64) - 1
U32: Final = (1 << 32) - 1
QUANTUM: Final = 100_000
EMPTY: Final = keccak256(bytes(64))
MARKER: Final = b"OPMLCMP1"

Z: Final[dict[int, bytes]] = {5: bytes(32)}
for level in range(5, 64):
    Z[level + 1] = keccak256(Z[level] + Z[level])


class NoSuccessor(Exception):
    """No post-state exists."""


def need(condition: bool) -> None:
    """Otherwise there is no successor."""
    if not condition:
        raise NoSuccessor


def sx(bits: int, x: int) -> int:
    """The low bits of x, sign-extended to 64."""
    x &= (1 << bits) - 1
    return (x - (1 << bits) if x >> (bits - 1) else x) & U64


def signed(x: int, bits: int = 64) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def quotient(a: int, b: int) -> tuple[int, int]:
    """Truncating toward zero; the remainder has the dividend's sign."""
    q = abs(a) // abs(b)
    q = -q if (a < 0) != (b < 0) else q
    return q, a - q * b


def splitmix64(x: int) -> int:
    z = (x + 0x9E3779B97F4A7C15) & U64
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & U64
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & U64
    return z ^ z >> 31


# State, thread, proof


@dataclass
class Fields:
    """Numbers of a fixed layout; `layout` names them with their widths in bytes."""

    data: bytearray
    places: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: bytes, layout: str) -> Fields:
        made, at = cls(bytearray(data)), 0
        for entry in layout.split():
            name, width = entry.split(":")
            made.places[name] = (at, int(width))
            at += int(width)
        need(at == len(data))
        return made

    def __getitem__(self, name: str) -> int:
        at, width = self.places[name]
        return int.from_bytes(self.data[at : at + width], "big")

    def __setitem__(self, name: str, value: int) -> None:
        at, width = self.places[name]
        self.data[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "big")

    def bytes_of(self, name: str) -> bytes:
        at, width = self.places[name]
        return bytes(self.data[at : at + width])

    def put(self, name: str, value: bytes) -> None:
        at, width = self.places[name]
        assert len(value) == width
        self.data[at : at + width] = value


STATE: Final = (
    "memoryRoot:32 preimageKey:32 preimageOffset:8 heap:8 llStatus:1 llAddress:8 llOwner:8 exitCode:1 exited:1 step:8 "
    "slice:8 traverseRight:1 left:32 right:32 nextThreadId:8"
)
BASE_THREAD: Final = "threadId:8 exitCode:1 exited:1 pc:8 nextPC:8 LO:8 HI:8 " + " ".join(f"R{i}:8" for i in range(32))
ML_THREAD: Final = BASE_THREAD + " " + " ".join(f"F{i}:4" for i in range(32)) + " FCSR:4"


@dataclass
class Proof:
    """`proof`, in either encoding; parts are taken in the order of their use."""

    data: bytes
    ml: bool

    def __post_init__(self) -> None:
        self.compact = len(self.data) >= 8 and self.data.startswith(MARKER)
        self.at = 8 if self.compact else 0
        # The full encoding's length counts rounded up to 32; the compact one's does not.
        self.padded = self.data if self.compact else self.data + bytes(-len(self.data) % 32)

    def take(self, at: int, size: int) -> bytes:
        need(at + size <= len(self.padded))
        return self.padded[at : at + size]

    def thread(self) -> tuple[bytes, bytes]:
        """The active thread, and the inner root."""
        size = 430 if self.ml else 298
        taken = self.take(self.at, size + 32)
        self.at += size + 32
        return taken[:size], taken[size:]

    def part(self, number: int, log2_size: int) -> list[bytes]:
        """The root of a subtree and its siblings."""
        count = 64 - log2_size
        if not self.compact:
            start = (430 if self.ml else 298) + 32 + 1920 * number
            words = self.take(start, 32 * (1 + count))
            return [words[at : at + 32] for at in range(0, len(words), 32)]
        root, bitmap = self.take(self.at, 32), int.from_bytes(self.take(self.at + 32, 8), "big")
        self.at += 40
        need(bitmap >> count == 0)
        siblings = []
        for i in range(count):
            if bitmap >> i & 1:
                siblings.append(self.take(self.at, 32))
                self.at += 32
            else:
                siblings.append(Z[log2_size + i])
        return [root, *siblings]


def recomputed(words: list[bytes], address: int, log2_size: int) -> bytes:
    node = words[0]
    for j in range(log2_size, 64):
        sibling = words[1 + j - log2_size]
        node = keccak256(sibling + node if address >> j & 1 else node + sibling)
    return node


def half(word: int, va: int) -> int:
    """The half of a word chosen by va's bit 2."""
    return word & U32 if va & 4 else word >> 32


def with_half(word: int, va: int, value: int) -> int:
    """The word, that half replaced."""
    value &= U32
    return (word >> 32 << 32 | value) if va & 4 else (word & U32 | value << 32)
