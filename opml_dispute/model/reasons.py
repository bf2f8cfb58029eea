"""The reasons why operators have no lowering."""

from __future__ import annotations

import onnx

from opml_dispute.model.lower import versions
from opml_dispute.model.onnx_file import DOMAINS, domain_name

_TEXT = ("StringNormalizer", "StringSplit", "StringConcat", "RegexFullMatch", "CategoryMapper")
_MAPS = ("CastMap", "DictVectorizer")
REASONS = {
    **dict.fromkeys(_TEXT, "text has no place in the segment, whose blocks hold numbers"),
    **dict.fromkeys(_MAPS, "a map has no place in the segment, whose blocks hold numbers"),
    "ImageDecoder": "file formats have no lowering; decode the image before",
}
"""Reasons of the operators that will never have a lowering."""


def why_unknown(node: onnx.NodeProto, version: int) -> str:
    """Why there is no lowering for an operator in a version of its set."""
    domain = domain_name(node.domain)
    if domain not in DOMAINS:
        return f"the operator set {domain!r} is unknown"
    since = versions(domain, node.op_type)
    return f"expected opset {since[0]} or newer" if since else REASONS.get(node.op_type, "no lowering for it")
