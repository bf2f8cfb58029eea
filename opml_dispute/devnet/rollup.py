"""
A local chain with the fee rules of the OP Stack: each transaction also pays for its data on a first layer.

Anvil charges that fee itself, by the prices that it finds where a rollup's node writes those of the first layer. The
contract that tells the fee beforehand is a stand-in: it answers the fee of a transaction nothing of which can be
compressed, which is the most that the chain charges. Blocks are two seconds apart.
"""

from __future__ import annotations

import math
from typing import Final

from opml_dispute.chain.data_fee import GAS_PRICE_ORACLE
from opml_dispute.chain.rpc import Rpc
from opml_dispute.devnet.anvil import Anvil

BLOCK_S: Final = 2

L1_BLOCK: Final = "0x4200000000000000000000000000000000000015"
"""Where a rollup's node writes what it knows of the first layer."""

BASE_FEE_SCALAR, BLOB_FEE_SCALAR = 5_227, 1_014_213
"""Millionths; as OP Mainnet had them after its Ecotone upgrade."""

L1_BASE_FEE_WEI, BLOB_BASE_FEE_WEI = 10 * 10**9, 10**8
"""Usual prices of gas and blob gas on the main chain."""

_BASE_FEE_SLOT, _SCALARS_SLOT, _BLOB_FEE_SLOT = 1, 3, 7


def spawn(*, port: int = 0) -> Anvil:
    """Start such a chain, at usual prices. Raises what `Anvil.spawn` raises."""
    anvil = Anvil.spawn(port=port, network="optimism")
    try:
        rpc = anvil.rpc
        set_prices(rpc)
        rpc.request("anvil_setBlockTimestampInterval", BLOCK_S)
        # Anvil charges calls for their data too, which no rollup's node does; calls that name no sender are this one's.
        rpc.request("anvil_setBalance", "0x" + "00" * 20, hex(10**24))
    except BaseException:
        anvil.stop()
        raise
    return anvil


def set_prices(rpc: Rpc, *, l1_base_fee_wei: int = L1_BASE_FEE_WEI, blob_base_fee_wei: int = BLOB_BASE_FEE_WEI) -> None:
    """Set the first layer's prices, and what the contract that tells the fee answers by them."""
    scalars = bytearray(32)
    scalars[16:24] = BASE_FEE_SCALAR.to_bytes(4, "big") + BLOB_FEE_SCALAR.to_bytes(4, "big")
    slots = {
        _BASE_FEE_SLOT: l1_base_fee_wei,
        _SCALARS_SLOT: int.from_bytes(scalars, "big"),
        _BLOB_FEE_SLOT: blob_base_fee_wei,
    }
    for slot, value in slots.items():
        rpc.request("anvil_setStorageAt", L1_BLOCK, hex(slot), "0x" + value.to_bytes(32, "big").hex())
    rpc.request("anvil_setCode", GAS_PRICE_ORACLE, "0x" + _stand_in(l1_base_fee_wei, blob_base_fee_wei).hex())


def _stand_in(l1_base_fee_wei: int, blob_base_fee_wei: int) -> bytes:
    """Code that answers whatever it is asked with the fee for its calldata: their number times the price of a byte."""
    weighted = 16 * BASE_FEE_SCALAR * l1_base_fee_wei + BLOB_FEE_SCALAR * blob_base_fee_wei
    byte_wei = math.ceil(weighted * 0.8365 * 33 / 32 / 10**6)
    push16, price = b"\x6f", byte_wei.to_bytes(16, "big")
    return b"\x36" + push16 + price + bytes.fromhex("02 5f 52 60 20 5f f3")
