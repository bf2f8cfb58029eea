"""Attributes that are lists of numbers and texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import AttributeProto

from opml_dispute.model.long_lists import BY_NODE


def listed(attribute: AttributeProto, name: str) -> Any:
    """The elements of the list `name`, as a tuple, or an array if it goes with nodes of trees; equal texts are one."""
    if attribute.type == AttributeProto.STRINGS:
        texts = {raw: text_of(raw) for raw in set(attribute.strings)}
        return tuple(texts[raw] for raw in attribute.strings)
    is_real = attribute.type == AttributeProto.FLOATS
    values = attribute.floats if is_real else attribute.ints
    if name.startswith(BY_NODE):
        return np.fromiter(values, np.float32 if is_real else np.int64, len(values))
    return tuple(values)


def text_of(raw: bytes) -> str:
    """What is no UTF-8 becomes U+FFFD."""
    return raw.decode("utf-8", errors="replace")
