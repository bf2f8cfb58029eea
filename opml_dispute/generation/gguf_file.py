"""
GGUF, the file format of llama.cpp, read as untrusted input.

`read_gguf` gives header and tensors, the latter as views of the mapped file: no weight is read before it is needed.
Every length is compared with the rest of the file before it is used, so that a damaged or malicious file gives a clear
error. `gguf_model` interprets the fields.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, Final

from opml_dispute.engine.mapped_files import map_file, unchanged
from opml_dispute.generation.checkpoint import Weight
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.model.tensor import Array
from opml_dispute.reading import Unreadable, read_bytes

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)

_SCALARS: Final = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Encoding:
    """How a tensor's elements are written."""

    name: str
    block_elements: int
    block_bytes: int


ENCODINGS: Final[Mapping[int, Encoding]] = {
    0: Encoding("F32", 1, 4), 1: Encoding("F16", 1, 2), 30: Encoding("BF16", 1, 2),
    2: Encoding("Q4_0", 32, 18), 3: Encoding("Q4_1", 32, 20), 6: Encoding("Q5_0", 32, 22), 7: Encoding("Q5_1", 32, 24),
    8: Encoding("Q8_0", 32, 34), 10: Encoding("Q2_K", 256, 84), 11: Encoding("Q3_K", 256, 110),
    12: Encoding("Q4_K", 256, 144), 13: Encoding("Q5_K", 256, 176), 14: Encoding("Q6_K", 256, 210),
    16: Encoding("IQ2_XXS", 256, 66), 17: Encoding("IQ2_XS", 256, 74), 18: Encoding("IQ3_XXS", 256, 98),
    19: Encoding("IQ1_S", 256, 50), 20: Encoding("IQ4_NL", 32, 18), 21: Encoding("IQ3_S", 256, 110),
    22: Encoding("IQ2_S", 256, 82), 23: Encoding("IQ4_XS", 256, 136), 29: Encoding("IQ1_M", 256, 56),
    34: Encoding("TQ1_0", 256, 54), 35: Encoding("TQ2_0", 256, 66), 39: Encoding("MXFP4", 32, 17),
}  # fmt: skip
"""By the number that a file has for it."""

