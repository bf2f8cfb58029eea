"""
The comparison of several nodes: the agent acts only on a block that all of them have.

An honest challenger whose only node is wrong could attack valid proposals. So the block that the agent reads is
compared by its hash with every other endpoint's block of that number: while one disagrees, or while the agent's own
endpoint lags behind, the agent does not act. An endpoint that does not answer is reported only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opml_dispute.chain.answers import Head
from opml_dispute.chain.rpc import Rpc, WrongChain
from opml_dispute.chain.rpc_errors import RpcError
from opml_dispute.chain.system import head_of

OLD_HEAD_S: Final = 900
"""Public chains make a block within seconds; a block this old is the latest one of a node that does not follow."""


def old_head(head: Head) -> str | None:
    """
    Why the latest block is doubted, if it is old by this computer's clock.

    WHY NOT stop acting: clocks are the chain's, so what is done for an old block is late at worst, and a local chain
    that nothing is sent to makes no blocks.
    """
    if time.time() - head.timestamp < OLD_HEAD_S:
        return None
    return (
        f"it is more than {OLD_HEAD_S // 60} minutes old by this computer's clock: the node does not follow the chain, "
        "the chain stands still, or the clock is wrong"
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """The result of comparing the endpoints."""

    disagreements: tuple[str, ...]
    """Endpoints that show another chain, with what they show."""
    own_lag: str | None
    """How the first endpoint has fallen behind, if too far."""
    lagging: tuple[str, ...]
    """Other endpoints that have fallen behind too far."""
    silent: tuple[str, ...]
    """Endpoints that did not answer, with the reason."""
    lag_blocks: int
    """The number of blocks that the first endpoint is behind the furthest."""

    @property
    def objections(self) -> tuple[str, ...]:
        """The reasons why the agent must not act; empty if it may."""
        return self.disagreements if self.own_lag is None else (*self.disagreements, self.own_lag)


def compare_endpoints(head: Head, others: Sequence[Rpc], *, chain_id: int, max_lag_blocks: int) -> Agreement:
    """Compare `head` of the agent's own endpoint, on the chain of that id, with the other endpoints' blocks."""
    disagreements, lagging, silent, lag = [], [], [], 0
    for other in others:
        try:
            newest = head_of(other, chain_id)
            same = newest if newest.number <= head.number else other.block(head.number)
        except WrongChain as error:
            disagreements.append(str(error))
            continue
        except RpcError as error:
            silent.append(str(error))
            continue
        lag = max(lag, newest.number - head.number)
        if head.number - newest.number > max_lag_blocks:
            lagging.append(f"{other.url} is {head.number - newest.number} blocks behind")
        elif same is None:
            silent.append(f"{other.url} does not give block {head.number}")
        elif same.number == head.number and same.hash != head.hash:
            disagreements.append(
                f"{other.url} has another block {head.number}: 0x{same.hash.hex()[:8]}…, not 0x{head.hash.hex()[:8]}…"
            )
    own_lag = f"this agent's endpoint is {lag} blocks behind another one" if lag > max_lag_blocks else None
    return Agreement(tuple(disagreements), own_lag, tuple(lagging), tuple(silent), lag)
