"""
What a transaction may cost per unit of gas.

`suggest` asks the node: twice the base fee, so that the fee suffices after six full blocks in a row, and a tip. The tip
is the node's eth_maxPriorityFeePerGas, else that of recent blocks (eth_feeHistory), else a default. A suspiciously high
tip is compared with those of recent blocks and lowered to them; without them, and beyond the operator's limit, to
`SUSPICIOUS_TIP_WEI`. A fee beyond that limit is never paid: `FeeTooHigh`. What must be mined before a clock runs out
offers more within that limit (`Fees.hurried`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from opml_dispute.chain import answers
from opml_dispute.chain.amounts import gwei
from opml_dispute.chain.answers import Head
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcError, RpcFailed
from opml_dispute.errors import OpmlError

DEFAULT_MAX_FEE_WEI: Final = 500 * 10**9
"""The most that is paid per gas unless the operator says otherwise: more than a busy public chain asks for."""

DEFAULT_TIP_WEI: Final = 10**9
"""The tip for a node that suggests none, in wei."""

SUSPICIOUS_TIP_WEI: Final = 10 * 10**9
"""Tips above this are compared with what was paid lately."""

BLOB_BUMP_PERCENT: Final = 100
"""The same for a blob transaction, in each of its three fees: nodes replace none for less."""

FEE_BUMP_PERCENT: Final = 15
"""The increase of a resent transaction's fee; nodes require at least 10."""

_HISTORY_BLOCKS: Final = 5


class FeeTooHigh(OpmlError):
    """The chain asks for more per gas than the operator allows."""

    def __init__(self, found_wei: int, cap_wei: int, what: str = "gas") -> None:
        super().__init__(f"{what} costs {gwei(found_wei)} now, more than the limit of {gwei(cap_wei)}")
        self.hint = "wait until it is cheaper, or raise the limit: --max-fee"
        self.found_wei, self.cap_wei = found_wei, cap_wei


class BlobsUnsupported(OpmlError):
    """The chain takes no blob transactions."""

    hint = "publish the input in another way: without --publish blobs it goes in parts"


