"""
Words of a record that no rule reads (docs/segment.md, "Node record"), and records in which they are any numbers.

Written from the page, not from the code: what a kernel multiplies with must be a number that a rule bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from opml_dispute.model.opcodes import Opcode
from opml_dispute.primitives import RECORD_BYTES

IN, FREE, IMM, BODY = 0x28, 0x58, 0x90, 0xB0
EXTREMES: Final = (1 << 63, (1 << 63) - 1, (1 << 64) - 1, 1 << 62, (1 << 61) + 5, 3 << 62, 1 << 38, 1, 0)
"""The least and the greatest number of 64 bits, and others whose products overflow."""
_READ_IMM: Final = {
    Opcode.FILL: 1, Opcode.UNARY: 2, Opcode.BINARY: 1, Opcode.CAST: 1, Opcode.CONTRACT: 3, Opcode.POOL: 1,
    Opcode.REDUCE: 2, Opcode.ARGREDUCE: 3, Opcode.GATHER: 2, Opcode.SCATTER: 3, Opcode.TOPK: 3, Opcode.SCAN: 3,
    Opcode.TREE: 1, Opcode.POOL_INDEX: 2, Opcode.BLOCK_QUANTISE: 1, Opcode.BLOCK_CONTRACT: 1, Opcode.BLOCK_GATHER: 1,
}  # fmt: skip
"""How many immediates an opcode names, from the first on."""
_READ_BODY: Final = {
    Opcode.CONV: 26, Opcode.POOL: 26, Opcode.POOL_INDEX: 26, Opcode.TREE: 8,
    Opcode.BLOCK_QUANTISE: 3, Opcode.BLOCK_CONTRACT: 3, Opcode.BLOCK_GATHER: 3,
}  # fmt: skip
"""The same of body words, of the kernels that are not strided."""


def spare_words(raw: bytes) -> list[int]:
    """Offsets of the words of an admitted record that are not read."""
    opcode, n_in, n_free = Opcode(int.from_bytes(raw[:2], "big")), raw[3], raw[4]
    spare = [IN + 8 * j for j in range(n_in, 6)] + [FREE + 8 * i for i in range(n_free, 7)]
    spare += [IMM + 8 * i for i in range(_READ_IMM.get(opcode, 0), 4)]
    if opcode not in _READ_BODY:
        return spare + list(_of_strides(raw, opcode))
    spare += [BODY + 8 * i for i in range(_READ_BODY[opcode], 40)]
    if opcode in (Opcode.CONV, Opcode.POOL, Opcode.POOL_INDEX):
        spatial = _word(raw, BODY)
        spare += [BODY + 8 * (5 + 3 * field + d) for field in range(7) for d in range(spatial, 3)]
        spare += [BODY + 8 * i for i in (3, 4) if opcode is not Opcode.CONV]
    return spare


def _of_strides(raw: bytes, opcode: Opcode) -> Iterator[int]:
    rank, n_in, imm = raw[2], raw[3], [_word(raw, IMM + 8 * i) for i in range(4)]
    dim = [_word(raw, BODY + 8 * d) for d in range(8)]
    moves_indices = opcode in (Opcode.GATHER, Opcode.SCATTER)
    yield from (BODY + 8 * d for d in range(rank, 8))
    for j in range(3 if moves_indices else 4):
        read = rank if j <= n_in else 0
        if j == 0 and opcode in (Opcode.REDUCE, Opcode.ARGREDUCE):
            read -= imm[1]
        for d in range(8):
            is_one = d == rank - 1 and j == 0 and imm[2] == 1 if opcode is Opcode.TOPK else False
            if d >= read or dim[d] == 1 or is_one:
                yield _stride(j, d)
    if moves_indices:
        yield from (_stride(3, c) for c in range(4) if c >= imm[0] or _word(raw, _stride(3, 4 + c)) == 1)
        yield from (_stride(3, 4 + c) for c in range(imm[0], 4))
    if imm[0] == 1 and (moves_indices or opcode is Opcode.CONTRACT):
        yield from (IMM + 8 * i for i in ((1, 2) if opcode is Opcode.CONTRACT else (1,)))


def _stride(operand: int, dimension: int) -> int:
    return BODY + 8 * (8 + 8 * operand + dimension)


def _word(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 8], "big")


def with_spare_words(raw: bytes, number: int) -> bytes:
    """The record with its spare words filled from `EXTREMES`, another way for every number."""
    out = bytearray(raw)
    for place, at in enumerate(spare_words(raw)):
        out[at : at + 8] = EXTREMES[(place * (1 + number) + number) % len(EXTREMES)].to_bytes(8, "big")
    assert len(out) == RECORD_BYTES
    return bytes(out)
