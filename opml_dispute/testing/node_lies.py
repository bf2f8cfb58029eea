"""
A node that answers in the right form, and lies: one part of one answer changed, of every kind that its type allows.

`Teller` is a `FaultProxy`'s `edit`. Without a lie it notes what was answered: `places` are the parts of the answers
that could be lies, by the question and the place in its answer. `lies_at` gives the lies about a place; set as
`Teller.lie`, one changes the first `left` answers that it is about, or all of them. `sent` has every transaction that
went to the node, for those who judge what was sent.

A lie is a name and can be said again: `Lie.parse(str(lie))`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeAlias

from opml_dispute import plain_json
from opml_dispute.chain.artifacts import load_artifact, names
from opml_dispute.testing.proxy_faults import Reply, Request

Place: TypeAlias = tuple[str, ...]
"""The way into a result: names of fields, `0` for a list's first item, `word N` in what a contract returns."""

ESCAPES: Final = "\x1b[31mred\x1b]0;title\x07 \u202eback \r\n\x9b2J"
"""What would act on a terminal."""

WORDS_OF_A_CALL: Final = 24
"""Words of a contract's answer that are lied about, from the first on."""

HUGE: Final = "long " * 200_000
"""A text of a million characters, a whole number of words of 32."""

_ENDLESS: Final = 3_000
"""Items of a list, or words of bytes, that has more of them than anything real."""


@dataclass(frozen=True, order=True)
class Lie:
    """A change of one place in the answers to one question."""

    question: str
    """A method, or `eth_call` with the contract's function."""
    place: Place
    kind: str
    """One of `KINDS`."""

    def __str__(self) -> str:
        return json.dumps([self.question, *self.place, self.kind])

    @classmethod
    def parse(cls, text: str) -> Lie:
        """From its name. Raises `ValueError`."""
        question, *place, kind = plain_json.loads(text)
        return cls(question, tuple(place), kind)


def _plus(delta: int) -> Callable[[Any, str], Any]:
    def add(value: Any, another: str) -> Any:
        return hex(int(value, 16) + delta) if int(value, 16) + delta >= 0 else f"-{hex(-delta)}"

    return add


def _always(said: Any) -> Callable[[Any, str], Any]:
    return lambda value, another: deepcopy(said)


def _word(change: Callable[[int, str], int]) -> Callable[[Any, str], Any]:
    """Of a word of 32 bytes, as 64 digits."""
    return lambda value, another: f"{change(int(value, 16), another) % 2**256:064x}"


ANYTHING: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "null": _always(None),
    "text": _always(ESCAPES),
    "huge text": _always(HUGE),
    "fraction": _always(1.5),
    "negative number": _always(-1),
    "true": _always(True),
    "list": _always([]),
    "list of null": _always([None]),
    "object": _always({}),
}
"""Values of another type, for every place."""

QUANTITIES: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "no digits": _always("0x"),
    "leading zeros": lambda value, another: "0x" + value[2:].rjust(64, "0"),
    "capital X": lambda value, another: "0X" + value[2:],
    "decimal": lambda value, another: str(int(value, 16)),
    "a number": lambda value, another: int(value, 16),
    "zero": _always("0x0"),
    "one more": _plus(1),
    "one less": _plus(-1),
    "many more": _plus(1_000),
    "negative": _always("-0x1"),
    "fraction in hex": _always("0x1p3"),
    "63 bits": _always(hex(2**63 - 1)),
    "64 bits": _always(hex(2**64 - 1)),
    "255 bits": _always(hex(2**255)),
    "256 bits": _always(hex(2**256 - 1)),
    "257 bits": _always(hex(2**257 - 1)),
}

BYTES: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "no bytes": _always("0x"),
    "one byte": _always("0x00"),
    "odd digits": lambda value, another: value[:-1],
    "capital digits": lambda value, another: "0X" + value[2:].upper(),
    "half": lambda value, another: value[: 2 + (len(value) - 2) // 4 * 2],
    "twice": lambda value, another: value + value[2:],
    "zeros": lambda value, another: "0x" + "0" * (len(value) - 2),
    "ones": lambda value, another: "0x" + "f" * (len(value) - 2),
    "last bit": lambda value, another: value[:-1] + f"{int(value[-1], 16) ^ 1:x}" if len(value) > 2 else "0x01",
    "endless": _always("0x" + "ff" * 32 * _ENDLESS),
    "another's": lambda value, another: another or value,
}

