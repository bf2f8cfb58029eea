"""Claims come in the contract's order; a snapshot that says otherwise is no game."""

from dataclasses import fields, replace

import pytest

from opml_dispute.game.claim import NO_PARENT, Claim, UnknownClaim
from tests.support.builders import LIE, TRUTH, ToyTable


@pytest.mark.parametrize(
    ("place", "change", "words"),
    [
        (1, {"index": 2}, "carries index 2"),
        (0, {"index": 1}, "carries index 1"),
        (1, {"parent_index": None}, "claim 1 of .* carries index 1"),
        (0, {"parent_index": 0}, "claim 0 of .* carries index 0"),
        (2, {"parent_index": 2}, "has parent 2"),
        (1, {"parent_index": 2}, "has parent 2"),
        (1, {"parent_index": -1}, "has parent -1"),
    ],
)
def test_claims_out_of_order_are_refused(place: int, change: dict[str, int | None], words: str) -> None:
    """Every walk over claims relies on the order."""
    game = ToyTable().root(LIE).attack(TRUTH).attack(LIE).table.game()
    claims = list(game.claims)
    claims[place] = replace(claims[place], **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=words):
        replace(game, claims=tuple(claims))


@pytest.mark.parametrize("index", [-1, 3])
def test_a_claim_that_the_game_does_not_hold_is_told(index: int) -> None:
    game = ToyTable().root(LIE).attack(TRUTH).attack(LIE).table.game()
    assert game.claim(2) is game.claims[2]
    with pytest.raises(UnknownClaim, match=f"no claim {index}; it holds 3, from 0"):
        game.claim(index)


def test_the_parent_of_the_root_claim_is_the_largest_index() -> None:
    """Which is the contract's `type(uint32).max`."""
    assert NO_PARENT == 2**32 - 1


@pytest.mark.parametrize("name", ["is_resolved", "paid_back"])
def test_a_claim_is_open_until_it_is_told_that_it_is_settled(name: str) -> None:
    game = ToyTable().root(LIE).table.game()
    told = {field.name: getattr(game.root, field.name) for field in fields(Claim) if field.name != name}
    assert getattr(Claim(**told), name) is False
