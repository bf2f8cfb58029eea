"""
Waits by the chain's time, that a wrong time cannot make long.

What there is nothing to do about is looked at again after `LOOK_AGAIN_S`: the guardian may discard games meanwhile, and
a node may have erred. Blocks tell the time, so a block with a wrong one must not make an agent wait for years.
"""

from __future__ import annotations

from typing import Final

LOOK_AGAIN_S: Final = 600
"""The longest wait, in seconds."""


def is_waiting(until_s: int, now_s: int) -> bool:
    """
    Whether a time is still to come by the latest block.

    What is further away than twice the longest wait was noted by a block whose time was wrong, and is waited for no
    more; less than that may be so since the latest block is of a node that lags.
    """
    return now_s < until_s <= now_s + 2 * LOOK_AGAIN_S
