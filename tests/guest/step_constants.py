"""
The constants of native/program/steps.c, from the guest's machine code.

`derive` reads the loops of the guest's kernels (`loops`) and answers each constant: iterations are the record's, and
steps.c counts them; what an iteration takes at most is said here. `step_header` writes them as C.

A row function makes one store for each element, so its loops' longest turn, divided by the stores in it, is what an
element takes, however the compiler unrolled.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from opml_dispute.model.block_formats import BlockFormat
from opml_dispute.model.opcodes import Binary, Opcode, Unary
from opml_dispute.primitives import RECORD_BYTES
from opml_dispute.toolchain.guest_flags import GUEST_FLAGS, GUEST_SOURCES
from opml_dispute.toolchain.native import NATIVE

from .loops import Code, Function, Loop

INTEGERS = ("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64")
SMALL = ("u8u8", "u8i8", "i8u8", "i8i8", "u16", "i16", "u32")
PRODUCTS: Sequence[tuple[str, Sequence[str]]] = (
    ("f32", ("f32",)), ("f16", ("f16",)), ("bf16", ("bf16",)), ("small integers", SMALL), ("i64", ("u64",)),
)  # fmt: skip
BLOCK_FORMATS = tuple(each.name for each in BlockFormat)
AT_ONCE = 4
"""Elements of a block of activations that a turn of a loop takes."""
LANES = 8
OPERANDS = 4
WALK_COPY_BYTES = 480
"""sizeof(struct walk): what REDUCE and ARGREDUCE copy for each output."""


def symbols(folder: Path) -> Path:
    """Builds the guest into `folder` with its symbols; the code is the guest's."""
    target = folder / "guest-symbols.elf"
    flags = [flag for flag in GUEST_FLAGS if flag != "-s"]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-I.", *GUEST_SOURCES, "-o", str(target)]
    subprocess.run(command, cwd=NATIVE, check=True)
    return target


def derive(code: Code) -> Mapping[str, object]:
    """Every constant, by its name in steps.c."""
    return _Deriving(code).all()


@dataclass(frozen=True)
class _Row:
    """A row function: once a row, once an element."""

    row: int
    element: int


