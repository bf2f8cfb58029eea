"""
The memory of a machine: 2^64 bytes in a Merkle tree.

`MachineMemory` reads and writes bytes, subtrees and their proofs. `add_subtree` gives the content behind a root that
the program may map. Source: docs/vm.md.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from opml_dispute.engine.hashing import zero_root
from opml_dispute.engine.lib import VISIT_PAGE, VISIT_SUBTREE, Buffer, NativeBlock, buffer
from opml_dispute.engine.machine_handle import U64, MachineHandle, hash32_bytes
from opml_dispute.engine.values import Block, Reason, VmError
from opml_dispute.primitives import Hash32


class MachineMemory(MachineHandle):
    """A native machine and its memory."""

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`. Raises `VmError` if they are not all known."""
        if size == 0:
            return b""
        out = ctypes.create_string_buffer(size)
        with self._lock:
            found = self._lib.opml_machine_read(self._handle, address & U64, ctypes.addressof(out), size)
            self._check(found, f"cannot read {size} bytes at 0x{address:x}")
        return out.raw

    def write(self, address: int, data: Buffer) -> None:
        """Writes `data` at `address`. Raises `VmError`, with nothing written, if what is there is not known."""
        pointer, size, owner = buffer(data)
        with self._lock:
            found = self._lib.opml_machine_write(self._handle, address & U64, pointer, size)
            self._check(found, f"cannot write {size} bytes at 0x{address:x}")
        del owner

    def zero(self, address: int, size: int) -> None:
        """Makes `size` bytes zero, however many, at once. Raises `VmError` if they reach beyond the memory's end."""
        if size < 0 or not 0 <= address <= U64 or address + size > 1 << 64:
            raise VmError(f"there are no {size} bytes at 0x{address:x}: memory has 2^64")
        with self._lock:
            for at in range(address, address + size, 1 << 63):  # 2^64 is no 64-bit number
                found = self._lib.opml_machine_zero(self._handle, at, min(address + size - at, 1 << 63))
                self._check(found, f"cannot zero {size} bytes at 0x{address:x}")

    def subtree_root(self, address: int, log2_size: int) -> Hash32:
        """The root of the 2^log2_size bytes at `address`, 5 <= log2_size <= 63."""
        _check_place(address, log2_size)
        out = ctypes.create_string_buffer(32)
        with self._lock:
            found = self._lib.opml_machine_subtree_root(self._handle, address, log2_size, out)
            self._check(found, f"no root of 2^{log2_size} bytes at 0x{address:x}")
        return Hash32(out.raw)

    def put_subtree(self, address: int, log2_size: int, root: bytes) -> None:
        """Replace those bytes by the subtree whose root is `root`, as `tensor_map` does."""
        _check_place(address, log2_size)
        with self._lock:
            found = self._lib.opml_machine_put_subtree(self._handle, address, log2_size, hash32_bytes(root))
            self._check(found, f"cannot put a subtree of 2^{log2_size} bytes at 0x{address:x}")

    def subtree_proof(self, address: int, log2_size: int) -> list[Hash32]:
        """The 64 - log2_size siblings of that subtree, lowest first."""
        _check_place(address, log2_size)
        out = ctypes.create_string_buffer(32 * 59)
        with self._lock:
            found = self._lib.opml_machine_siblings(self._handle, address, log2_size, out)
            self._check(found, f"no proof of 2^{log2_size} bytes at 0x{address:x}")
        return [Hash32(out.raw[32 * i : 32 * i + 32]) for i in range(64 - log2_size)]

    def memory_parts(self) -> tuple[list[tuple[int, int, bytes]], list[tuple[int, bytes]]]:
        """
        The whole memory: (address, log2_size, root) of subtrees, and (address, 4096 bytes) of pages.

        The subtrees are those that were put by their root and not filled in everywhere, and what is zero inside them.
        Laid down largest first, with the pages behind those of a page or more, they make the same memory again.
        """
        found: dict[tuple[int, int], bytes] = {}
        pages: list[tuple[int, bytes]] = []

        def subtree(address: int, log2_size: int, root: int) -> int:
            found[address, log2_size] = ctypes.string_at(root, 32)
            return 1

        def page(address: int, data: int) -> int:
            pages.append((address, ctypes.string_at(data, 4096)))
            return 1

        with self._lock:
            self._lib.opml_machine_visit(self._handle, VISIT_SUBTREE(subtree), VISIT_PAGE(page))
        put = [(a, k) for (a, k), root in found.items() if root != zero_root(k)]
        kept = set(put)
        for address, log2_size in found.keys() - kept:
            if any(address >> k == a >> k and log2_size < k for a, k in put):
                kept.add((address, log2_size))
        return sorted((a, k, found[a, k]) for a, k in kept), pages

    def add_subtree(self, root: bytes, log2_size: int, blocks: Sequence[Block], *, threads: int = 1) -> None:
        """
        Give the content of the subtree `root`, for this machine and forks made later: blocks, with zeros between them.

        Blocks without a root are hashed now; a given root is believed until a part of its block changes. Raises
        `VmError` if the blocks overlap, are misplaced, or do not make `root`.
        """
        natives = (NativeBlock * max(len(blocks), 1))()
        owners: list[object] = []
        for native, block in zip(natives, blocks, strict=False):
            pointer, size, owner = buffer(block.data)
            owners.append(owner)
            known = block.root is not None
            if not (0 <= block.offset <= U64 and 0 <= block.log2_size <= 63 and block.word_bytes in {1, 2, 4, 8}):
                raise VmError(f"no block: {block.offset=}, {block.log2_size=}, {block.word_bytes=}", Reason.BAD_STATE)
            native.offset, native.data, native.size = block.offset, pointer, size
            native.log2_size, native.word_bytes, native.root_known = block.log2_size, block.word_bytes, int(known)
            if block.root is not None:
                native.root[:] = hash32_bytes(block.root)
        problem, place = ctypes.c_char_p(), ctypes.c_uint64()
        with self._lock:
            found = self._lib.opml_machine_add_subtree(
                self._handle,
                hash32_bytes(root),
                log2_size,
                natives,
                len(blocks),
                threads,
                ctypes.byref(problem),
                ctypes.byref(place),
            )
            self._known.extend(owners)
        if problem.value is not None:
            block = blocks[place.value]
            where = f"block {place.value} (offset 0x{block.offset:x}, 2^{block.log2_size} bytes)"
            raise VmError(f"{where} of a subtree of 2^{log2_size} bytes: {problem.value.decode()}", Reason(found))
        self._check(found, f"cannot use the content of 0x{bytes(root).hex()}")


def _check_place(address: int, log2_size: int) -> None:
    if not 5 <= log2_size <= 63 or address % (1 << log2_size) or not 0 <= address <= U64:
        raise VmError(
            f"no subtree has 2^{log2_size} bytes at 0x{address:x}; a size is 2^5 to 2^63, a place its multiple"
        )
