"""
The real contracts, as the contract level of a simulation uses them, and an EVM inside this process that executes them.

`Code` is a compiled contract with what is needed to call it. `Contracts` is what the contract level needs of a chain;
`Evm` is one, and needs `pyrevm`. Another is an Anvil (`devnet/laboratory.py`), reached as any node is, by `chain/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

from eth_abi.abi import decode, encode
from eth_utils.abi import collapse_if_tuple
from eth_utils.crypto import keccak

from opml_dispute.errors import OpmlError
from opml_dispute.toolchain.solidity import ARTIFACTS_DIR

OWNER = "0x00000000000000000000000000000000DE91043e"
RICH = 10**30
_REVERT = re.compile(r"Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}")


class EvmMissing(OpmlError):
    """The in-process EVM, or the compiled contracts, are not there."""

    hint = "pip install pyrevm; the contracts are compiled by: python -m opml_dispute.toolchain.solidity"


class Reverted(OpmlError):
    """A contract refused a call; `selector` is the error's, empty if it has none."""

    def __init__(self, function: str, output: bytes) -> None:
        super().__init__(f"{function} reverted with 0x{output[:4].hex()}")
        self.selector = output[:4]


@dataclass(frozen=True)
class Code:
    """One compiled contract."""

    creation: bytes
    constructor: tuple[str, ...]
    functions: dict[str, tuple[bytes, tuple[str, ...], tuple[str, ...]]]
    """Name -> (selector, input types, output types)."""


