"""
The ML segment: the part of VM memory that *is* the state of an inference.

1. `SECTIONS` says what lies where.
2. `input_image` lays a model's inputs out as the INPUT section's bytes; `section_root` hashes such an image.
3. `initial_root` makes S_0 from a model root and an input root; `state_root` makes any S_t from its five parts.
4. `OutputProof` proves an output under S_n, as the chain checks it.

Running nodes is the engine's work (`engine.inference`); claims about roots are `game`'s. The format is written down in
docs/segment.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.hashing import LEAF_LOG2, hash_pair, merkle_root, zero_root
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Hash32, StateRoot

SEGMENT_BASE: Final = 0x0000_7000_0000_0000
"""Where the guest maps the segment in the VM's memory; of a batch, that of the item whose turn it is."""
BATCH_BASE: Final = 0x0100_0000_0000_0000
"""Where the guest maps the whole state: the segments of all items side by side, or a single inference's segment."""

SEGMENT_LOG2: Final = 40
MODEL_LOG2: Final = 39
"""Program and weights: the lower half, whose root is the model root."""
LEAST_BLOCK_LOG2: Final = 6
"""A block has at least 64 bytes: two leaves, so that it is a subtree."""


@dataclass(frozen=True, slots=True)
class Section:
    """A named part of the segment."""

    offset: int
    """Bytes from the segment's base, a multiple of the size."""
    log2_size: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + (1 << self.log2_size)


PROGRAM: Final = Section(0x00_0000_0000, 37)
WEIGHTS: Final = Section(0x40_0000_0000, 38)
HEADER: Final = Section(0x80_0000_0000, 37)
INPUT: Final = Section(0xA0_0000_0000, 36)
OUTPUT: Final = Section(0xB0_0000_0000, 36)
ARENA: Final = Section(0xC0_0000_0000, 38)

SECTIONS: Final[Mapping[str, Section]] = {
    "PROGRAM": PROGRAM,
    "WEIGHTS": WEIGHTS,
    "HEADER": HEADER,
    "INPUT": INPUT,
    "OUTPUT": OUTPUT,
    "ARENA": ARENA,
}
"""By ascending offset; between PROGRAM and WEIGHTS 2^37 bytes are reserved and zero."""

STATE_MAGIC: Final = int.from_bytes(b"OPMLSTAT", "big")
_HEADER: Final = struct.Struct(">4Q")


class BadInput(OpmlError):
    """The given inputs do not match the model's."""

    hint = "see what the model takes: opml-dispute model inspect"


class _DType(Protocol):
    @property
    def numpy(self) -> np.dtype[Any]: ...


class Placed(Protocol):
    """A tensor and its place: `model.program.TensorSpec`."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> _DType: ...
    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def offset(self) -> int: ...


def header_leaf(node_index: int, status: int = 0, fault_node: int = 0) -> bytes:
    """The 32 bytes at the start of HEADER; the rest of the section is zero."""
    return _HEADER.pack(STATE_MAGIC, node_index, status, fault_node)


def header_root(node_index: int, status: int = 0, fault_node: int = 0) -> Hash32:
    """The root of HEADER."""
    root = Hash32(header_leaf(node_index, status, fault_node))
    for level in range(LEAF_LOG2, HEADER.log2_size):
        root = hash_pair(root, zero_root(level))
    return root


def section_root(image: bytes, section: Section = INPUT) -> Hash32:
    """The root of a section that holds `image`, then zeros. Raises `BadSubtree` if it does not fit."""
    return merkle_root(image, section.log2_size)


def state_root(model_root: bytes, header: bytes, input_root: bytes, output_root: bytes, arena_root: bytes) -> StateRoot:
    """S from the roots of its parts: H(model, H(H(header, H(input, output)), arena))."""
    ends = hash_pair(input_root, output_root)
    return StateRoot(hash_pair(model_root, hash_pair(hash_pair(header, ends), arena_root)))


def initial_root(model_root: bytes, input_root: bytes) -> StateRoot:
    """S_0: nothing has run, OUTPUT and ARENA are zero. The chain computes the same in four hashes."""
    zero = zero_root(OUTPUT.log2_size), zero_root(ARENA.log2_size)
    return state_root(model_root, header_root(0), input_root, *zero)


@dataclass(frozen=True, slots=True)
class OutputProof:
    """The proof, next to S_n, that an inference of `node_count` nodes succeeded with a certain output."""

    model_root: Hash32
    input_root: Hash32
    arena_root: Hash32
    node_count: int

    def state_root(self, output_image: bytes) -> StateRoot:
        """The S_n that has this output and status 0."""
        output = section_root(output_image, OUTPUT)
        return state_root(self.model_root, header_root(self.node_count), self.input_root, output, self.arena_root)

    def shows(self, output_image: bytes, final_root: bytes) -> bool:
        """Whether `final_root` is that state."""
        return self.state_root(output_image) == final_root


def input_image(inputs: Sequence[Placed], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """
    The INPUT section from offset 0: each array, big-endian, at its place.

    Raises `BadInput` if an input is missing, unknown, or of another type or shape.
    """
    wanted = {spec.name for spec in inputs}
    if set(arrays) != wanted:
        raise BadInput(
            f"inputs {', '.join(sorted(arrays)) or 'none'} found, expected {', '.join(sorted(wanted)) or 'none'}"
        )
    image = bytearray()
    for spec in inputs:
        array, dtype = np.asarray(arrays[spec.name]), spec.dtype.numpy
        if array.dtype != dtype or array.shape != tuple(spec.shape):
            raise BadInput(
                f"input {spec.name}: {array.dtype} {list(array.shape)} found, expected {dtype} {list(spec.shape)}"
            )
        begin = spec.offset - INPUT.offset
        data = big_endian(array)
        image.extend(bytes(max(0, begin + len(data) - len(image))))
        image[begin : begin + len(data)] = data
    return bytes(image)


def tensors(
    specs: Sequence[Placed], image: bytes | memoryview | npt.NDArray[np.uint8], section: Section
) -> dict[str, npt.NDArray[Any]]:
    """The arrays in a section's image, by name; `input_image` read backwards."""
    found = {}
    raw = np.frombuffer(image, dtype=np.uint8)
    for spec in specs:
        dtype, count = spec.dtype.numpy, int(np.prod(spec.shape, dtype=np.int64))
        begin = spec.offset - section.offset
        words = raw[begin : begin + count * dtype.itemsize].view(f">u{dtype.itemsize}")
        found[spec.name] = words.astype(f"=u{dtype.itemsize}").view(dtype).reshape(tuple(spec.shape))
    return found


def big_endian(array: npt.NDArray[Any]) -> bytes:
    """The elements, row-major, as VM memory holds them."""
    width = array.dtype.itemsize
    return np.ascontiguousarray(array).reshape(-1).view(f"=u{width}").astype(f">u{width}").tobytes()
