"""The agent under attack, in short: a liar, an honest proposer, a faulty node, kill -9, an empty purse."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.soak import soak
from opml_dispute.devnet.soak_disturbances import DEEPEST, Disturbances, bury
from opml_dispute.devnet.soak_plan import SoakOutcome, SoakPlan
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.conftest import Chain


@pytest.mark.slow
def test_nothing_is_lost_however_often_the_agent_is_killed(chain: Chain, tmp_path: Path) -> None:
    """
    `scripts/soak` has the long form. What is asserted is what the chain shows; that the attack took place, too.

    An earlier life of the agent has made the first moves. The chain's clock runs with the world's here, so that a busy
    computer alone cannot make the agent late.
    """
    plan = SoakPlan(
        liars=1,
        honest=1,
        answered=0,
        head_start=22,
        workers=1,
        life_s=8.0,
        every=61,
        every_rare=4,
        hang_s=1.0,
        speed=1.0,
        meddler_turns=0,
        outage_every_s=6.0,
        outage_s=0.8,
        reorganise_every_s=6.0,
        most_disturbances=1,
        empty_purse_s=1.0,
    )
    outcome = soak(chain.system(), chain.deployment_file, tmp_path, plan, tell=print)
    assert outcome.broken_rules == []
    assert outcome.games == 2
    assert outcome.moves >= 13, "down to the leaf"
    assert outcome.delivered == 1, "the honest proposer's output"
    assert outcome.kills >= 2
    assert outcome.empty_purses == 1
    assert outcome.outages > 0
    assert outcome.reorganisations > 0
    assert set(plan.faults) - set(outcome.struck) == set(), "every kind of fault struck"


def test_an_empty_purse_that_was_filled_again_stays_full(bare_anvil: devnet.Anvil) -> None:
    """Whatever a reorganisation takes back; without this the agents of a long soak stood still for good."""
    rpc, account = bare_anvil.rpc, devnet.account("challenger").address
    full_wei = rpc.balance_wei(account)
    bury(rpc)
    with FaultProxy(rpc.url) as proxy:
        disturbances = Disturbances(rpc, proxy, [], account, SoakPlan(), SoakOutcome(), lambda sentence: None)
        disturbances.empty_purse()
        rpc.request("anvil_reorg", DEEPEST, [])
        assert rpc.balance_wei(account) == 0
        disturbances.fill_purse()
        rpc.request("anvil_reorg", DEEPEST, [])
        assert rpc.balance_wei(account) == full_wei
