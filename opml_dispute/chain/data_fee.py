"""
The fee for a transaction's data on a rollup's first layer, where the chain is a rollup with the OP Stack's fee rules.

There an account pays, beside gas, for the bytes that a transaction adds to the first layer. That fee is no part of its
gas limit and price, so neither `eth_estimateGas` nor the signed transaction bounds it; a contract at a fixed address
tells it (`getL1Fee`). Where no contract stands there, or one that knows no such function, there is no such fee.

`data_fees_wei` asks once for a connection whether the chain has it, and then for each transaction. The bytes beside the
calldata are counted as if they could not be compressed, and the answer is doubled: the first layer's base fee may rise
until the transaction is in a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

from opml_dispute.chain import answers
from opml_dispute.chain.abi import encode
from opml_dispute.chain.artifacts import Signature
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Ask, Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcAnswerInvalid, RpcFailed
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.game.depths import Depths
from opml_dispute.primitives import Address

GAS_PRICE_ORACLE: Final = Address("0x420000000000000000000000000000000000000F")
"""Where the OP Stack deploys the contract that tells the fee."""

GET_FEE: Final = Signature("getL1Fee", ("bytes",), ("data",), ("uint256",), "function")

MOST_FEE_WEI: Final = 100 * 10**18
"""No transaction's data cost so much: an answer above it is a fault of the node or of the contract."""

_ENVELOPE: Final = keccak256(b"envelope") * 4
"""In place of nonce, fees, address, value and chain id: 128 bytes that cannot be compressed. The contract counts the
signature itself."""

_MARGIN: Final = 2

MOVE_BYTES: Final = 100
"""Calldata of a move."""

_CREATE_BYTES, _STEP_BYTES, _SETTLE_BYTES, _CLAIM_BYTES = 196, 4_096, 160, 36
"""Calldata of creating a game, of a step with its witness and pre-image at most, of settling beside the claims'
numbers, and of a call of `claimCredit`."""

_has_fee: WeakKeyDictionary[Rpc, bool] = WeakKeyDictionary()


def data_fees_wei(rpc: Rpc, calldata: Sequence[bytes]) -> list[int]:
    """
    The most that the data of each transaction should cost beside its gas; zeros where the chain asks for no such fee.

    Raises an `RpcError`.
    """
    if not calldata or not _asks_for_it(rpc):
        return [0] * len(calldata)
    found = rpc.outcomes([_ask(data) for data in calldata])
    for outcome in found:
        if isinstance(outcome, OpmlError):
            raise outcome
    return [_MARGIN * int(fee_wei) for fee_wei in found]


def dispute_data_fee_wei(rpc: Rpc, depths: Depths, *, further_lines: int = 0) -> int:
    """
    The most that the data of a dispute to the last step should cost both sides, from the game's creation to the payout.

    `further_lines`: lines down to the last step beside the first, of which one side moves at every second depth.
    """
    settle_bytes = _SETTLE_BYTES + 32 * (depths.max + 1)
    sizes = (_CREATE_BYTES, MOVE_BYTES, _STEP_BYTES, settle_bytes, _CLAIM_BYTES)
    create, move, step, settle, claim = data_fees_wei(rpc, [_incompressible(size) for size in sizes])
    moves = depths.max + further_lines * (depths.max // 2)
    return create + moves * move + (1 + further_lines) * step + settle + 2 * claim


def move_data_fee_wei(rpc: Rpc) -> int:
    """The most that the data of one move should cost."""
    return data_fees_wei(rpc, [_incompressible(MOVE_BYTES)])[0]


def _incompressible(size: int) -> bytes:
    return b"".join(keccak256(bytes([number & 0xFF])) for number in range(size // 32 + 1))[:size]


def _asks_for_it(rpc: Rpc) -> bool:
    """Whether the chain has the contract, and the contract the function; asked once for a connection."""
    if rpc not in _has_fee:
        _has_fee[rpc] = bool(rpc.code(GAS_PRICE_ORACLE)) and _answers(rpc)
    return _has_fee[rpc]


def _answers(rpc: Rpc) -> bool:
    """Whether the contract at that address answers as the OP Stack's does; on another chain it can be anything."""
    try:
        answer = rpc.batch([_ask(b"")._replace(parse=answers.data)])[0]
    except Reverted:
        return False
    except RpcFailed as error:
        if error.kind is not Refusal.FINAL:
            raise
        return False  # its code cannot be run
    return len(answer) == 32


def _ask(calldata: bytes) -> Ask:
    data = GET_FEE.selector + encode(GET_FEE.inputs, (_ENVELOPE + calldata,))
    return Ask("eth_call", ({"to": GAS_PRICE_ORACLE, "data": "0x" + data.hex()}, "latest"), _fee)


def _fee(method: str, value: object) -> int:
    raw = answers.data(method, value)
    if len(raw) != 32 or (fee_wei := int.from_bytes(raw, "big")) > MOST_FEE_WEI:
        raise RpcAnswerInvalid("getL1Fee", value, f"32 bytes, at most {MOST_FEE_WEI} wei")
    return fee_wei
