"""StakeLimits on what an agent stakes."""

from __future__ import annotations

import pytest

from opml_dispute.agent.treasury import StakeLimits, refusal

FREE = StakeLimits(None, None, 0)


@pytest.mark.parametrize(
    ("limits", "balance", "at_risk", "in_game", "need", "is_refused"),
    [
        (FREE, 10, 0, 0, 10, False),
        (FREE, 9, 0, 0, 10, True),
        (StakeLimits(None, None, 5), 14, 0, 0, 10, True),
        (StakeLimits(None, None, 5), 15, 0, 0, 10, False),
        (StakeLimits(None, 10, 0), 100, 50, 0, 10, False),
        (StakeLimits(None, 10, 0), 100, 50, 1, 10, True),
        (StakeLimits(60, None, 0), 100, 50, 0, 10, False),
        (StakeLimits(59, None, 0), 100, 50, 0, 10, True),
    ],
)
def test_game_is_entered_only_within_every_limit(
    limits: StakeLimits, balance: int, at_risk: int, in_game: int, need: int, is_refused: bool
) -> None:
    for committed in (0, 7):  # what other games may take is not free
        found = refusal(
            limits,
            balance_wei=balance + committed,
            committed_wei=committed,
            at_risk_wei=at_risk,
            in_game_wei=in_game,
            need_wei=need,
        )
        assert (found is not None) == is_refused
