"""At which read of a pre-image a run is to stop: Cannon's --stop-at-preimage, -type and -larger-than."""

from __future__ import annotations

import re
from dataclasses import dataclass

from opml_dispute.cannon.server import KEY_TYPES
from opml_dispute.errors import OpmlError

_KEY_HINT = "write 0x and hexadecimal digits, the key or its beginning, perhaps @OFFSET, perhaps @STEP behind that"


@dataclass(frozen=True, slots=True)
class PreimageStop:
    """
    Stop behind a read of a pre-image, counted with the 8 bytes of its length.

    Of `key_prefix` and `larger_than` both must fit where both are given; `offset` and `first_step` matter to a prefix
    alone. As Cannon has it.
    """

    key_prefix: bytes = b""
    offset: int = 0
    first_step: int = 0
    any_key: bool = False
    larger_than: int | None = None
    """Bytes, the length's included."""

    def may_match(self, key: bytes, size: int) -> bool:
        """Whether any read of this pre-image of `size` bytes could be one to stop behind."""
        large = self.larger_than is None or size + 8 > self.larger_than
        return self.any_key or (key.startswith(self.key_prefix) and large)

    def matches(self, key: bytes, size: int, offset: int, step: int) -> bool:
        """Whether to stop behind the read at `offset`, made by step number `step`, of a pre-image of `size` bytes."""
        here = self.any_key or self.larger_than is not None or (offset == self.offset and step >= self.first_step)
        return here and self.may_match(key, size)

    @classmethod
    def parse(cls, key: str, kind: str, larger_than: int) -> PreimageStop | None:
        """
        From Cannon's three options, where empty and 0 mean none; a key makes `kind` meaningless.

        Raises `OpmlError`.
        """
        if not key and not kind and not larger_than:
            return None
        prefix, offset, step = _parse_place(key) if key else (b"", 0, 0)
        if kind and kind != "any" and kind not in KEY_TYPES:
            raise OpmlError(f"{kind!r} is no pre-image type", hint=f"types are any, {', '.join(KEY_TYPES)}")
        if not key and kind in KEY_TYPES:
            prefix = bytes([KEY_TYPES[kind]])
        return cls(prefix, offset, step, not key and kind == "any", larger_than or None)


def _parse_place(text: str) -> tuple[bytes, int, int]:
    digits, *numbers = text.split("@")
    digits = digits.removeprefix("0x")
    places = [int(number) for number in numbers if re.fullmatch("[0-9]{1,20}", number)]
    if not re.fullmatch("([0-9a-fA-F]{2}){1,32}", digits):
        raise OpmlError(f"{text!r} is no pre-image key", hint=_KEY_HINT)
    if len(places) != len(numbers) or len(places) > 2 or any(place >> 64 for place in places):
        raise OpmlError(f"{text!r} names no offset and step", hint=_KEY_HINT)
    offset, step = (*places, 0, 0)[:2]
    return bytes.fromhex(digits), offset, step
