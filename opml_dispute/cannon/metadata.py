"""A program's symbols, as Cannon keeps them beside a state: names for people who debug; no step depends on them."""

from __future__ import annotations

import struct
from typing import Final

_HEADER: Final = struct.Struct(">16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct(">IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct(">IBBHQQ")
_SHT_SYMTAB: Final = 2


def symbols(elf: bytes) -> list[dict[str, object]]:
    """
    Name, start and size of every named symbol, by ascending address; none of a stripped or a damaged file.

    `elf` was accepted by `engine.elf.parse_elf`. Entries of a section table that lie beyond the file's end are left
    out.
    """
    fields = _HEADER.unpack_from(elf)
    table, entry_bytes, count = fields[6], fields[11], fields[12]
    sections = []
    for at in range(table, table + count * entry_bytes, max(entry_bytes, 1)):
        if entry_bytes < _SECTION.size or at + _SECTION.size > len(elf):
            return []
        sections.append(_SECTION.unpack_from(elf, at))
    found: list[tuple[int, int, str]] = []
    for kind, (offset, size), link in ((s[1], (s[4], s[5]), s[6]) for s in sections):
        if kind != _SHT_SYMTAB or offset + size > len(elf) or link >= len(sections):
            continue
        names_at, names_end = sections[link][4], sections[link][4] + sections[link][5]
        for at in range(offset, offset + size - _SYMBOL.size + 1, _SYMBOL.size):
            name, _, _, _, start, length = _SYMBOL.unpack_from(elf, at)
            end = elf.find(b"\0", names_at + name, names_end)
            if name and end > 0:
                found.append((start, length, elf[names_at + name : end].decode(errors="replace")))
    return [{"name": name, "start": start, "size": length} for start, length, name in sorted(found)]
