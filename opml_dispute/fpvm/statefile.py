"""
A machine's state as one file, from which a run can be continued.

`save_state` writes, `load_state` reads. For base states the file is the OP Stack's own, byte for byte, usually gzip'd.
ML states put the subtrees that are known by their root around the pages.

    version u8   [ML: subtrees]   pages   preimageKey 32   preimageOffset u64   heap u64   llStatus u8   llAddress u64
    llOwner u64   exitCode u8   exited u8   step u64   slice u64   traverseRight u8   nextThreadID u64
    left threads   right threads   last hint (u32 length, bytes)   [ML: small subtrees]

    pages:    u64 count, then each: u64 address >> 12, 4096 bytes; ascending
    threads:  u64 count, then each its witness; bottom first
    subtrees: u64 count, then each: u64 address, u8 log2_size, root 32; "small" are those below a page

Source: docs/vm.md, "State files".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opml_dispute.engine.vm import Block, Machine, Scalars
from opml_dispute.fpvm.state import BadEncoding
from opml_dispute.primitives import BASE_THREAD_BYTES, BASE_VERSION, ML_THREAD_BYTES, ML_VERSION

PAGE_LOG2: Final = 12
_SCALARS: Final = struct.Struct(">32sQQBQQBBQQBQ")
_U64: Final = struct.Struct(">Q")
_SUBTREE: Final = struct.Struct(">QB32s")


@dataclass(frozen=True, slots=True)
class Subtree:
    """Content of a subtree that a saved ML state knows by its root."""

    root: bytes
    log2_size: int
    blocks: Sequence[Block]


def save_state(machine: Machine) -> bytes:
    """
    The whole state. Pre-images, and the content behind subtrees' roots, are not part of it.

    Raises `BadEncoding` for a base state with a subtree put into it by its root, which no program there can do.
    """
    subtrees, pages = machine.memory_parts()
    if subtrees and not machine.ml:
        address, log2_size, _ = subtrees[0]
        raise BadEncoding(
            f"a base state's file holds pages; 2^{log2_size} bytes at 0x{address:x} are known by their root"
        )
    subtrees.sort(key=lambda subtree: -subtree[1])
    out = [bytes([ML_VERSION if machine.ml else BASE_VERSION])]
    if machine.ml:
        out += _encode_subtrees([subtree for subtree in subtrees if subtree[1] >= PAGE_LOG2])
    out.append(_U64.pack(len(pages)))
    out += [_U64.pack(address >> PAGE_LOG2) + data for address, data in pages]
    s = machine.scalars
    out.append(
        _SCALARS.pack(
            s.preimage_key,
            s.preimage_offset,
            s.heap,
            s.ll_status,
            s.ll_address,
            s.ll_owner,
            s.exit_code,
            s.exited,
            s.step,
            s.slice,
            s.traverse_right,
            s.next_thread_id,
        )
    )
    for right, count in enumerate(machine.thread_counts()):
        out.append(_U64.pack(count))
        out += [machine.thread_witness(right=bool(right), index=i) for i in range(count)]
    hint = machine.unfinished_hint
    out += [len(hint).to_bytes(4, "big"), hint]
    if machine.ml:
        out += _encode_subtrees([subtree for subtree in subtrees if subtree[1] < PAGE_LOG2])
    return b"".join(out)


def subtrees_in(data: bytes) -> list[tuple[int, int, bytes]]:
    """(address, log2_size, root) of the large subtrees that a state file knows by their root. Raises `BadEncoding`."""
    reader = _Reader(data)
    if reader.take(1)[0] != ML_VERSION:
        return []
    return [_SUBTREE.unpack(reader.take(_SUBTREE.size)) for _ in range(reader.number())]


def load_state(data: bytes, contents: Sequence[Subtree] = ()) -> Machine:
    """
    The machine that was saved.

    An ML state in which a subtree was partly filled in needs that subtree's content again. Raises `BadEncoding` if
    `data` is no state file, and `VmError` if a subtree's content is wrong or missing.
    """
    reader = _Reader(data)
    version = reader.take(1)[0]
    if version not in {BASE_VERSION, ML_VERSION}:
        raise BadEncoding(f"a state file of version {version}, expected {BASE_VERSION} or {ML_VERSION}")
    ml = version == ML_VERSION
    machine = Machine(ml=ml)
    for content in contents:
        machine.add_subtree(content.root, content.log2_size, content.blocks)
    if ml:
        _put_subtrees(reader, machine)
    for _ in range(reader.number()):
        address = reader.number() << PAGE_LOG2
        if address >> 64:
            raise BadEncoding(f"a page at 0x{address:x}, outside the memory")
        machine.write(address, reader.take(1 << PAGE_LOG2))
    key, offset, heap, status, address, owner, code, exited, step, slice_, right, next_id = _SCALARS.unpack(
        reader.take(_SCALARS.size)
    )
    if exited > 1:
        raise BadEncoding(f"exited is {exited}, expected 0 or 1")
    machine.set_scalars(
        Scalars(
            step=step,
            slice=slice_,
            heap=heap,
            next_thread_id=next_id,
            preimage_key=key,
            preimage_offset=offset,
            ll_status=status,
            ll_address=address,
            ll_owner=owner,
            exited=exited,
            exit_code=code,
            traverse_right=right,
        )
    )
    size = ML_THREAD_BYTES if ml else BASE_THREAD_BYTES
    for side in (False, True):
        count = reader.number()
        threads = reader.take(count * size)
        machine.resize_stack(right=side, count=count)
        for i in range(count):
            machine.set_thread(threads[i * size : (i + 1) * size], right=side, index=i)
    if hint := reader.take(int.from_bytes(reader.take(4), "big")):
        machine.collect_hints(hint)
    if ml:
        _put_subtrees(reader, machine)
    if reader.left:
        raise BadEncoding(f"{reader.left} bytes too many at the end of a state file")
    return machine


def _encode_subtrees(subtrees: Sequence[tuple[int, int, bytes]]) -> list[bytes]:
    return [_U64.pack(len(subtrees)), *(_SUBTREE.pack(*subtree) for subtree in subtrees)]


def _put_subtrees(reader: _Reader, machine: Machine) -> None:
    for _ in range(reader.number()):
        address, log2_size, root = _SUBTREE.unpack(reader.take(_SUBTREE.size))
        if not 5 <= log2_size <= 63 or address % (1 << log2_size):
            raise BadEncoding(f"no subtree has 2^{log2_size} bytes at 0x{address:x}")
        machine.put_subtree(address, log2_size, root)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise BadEncoding(f"the state file ends at byte {len(self._data)}; {size - self.left} more were expected")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self) -> int:
        value: int = _U64.unpack(self.take(8))[0]
        return value
