"""
The guest's machine code as loops: how many instructions the longest way through each of them takes.

`read_code` finds the functions of an ELF file that has its symbols. `Code.function` answers a function's longest way
from its entry to its end, every loop gone through once (`once`), and its loops, each with the longest way from its head
through its body (`body`), the loops inside gone through once. So a run of the function takes at most

    once + sum over its loops of (times the head is reached, beyond once for each time that the loop is entered) * body

steps. A call counts as what the called function takes at most; `TRIPS` says how often the loops of a function that is
called go round. A call through a pointer counts as nothing: the user of the numbers adds what is called.

Branches, jumps and calls are looked at, nothing else: no data decides. A branch's delay slot is counted whether it is
taken or not. Raises `CodeError` for what has no such bound: a jump through a register, a loop with two entries,
recursion.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

WORD = 4
_STORES: Final = {0x28, 0x29, 0x2B, 0x3F, 0x39}
_LOADS: Final = {0x20, 0x21, 0x23, 0x24, 0x25, 0x27, 0x37, 0x31}
_LIKELY_AND_PLAIN_BRANCHES: Final = {0x04, 0x05, 0x06, 0x07, 0x14, 0x15, 0x16, 0x17}

TRIPS: Final[Mapping[str, tuple[int, ...]]] = {
    **dict.fromkeys(
        ("load_f32_chunk", "store_f32_chunk", "load_i64_chunk", "store_i64_chunk", "load_key_chunk"), (1,)
    ),  # of one element; the caller adds further ones
    "memcpy": (1,),
    "memset": (16,),  # sums of a block: 128 bytes, in words of 8
    "copy_row": (1,),
    "sift_down": (1,),
    "indices_check": (1, 1, 1),
    "block_indices_check": (1,),
    "walk_next": (1, 1),
    "walk_begin": (9, 4),  # dimensions, operands
    "record_check": (8, 8),  # dimensions
    "record_settle": (8, 8),  # operands or components, dimensions
    **dict.fromkeys(
        (
            "row_length",
            "rows_of",
            "elementwise",
            "cast",
            "moves",
            "placed",
            "contract",
            "conv",
            "pool",
            "reduce",
            "topk",
            "scan",
            "tree",
            "blocks",
            "inner_steps",
            "record_steps",
        ),
        (8, 4),
    ),  # dimensions, operands
    "oracle_local": (4,),  # words of a root
    "guest_main": (4,),
    "transition": (7,),  # freed blocks
    "window_decode": (3,),
    "place_begin": (3,),
}
"""
How often the loops of a function that is called go round, at most, by how deep they lie in each other. (1,) where the
caller counts what goes beyond one turn.
"""


class CodeError(Exception):
    """The code has a shape that this analysis cannot bound."""


@dataclass(frozen=True)
class _Block:
    """Instructions that run one after the other."""

    steps: int
    next: tuple[int, ...]
    calls: tuple[int, ...]
    stores: int
    loads: int
    products: int


@dataclass
class Loop:
    """One loop of a function."""

    head: int
    """Address of the block that every turn passes."""
    depth: int
    """Loops around it."""
    inside: list[Loop]
    """The loops directly inside it, by address."""
    body: int = 0
    """Instructions of the longest turn."""
    stores: int = 0
    """Stores of every turn, at least; loads, products likewise."""
    loads: int = 0
    products: int = 0

    @property
    def chain(self) -> list[int]:
        """Bodies from this loop inwards, as long as there is one loop inside."""
        bodies, loop = [self.body], self
        while len(loop.inside) == 1:
            loop = loop.inside[0]
            bodies.append(loop.body)
        return bodies

    @property
    def innermost(self) -> Loop:
        """The last of the chain."""
        return self.inside[0].innermost if len(self.inside) == 1 else self

    def all(self) -> Iterator[Loop]:
        """This loop and all inside it."""
        yield self
        for loop in self.inside:
            yield from loop.all()


@dataclass
class Function:
    """What is known of a function."""

    name: str
    once: int = 0
    """Instructions of the longest way through it, loops gone through once."""
    loops: list[Loop] = field(default_factory=list)
    """Those with none around them, by address."""

    def all_loops(self) -> Iterator[Loop]:
        for loop in self.loops:
            yield from loop.all()

    def within(self, *trips: int) -> int:
        """Instructions if a loop at depth d is gone through `trips[d]` times each time that it is entered."""

        def more(loop: Loop, entered: int) -> int:
            turns = entered * trips[loop.depth]
            return (turns - entered) * loop.body + sum(more(inner, turns) for inner in loop.inside)

        return self.once + sum(more(loop, 1) for loop in self.loops)


@dataclass
class _Way:
    """A longest way, and what every way has at least."""

    steps: int = 0
    stores: int = 0
    loads: int = 0
    products: int = 0


class Code:
    """The functions of the guest."""

    def __init__(self, functions: Mapping[int, tuple[str, bytes]]) -> None:
        self._code = functions
        self._address = {name: address for address, (name, _) in functions.items()}
        if len(self._address) < len(functions):
            raise CodeError("two functions have the same name")
        self._done: dict[int, Function] = {}
        self._open: set[int] = set()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self._address)

    def function(self, name: str) -> Function:
        """The function of that name; `KeyError` if there is none."""
        return self._analysed(self._address[name])

    def _analysed(self, address: int) -> Function:
        if address not in self._done:
            if address in self._open:
                raise CodeError(f"{self._code[address][0]} calls itself")
            self._open.add(address)
            self._done[address] = self._analyse(address)
            self._open.discard(address)
        return self._done[address]

    def _call_steps(self, address: int) -> int:
        called = self._analysed(address)
        if called.loops and called.name not in TRIPS:
            raise CodeError(f"{called.name} is called and has loops, but TRIPS does not say how often they go round")
        return called.within(*TRIPS[called.name]) if called.loops else called.once

    def _analyse(self, address: int) -> Function:
        name, code = self._code[address]
        blocks = _blocks(name, address, code)
        made = Function(name)
        way = self._longest(blocks, frozenset(blocks), address, None, 0, made.loops, name)
        made.once = way.steps
        return made

    def _longest(
        self,
        blocks: Mapping[int, _Block],
        nodes: frozenset[int],
        entry: int,
        head: int | None,
        depth: int,
        found: list[Loop],
        name: str,
    ) -> _Way:
        """The longest way through `nodes` from `entry`, edges back to `head` left out; adds its loops to `found`."""

        def next_of(node: int) -> list[int]:
            return [other for other in blocks[node].next if other in nodes and other != head]

        groups = _strongly_connected(nodes, next_of)
        group_of = {node: number for number, group in enumerate(groups) for node in group}
        best: list[_Way] = []
        for number, group in enumerate(groups):  # what follows a group comes before it
            first = min(group)
            if len(group) > 1 or first in next_of(first):
                entries = {to for node in nodes - group for to in next_of(node) if to in group}
                entries |= {entry} & group
                if len(entries) != 1:
                    raise CodeError(f"{name} has a loop with entries {[hex(each) for each in sorted(entries)]}")
                loop = Loop(min(entries), depth, [])
                here = self._longest(blocks, group, loop.head, loop.head, depth + 1, loop.inside, name)
                loop.inside.sort(key=lambda inner: inner.head)
                loop.body, loop.stores = here.steps, here.stores
                loop.loads, loop.products = here.loads, here.products
                found.append(loop)
            else:
                block = blocks[first]
                steps = block.steps + sum(map(self._call_steps, block.calls))
                here = _Way(steps, block.stores, block.loads, block.products)
            after = [best[to] for to in {group_of[to] for node in group for to in next_of(node)} - {number}]
            best.append(
                _Way(
                    here.steps + max((way.steps for way in after), default=0),
                    here.stores + min((way.stores for way in after), default=0),
                    here.loads + min((way.loads for way in after), default=0),
                    here.products + min((way.products for way in after), default=0),
                )
            )
        found.sort(key=lambda loop: loop.head)
        return best[group_of[entry]]


def _blocks(name: str, start: int, code: bytes) -> dict[int, _Block]:
    words = struct.unpack(f">{len(code) // WORD}I", code)
    end = start + len(code)
    flow = {start + WORD * i: _flow(word, start + WORD * i) for i, word in enumerate(words)}
    leaders = {start}
    for pc, (kind, target) in flow.items():
        if kind in ("branch", "jump") and start <= target < end:
            leaders.add(target)
        if kind:
            leaders.add(pc + (WORD if kind == "stop" else 2 * WORD))
    ordered = sorted(leader for leader in leaders if leader < end)
    blocks = {}
    for leader, following in zip(ordered, [*ordered[1:], end], strict=True):
        inside = range(leader, following, WORD)
        ends = [pc for pc in inside if flow[pc][0]]
        after: tuple[int, ...] = (following,) if following < end else ()
        calls: tuple[int, ...] = ()
        steps = len(inside)
        if ends:
            kind, target = flow[ends[0]]
            if kind == "register":
                raise CodeError(f"{name} jumps through a register at {ends[0]:#x}")
            if kind != "stop" and ends[0] + 2 * WORD > following:  # another way leads into the delay slot
                steps += 1
            after = tuple(
                to
                for to in {
                    "branch": (target, ends[0] + 2 * WORD),
                    "jump": (target,),
                    "call": (ends[0] + 2 * WORD,),
                    "pointer": (ends[0] + 2 * WORD,),
                }.get(kind, ())
                if start <= to < end
            )
            if kind == "call" or (kind == "jump" and not start <= target < end):
                calls = (target,)
        blocks[leader] = _Block(
            steps,
            after,
            calls,
            *(sum(test(words[(pc - start) // WORD]) for pc in inside) for test in (_is_store, _is_load, _is_product)),
        )
    return blocks


def _is_store(word: int) -> bool:
    return word >> 26 in _STORES or (word >> 26, word & 63) == (0x13, 0x08)  # swxc1


def _is_load(word: int) -> bool:
    return word >> 26 in _LOADS or (word >> 26, word & 63) == (0x13, 0x00)  # lwxc1


def _is_product(word: int) -> bool:
    """madd.s; mul; dmult, dmultu."""
    opcode, function = word >> 26, word & 63
    return (opcode, function) in ((0x13, 0x20), (0x1C, 0x02), (0x00, 0x1C), (0x00, 0x1D))


def _flow(word: int, pc: int) -> tuple[str, int]:
    """("", 0), or how an instruction goes on elsewhere, and where."""
    opcode, offset = word >> 26, (word & 0x7FFF) - (word & 0x8000)
    near, far = pc + WORD + WORD * offset, (pc + WORD) & ~0xFFFFFFF | (word & 0x3FFFFFF) << 2
    if opcode == 0x00:
        named = {0x08: "return" if word >> 21 & 31 == 31 else "register", 0x09: "pointer", 0x0D: "stop"}
        return named.get(word & 63, ""), 0
    if opcode == 0x01 and word >> 16 & 31 in (0x00, 0x01, 0x02, 0x03):
        return "branch", near
    if opcode == 0x01 and word >> 16 & 31 in (0x10, 0x11, 0x12, 0x13):
        return "call", near
    if opcode in (0x02, 0x03):
        return ("jump", "call")[opcode - 2], far
    if opcode == 0x04 and not word >> 16 & 0x3FF:
        return "jump", near
    if opcode in _LIKELY_AND_PLAIN_BRANCHES or (opcode == 0x11 and word >> 21 & 31 == 8):
        return "branch", near
    return "", 0


def _strongly_connected(nodes: Iterable[int], next_of: Callable[[int], Iterable[int]]) -> list[frozenset[int]]:
    """Tarjan's components: what a component leads to comes before it."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[frozenset[int]] = []

    def visit(node: int) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for other in next_of(node):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = set()
            while node not in group:
                group.add(stack.pop())
            on_stack.difference_update(group)
            found.append(frozenset(group))

    for node in sorted(nodes):
        if node not in index:
            visit(node)
    return found


def read_code(path: Path) -> Code:
    """The functions of an ELF file (64-bit, big-endian) that was not stripped."""
    raw = path.read_bytes()
    (table,) = struct.unpack_from(">Q", raw, 0x28)
    entry_bytes, count, _ = struct.unpack_from(">3H", raw, 0x3A)
    sections = [struct.unpack_from(">IIQQQQIIQQ", raw, table + i * entry_bytes) for i in range(count)]
    symbols = next((section for section in sections if section[1] == 2), None)
    if symbols is None:
        raise CodeError(f"{path} has no symbols")
    names = sections[symbols[6]][4]
    functions = {}
    for at in range(symbols[4], symbols[4] + symbols[5], 24):
        name, info, _, section, value, size = struct.unpack_from(">IBBHQQ", raw, at)
        if info & 15 == 2:
            text = sections[section]
            begin = text[4] + value - text[3]
            label = raw[names + name : raw.index(b"\0", names + name)].decode()
            functions[value] = label, raw[begin : begin + size]
    return Code(functions)