WORDS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "word 0": _word(lambda value, another: 0),
    "word 1": _word(lambda value, another: 1),
    "word one more": _word(lambda value, another: value + 1),
    "word one less": _word(lambda value, another: value - 1),
    "word 7": _word(lambda value, another: 7),
    "word 31 bits": _word(lambda value, another: 2**31),
    "word 32 bits": _word(lambda value, another: 2**32 - 1),
    "word 63 bits": _word(lambda value, another: 2**63),
    "word 64 bits": _word(lambda value, another: 2**64 - 1),
    "word 255 bits": _word(lambda value, another: 2**255),
    "word 256 bits": _word(lambda value, another: 2**256 - 1),
    "word of another": _word(lambda value, another: int(another, 16) if another else value ^ 1),
}

LISTS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "empty": _always([]),
    "backwards": lambda value, another: value[::-1],
    "each twice": lambda value, another: [item for item in value for _ in range(2)],
    "without the first": lambda value, another: value[1:],
    "without the last": lambda value, another: value[:-1],
    "without end": lambda value, another: (value or [None]) * _ENDLESS,
}

OBJECTS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "with a huge field": lambda value, another: value | {"extra": HUGE},
    "fields of null": lambda value, another: dict.fromkeys(value),
}

REPLIES: Final[Mapping[str, Reply]] = {
    "no result": {},
    "null error": {"error": None},
    "error of text": {"error": ESCAPES},
    "error of a list": {"error": [1, 2]},
    "error without a message": {"error": {}},
    "error with escapes": {"error": {"code": -32000, "message": ESCAPES}},
    "error with a code of text": {"error": {"code": ESCAPES, "message": {"of": []}, "data": 5}},
    "reverted without data": {"error": {"code": 3, "message": "execution reverted", "data": "0x"}},
    "reverted without sense": {"error": {"code": 3, "message": "execution reverted", "data": "0x" + "ab" * 37}},
    "reverted with text": {
        "error": {
            "code": 3,
            "message": "execution reverted",
            "data": "0x08c379a0" + f"{32:064x}{len(ESCAPES.encode()):064x}" + ESCAPES.encode().hex().ljust(64, "0"),
        }
    },
    "reverted with a huge text": {
        "error": {
            "code": 3,
            "message": "execution reverted",
            "data": "0x08c379a0" + f"{32:064x}{len(HUGE):064x}" + HUGE.encode().hex(),
        }
    },
    "huge error": {"error": {"code": -32000, "message": HUGE}},
    "no funds": {"error": {"code": -32000, "message": "insufficient funds for gas * price + value"}},
    "nonce too low": {"error": {"code": -32003, "message": "nonce too low"}},
    "already known": {"error": {"code": -32000, "message": "already known"}},
    "underpriced": {"error": {"code": -32000, "message": "replacement transaction underpriced"}},
    "no such method": {"error": {"code": -32601, "message": "the method does not exist"}},
    "pruned": {"error": {"code": 4444, "message": "pruned history unavailable"}},
}
"""In the place of a whole reply."""

DONE_ALREADY: Final = ("ClaimAlreadyExists", "DuplicateStep", "ClaimAlreadyResolved", "GameNotInProgress", "NoBond")
"""Errors of contracts that say that nothing is left to do."""

KINDS: Final = {**ANYTHING, **QUANTITIES, **BYTES, **WORDS, **LISTS, **OBJECTS}

MISSING: Final = "missing"
"""A field that is left out."""


def asked_by(request: Request) -> str:
    """The method, and for a contract's function its name too."""
    method = str(request.get("method"))
    if method not in ("eth_call", "eth_estimateGas"):
        return method
    fields = request["params"][0]
    selector = str(fields.get("input") or fields.get("data"))[:10]
    return f"{method} {_functions().get(selector, selector)}"


@cache
def _functions() -> dict[str, str]:
    """Names by selectors, of every contract of the package."""
    return {
        "0x" + function.selector.hex(): function.name
        for name in names()
        for function in load_artifact(name).functions.values()
    }