@dataclass(frozen=True)
class Fees:
    """The fees that one transaction offers."""

    max_fee_wei: int
    tip_wei: int | None
    """None on a chain without EIP-1559."""
    blob_fee_wei: int | None = None
    """The most for a unit of blob gas; None if the transaction has no blobs."""

    def bumped(self, cap_wei: int) -> Fees | None:
        """Fees high enough to replace a transaction with these fees; None if they exceed the limit."""

        percent = FEE_BUMP_PERCENT if self.blob_fee_wei is None else BLOB_BUMP_PERCENT

        def bump(wei: int) -> int:
            return wei * (100 + percent) // 100 + 1

        blob_fee_wei = None if self.blob_fee_wei is None else bump(self.blob_fee_wei)
        if max(bump(self.max_fee_wei), blob_fee_wei or 0) > cap_wei:
            return None
        return Fees(bump(self.max_fee_wei), None if self.tip_wei is None else bump(self.tip_wei), blob_fee_wei)

    def replaces(self, other: Fees) -> bool:
        """Whether nodes take a transaction with these fees in the place of one with those: a tenth more in each."""
        tips = (0, -1) if self.tip_wei is None or other.tip_wei is None else (self.tip_wei, other.tip_wei)
        return self.max_fee_wei * 10 >= other.max_fee_wei * 11 and tips[0] * 10 >= tips[1] * 11

    def hurried(self, cap_wei: int) -> Fees:
        """Twice the tip and a gwei, as far as the limit allows: for what should not wait for later blocks."""
        if self.tip_wei is None:
            return Fees(min(self.max_fee_wei * (100 + FEE_BUMP_PERCENT) // 100 + 1, cap_wei), None)
        tip_wei = min(2 * self.tip_wei + 10**9, cap_wei)
        return Fees(min(self.max_fee_wei + tip_wei - self.tip_wei, cap_wei), tip_wei, self.blob_fee_wei)

    def lean(self, base_fee_wei: int) -> Fees:
        """The least with which the next block takes it, whose base fee is an eighth higher at most."""
        if self.tip_wei is None:
            return self
        return replace(self, max_fee_wei=min(self.max_fee_wei, base_fee_wei * 9 // 8 + 1 + self.tip_wei))

    def at_least(self, other: Fees) -> Fees:
        """The higher of both, part by part."""
        if self.tip_wei is None or other.tip_wei is None:
            return Fees(max(self.max_fee_wei, other.max_fee_wei), self.tip_wei)
        blob_fee_wei = None if self.blob_fee_wei is None else max(self.blob_fee_wei, other.blob_fee_wei or 0)
        return Fees(max(self.max_fee_wei, other.max_fee_wei), max(self.tip_wei, other.tip_wei), blob_fee_wei)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Fees:
        """The fees in a transaction's fields."""
        if "gasPrice" in fields:
            return cls(int(fields["gasPrice"]), None)
        blob_fee = fields.get("maxFeePerBlobGas")
        return cls(
            int(fields["maxFeePerGas"]),
            int(fields["maxPriorityFeePerGas"]),
            None if blob_fee is None else int(blob_fee),
        )

    def fields(self) -> dict[str, int]:
        """The fields of a transaction."""
        if self.tip_wei is None:
            return {"gasPrice": self.max_fee_wei}
        plain = {"type": 2, "maxFeePerGas": self.max_fee_wei, "maxPriorityFeePerGas": self.tip_wei}
        return plain if self.blob_fee_wei is None else plain | {"type": 3, "maxFeePerBlobGas": self.blob_fee_wei}


def suggest(rpc: Rpc, head: Head, cap_wei: int) -> Fees:
    """Fees with which a transaction should be mined soon. Raises `FeeTooHigh`."""
    if not head.base_fee_wei:
        price_wei = int(rpc.request("eth_gasPrice", parse=answers.quantity))
        if price_wei > cap_wei:
            raise FeeTooHigh(price_wei, cap_wei)
        return Fees(price_wei, None)
    tip_wei = _tip_wei(rpc, cap_wei - head.base_fee_wei)
    if head.base_fee_wei + tip_wei > cap_wei:
        raise FeeTooHigh(head.base_fee_wei + tip_wei, cap_wei)
    return Fees(min(2 * head.base_fee_wei + tip_wei, cap_wei), tip_wei)


def price_now_wei(rpc: Rpc) -> int:
    """What to expect for a unit of gas, whatever the operator's limit: it is asked for when something is sent."""
    try:
        return suggest(rpc, rpc.head(), DEFAULT_MAX_FEE_WEI).max_fee_wei
    except FeeTooHigh as error:
        return error.found_wei


def with_blob_fee(rpc: Rpc, fees: Fees, cap_wei: int) -> Fees:
    """
    These fees for a transaction with blobs: twice what blob gas costs now, so that it suffices for six full blocks.

    Raises `BlobsUnsupported`, and `FeeTooHigh` if blob gas costs more than the limit.
    """
    if fees.tip_wei is None:
        raise BlobsUnsupported("the chain takes no blob transactions: it has no base fee")
    try:
        blob_fee_wei = int(rpc.request("eth_blobBaseFee", parse=answers.quantity))
    except RpcFailed as error:
        if error.kind not in (Refusal.CAPABILITY, Refusal.FINAL):
            raise
        raise BlobsUnsupported(f"the chain, or its node, takes no blob transactions: {error}") from None
    if blob_fee_wei > cap_wei:
        raise FeeTooHigh(blob_fee_wei, cap_wei, "blob gas")
    return replace(fees, blob_fee_wei=min(max(2 * blob_fee_wei, 1), cap_wei))


def raised(rpc: Rpc, fees: Fees, cap_wei: int) -> Fees | None:
    """
    Fees that replace these, and with which a transaction should be mined soon; None if the limit does not allow them.

    If the node does not tell what gas costs, they are as much higher as nodes require.
    """
    higher = fees.bumped(cap_wei)
    if higher is None:
        return None
    try:
        now = suggest(rpc, rpc.head(), cap_wei)
        return higher.at_least(now if fees.blob_fee_wei is None else with_blob_fee(rpc, now, cap_wei))
    except FeeTooHigh:
        return None
    except (RpcError, BlobsUnsupported):
        return higher


def _tip_wei(rpc: Rpc, most_wei: int) -> int:
    """The tip to offer. A suggestion above `most_wei`, which could not be paid, is not believed without a history."""
    suggested: int | None = None
    try:
        suggested = rpc.request("eth_maxPriorityFeePerGas", parse=answers.quantity_or_none)
    except RpcFailed as error:
        if error.kind == Refusal.BUSY:
            raise
    if suggested is None:
        return _paid_lately_wei(rpc, DEFAULT_TIP_WEI)
    if suggested <= SUSPICIOUS_TIP_WEI:
        return suggested
    lately_wei = _paid_lately_wei(rpc, suggested if suggested <= most_wei else 0)
    return min(suggested, max(2 * lately_wei, SUSPICIOUS_TIP_WEI))


def _paid_lately_wei(rpc: Rpc, default_wei: int) -> int:
    """The median of the tips of the last blocks; the default if the node does not tell."""
    try:
        paid = rpc.request("eth_feeHistory", hex(_HISTORY_BLOCKS), "latest", [50], parse=answers.paid_tips)
    except RpcFailed as error:
        if error.kind == Refusal.BUSY:
            raise
        return default_wei
    return int(median(paid)) if paid else default_wei
