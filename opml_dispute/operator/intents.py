"""
An intent: one transaction that is about to be sent, with its description for people and for scripts, and the call.

Everything an operator does is first a list of intents. A command prints each (`will`), sends it (`perform`), and prints
the result (`Done.sentence`); a dry run only prints it. If another account did the same in the meantime, that is no
failure: `perform` answers a `Done` without a receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Call
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import DepositChange, Order, Receipt, nothing_expected
from opml_dispute.errors import OpmlError


@dataclass(frozen=True)
class Intent:
    """One transaction that is about to be sent."""

    kind: str
    """The kind of action, for scripts: "attack", "defend", "local-data", "step", "settle", …"""
    call: Call[Any]
    will: str
    """The sentence that announces it, without the full stop: "Will attack claim 0 at depth 1 with 0x44ab…07"."""
    did: Callable[[Receipt], str]
    """The sentence that reports it: "Attacked as claim 1"."""
    value_wei: int = 0
    reason: str = ""
    """The reason for the action, as sentences; may be empty."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same for scripts."""
    done_already: frozenset[str] = frozenset()
    """Names of the contracts' errors that mean that another account has done the same."""
    otherwise: Callable[[str], Intent | None] = lambda error: None
    """Another transaction for the same aim, if the contract refuses this one by the error of that name."""
    before: Callable[[], Intent | None] = lambda: None
    """What has to be done first, and is not: asked just before this is sent, since a reorganisation may have taken it
    back."""
    once: bool = False
    """Whether sending it twice would only cost more: a rerun then looks for an earlier run's transaction."""
    is_urgent: bool = False
    """Whether a clock runs out: it is paid for being mined sooner."""
    deposit: DepositChange | None = None
    """What it does to the sender's deposit for demanded bonds."""
    only_nonce: int | None = None
    """The nonce under which something was signed that must not be mined beside this: see `Order`."""
    expect_alone: Callable[[], None] = nothing_expected
    """Raises if another process has done the same meanwhile: see `Order`."""
    makes_game: bool = False
    """Whether it proposes an answer: see `Order`."""

    @property
    def order(self) -> Order:
        """What the sender is to send."""
        return Order(
            self.call,
            self.value_wei,
            self.once,
            self.is_urgent,
            self.deposit,
            self.only_nonce,
            self.expect_alone,
            self.makes_game,
        )


@dataclass(frozen=True)
class Done:
    """The result of an intent."""

    intent: Intent
    receipt: Receipt | None
    """None if another account had done it already."""

    @property
    def sentence(self) -> str:
        """What happened."""
        if self.receipt is None:
            return "Another account has done this already; nothing was sent."
        return self.intent.did(self.receipt)

    @property
    def facts(self) -> dict[str, Any]:
        """The same for scripts."""
        facts: dict[str, Any] = {"did": self.intent.kind, **self.intent.facts}
        if self.receipt is None:
            return facts | {"sent": False}
        return facts | {
            "sent": True,
            "tx": self.receipt.hash,
            "block": self.receipt.block_number,
            "gas": self.receipt.gas_used,
            "value_wei": self.intent.value_wei,
        }


def perform(intent: Intent, sender: Sender) -> Done:
    """Send the intent. Raises what `Sender.send` raises, unless the contract's error means that it is done already."""
    (outcome,) = perform_all([intent], sender)
    if isinstance(outcome, OpmlError):
        raise outcome
    return outcome


def perform_all(intents: Sequence[Intent], sender: Sender) -> list[Done | OpmlError]:
    """
    Send several intents that do not depend on each other, all at once.

    The result for each is its `Done`, or the error that `perform` would raise. A failed intent stops no other.
    """
    kept_back = [_missing_before(intent, sender) for intent in intents]
    may_go = [intent.order for intent, error in zip(intents, kept_back, strict=True) if error is None]
    sent = iter(sender.send_all(may_go))
    outcomes: list[Done | OpmlError] = []
    for intent, error in zip(intents, kept_back, strict=True):
        result = next(sent) if error is None else error
        if isinstance(result, Reverted) and result.name in intent.done_already:
            outcomes.append(Done(intent, None))
        elif isinstance(result, Reverted) and (other := intent.otherwise(result.name)) is not None:
            outcomes += perform_all([other], sender)
        else:
            outcomes.append(result if isinstance(result, OpmlError) else Done(intent, result))
    return outcomes


def _missing_before(intent: Intent, sender: Sender) -> OpmlError | None:
    """Do what has to be done before an intent; the error that keeps the intent from being sent, if that failed."""
    try:
        missing = intent.before()
        if missing is not None:
            perform(missing, sender)
    except OpmlError as error:
        return error
    return None
