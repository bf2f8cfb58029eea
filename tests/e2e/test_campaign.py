"""A fault anywhere is found, whichever side lies; the honest never lose. A few games are played here, hundreds by
scripts/play."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.devnet.campaign import LIARS, play_game
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.model_store import ModelStore
from tests.conftest import Chain

ROLES = ("requester", "proposer", "challenger", "deployer")


@pytest.mark.parametrize(
    ("liar", "seed"), [("proposer", 11), ("proposer", 12), ("challenger", 13), ("challenger", 14), ("none", 16)]
)
def test_the_truth_wins_and_the_honest_lose_nothing(chain: Chain, tmp_path: Path, liar: str, seed: int) -> None:
    """Random node, random step, random bit, real verifier, real money."""
    senders = {role: chain.sender(role) for role in ROLES}
    outcome = play_game(chain.system(), senders, ModelStore(tmp_path), seed, liar=liar)
    assert outcome.broken_rules == ()
    assert outcome.steps == (1 if liar == "proposer" else 0), "only a lying proposer is beaten by a step"
    if liar in ("proposer", "challenger"):
        assert outcome.moves == outcome.game.depths.max


@pytest.mark.parametrize(
    ("liar", "seed", "meddlers", "faults"),
    [
        ("none", 15, ["random_attacker"], []),
        ("proposer", 31, ["front_runner", "freeloader"], []),
        ("challenger", 32, ["decoy", "duplicator", "latecomer"], []),
        ("proposer", 33, ["freeloader"], ["header-not-found", "batch-limit", "no-eip1898", "closed"]),
        ("challenger", 34, [], ["rate-limited", "wrong-types", "sent-then-error", "nonce-too-low", "no-tip"]),
    ],
)
def test_neither_third_parties_nor_a_failing_node_change_the_end(
    chain: Chain, tmp_path: Path, liar: str, seed: int, meddlers: list[str], faults: list[str]
) -> None:
    senders = {role: chain.sender(role) for role in ROLES}
    outcome = play_game(
        chain.system(), senders, ModelStore(tmp_path), seed, liar=liar, meddlers=meddlers, faults=faults
    )
    assert outcome.broken_rules == ()
    assert bool(faults) == (outcome.struck > 0)


def test_all_kinds_of_liars_are_tried() -> None:
    """The table above must not forget one."""
    assert set(LIARS) == {"proposer", "challenger", "none"}


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