@cache
def load_code(name: str) -> Code:
    """The compiled contract of that name. Raises `EvmMissing`."""
    try:
        raw = json.loads((ARTIFACTS_DIR / f"{name}.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise EvmMissing(f"the compiled contract {name} is not in {ARTIFACTS_DIR}") from error
    functions: dict[str, tuple[bytes, tuple[str, ...], tuple[str, ...]]] = {}
    constructor: tuple[str, ...] = ()
    for entry in raw["abi"]:
        inputs = tuple(collapse_if_tuple(item) for item in entry.get("inputs", []))
        if entry["type"] == "constructor":
            constructor = inputs
        elif entry["type"] == "function":
            outputs = tuple(collapse_if_tuple(item) for item in entry["outputs"])
            text = f"{entry['name']}({','.join(inputs)})"
            functions[text] = functions[entry["name"]] = (keccak(text=text)[:4], inputs, outputs)
    return Code(bytes.fromhex(raw["bytecode"][2:]), constructor, functions)


def creation_of(runtime: bytes) -> bytes:
    """The creation code of a contract that has just this code."""
    return bytes.fromhex(f"61{len(runtime):04x}80600c6000396000f3") + runtime


class NodeFailed(OpmlError):
    """The node that executes the contracts does not do its work: nothing is known of what was asked of it."""

    hint = "run the same command again: it goes on from the trials that are finished"


class Included(Protocol):
    """A transaction that was accepted, as a chain remembers it."""

    @property
    def to(self) -> str | None:
        """The contract that it called; None where it created one."""
        ...


T = TypeVar("T", bound=Included)


def taken_back(log: Iterable[T], mark: int, to: str) -> Iterator[tuple[int, T]]:
    """The transactions of a chain's log, with their places, that a reorganisation of the game `to` undoes."""
    return ((place, entry) for place, entry in enumerate(log) if place >= mark and entry.to == to)


class Contracts(Protocol):
    """
    A chain whose time is set, with as many accounts as are named and money for all of them.

    It keeps a log of what it accepted, so that a reorganisation can undo the last transactions of one game. Those of
    others that were in the same blocks come again at once, in their order and at their times: that is what is simulated
    of it, game by game.
    """

    def set_time(self, now_s: int) -> None:
        """The timestamp of what follows; it never goes back."""

    def deploy(self, code: Code, *arguments: Any) -> str:
        """Deploys a contract; its address."""
        ...

    def deploy_raw(self, runtime: bytes) -> str:
        """Deploys a contract that has just this code; its address."""
        ...

    def call(self, sender: str, to: str, code: Code, function: str, *arguments: Any, value_wei: int = 0) -> Any:
        """Calls, for good; the decoded outputs, a tuple. Raises `Reverted`, `NodeFailed`."""

    def read_all(self, to: str, code: Code, questions: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The decoded outputs, each a tuple, of view functions with their arguments. Raises as `call`."""
        ...

    def mark(self) -> int:
        """How many transactions were accepted so far: a place to which `take_back` goes back."""
        ...

    def take_back(self, mark: int, to: str) -> None:
        """A reorganisation: what `to` was called with after `mark` has not happened. Time may be set back by it."""


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What an `Evm` executed, for good."""

    now_s: int
    sender: str
    to: str | None
    data: bytes
    value_wei: int


class Evm:
    """`Contracts` of one process; `now_s` is the time of its next block."""

    def __init__(self) -> None:
        try:
            import pyrevm
        except ImportError as error:
            raise EvmMissing("the contract level needs pyrevm, which is not installed") from error
        self._pyrevm: Any = pyrevm
        self._log: list[_Accepted] = []
        self._begin()

    def _begin(self) -> None:
        self._evm: Any = self._pyrevm.EVM(spec_id="CANCUN", gas_limit=2**62)
        self._funded: set[str] = set()
        self.set_time(0)

    def set_time(self, now_s: int) -> None:
        """The timestamp of what follows."""
        self._now_s = now_s
        self._evm.set_block_env(self._pyrevm.BlockEnv(number=10, timestamp=now_s, gas_limit=2**62))

    def deploy(self, code: Code, *arguments: Any) -> str:
        """Deploys a contract; its address."""
        return self._create(code.creation + encode(code.constructor, arguments))

    def deploy_raw(self, runtime: bytes) -> str:
        """Deploys a contract that has just this code."""
        return self._create(creation_of(runtime))

    def _create(self, creation: bytes) -> str:
        self._fund(OWNER)
        created = str(self._evm.deploy(OWNER, creation))
        self._log.append(_Accepted(self._now_s, OWNER, None, creation, 0))
        return created

    def call(self, sender: str, to: str, code: Code, function: str, *arguments: Any, value_wei: int = 0) -> Any:
        """Calls, for good; the decoded outputs. Raises `Reverted`."""
        selector, inputs, outputs = code.functions[function]
        return decode(outputs, self.send(sender, to, selector + encode(inputs, arguments), value_wei, name=function))

    def read_all(self, to: str, code: Code, questions: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Contracts`."""
        answers = []
        for name, *arguments in questions:
            selector, inputs, outputs = code.functions[name]
            answers.append(decode(outputs, self._execute(OWNER, to, selector + encode(inputs, arguments), 0, name)))
        return answers

    def mark(self) -> int:
        """See `Contracts`."""
        return len(self._log)

    def take_back(self, mark: int, to: str) -> None:
        """See `Contracts`: all that is left is executed again, from the first block on."""
        # WHY NOT the EVM's own checkpoints: each counts as a call that is open, and 1,024 of those are the most.
        log, undone = self._log, {place for place, _ in taken_back(self._log, mark, to)}
        self._log = []
        self._begin()
        for place, entry in enumerate(log):
            if place in undone:
                continue
            self.set_time(entry.now_s)
            if entry.to is None:
                self._create(entry.data)
            else:
                self.send(entry.sender, entry.to, entry.data, entry.value_wei)

    def send(self, sender: str, to: str, data: bytes, value_wei: int = 0, *, name: str = "a call") -> bytes:
        """The same with encoded arguments: what is answered, encoded. Raises `Reverted`."""
        answer = self._execute(sender, to, data, value_wei, name)
        self._log.append(_Accepted(self._now_s, sender, to, data, value_wei))
        return answer

    def _execute(self, sender: str, to: str, data: bytes, value_wei: int, name: str) -> bytes:
        self._fund(sender)
        try:
            return bytes(self._evm.message_call(caller=sender, to=to, calldata=data, value=value_wei))
        except RuntimeError as error:
            revert = _REVERT.search(str(error))
            if revert is None:
                raise
            raise Reverted(name, bytes.fromhex(revert[2])) from error

    def balance(self, account: str) -> int:
        """In wei."""
        self._fund(account)
        return int(self._evm.get_balance(account))

    def logged(self) -> list[tuple[list[str], bytes]]:
        """Topics and data of what the last call logged."""
        return [(list(log.topics), bytes(log.data[1])) for log in self._evm.result.logs]

    def _fund(self, account: str) -> None:
        if account not in self._funded:
            self._evm.set_balance(account, RICH)
            self._funded.add(account)
