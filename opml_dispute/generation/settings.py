"""The JSON files that lie beside a model's weights: read within limits, and the vocabulary that they describe."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opml_dispute.generation.refusals import BadModelFile
from opml_dispute.generation.vocabulary import Vocabulary
from opml_dispute.reading import Unreadable, read_json, read_text

MAX_CONFIG_BYTES: Final = 1 << 24
_MAX_TOKENIZER_BYTES: Final = 1 << 28
_FIRST_TOKENS: Final = 4096
"""Among so many there is one with SentencePiece's space, if a vocabulary has such tokens at all."""


def is_there(path: Path) -> bool:
    """
    Whether a model's folder has a file that it may do without.

    Raises `BadModelFile` if something in its place is no file, as a link to a part that was never downloaded: a folder
    that was copied in part describes another model.
    """
    try:
        if path.is_file():
            return True
    except OSError as error:
        raise BadModelFile(f"cannot read {path}: {error.strerror}") from None
    if not os.path.lexists(path):
        return False
    found = "is no regular file" if path.exists() else "is a link to what is not there"
    raise BadModelFile(f"cannot read {path}: it {found}", hint="copy or download the folder again")


def folder_vocabulary(
    folder: Path, config: Mapping[str, Any], rows: int, *, surrounds: bool = False
) -> Vocabulary | None:
    """
    The tokens of a folder's tokenizer.json, with what the other files say of them; None if there is no such file.

    `config` is what config.json says, `rows` how many tokens the model knows, and `surrounds` whether it takes a text
    with the tokens that its tokenizer puts around a whole one. Raises `BadModelFile`.
    """
    path = folder / "tokenizer.json"
    if not is_there(path):
        return None
    content = json_object(path, _MAX_TOKENIZER_BYTES)
    model, added = content.get("model"), content.get("added_tokens", [])
    known = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(known, list):  # Unigram: pieces with their scores
        known = {piece[0]: i for i, piece in enumerate(known) if isinstance(piece, list) and _is_text(piece[:1])}
    if not isinstance(known, dict) or not isinstance(added, list):
        raise BadModelFile(f"{path} has no vocabulary of the kinds BPE, WordPiece and Unigram")
    added = [entry for entry in added if _is_token(entry)]
    places = {i: token for token, i in known.items() if type(i) is int}
    is_bytes = not any("\u2581" in token for i, token in places.items() if i < _FIRST_TOKENS)
    places |= {entry["id"]: entry["content"] for entry in added}
    if any(i < 0 for i in places):
        raise BadModelFile(f"{path} has a token with a number below 0")
    # Tokens that were added for training, or for pictures, may have no row: a prompt with one is refused.
    places = {i: token for i, token in places.items() if i < rows}
    tokens = [places.get(i, "") for i in range(max(places, default=-1) + 1)]
    settings = _object_if_any(folder / "tokenizer_config.json")
    named = {what: settings.get(what) for what in ("bos_token", "eos_token")}
    named = {what: name.get("content") if isinstance(name, dict) else name for what, name in named.items()}
    return Vocabulary(
        tokens,
        "bytes" if is_bytes else "pieces",
        special=sorted(entry["id"] for entry in added if entry["id"] < rows and entry.get("special")),
        added=sorted(entry["id"] for entry in added if entry["id"] < rows),
        begin=_begin(config.get("bos_token_id"), content, settings, named["bos_token"], places),
        end_tokens=[end for end in end_tokens(folder, config) if end < len(tokens)],
        template=_template(folder, settings),
        names={what: name for what, name in named.items() if isinstance(name, str)},
        tokenizer_json=json.dumps(content),
        surrounds=surrounds,
    )


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """How a chat becomes text: a file of its own, else the tokenizer's settings, which may have several by name."""
    if is_there(folder / "chat_template.jinja"):
        return _text(folder / "chat_template.jinja", MAX_CONFIG_BYTES)
    told = settings.get("chat_template")
    if isinstance(told, list):
        named = [entry for entry in told if isinstance(entry, dict) and entry.get("name") == "default"]
        told = named[0].get("template") if named else None
    return told if isinstance(told, str) else None


def _begin(
    told: Any, content: Mapping[str, Any], settings: Mapping[str, Any], name: Any, places: Mapping[int, str]
) -> int | None:
    """
    The token that the tokenizer puts before every text: as its settings say, else its last step.

    `told` is config.json's token, `name` what the settings call it, which counts where config.json has none.
    """
    puts = settings.get("add_bos_token")
    if not isinstance(puts, bool):
        return _first_of_last_step(content, places)
    if not puts:
        return None
    if type(told) is int and told in places:
        return told
    return next((i for i, token in places.items() if token == name), None)


def _first_of_last_step(content: Mapping[str, Any], places: Mapping[int, str]) -> int | None:
    """The token that a tokenizer's template puts before every text, if it has one."""
    last = content.get("post_processor")
    steps = last.get("processors") if isinstance(last, dict) and last.get("type") == "Sequence" else [last]
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict) and step.get("type") == "TemplateProcessing":
            single, known = step.get("single"), step.get("special_tokens")
            first = single[0] if isinstance(single, list) and single else None
            token = first.get("SpecialToken") if isinstance(first, dict) else None
            name = token.get("id") if isinstance(token, dict) else None
            entry = known.get(name) if isinstance(known, dict) and isinstance(name, str) else None
            ids = entry.get("ids") if isinstance(entry, dict) else None
            if isinstance(ids, list) and len(ids) == 1 and type(ids[0]) is int and ids[0] in places:
                return ids[0]
    return None


def end_tokens(folder: Path, config: Mapping[str, Any]) -> list[int]:
    """The tokens that end an answer, ascending: generation_config.json's, else config.json's. Raises `BadModelFile`."""
    return sorted(_tokens(_object_if_any(folder / "generation_config.json"), config, "eos_token_id"))


@dataclass(frozen=True)
class Speech:
    """How a model's files want its answers begun, continued and ended."""

    end_tokens: tuple[int, ...]
    start: tuple[int, ...]
    """What a decoder behind an encoder begins with."""
    excluded: tuple[int, ...]
    """Tokens that are never chosen."""
    excluded_first: tuple[int, ...]
    """Tokens that are not chosen first."""


def speech_of(folder: Path, config: Mapping[str, Any]) -> Speech:
    """As generation_config.json says, else config.json. Raises `BadModelFile`."""
    own = _object_if_any(folder / "generation_config.json")
    start = _tokens(own, config, "decoder_start_token_id") or _tokens(own, config, "bos_token_id") or [0]
    forced = own.get("forced_decoder_ids", config.get("forced_decoder_ids")) or []
    for entry in forced if isinstance(forced, list) else []:
        if isinstance(entry, list) and len(entry) == 2 and entry[0] == len(start) and _is_number(entry[1]):
            start.append(entry[1])
    return Speech(
        tuple(end_tokens(folder, config)),
        tuple(start),
        tuple(_tokens(own, config, "suppress_tokens")),
        tuple(_tokens(own, config, "begin_suppress_tokens")),
    )


def _tokens(own: Mapping[str, Any], config: Mapping[str, Any], key: str) -> list[int]:
    """The tokens under a name, one or a list of them; of the first file that has the name."""
    found = own.get(key, config.get(key))
    return [token for token in (found if isinstance(found, list) else [found]) if _is_number(token)]


def _is_text(first: list[Any]) -> bool:
    return len(first) == 1 and isinstance(first[0], str)


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_token(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("id")) is int and isinstance(entry.get("content"), str)


def _object_if_any(path: Path) -> dict[str, Any]:
    return json_object(path) if is_there(path) else {}


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
