"""
The errors between this program and an Ethereum node, sorted by what can be done about them.

Every error here is an `RpcError`, and `RpcError.passes` says whether the same request may succeed later: `Rpc` asks
again by itself then, and a watcher goes on. `RpcUnreachable` is about the connection, `RpcAnswerInvalid` about an
answer that no node may give, `RpcFailed` about an error that the node reports; `classify` reads from code and words
which `Refusal` that is. Nodes agree neither on codes nor on words: the lists hold what geth, Nethermind, Besu, Erigon,
Reth, Anvil and the large gateways send.

Reverts are `reverts.Reverted`: the answer of a contract, no failure of its node.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final

from opml_dispute.errors import OpmlError

_LONGEST_QUOTE: Final = 300
"""Characters of a node's own words that are shown."""


class Refusal(Enum):
    """Why a node refused a request."""

    BUSY = "busy"
    """A temporary error: a rate limit, a timeout, a block that this node does not have yet."""
    NONCE = "nonce"
    """The nonce is used already, or is too far ahead."""
    UNDERPRICED = "underpriced"
    """The fee is too low, for the pool or to replace an earlier transaction."""
    KNOWN = "known"
    """The node has this very transaction already."""
    FUNDS = "funds"
    """The account cannot pay."""
    CAPABILITY = "capability"
    """This node does not offer the method, or not in this form or size."""
    MISSING = "missing"
    """This node no longer has the data: history that expired, state that was pruned."""
    FINAL = "final"
    """Anything else, such as code that the EVM cannot run: the same request would be refused again."""


class RpcError(OpmlError):
    """The node did not give a usable answer."""

    passes: bool = False
    """Whether the same request may succeed later."""
    retry_after_s: float | None = None
    """The pause in seconds that the node asks for, if it does."""


class RpcUnreachable(RpcError):
    """The connection failed, or something answered that is no Ethereum node."""

    hint = "check --rpc-url (or OPML_RPC_URL), or start a local chain: opml-dispute devnet start"

    def __init__(
        self, url: str, reason: str, *, passes: bool = True, at_once: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"no Ethereum node answers at {url}: {reason}")
        self.url, self.reason, self.passes, self.retry_after_s = url, reason, passes, retry_after_s
        self.at_once = at_once
        """Whether the connection failed at once, as at a port where no server listens: on the first request of a
        process that means a wrong URL rather than a node that restarts."""


class RpcAnswerInvalid(RpcError):
    """The node answered something that the protocol does not allow."""

    hint = "the node, or the gateway before it, is faulty: if this lasts, use another --rpc-url"
    passes = True

    def __init__(self, method: str, found: Any, expected: str) -> None:
        super().__init__(f"the node answered {method} with {quote(found)}, expected {expected}")
        self.method, self.found, self.expected = method, quote(found), expected


class RpcFailed(RpcError):
    """The node answered with an error that is not a revert."""

    def __init__(
        self, method: str, code: int, message: str, *, hint: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"the node refused {method}: {quote(message)} (code {code})", hint=hint)
        self.method, self.code, self.message, self.retry_after_s = method, code, message, retry_after_s
        self.kind = classify(code, message)
        self.passes = self.kind == Refusal.BUSY
        if hint is None:
            self.hint = _HINTS.get(self.kind)


_HINTS: Final = {
    Refusal.BUSY: "wait a little, or use another --rpc-url",
    Refusal.CAPABILITY: "this node does not offer what is needed: use another --rpc-url",
    Refusal.MISSING: "this node has dropped old data: use one that keeps it",
}


