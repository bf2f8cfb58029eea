"""
What a campaign is: a way to make up hostile cases, and a way to play one.

A case is a list of moves, plain data (`Move`: a name, then numbers, bytes and lists of them), so that it can be written
to a file, played again, and shrunk by leaving moves away. Hence the one rule for `play`: it takes any sublist of a
case's moves. A move that makes no sense (any more) does nothing.

Playing may raise nothing: what the package refuses (`OpmlError`) is caught where it is expected, and everything else,
an `AssertionError` on a broken promise as much as a crash, is a finding.

Case number n of seed s is the same on every machine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

Move: TypeAlias = tuple[Any, ...]
"""(name, arguments ...): str, int, bool, None, bytes, and lists of these."""


class Campaign(Protocol):
    """One kind of hostile input."""

    @property
    def name(self) -> str:
        """As the command line knows it."""
        ...

    def moves(self, rng: random.Random) -> list[Move]:
        """A case."""
        ...

    def play(self, moves: Sequence[Move]) -> None:
        """Plays a case, or what shrinking left of one."""
        ...


def case_rng(campaign: Campaign, seed: int, number: int) -> random.Random:
    """Where case `number` of `seed` comes from."""
    return random.Random(f"{campaign.name}/{seed}/{number}")


def write_case(path: Path, campaign: Campaign, moves: Sequence[Move]) -> None:
    """A file that `read_case` reads; bytes stand in it as 0x..."""
    path.write_text(json.dumps({"campaign": campaign.name, "moves": [_plain(list(move)) for move in moves]}, indent=0))


def read_case(path: Path) -> tuple[str, list[Move]]:
    """The campaign's name, and the moves."""
    case = json.loads(path.read_text())
    return case["campaign"], [tuple(_rich(move)) for move in case["moves"]]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return "0x" + value.hex() if isinstance(value, bytes) else value


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return [_rich(part) for part in value]
    return bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("0x") else value


def edited(data: bytes, moves: Sequence[Move], part: str | None = None) -> bytes:
    """
    `data` after those of the moves that `random_edits` made for `part`: set (at, bytes), flip (bit), cut (size),
    insert (at, bytes), repeat (at, size). Places count modulo what is there.
    """
    out = bytearray(data)
    for name, *arguments in moves:
        if name not in _EDITS or arguments[0] != part:
            continue
        size = len(out)
        match name, arguments[1:]:
            case "flip", (bit,) if size:
                out[bit // 8 % size] ^= 1 << bit % 8
            case "set", (at, new) if size:
                at %= size
                out[at : at + len(new)] = new[: size - at]
            case "cut", (kept,):
                del out[kept % (size + 1) :]
            case "insert", (at, new):
                at %= size + 1
                out[at:at] = new
            case "repeat", (at, count) if size:
                at %= size
                out[at:at] = out[at : at + count]
    return bytes(out)


_EDITS = ("flip", "set", "cut", "insert", "repeat")


def random_edits(rng: random.Random, size: int, *, part: str | None = None, near: int | None = None) -> list[Move]:
    """A few edits of `size` bytes; most of them in the first `near` bytes, if given."""
    edits: list[Move] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        at = rng.randrange(size + 1)
        if near is not None and rng.random() < 0.8:
            at = rng.randrange(min(near, size) + 1)
        match rng.choices(("flip", "set", "cut", "insert", "repeat"), (3, 6, 1, 1, 1))[0]:
            case "flip":
                edits.append(("flip", part, 8 * at + rng.randrange(8)))
            case "set":
                at = at if rng.random() < 0.3 else at // 8 * 8
                edits.append(("set", part, at, random_number(rng).to_bytes(8, "big")[: rng.choice((1, 2, 4, 8, 8))]))
            case "cut":
                edits.append(("cut", part, at))
            case "insert":
                edits.append(("insert", part, at, rng.randbytes(rng.choice((1, 8, 32, 300)))))
            case "repeat":
                edits.append(("repeat", part, at, rng.choice((1, 8, 56, 512))))
    return edits


EDGES = (0, 1, 2, 5, 7, 8, 31, 32, 63, 64, 255, 256, 4095, 4096, 4097, 65535)


def random_number(rng: random.Random) -> int:
    """64 bits, mostly such as go wrong: near a power of two, near the end, small."""
    match rng.randrange(5):
        case 0:
            return rng.choice(EDGES)
        case 1:
            return (1 << 64) - 1 - rng.choice(EDGES)
        case 2:
            return ((1 << rng.randrange(64)) + rng.choice((-1, 0, 1))) % (1 << 64)
        case 3:
            return rng.getrandbits(rng.randrange(1, 65))
        case _:
            return rng.getrandbits(64)
