"""Amounts of money: exact, in the units that people write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute.chain.amounts import BadAmount, ether, parse_wei


@given(st.integers(0, 10**30))
def test_what_is_shown_can_be_read_back(wei: int) -> None:
    assert parse_wei(ether(wei)) == wei


@pytest.mark.parametrize(
    ("text", "wei"), [("1", 10**18), ("0.5 eth", 5 * 10**17), ("3gwei", 3 * 10**9), ("12 WEI", 12), ("1e-18", 1)]
)
def test_units_are_understood(text: str, wei: int) -> None:
    """Amounts with and without units are parsed to wei."""
    assert parse_wei(text) == wei


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one",
        "-1",
        "0.5wei",
        "nan",
        "inf",
        "1 btc",
        "1e-19",
        "1e999999999",
        "1e-999999999",
        "1e60",
        "１",
        "1__0",
        "0x10",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(BadAmount):
        parse_wei(text)
