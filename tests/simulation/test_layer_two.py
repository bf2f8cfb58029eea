"""The study of disputes on a rollup: its fees, and its claim about the clock extension, played."""

from __future__ import annotations

import pytest

from opml_dispute.simulation.fees import GWEI
from opml_dispute.simulation.scenario import parse
from opml_dispute.simulation.studies.layer_two import MAX_INCLUSION_H, Prices, data_fee_wei, dispute_wei
from opml_dispute.simulation.trial import play


@pytest.mark.parametrize(("extension_h", "wins"), [(3.0, False), (MAX_INCLUSION_H + 1.0, True)])
def test_a_side_that_is_half_a_day_late_with_each_answer_needs_an_extension_as_long(
    extension_h: float, wins: bool
) -> None:
    """The honest side sees what happened six hours later, and what became of its answer six hours after that."""
    settings = {
        "name": "sequencer",
        "game": {"extension_h": extension_h},
        "rpc": {"lag_s": MAX_INCLUSION_H * 3_600 // 2},
        "honest": {"poll_s": 1, "inference_s": 0, "vm_run_s": 0},
        "attacker": [{"strategy": "liar"}],
    }
    played = play(parse(settings).base, 1)
    assert bool(played["truth_won"]) is wins
    assert not wins or 13 * 11 < played["delay_h"] < 13 * 13, "it needed about so long for each answer"


def test_the_data_fee_is_the_rule_of_the_op_stack() -> None:
    """A small transaction is counted as 100 bytes; beyond that the fee grows with the bytes and the base fees."""
    quiet = Prices("", 0, 10 * GWEI, 0)
    assert data_fee_wei(0, quiet) == pytest.approx(100 * 16 * 5_227e-6 * 10 * GWEI)
    more = data_fee_wei(2_000, quiet) - data_fee_wei(1_000, quiet)
    assert more == pytest.approx(1_000 * 33 / 32 * 0.8365 * 16 * 5_227e-6 * 10 * GWEI)
    gas, data = dispute_wei(Prices("", 0.01 * GWEI, 10 * GWEI, 0.1 * GWEI))
    assert data < gas
