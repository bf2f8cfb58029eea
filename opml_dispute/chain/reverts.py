"""
The errors of contracts, in words.

`revert_data` finds the returned bytes in a node's error, whatever shape that node gives it; `describe_revert` names
them: a custom error of any of our contracts with its arguments, a `require` string, a Solidity panic; `HINTS` says what
an operator can do about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opml_dispute.chain.abi import Undecodable, decode
from opml_dispute.chain.artifacts import error_signatures
from opml_dispute.chain.rpc_errors import quote
from opml_dispute.errors import OpmlError

_ERROR_STRING = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_REVERT_CODE = 3
"""JSON-RPC error code that nodes use for a reverted call."""

PANICS = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "invalid enum value",
    0x31: "pop on an empty array",
    0x32: "array index out of range",
    0x41: "out of memory",
}

HINTS = {
    "GameNotInProgress": "the game is over: nothing can be moved, stepped or resolved in it any more",
    "InvalidDisputedClaimIndex": "the claim was replaced (a reorganisation of the chain): run the command again",
    "CannotDefendRootClaim": "only an attack answers a root claim, that of the game or that of the execution trace",
    "GameDepthExceeded": "a claim at the maximum depth is answered by a step, not by a move: use respond",
    "UnexpectedRootClaim": "the claim that opens an execution trace must carry the VM status that its side needs",
    "IncorrectBondAmount": "the bond must be exact: ask the game's getRequiredBond for it",
    "ClockTimeExceeded": "the clock of this side has run out: the claim can only be resolved now",
    "ClaimAlreadyExists": "this very move was made already: nothing is left to do",
    "InvalidParent": "only a claim at the maximum depth is answered by a step",
    "InvalidPrestate": "the state given is not the one the claim commits to",
    "ValidStep": "the step would prove the claim right, not wrong",
    "DuplicateStep": "another account has stepped against this claim already: nothing is left to do",
    "ClockNotExpired": "the other side still has time to answer: resolve after its clock has run out",
    "ClaimAlreadyResolved": "this claim is resolved already: nothing is left to do",
    "OutOfOrderResolution": "claims resolve from the bottom up: resolve its replies first",
    "GamePaused": "the system is paused by its guardian: wait",
    "GameNotResolved": "resolve the game first",
    "GameNotFinalized": "the finality delay after resolution has not passed: wait",
    "BondTransferFailed": "the recipient is a contract that takes no ether: it is owed until it does",
    "InsufficientBalance": "the vault does not hold it: the deployment's owner may have taken it out (admin recover)",
    "NoCreditToClaim": "there is no credit left for this address",
    "GameAlreadyExists": "a game with this very root claim exists for the request: play that one",
    "NoImplementation": "this factory has no game of that type: check --deployment",
    "DepositShort": "the request demands a bond of its proposer: propose deposits what is missing of it",
    "DefendersBpsTooHigh": "a request shares at most half of its fee with those who defend the answer",
    "NoShare": "no part of a fee was kept for those who defended this game: nothing is left to do",
    "WrongDelivery": "the request says whether its output is delivered whole or by its root: use finalize",
    "BadExtraData": "the game's extra data must be the 32-byte request id",
}


class Reverted(OpmlError):
    """A contract refused a call, in a simulation or in a mined transaction."""

    is_told_by_node = True

    def __init__(self, what: str, data: bytes, *, otherwise: str = "no reason given") -> None:
        """`otherwise` is told where there is no `data`."""
        meaning = describe_revert(data)
        super().__init__(
            f"{what} was refused: {quote(meaning.text) if data else otherwise}", hint=HINTS.get(meaning.name)
        )
        self.what, self.data, self.meaning = what, data, meaning

    @property
    def name(self) -> str:
        """The custom error's name, "Error" for a string, "Panic" for a panic, "" for no data."""
        return self.meaning.name


@dataclass(frozen=True)
class Meaning:
    """Decoded revert data."""

    name: str
    arguments: tuple[Any, ...]
    text: str


def describe_revert(data: bytes) -> Meaning:
    """Name revert data; bytes that no known error explains are shown as they are."""
    selector, rest = data[:4], data[4:]
    if not data:
        return Meaning("", (), "no reason given")
    try:
        if selector == _ERROR_STRING:
            (message,) = decode(["string"], rest)
            return Meaning("Error", (message,), message)
        if selector == _PANIC:
            (code,) = decode(["uint256"], rest)
            return Meaning("Panic", (code,), f"Panic(0x{code:02x}), {PANICS.get(code, 'unknown cause')}")
        signature = error_signatures().get(selector)
        if signature is not None:
            arguments = tuple(decode(signature.inputs, rest))
            named = zip(signature.input_names, arguments, strict=True)
            shown = ", ".join((f"{name}: " if name else "") + show_value(value) for name, value in named)
            return Meaning(signature.name, arguments, f"{signature.name}({shown})")
    except Undecodable:
        pass
    return Meaning("", (), f"unknown error 0x{data.hex()}")


def show_value(value: Any) -> str:
    """An ABI value as text: bytes in hex, the rest as Python writes it."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(show_value(item) for item in value) + "]"
    return str(value)


def revert_data(error: Any) -> bytes | None:
    """
    The bytes a reverted call returned, out of a JSON-RPC error object; None if the error is not a revert.

    Nodes put them in `data` as a string, or in `data.data`, or in `data.result`, some behind the word "Reverted"; a
    revert without bytes is known only by code 3 or by its message, since some nodes put "0x" into every error.
    """
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    while isinstance(data, dict):
        data = data.get("data", data.get("result"))
    if isinstance(data, str):
        text = data.removeprefix("Reverted ").strip()
        if text.startswith("0x") and (len(text) > 2 or text != data):
            try:
                return bytes.fromhex(text[2:])
            except ValueError:
                return None
    if error.get("code") == _REVERT_CODE or "revert" in str(error.get("message", ""))[:300].lower():
        return b""
    return None