def places_in(question: str, result: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every place of a result that can be lied about, with what stands there."""
    yield at, result
    if isinstance(result, dict):
        for name, value in result.items():
            yield from places_in(question, value, (*at, name))
    elif isinstance(result, list) and result:
        yield from places_in(question, result[0], (*at, "0"))
    elif question.startswith("eth_call ") and not at and isinstance(result, str):
        for number in range(min(WORDS_OF_A_CALL, (len(result) - 2) // 64)):
            yield (f"word {number}",), result[2 + 64 * number : 66 + 64 * number]


def lies_at(question: str, place: Place, value: Any) -> Iterator[Lie]:
    """Every lie about a place at which this stands."""
    kinds: list[str] = []
    if place and place[-1].startswith("word "):
        kinds += WORDS
    else:
        kinds += ANYTHING
        if isinstance(value, list):
            kinds += LISTS
        if isinstance(value, dict):
            kinds += OBJECTS
        if isinstance(value, str) and re.fullmatch("0x[0-9a-f]{1,16}", value):
            kinds += QUANTITIES
        elif isinstance(value, str) and value.startswith("0x"):
            kinds += BYTES
    if place and not place[-1].startswith("word ") and place[-1] != "0":
        kinds.append(MISSING)
    if not place:
        kinds += [*REPLIES, *DONE_ALREADY]
    yield from (Lie(question, place, kind) for kind in kinds)


def told(lie: Lie, reply: Reply, another: str) -> Reply:
    """The reply with the lie in it; as it was, if it has no such place. `another` is what stands there elsewhere."""
    if lie.kind in REPLIES and not lie.place:
        return {name: reply[name] for name in ("jsonrpc", "id") if name in reply} | deepcopy(dict(REPLIES[lie.kind]))
    if lie.kind in DONE_ALREADY:
        data = "0x" + _error_selector(lie.kind)
        error = {"code": 3, "message": "execution reverted", "data": data}
        return {name: reply[name] for name in ("jsonrpc", "id") if name in reply} | {"error": error}
    if "result" not in reply:
        return reply
    try:
        return reply | {"result": _changed(lie, deepcopy(reply["result"]), lie.place, another)}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return reply


def _changed(lie: Lie, value: Any, place: Place, another: str) -> Any:
    if not place:
        return KINDS[lie.kind](value, another)
    first, rest = place[0], place[1:]
    if first.startswith("word ") and isinstance(value, str):
        start = 2 + 64 * int(first[5:])
        word = value[start : start + 64]
        return value[:start] + KINDS[lie.kind](word, another) + value[start + 64 :] if len(word) == 64 else value
    if isinstance(value, list):
        return [_changed(lie, value[0], rest, another), *value[1:]]
    if not rest and lie.kind == MISSING:
        return {name: item for name, item in value.items() if name != first}
    return value | {first: _changed(lie, value[first], rest, another)}


@cache
def _error_selector(error: str) -> str:
    found = {
        signature.name: signature.selector.hex()
        for name in names()
        for signature in load_artifact(name).errors.values()
    }
    return found[error]


@dataclass
class Teller:
    """The `edit` of a proxy: notes what is answered, and lies if it is told to. For several threads."""

    lie: Lie | None = None
    left: int | None = None
    """So many answers are changed; all, if None."""
    struck: int = 0
    """Answers that were changed."""
    places: dict[tuple[str, Place], Any] = field(default_factory=dict)
    """What stood at each place last."""
    others: dict[tuple[str, Place], set[str]] = field(default_factory=dict)
    """What stood at each place at any time."""
    sent: list[str] = field(default_factory=list)
    """Signed transactions, as they were posted."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request, reply: Reply) -> Reply:
        with self._guard:
            question = asked_by(request)
            if question == "eth_sendRawTransaction":
                self.sent.append(str(request["params"][0]))
            if "result" in reply:
                for place, value in places_in(question, reply["result"]):
                    self._note(question, place, value)
            elif (question, ()) not in self.places:
                self._note(question, (), None)
            if self.lie is None or self.lie.question != question or self.left == 0:
                return reply
            false = told(self.lie, reply, self._another(reply))
            if false != reply:
                self.struck += 1
                self.left = None if self.left is None else self.left - 1
            return false

    def _note(self, question: str, place: Place, value: Any) -> None:
        self.places[question, place] = value
        if isinstance(value, str) and len(known := self.others.setdefault((question, place), set())) < 8:
            known.add(value)

    def _another(self, reply: Reply) -> str:
        """What stood at the lie's place in another answer."""
        assert self.lie is not None
        here: Any = reply.get("result")
        for step in self.lie.place:
            if isinstance(here, dict):
                here = here.get(step)
            elif isinstance(here, list) and here:
                here = here[0]
            elif isinstance(here, str) and step.startswith("word "):
                here = here[2 + 64 * int(step[5:]) :][:64]
        others = self.others.get((self.lie.question, self.lie.place), set())
        return min(others - {here if isinstance(here, str) else ""}, default="")

    def lies(self) -> list[Lie]:
        """Every lie about what was noted, in a fixed order."""
        found = {lie for (question, place), value in self.places.items() for lie in lies_at(question, place, value)}
        return sorted(found)
