"""Deployment and a whole dispute on a chain with the OP Stack's fee rules and blocks of two seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opml_dispute.cli.demo.on_rollup import rollup_dispute
from opml_dispute.devnet import rollup
from opml_dispute.operator.checks import Verdict
from opml_dispute.operator.preflight import Prospect, preflight
from opml_dispute.primitives import Address
from tests.cli.test_preflight import on, prospect
from tests.conftest import Chain

__all__ = ["prospect"]


@pytest.mark.slow
def test_a_whole_dispute_on_a_rollup_is_paid_and_won() -> None:
    """The truth wins, moves are two seconds apart, and no transaction is charged more for data than was told."""
    with rollup_dispute() as (_, dispute):
        assert dispute.winner == "challenger"
        moves = [sent for sent in dispute.sent if sent.kind in ("attack", "defend")]
        assert dispute.moves_took_s == rollup.BLOCK_S * len(moves)
        assert dispute.deploy_data_fee_wei > 0
        assert all(0 < sent.data_fee_wei <= sent.most_data_fee_wei // 2 for sent in dispute.sent)
        assert sum(sent.data_fee_wei for sent in dispute.sent) < dispute.most_data_fee_wei


def test_the_preflight_asks_for_the_data_of_a_dispute(chain: Chain, prospect: Prospect) -> None:
    """An account that could pay bonds and gas alone fails where data cost as well."""
    account = chain.sender("proposer").address
    chain.rpc.request("anvil_setBalance", account, hex(100 * 10**18))

    def funds() -> tuple[Verdict, str]:
        found = replace(on(chain, prospect, account), account=Address(account))
        return next((check.verdict, check.found) for check in preflight(found) if check.name == "funds")

    verdict, before = funds()
    assert verdict is Verdict.HOLDS
    assert "first layer" not in before
    # So dear that the data of a dispute cost more than the account has.
    rollup.set_prices(chain.rpc, l1_base_fee_wei=10**17)
    verdict, after = funds()
    assert verdict is Verdict.FAILS
    assert "of it for data on the first layer" in after
