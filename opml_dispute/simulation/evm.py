"""
The real contracts, as the contract level of a simulation uses them, and an EVM inside this process that executes them.

`Code` is a compiled contract with what is needed to call it. `Contracts` is what the contract level needs of a chain;
`Evm` is one, and needs `pyrevm`. Another is an Anvil (`devnet/laboratory.py`), reached as any node is, by `chain/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

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


class Contracts(Protocol):
    """A chain whose time is set, with as many accounts as are named and money for all of them."""

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


class Evm:
    """`Contracts` of one process; `now_s` is the time of its next block."""

    def __init__(self) -> None:
        try:
            import pyrevm
        except ImportError as error:
            raise EvmMissing("the contract level needs pyrevm, which is not installed") from error
        self._pyrevm: Any = pyrevm
        self._evm: Any = pyrevm.EVM(spec_id="CANCUN", gas_limit=2**62)
        self._funded: set[str] = set()
        self.set_time(0)

    def set_time(self, now_s: int) -> None:
        """The timestamp of what follows."""
        self._evm.set_block_env(self._pyrevm.BlockEnv(number=10, timestamp=now_s, gas_limit=2**62))

    def deploy(self, code: Code, *arguments: Any) -> str:
        """Deploys a contract; its address."""
        self._fund(OWNER)
        return str(self._evm.deploy(OWNER, code.creation + encode(code.constructor, arguments)))

    def deploy_raw(self, runtime: bytes) -> str:
        """Deploys a contract that has just this code."""
        self._fund(OWNER)
        return str(self._evm.deploy(OWNER, creation_of(runtime)))

    def call(self, sender: str, to: str, code: Code, function: str, *arguments: Any, value_wei: int = 0) -> Any:
        """Calls, for good; the decoded outputs. Raises `Reverted`."""
        selector, inputs, outputs = code.functions[function]
        return decode(outputs, self.send(sender, to, selector + encode(inputs, arguments), value_wei, name=function))

    def read_all(self, to: str, code: Code, questions: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Contracts`."""
        return [self.call(OWNER, to, code, *question) for question in questions]

    def send(self, sender: str, to: str, data: bytes, value_wei: int = 0, *, name: str = "a call") -> bytes:
        """The same with encoded arguments: what is answered, encoded. Raises `Reverted`."""
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
