"""The JSON files that lie beside a model's weights: read within limits, and the vocabulary that they describe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from opml_dispute.generation.refusals import BadModelFile
from opml_dispute.generation.vocabulary import Vocabulary
from opml_dispute.reading import Unreadable, read_json, read_text

MAX_CONFIG_BYTES: Final = 1 << 24
_MAX_TOKENIZER_BYTES: Final = 1 << 28


def folder_vocabulary(folder: Path, config: Mapping[str, Any], rows: int) -> Vocabulary | None:
    """
    The tokens of a folder's tokenizer.json, with what the other files say of them; None if there is no such file.

    `config` is what config.json says, `rows` how many tokens the model knows. Raises `BadModelFile`.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    content = json_object(path, _MAX_TOKENIZER_BYTES)
    model, added = content.get("model"), content.get("added_tokens", [])
    known = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(known, list):  # Unigram: pieces with their scores
        known = {piece[0]: i for i, piece in enumerate(known) if isinstance(piece, list) and piece}
    if not isinstance(known, dict) or not isinstance(added, list):
        raise BadModelFile(f"{path} has no vocabulary of the kinds BPE, WordPiece and Unigram")
    places = {i: token for token, i in known.items() if type(i) is int}
    places |= {entry["id"]: entry["content"] for entry in added if _is_token(entry)}
    if any(not 0 <= i < rows for i in places):
        raise BadModelFile(f"{path} has tokens beyond the embedding's {rows:,} rows")
    tokens = [places.get(i, "") for i in range(max(places, default=-1) + 1)]
    settings = _object_if_any(folder / "tokenizer_config.json")
    begin = config.get("bos_token_id")
    template = settings.get("chat_template")
    if template is None and (folder / "chat_template.jinja").is_file():
        template = _text(folder / "chat_template.jinja", MAX_CONFIG_BYTES)
    named = {what: settings.get(what) for what in ("bos_token", "eos_token")}
    named = {what: name.get("content") if isinstance(name, dict) else name for what, name in named.items()}
    return Vocabulary(
        tokens,
        "pieces" if "\u2581" in "".join(tokens[:4096]) else "bytes",
        special=sorted(entry["id"] for entry in added if _is_token(entry) and entry.get("special")),
        added=sorted(entry["id"] for entry in added if _is_token(entry)),
        begin=begin if settings.get("add_bos_token") is True and type(begin) is int else None,
        end_tokens=[end for end in end_tokens(folder, config) if end < len(tokens)],
        template=template if isinstance(template, str) else None,
        names={what: name for what, name in named.items() if isinstance(name, str)},
        tokenizer_json=json.dumps(content),
    )


def end_tokens(folder: Path, config: Mapping[str, Any]) -> list[int]:
    """The tokens that end an answer, ascending: generation_config.json's, else config.json's. Raises `BadModelFile`."""
    ends = _object_if_any(folder / "generation_config.json").get("eos_token_id", config.get("eos_token_id", []))
    return sorted(end for end in (ends if isinstance(ends, list) else [ends]) if type(end) is int and end >= 0)


def _is_token(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("id")) is int and isinstance(entry.get("content"), str)


def _object_if_any(path: Path) -> dict[str, Any]:
    return json_object(path) if path.is_file() else {}


def json_object(path: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A JSON object. Raises `BadModelFile`."""
    try:
        value = read_json(path, max_bytes=max_bytes)
    except Unreadable as error:
        raise BadModelFile(str(error)) from None
    if not isinstance(value, dict):
        raise BadModelFile(f"{path} is no JSON object")
    return value


def _text(path: Path, max_bytes: int) -> str:
    try:
        return read_text(path, max_bytes=max_bytes)
    except Unreadable as error:
        raise BadModelFile(str(error)) from None