_PART_NAME: Final = re.compile(r"(?P<stem>.+)-[0-9]{5}-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL)
_MOST_DIMENSIONS: Final = 4
_MOST_FIELDS: Final = 1 << 16
_MOST_TENSORS: Final = 1 << 20
_MOST_ELEMENTS: Final = 1 << 22
"""Of all lists of a header together: five times those of the largest vocabularies."""
_LIST_COST: Final = 16
"""A list within a list counts as so many elements: it takes as much memory, and models have hardly any."""
_MOST_TEXT_BYTES: Final = 1 << 24


@dataclass(frozen=True)
class GgufFile:
    """A file's header and tensors."""

    fields: Mapping[str, Any]
    """Numbers, texts, truth values, and lists of these."""
    tensors: Mapping[str, Weight]


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF does; False for what cannot be read."""
    try:
        # Before it is opened: a pipe would wait for a writer.
        return path.is_file() and read_bytes(path, max_bytes=len(MAGIC), cut=True)[: len(MAGIC)] == MAGIC
    except (Unreadable, OSError, ValueError):
        return False


def read_gguf(path: Path) -> GgufFile:
    """
    A file's header and tensors, mapped; of a model in several files, which lie in one folder, all parts' tensors.

    Raises `BadModelFile` for what is not a whole GGUF file, `UnsupportedLanguageModel` for encodings not known here,
    `FileChanged` for one that is written to meanwhile.
    """
    with unchanged():
        file = _Reader(path, mapped(path)).file()
        return file if file.fields.get("split.count", 1) in (0, 1) else _with_parts(path, file)


def _with_parts(path: Path, first: GgufFile) -> GgufFile:
    """The first part of a model, with the tensors of all others. Raises as `read_gguf`."""
    name = _PART_NAME.fullmatch(path.name)
    count = first.fields["split.count"]
    if name is None or int(name["count"]) != count:
        raise BadModelFile(
            f"{path} says that it is one of {str(count)[:40]} files of a model, and its name does not",
            hint="give the files the names they were published with: NAME-00001-of-0000N.gguf",
        )

    def part(number: int) -> Path:
        return path.with_name(f"{name['stem']}-{number + 1:05}-of-{count:05}.gguf")

    if first.fields.get("split.no") != 0:
        raise BadModelFile(f"{path} is not the first file of its model", hint=f"name the first: {part(0).name}")
    tensors = dict(first.tensors)
    for number in range(1, count):
        if not part(number).exists():
            raise BadModelFile(
                f"{part(number).name}, which belongs to {path}, is missing", hint="put all files of it into one folder"
            )
        more = _Reader(part(number), mapped(part(number))).file()
        if more.fields.get("split.no") != number or more.fields.get("split.count") != count:
            raise BadModelFile(f"{part(number)} does not say that it is file {number + 1} of {count}, as its name does")
        if twice := sorted(tensors.keys() & more.tensors.keys()):
            raise BadModelFile(f"{part(number)} has the tensor {twice[0][:80]!r}, which a file before it has, too")
        tensors |= more.tensors
    if len(tensors) != (told := first.fields.get("split.tensors.count", len(tensors))):
        raise BadModelFile(
            f"the {count} files of {path} have {len(tensors):,} tensors; the first says {str(told)[:40]}"
        )
    return GgufFile(first.fields, tensors)


def mapped(path: Path) -> Array:
    """A file's bytes, u8, read when they are looked at. Raises `BadModelFile`."""
    try:
        if not path.is_file():
            raise BadModelFile(f"cannot read the model {path}: it is no file", hint="check the path")
        if path.stat().st_size == 0:
            raise BadModelFile(f"{path} is empty")
        return map_file(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadModelFile(f"cannot read the model {path}: {reason}", hint="check the path") from None


class _Reader:
    """Goes through a file from its start."""

    def __init__(self, path: Path, data: Array) -> None:
        self.path, self.data, self.at = path, data, 0
        self.elements = 0
        self.raw = memoryview(data.data)

    def file(self) -> GgufFile:
        """See `read_gguf`."""
        if bytes(self.raw[:4]) != MAGIC:
            raise BadModelFile(f"{self.path} is not a GGUF file: it begins with {bytes(self.raw[:4])!r}")
        self.at = 4
        version = self._number("<I", "the version")
        if version not in VERSIONS:
            raise BadModelFile(f"{self.path} has GGUF version {version}; expected {' or '.join(map(str, VERSIONS))}")
        tensor_count = self._number("<Q", "the number of tensors")
        field_count = self._number("<Q", "the number of fields")
        if field_count > _MOST_FIELDS or tensor_count > _MOST_TENSORS:
            raise self._damaged(
                f"it has {field_count:,} fields and {tensor_count:,} tensors; expected {_MOST_FIELDS:,} and "
                f"{_MOST_TENSORS:,} at most"
            )
        # A field takes 13 bytes at least, a tensor's description 24.
        self._expect(13 * field_count + 24 * tensor_count, f"{field_count:,} fields and {tensor_count:,} tensors")
        fields: dict[str, Any] = {}
        for _ in range(field_count):
            key = self._text("a field's name")
            if key in fields:
                raise self._damaged(f"two fields have the name {key[:80]!r}")
            fields[key] = self._value(self._number("<I", f"the type of {key!r}"), key)
        described = [self._description() for _ in range(tensor_count)]
        return GgufFile(fields, self._tensors(described, fields))

    def _tensors(
        self, described: list[tuple[str, tuple[int, ...], Encoding, int]], fields: Mapping[str, Any]
    ) -> dict[str, Weight]:
        alignment = fields.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._damaged(f"its alignment is {str(alignment)[:40]}; expected a power of two")
        start = -(-self.at // alignment) * alignment
        tensors: dict[str, Weight] = {}
        places: list[tuple[int, int, str]] = []
        for name, shape, encoding, offset in described:
            if name in tensors:
                raise self._damaged(f"two tensors have the name {name!r}")
            size = prod(shape) // encoding.block_elements * encoding.block_bytes
            if start + offset + size > self.data.size:
                missing = start + offset + size - self.data.size
                raise self._damaged(f"tensor {name!r} ends {missing:,} bytes behind the end of the file")
            raw = self.data[start + offset : start + offset + size]
            tensors[name] = Weight(name, encoding.name, shape, _elements(raw, encoding, shape))
            places.append((offset, offset + size, name))
        for (_, end, before), (begin, _, name) in pairwise(sorted(places)):
            if begin < end:
                raise self._damaged(f"tensor {name[:80]!r} begins within {before[:80]!r}")
        return tensors

    def _description(self) -> tuple[str, tuple[int, ...], Encoding, int]:
        """Name, row-major shape, encoding and offset of a tensor."""
        name = self._text("a tensor's name")
        rank = self._number("<I", f"the rank of {name!r}")
        if not 1 <= rank <= _MOST_DIMENSIONS:
            raise self._damaged(f"tensor {name!r} has {rank} dimensions; expected 1 to {_MOST_DIMENSIONS}")
        sizes = [self._number("<Q", f"the shape of {name!r}") for _ in range(rank)]
        number = self._number("<I", f"the encoding of {name!r}")
        offset = self._number("<Q", f"the offset of {name!r}")
        encoding = ENCODINGS.get(number)
        if encoding is None:
            raise UnsupportedLanguageModel(
                f"tensor {name!r} has GGUF's encoding number {number}, which is not known here; known are "
                f"{', '.join(entry.name for entry in ENCODINGS.values())}",
                hint="quantise the model to one of these, with llama-quantize",
            )
        if 0 in sizes or prod(sizes) > 1 << 40 or sizes[0] % encoding.block_elements:
            raise self._damaged(
                f"tensor {name!r} has the sizes {sizes}; expected whole blocks of {encoding.block_elements} elements"
            )
        return name, tuple(reversed(sizes)), encoding, offset

    def _value(self, kind: int, key: str, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self._unpack(_SCALARS[kind], key)
        if kind == _STRING:
            return self._text(key)
        if kind != _ARRAY or depth > 2:
            raise self._damaged(f"field {key!r} has type number {kind}; expected 0 to 12")
        inner = self._number("<I", f"the type of {key!r}")
        count = self._number("<Q", f"the length of {key!r}")
        self.elements += count * (_LIST_COST if inner == _ARRAY else 1)
        if self.elements > _MOST_ELEMENTS:
            raise self._damaged(f"its lists have more than {_MOST_ELEMENTS:,} elements ({key[:80]!r}: {count:,})")
        if inner in _SCALARS:
            scalar = _SCALARS[inner]
            self._expect(count * scalar.size, f"{count:,} elements of {key!r}")
            found = struct.unpack_from(f"<{count}{scalar.format[1:]}", self.raw, self.at)
            self.at += count * scalar.size
            return list(found)
        self._expect(8 * count, f"{count:,} elements of {key!r}")
        if inner == _STRING:
            return self._texts(count, key)
        return [self._value(inner, key, depth + 1) for _ in range(count)]

    def _text(self, what: str) -> str:
        size = self._number("<Q", what)
        if size > _MOST_TEXT_BYTES:
            raise self._damaged(f"{what[:80]} is a text of {size:,} bytes; expected {_MOST_TEXT_BYTES:,} at most")
        self._expect(size, f"{size:,} bytes of {what}")
        raw = bytes(self.raw[self.at : self.at + size])
        self.at += size
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self._damaged(f"{what[:80]} is no text: {raw[:20]!r}") from None

    def _texts(self, count: int, what: str) -> list[str]:
        """As `_text`, many times: a vocabulary has hundreds of thousands."""
        raw, end, unpack = self.raw, self.data.size - 8, struct.Struct("<Q").unpack_from
        texts: list[str] = []
        at = self.at
        while len(texts) < count:
            size = unpack(raw, at)[0] if at <= end else end
            if size > _MOST_TEXT_BYTES or at + size > end:
                break
            try:
                texts.append(str(raw[at + 8 : at + 8 + size], "utf-8"))
            except UnicodeDecodeError:
                break
            at += 8 + size
        self.at = at
        # What is wrong with the next one, if there is one, or whether it only ends with the file, `_text` says.
        return texts + [self._text(what) for _ in range(count - len(texts))]

    def _number(self, form: str, what: str) -> int:
        return int(self._unpack(struct.Struct(form), what))

    def _unpack(self, form: struct.Struct, what: str) -> Any:
        self._expect(form.size, what)
        (value,) = form.unpack_from(self.raw, self.at)
        self.at += form.size
        return value

    def _expect(self, size: int, what: str) -> None:
        """Raises `BadModelFile` unless `size` more bytes are there."""
        if size > self.data.size - self.at:
            raise self._damaged(f"it ends within {what[:120]}")

    def _damaged(self, reason: str) -> BadModelFile:
        return BadModelFile(f"{self.path} ({self.data.size:,} bytes) is cut short or damaged: {reason}")


def _elements(raw: Array, encoding: Encoding, shape: tuple[int, ...]) -> Array:
    """A tensor's bytes as `Weight.data` has them."""
    if encoding.block_elements > 1:
        row = shape[-1] // encoding.block_elements * encoding.block_bytes
        return raw.reshape(*shape[:-1], row)
    if encoding.name == "BF16":
        import ml_dtypes

        narrow: Array = raw.view("<u2").view(ml_dtypes.bfloat16).reshape(shape)
        return narrow
    elements: Array = raw.view("<f4" if encoding.name == "F32" else "<f2").reshape(shape)
    return elements
