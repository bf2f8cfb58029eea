"""
Answers to the calls that op-challenger makes to a rollup node and an L2 node, for one request.

A request is presented as a small rollup: block t has the output root S_t (of a batch T_t), the last block is the
newest, and all are final. `RollupAnswers.answer` is one JSON-RPC call; `make_server` offers it over HTTP on the
loopback interface.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.errors import OpmlError
from opml_dispute.http_server import Handler, Server
from opml_dispute.operator.case import Case
from opml_dispute.primitives import StateRoot

ZERO: Final = "0x" + bytes(32).hex()
MAX_REQUEST_BYTES: Final = 1 << 20
_FAR_L1_BLOCK: Final = 10**9
"""The L1 block up to which the rollup claims to be derived: above any real head, so that no game is too new for it."""
_TAGS: Final = ("latest", "safe", "finalized", "pending")
_HEADS: Final = (
    "unsafe_l2",
    "safe_l2",
    "finalized_l2",
    "pending_safe_l2",
    "local_safe_l2",
    "cross_unsafe_l2",
)


class RollupRpcError(OpmlError):
    """A call that has no answer: a method or a block that does not exist."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class RollupAnswers:
    """One request presented as a rollup. A state is computed when it is first asked for, one call at a time."""

    def __init__(self, case: Case, chain_id: int) -> None:
        self._case, self._chain_id = case, chain_id
        self._lock = threading.Lock()

    @property
    def item_count(self) -> int:
        """1, or the items of a batch."""
        return self._case.item_count

    @property
    def node_count(self) -> int:
        """n, of a batch N: the number of the newest block."""
        return self._case.node_count

    @property
    def final_root(self) -> StateRoot:
        """S_n, of a batch T_N: the output root of the newest block."""
        return self._case.final_root

    def answer(self, method: str, parameters: Sequence[Any]) -> Any:
        """The result of one call. Raises `RollupRpcError`."""
        with self._lock:
            match method:
                case "optimism_outputAtBlock":
                    return self._output(self._block_number(parameters))
                case "optimism_syncStatus":
                    return self._sync_status()
                case "optimism_safeHeadAtL1Block":
                    l1_block = {"hash": ZERO, "number": self._number(parameters)}
                    return {
                        "l1Block": l1_block,
                        "safeHead": {"hash": self._root(self.node_count), "number": self.node_count},
                    }
                case "eth_getBlockByNumber":
                    return self._header(self._block_number(parameters))
                case "eth_chainId":
                    return hex(self._chain_id)
        raise RollupRpcError(-32601, f"the method {method!r} does not exist here")

    def _output(self, index: int) -> dict[str, Any]:
        return {
            "version": ZERO,
            "outputRoot": self._root(index),
            "blockRef": self._block_reference(index),
            "withdrawalStorageRoot": ZERO,
            "stateRoot": ZERO,
            "syncStatus": self._sync_status(),
        }

    def _sync_status(self) -> dict[str, Any]:
        l1_head = {"hash": ZERO, "number": _FAR_L1_BLOCK, "parentHash": ZERO, "timestamp": 0}
        l1_names = ("current_l1", "current_l1_finalized", "head_l1", "safe_l1", "finalized_l1")
        newest = self._block_reference(self.node_count)
        return dict.fromkeys(l1_names, l1_head) | dict.fromkeys(_HEADS, newest)

    def _block_reference(self, index: int) -> dict[str, Any]:
        return {
            "hash": self._root(index),
            "number": index,
            "parentHash": ZERO,
            "timestamp": index,
            "l1origin": {"hash": ZERO, "number": 0},
            "sequenceNumber": 0,
        }

    def _header(self, index: int) -> dict[str, Any]:
        """A block header with every field that Go's client insists on; only number and timestamp mean anything."""
        words = ("hash", "parentHash", "sha3Uncles", "stateRoot", "transactionsRoot", "receiptsRoot", "mixHash")
        return {
            "number": hex(index),
            "timestamp": hex(index),
            **dict.fromkeys(words, ZERO),
            "miner": "0x" + bytes(20).hex(),
            "logsBloom": "0x" + bytes(256).hex(),
            "difficulty": "0x0",
            "gasLimit": "0x1",
            "gasUsed": "0x0",
            "extraData": "0x",
            "nonce": "0x" + bytes(8).hex(),
            "baseFeePerGas": "0x0",
            "transactions": [],
            "uncles": [],
        }

    def _root(self, index: int) -> str:
        return "0x" + bytes(self._case.states.state_root(index)).hex()

    def _block_number(self, parameters: Sequence[Any]) -> int:
        if parameters and parameters[0] in _TAGS:
            return self.node_count
        number = self._number(parameters)
        if number > self.node_count:
            raise RollupRpcError(-32000, f"not found: there is no block {number}; the newest is {self.node_count}")
        return number

    @staticmethod
    def _number(parameters: Sequence[Any]) -> int:
        text = parameters[0] if parameters else None
        if not isinstance(text, str) or not text.startswith("0x") or len(text) > 18:
            raise RollupRpcError(-32602, f"{text!r} is no block number: expected 0x and hexadecimal digits")
        try:
            return int(text, 16)
        except ValueError:
            raise RollupRpcError(-32602, f"{text!r} is no block number: expected 0x and hexadecimal digits") from None


def respond(answers: RollupAnswers, body: bytes) -> bytes:
    """The answer to one HTTP body: a JSON-RPC call or a batch of them. Whatever the body is, there is an answer."""
    try:
        asked = plain_json.loads(body)
    except ValueError:
        return json.dumps(_error(None, -32700, "the body is no JSON")).encode()
    if isinstance(asked, list):
        return json.dumps([_one(answers, call) for call in asked]).encode()
    return json.dumps(_one(answers, asked)).encode()


def _one(answers: RollupAnswers, call: Any) -> dict[str, Any]:
    if not isinstance(call, dict) or not isinstance(call.get("method"), str):
        return _error(None, -32600, "this is no JSON-RPC call")
    parameters = call.get("params", [])
    identity = call.get("id")
    if not isinstance(parameters, list):
        return _error(identity, -32602, "parameters are given as a list")
    try:
        return {"jsonrpc": "2.0", "id": identity, "result": answers.answer(call["method"], parameters)}
    except RollupRpcError as error:
        return _error(identity, error.code, str(error))
    except OpmlError as error:  # a state that cannot be computed here; the next question may be about another
        return _error(identity, -32000, str(error))


def _error(identity: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": message}}


def make_server(answers: RollupAnswers, port: int) -> Server:
    """A server on the loopback interface, the caller's to run; port 0 takes a free one. Raises `OSError`."""

    class Answerer(Handler):
        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MAX_REQUEST_BYTES:
                self.send_error(413)
                return
            self.answer(200, respond(answers, self.rfile.read(int(length))), "application/json")

    return Server(("127.0.0.1", port), Answerer)
