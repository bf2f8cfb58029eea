"""A dispute about a language model's answer on a real chain, from the request to the payout."""

from __future__ import annotations

import pytest

from opml_dispute.cli.demo.language import dispute_an_answer
from opml_dispute.cli.demo.stage import Stage
from opml_dispute.models import LETTERS


@pytest.mark.slow
def test_a_lie_in_one_tokens_attention_loses_on_the_chain() -> None:
    """The answers part where the liar's bit flipped, and the game ends within that token."""
    with Stage.open() as stage:
        result = dispute_an_answer(stage, LETTERS, "Is the bridge open?", chat=False, tokens=24, lie_at=17, seed=1)
    assert result.right == " Yes, the bridge is open"
    assert result.told != result.right
    assert len(result.told) > len(" Yes, the bridge "), "a lie in other words, not an answer that breaks off"
    assert result.first_wrong_token >= 17
    assert result.place.startswith("token 17, layer 1")
    assert result.winner == "challenger"
    assert result.paid_out_wei["challenger"] > result.bonds_wei["challenger"]
    assert result.paid_out_wei["proposer"] == 0
    assert result.moves <= 50
