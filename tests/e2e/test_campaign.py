"""A fault anywhere is found, whoever lies; the honest never lose. A handful here; scripts/play plays hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.devnet.campaign import LIARS, play_game
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.model_store import ModelStore
from tests.conftest import Chain

ROLES = ("requester", "proposer", "challenger")


@pytest.mark.parametrize(
    ("liar", "seed"),
    [("proposer", 11), ("proposer", 12), ("challenger", 13), ("challenger", 14), ("vandal", 15), ("nobody", 16)],
)
def test_the_truth_wins_and_the_honest_lose_nothing(chain: Chain, tmp_path: Path, liar: str, seed: int) -> None:
    """Random node, random step, random bit, real verifier, real money."""
    senders = {role: chain.sender(role) for role in ROLES}
    outcome = play_game(chain.system(), senders, ModelStore(tmp_path), seed, liar=liar)
    assert outcome.broken_rules == ()
    assert outcome.steps == (1 if liar == "proposer" else 0), "only a lying proposer is beaten by a step"
    if liar in ("proposer", "challenger"):
        assert outcome.moves == outcome.game.depths.max


def test_all_kinds_of_liars_are_tried() -> None:
    """The table above must not forget one."""
    assert set(LIARS) == {"proposer", "challenger", "vandal", "nobody"}


def test_the_same_seed_plays_the_same_game(chain: Chain, tmp_path: Path) -> None:
    """So that a failure can be looked at again."""
    snapshot = chain.rpc.request("evm_snapshot")
    ends = []
    for _ in range(2):
        senders = {role: chain.sender(role) for role in ROLES}
        outcome = play_game(chain.system(), senders, ModelStore(tmp_path), 21, liar="proposer")
        assert outcome.game.status == GameStatus.CHALLENGER_WINS
        ends.append((outcome.fault, [claim.value for claim in outcome.game.claims], outcome.staked_wei))
        chain.rpc.request("evm_revert", snapshot)
        snapshot = chain.rpc.request("evm_snapshot")
    assert ends[0] == ends[1]
