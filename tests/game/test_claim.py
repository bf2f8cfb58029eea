"""Claims come in the contract's order; a snapshot that says otherwise is no game."""

from dataclasses import replace

import pytest

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