def quote(value: Any) -> str:
    """A foreign value in a message: cut short, on one line."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text[: 4 * _LONGEST_QUOTE].split())
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


_CODES: Final = {
    -32601: Refusal.CAPABILITY,
    -32004: Refusal.CAPABILITY,
    4444: Refusal.MISSING,
    -32005: Refusal.BUSY,
    -32002: Refusal.BUSY,
    -32603: Refusal.BUSY,
    -32097: Refusal.BUSY,
    -32007: Refusal.BUSY,
    429: Refusal.BUSY,
}
"""Codes that mean one thing wherever they are used; -32000 and -32600 are used for everything."""

_WORDS: Final = tuple(
    (kind, re.compile("|".join(words), re.IGNORECASE))
    for kind, words in (
        (Refusal.KNOWN, ("already known", "known transaction", "alreadyknown", "already imported", "already exists")),
        (
            Refusal.UNDERPRICED,
            (
                "underpriced",
                "less than block base fee",
                "below (the )?(minimum|base)",
                "fee ?(cap)? ?(is )?too low",
                "gas ?price (is )?too low",
                "tip (is )?too low",
                "feecap",
            ),
        ),
        (Refusal.NONCE, (r"nonce (is )?too (low|high)", "invalid (transaction )?nonce", "old ?nonce", "nonce.*used")),
        (
            # Faults of the code that was called, in the words of geth, Anvil and Reth (revm's names), Besu and
            # Nethermind. revm's fatal errors are about its database, which may answer the next time.
            Refusal.FINAL,
            (
                "EVM error:? (?!Fatal|.*database)",
                "stack ?(under|over)flow|stack limit reached|INSUFFICIENT_STACK_ITEMS|TOO_MANY_STACK_ITEMS",
                "(invalid|undefined|bad) ?(opcode|instruction)|INVALID_OPERATION|opcode ?not ?found",
                "invalid ?_?jump",
                "invalid code: must not begin",
                "write protection|ILLEGAL_STATE_CHANGE",
                "return data out of bounds|INVALID_RETURN_DATA_BUFFER_ACCESS",
                "gas uint64 overflow",
                "out ?_?of ?_?gas|INSUFFICIENT_GAS",
                "max (call depth|code size|initcode size) exceeded",
            ),
        ),
        (Refusal.FUNDS, ("insufficient (funds|balance)", "not enough (funds|balance)", "insufficient sender balance")),
        (Refusal.MISSING, ("pruned", "histor(y|ical)", "expired", "ancient", "archive")),
        (
            Refusal.CAPABILITY,
            (
                "batch",
                "not supported",
                "unsupported",
                "method not found",
                "does not exist",
                "not whitelisted",
                "(block )?range",
                "too (large|big|many results|long)",
                "more than .* results",
                "(response|result) size",
            ),
        ),
        (
            Refusal.BUSY,
            (
                r"\brate\b",
                "too many",
                "(?<!gas )limit exceeded",
                "(rate|request|call|credit|usage)s? ?.{0,20}limit",
                "quota",
                "capacity",
                "compute units",
                "slow down",
                "header not found",
                "block not found",
                "unknown block",
                "could not find block",
                "not found",
                "not yet",
                "indexing",
                "in progress",
                r"\bsync",
                "tim(e|ed) ?out",
                "deadline",
                "tempor",
                "try again",
                "retry",
                "busy",
                "overload",
                "unavailable",
                "not available",
                "missing trie node",
                "canonical",
                "backend",
                "upstream",
                "gateway",
                "connection",
                "internal",
                "request failed",
                "txpool is full|pool is full",
            ),
        ),
    )
)

_BEFORE_CODES: Final = 5
"""Kinds whose words say more than any code."""


def classify(code: int, message: str) -> Refusal:
    """
    The kind of refusal that a node's error code and message mean.

    >>> classify(-32000, "header not found")
    <Refusal.BUSY: 'busy'>
    >>> classify(-32003, "nonce too low")
    <Refusal.NONCE: 'nonce'>
    """
    words = message[:2000]
    for kind, pattern in _WORDS[:_BEFORE_CODES]:
        if pattern.search(words):
            return kind
    if code in _CODES:
        return _CODES[code]
    for kind, pattern in _WORDS[_BEFORE_CODES:]:
        if pattern.search(words):
            return kind
    return Refusal.FINAL
