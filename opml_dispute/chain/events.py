"""Searching logs: the events of a range of blocks, in requests of as many blocks as the node accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opml_dispute.chain import answers
from opml_dispute.chain.answers import Log
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcFailed
from opml_dispute.primitives import Address


def logs_between(
    rpc: Rpc, address: Address | None, topics: Sequence[str | list[str] | None], first: int, last: int
) -> list[Log]:
    """
    The logs of a contract, or of all, from block `first` to block `last`; none if `first` is greater.

    `topics` are those of the event, in order; a list stands for any of its members, None for any
    topic. A range that the node refuses is
    halved until it takes it. Raises the `RpcError` for what is refused even then.
    """
    if first > last:
        return []
    filter_: dict[str, Any] = {"fromBlock": hex(first), "toBlock": hex(last), "topics": list(topics)}
    if address is not None:
        filter_["address"] = address
    try:
        return list(rpc.request("eth_getLogs", filter_, parse=answers.logs))
    except RpcFailed as error:
        if first == last or error.kind not in (Refusal.CAPABILITY, Refusal.FINAL):
            raise
    middle = (first + last) // 2
    return logs_between(rpc, address, topics, first, middle) + logs_between(rpc, address, topics, middle + 1, last)