class _Deriving:
    def __init__(self, code: Code) -> None:
        self.code = code

    def all(self) -> dict[str, object]:
        f = self.code.function
        load_f32, store_f32 = f("load_f32_chunk").loops, f("store_f32_chunk").loops
        load_i64, store_i64 = f("load_i64_chunk").loops, f("store_i64_chunk").loops
        # binary16 is the longest; which of the others is binary32 the code does not say.
        *_, plain_load, half_load = sorted(_bodies(load_f32))
        *_, plain_store, half_store = sorted(_bodies(store_f32))
        unary, binary, cast = (self._row_loop(name) for name in ("kernel_unary", "kernel_binary", "kernel_cast"))
        places = {name: self._row_loop(name) for name in ("kernel_gather", "kernel_scatter")}
        topk, tree = self._row_loop("kernel_topk").inside, f("kernel_tree").loops[0].inside
        line = f("float_line"), f("integer_line")
        tree_targets, trees = tree
        quantised = f("kernel_block_quantise").loops[-1]
        walk, add_leaf = trees.inside
        return {
            "NODE_STEPS": self._node(),
            "ROW": {opcode: self._row(opcode) for opcode in Opcode if f"kernel_{opcode.name.lower()}" in _WALKS},
            "UNARY_REAL": self._rows(Unary, ("f32",)),
            "UNARY_INTEGER": self._rows(Unary, (*INTEGERS, "bool")),
            "BINARY_REAL": self._rows(Binary, ("f32",)),
            "BINARY_INTEGER": self._rows(Binary, (*INTEGERS, "bool")),
            "INTEGER_POWER_BIT": max(_inner(f(f"pow_{kind}")) for kind in INTEGERS),
            "UNARY_CHUNK": _one(unary).body,
            "BINARY_CHUNK": _one(binary).body,
            # A half is loaded, copied to where rows read, and copied again where it is stored.
            "HALF_LOAD": half_load + max(_bodies(_one(unary).inside) + _bodies(_one(binary).inside)),
            "HALF_STORE": half_store + max(_bodies(_one(unary).inside) + _bodies(_one(binary).inside)),
            "LOAD_REAL": (plain_load, half_load),
            "STORE_REAL": (plain_store, half_store),
            "LOAD_INTEGER": max(_bodies(load_i64)),
            "STORE_INTEGER": max(_bodies(store_i64)),
            "CAST_CHUNK": _one(cast).body,
            "CONVERT": max(_bodies(_one(cast).inside)),
            "MOVE": self._move(),
            "FILLED": max(_bodies(self._row_loop("kernel_fill").inside)),
            "SELECTED": max(_bodies(self._row_loop("kernel_select").inside)),
            "CHECK_ROW": self._with_walk_next(self._row_loop("indices_check").body),
            "CHECK": _one(self._row_loop("indices_check")).body,
            "CHECK_COMPONENT": _one(_one(self._row_loop("indices_check"))).body,
            "PLACE_COMPONENT": max(
                loop.body for row in places.values() for loop in row.all() if not loop.inside and loop.depth > 0
            ),
            # One element by a call of copy_row: of two bytes, memcpy's loops may go round twice.
            "GATHERED": max(loop.body for loop in places["kernel_gather"].inside) + self._two_bytes(),
            "SCATTERED": max(loop.body for loop in places["kernel_scatter"].inside) + self._two_bytes(),
            "CONTRACT": {name: self._contract(kinds) for name, kinds in PRODUCTS},
            "CONTRACT_GROUP": self._group("kernel_contract", 6),
            "CONV_EDGE": {name: self._conv(kinds, "edge") for name, kinds in PRODUCTS},
            "CONV_INSIDE": self._conv(("f32",), "inside"),
            "CONV_POINT": self._conv(("f32",), "point"),
            "CONV_GROUP": f("kernel_conv").loops[0].body,
            "CONV_ROW": _one(f("kernel_conv").loops[0]).body,
            "CONV_CALL": _one(_one(f("kernel_conv").loops[0])).body,
            "POOL": {name: self._pool(name) for name in ("pool_f32", "pool_half", "pool_integer", "kernel_pool_index")},
            "REDUCE": {kind: self._reduce(kind) for kind in ("f32", "f16", "bf16", "integers")},
            "ARGREDUCE": {kind: self._argreduce(kind) for kind in ("f32", "f16", "bf16", "integers")},
            "TOPK_LINE": topk[0].body,
            "TOPK_INDEX": min(_bodies(topk[0].inside)),
            # Its loops: writing down the first k, making them a heap, every later element, taking out one by one.
            "TOPK_ELEMENT": max(_bodies(topk[0].inside)) - f("sift_down").once,
            "TOPK_SIFT": sorted(_bodies(topk[0].inside))[-2],
            "TOPK_LEVEL": _one_of(f("sift_down")).body,
            "SCAN_LINE": self._row_loop("kernel_scan").inside[0].body + max(each.once for each in line),
            "SCAN_CHUNK": max(_one_of(each).body for each in line),
            "SCAN_ELEMENT": max(_one(_one_of(each)).body for each in line),
            "TREE_ROW": f("kernel_tree").loops[0].body,
            "TREE_TARGET": tree_targets.body,
            "TREE": trees.body,
            "TREE_NODE": walk.body,
            "TREE_WEIGHT": add_leaf.body,
            "QUANTISE_BLOCK": quantised.body,
            "QUANTISE_ELEMENT": ceil(sum(_bodies(quantised.inside)) / AT_ONCE),
            "BLOCK_CONTRACT": {name: self._block(name) for name in BLOCK_FORMATS},
            "BLOCK_CONTRACT_OUTPUT": _one(f("kernel_block_contract").loops[-1]).body,
            "BLOCK_CONTRACT_ROW": f("kernel_block_contract").loops[-1].body,
            "GATHER_BLOCK": f("kernel_block_gather").loops[-1].body,
            "GATHER_ELEMENT": _one(f("kernel_block_gather").loops[-1]).body,
            "GATHER_CHECK": _one_of(f("block_indices_check")).body,
        }

    # Walks

    def _row_loop(self, kernel: str) -> Loop:
        """The loop over a kernel's rows: its last."""
        return self.code.function(kernel).loops[-1]

    def _with_walk_next(self, body: int) -> int:
        """
        A turn of a row loop with all of walk_next: up to four operands, and two levels of indices.

        A level that is carried into has at least two indices, so of all rows half carry once, a quarter twice, and so
        on: one level more for each row, on average (the few that come before are the node's).
        """
        to_start, levels, carry = self.code.function("walk_next").loops
        each = OPERANDS - 1
        return body + each * to_start.body + levels.body + each * (2 * _inner_sum(levels) + carry.body)

    def _row(self, opcode: Opcode) -> int:
        return self._with_walk_next(self._row_loop(f"kernel_{opcode.name.lower()}").body) + (
            self._memcpy_ends() if opcode in (Opcode.COPY, Opcode.GATHER, Opcode.SCATTER) else 0
        )

    def _memcpy_ends(self) -> int:
        """What memcpy does besides its loop of four words, beyond once: up to three turns of each other loop."""
        return sum(3 * loop.body for loop in self.code.function("memcpy").loops if loop.stores < OPERANDS)

    def _two_bytes(self) -> int:
        return sum(loop.body for loop in self.code.function("memcpy").loops if loop.stores == 1)

    def _move(self) -> tuple[int, ...]:
        """An element of 1, 2, 4, 8 bytes: alone; in words of four or eight bytes, four at a time; or byte by byte."""
        memcpy, strided = self.code.function("memcpy").loops, max(_bodies(self.code.function("copy_row").loops))
        four_words = self._four_words()
        byte = memcpy[-1].body
        return max(byte, strided), max(2 * byte, strided), *(max(ceil(four_words / 4), strided),) * 2

    def _rows(self, functions: type[Unary] | type[Binary], kinds: Iterable[str]) -> dict[str, _Row]:
        rows = {}
        for function in functions:
            found = [
                self._row_function(name)
                for kind in kinds
                for name in _row_names(function, kind)
                if name in self.code.names
            ]
            if found:
                rows[function.name] = _Row(max(each.row for each in found), max(each.element for each in found))
        return rows

    def _row_function(self, name: str) -> _Row:
        function = self.code.function(name)
        turns = _INNER_TURNS.get(name.rsplit("_", 1)[0], {}).get(name.rsplit("_", 1)[1], 1)
        element = max(
            ceil((loop.body + (turns - 1) * sum(_bodies(loop.inside))) / max(loop.stores, 1)) for loop in function.loops
        )
        # Up to three elements in single turns behind a loop that was unrolled.
        return _Row(function.once + 3 * min(_bodies(function.loops)), element)

    # Kernels of their own

    def _contract(self, kinds: Sequence[str]) -> list[dict[str, int]]:
        call = max(_bodies(self.code.function("kernel_contract").loops[-1].inside[1:]))

        def block(shape: str) -> dict[str, int]:
            found = []
            for kind in kinds:
                function = self.code.function(f"contract_{shape}_{kind}")
                (main,) = [loop for loop in function.loops if loop.products]
                others = sum(
                    3 * loop.body + 12 * sum(_bodies(loop.inside)) for loop in function.loops if loop is not main
                )
                # `once` has a turn, which the record's count has too; the caller's loop is gone through as well.
                found.append((function.once - main.body + others + call, _whole(main)))
            return {"block": max(once for once, _ in found), "step": max(step for _, step in found)}

        return [block(shape) for shape in ("4x4", "4x1", "1x4", "1x1")]

    def _conv(self, kinds: Sequence[str], part: str) -> list[dict[str, int]]:
        def block(channels: int) -> dict[str, int]:
            found = []
            for kind in kinds:
                function = self.code.function(f"conv_{channels}_{kind}")
                nests = [loop for loop in function.loops if _has_products(loop)]
                stored = _four_by_four(function, nests)
                deep = sorted((loop for loop in nests if loop.inside), key=_tap)
                points = [loop for loop in nests if not loop.inside]
                if part == "point":
                    each = max(_bodies(points)), 0, 0
                else:
                    # Whole windows, four at a time: of the two nests with most products the edge's is the longer.
                    most = max(_innermost_products(loop) for loop in deep)
                    fours = [loop for loop in deep if _innermost_products(loop) == most]
                    assert len(fours) == (2 if kind == "f32" else 1)
                    assert fours[-1] is deep[-1]
                    each = _each(fours[-1] if part == "edge" else fours[0])
                found.append((function.once + stored, *each))
            window, channel, line, tap = (max(column) for column in zip(*found, strict=True))
            return {"window": window, "channel": channel, "line": line, "tap": tap}

        return [block(4), block(1)]

    def _block(self, name: str) -> dict[str, int]:
        """A row of blocks, and each of them: of 256 elements a block is a loop of four turns."""
        made = self.code.function(f"block_product_{name}")
        (block,) = made.loops
        turns = 4 if name.endswith("_K") else 1
        assert [loop.inside for loop in block.inside] == ([[]] if turns > 1 else [])
        return {"block": made.once, "step": block.body + (turns - 1) * sum(_bodies(block.inside))}

    def _pool(self, name: str) -> dict[str, int]:
        window = self.code.function(name).loops[-1]
        chains = [loop.chain for loop in window.inside]
        columns = [max(column) for column in zip(*chains, strict=True)]
        once, line, tap = window.body - columns[0], columns[0] - columns[2], columns[2]
        return {"window": once, "channel": 0, "line": line, "tap": tap}

    def _group(self, kernel: str, dimensions: int) -> int:
        """A turn of a kernel's outer loop, whose first loop finds its place along so many dimensions."""
        outer = self.code.function(kernel).loops[-1]
        return outer.body + dimensions * outer.inside[0].body

    def _walk_copy(self) -> int:
        """Copying a walk: memcpy, called once already."""
        return WALK_COPY_BYTES // 32 * self._four_words() + self._memcpy_ends()

    def _four_words(self) -> int:
        """A turn of memcpy's loops of four words."""
        memcpy = self.code.function("memcpy").loops
        return max(loop.body for loop in memcpy if loop.stores == 0 or loop.stores >= OPERANDS)

    def _reduce(self, kind: str) -> dict[str, int]:
        outputs = _one(self._row_loop("kernel_reduce"))
        integers, reals = sorted(outputs.inside, key=lambda loop: -len(loop.chain))
        output = outputs.body + self._walk_copy()
        if kind == "integers":
            chunk = _one(integers)
            element = _one(chunk).body + max(_bodies(self.code.function("load_i64_chunk").loops))
            return _reduction(output, self._with_walk_next(integers.body), chunk.body, element)
        row, element = 0, 0
        for function in ("SUM", "PROD", "MAX", "MIN"):
            made = self.code.function(f"reduce_{kind}_RED_{function}")
            rounds = [loop for loop in made.loops if loop.inside or loop.loads > LANES // 2]
            assert len(rounds) == 2
            singles = [loop for loop in made.loops if loop not in rounds]
            turn = max(loop.body + (LANES - 1) * sum(_bodies(loop.inside)) for loop in rounds)
            row = max(row, made.once + turn + (LANES - 1) * sum(_bodies(singles)))
            element = max(element, ceil(turn / LANES))
        return _reduction(output, self._with_walk_next(reals.body) + row, 0, element)

    def _argreduce(self, kind: str) -> dict[str, int]:
        outputs = _one(self._row_loop("kernel_argreduce"))
        row = _one(outputs)
        chunk = _one(row)
        bodies = sorted(_bodies(self.code.function("load_key_chunk").loops))
        if kind == "integers":
            load = max(_bodies(self.code.function("load_i64_chunk").loops)) + bodies[-1]
        else:
            load = (bodies[-1] if kind == "f16" else bodies[-2]) + bodies[-1]
        output = outputs.body + self._walk_copy()
        return _reduction(output, self._with_walk_next(row.body), chunk.body, _one(chunk).body + load)

    # Once a node

    def _node(self) -> int:
        """
        Everything that a node does once: starting, the oracle, mapping, copying the record, validation, this very
        bound, preparing walks, freeing, reading the root. The kernel's part is the largest of any kernel's, its first
        row included.
        """
        f = self.code.function
        kernels = [name for name in self.code.names if name.startswith("kernel_") and name not in _DISPATCH]
        kernels += ["pool_f32", "pool_half", "pool_integer"]
        setup = max(f(name).once + 7 * sum(loop.body for loop in f(name).loops[:-1]) for name in kernels)
        checks = f("indices_check"), f("block_indices_check")
        looked = max(check.once + 7 * sum(loop.body for loop in check.loops[:-1]) for check in checks)
        carries = 8 * sum(loop.body + 3 * sum(_bodies(loop.inside)) for loop in f("walk_next").loops)
        record = RECORD_BYTES // 32 * self._four_words()
        total = record + f("__start").once + f("run").once + 7 * f("zero").once + looked + setup + 3 * carries
        return -(-total // 1024) * 1024


_WALKS = {
    f"kernel_{name}"
    for name in (
        "copy",
        "fill",
        "unary",
        "binary",
        "select",
        "cast",
        "gather",
        "scatter",
        "reduce",
        "argreduce",
        "topk",
        "scan",
    )
}
_DISPATCH = {"kernel_run", "kernel_check_data", "kernel_pool"}
_INNER_TURNS = {"fmod": {"f32": 8}, "mod": {"f32": 8}}
"""fmod divides 32 bits of a quotient of up to 254 at a time. The bits of an integer power are counted in steps.c."""


def _row_names(function: Unary | Binary, kind: str) -> tuple[str, ...]:
    name = function.name.lower()
    if function is Unary.ISINF:
        return tuple(f"isinf_{which}_{kind}" for which in ("none", "minus", "plus", "both"))
    return (f"{name.removeprefix('bit') if isinstance(function, Binary) else name}_{kind}", f"{name}_{kind}")


def _bodies(loops: Iterable[Loop]) -> list[int]:
    return [loop.body for loop in loops]


def _one(loop: Loop) -> Loop:
    """The one loop inside."""
    (inner,) = loop.inside
    return inner


def _one_of(function: Function) -> Loop:
    (loop,) = function.loops
    return loop


def _inner(function: Function) -> int:
    return max(loop.body for outer in function.loops for loop in outer.inside)


def _inner_sum(loop: Loop) -> int:
    return sum(_bodies(loop.inside))


def _whole(loop: Loop) -> int:
    """A turn, with up to four turns of loops inside that the compiler did not unroll."""
    return loop.body + 3 * sum(_whole(inner) for inner in loop.inside)


def _four_by_four(function: Function, sums: Sequence[Loop]) -> int:
    """What loops over a block's four rows and four columns take beyond once; the `sums` are no such loops."""
    others = [loop for loop in function.loops if loop not in sums]
    return sum(3 * loop.body + 12 * sum(_bodies(loop.inside)) for loop in others)


def _has_products(loop: Loop) -> bool:
    return any(each.products for each in loop.all())


def _innermost_products(loop: Loop) -> int:
    return max(each.products for each in loop.all())


def _each(nest: Loop) -> tuple[int, int, int]:
    """What each channel, line of taps (with its plane) and tap takes, beside what is inside it."""
    channel, plane, _, tap, *_ = nest.chain
    return channel - plane, plane - tap, _tap(nest)


def _tap(nest: Loop) -> int:
    """A tap, with loops over four channels or windows in it."""
    return _whole(_one(_one(_one(nest))))


def _reduction(output: int, row: int, chunk: int, element: int) -> dict[str, int]:
    return {"output": output, "row": row, "chunk": chunk, "element": element}
