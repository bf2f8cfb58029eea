"""What clients know the contracts by stays as it is, unless a change is meant to change it."""

from __future__ import annotations

from tests.agreement.contract_abi import ABI_FILE, abi_text


def test_the_interfaces_are_the_recorded_ones() -> None:
    assert abi_text() == ABI_FILE.read_text(), (
        "scripts/renew snapshots, if the change is meant; then see CONTRIBUTING.md"
    )


def test_a_type_that_only_the_compiler_checks_leaves_no_trace() -> None:
    """The record is of ABI types: no name of a user-defined value type or of a struct is in it."""
    for name in ("Claim ", "StateRoot ", "StateHash ", "RequestId ", "Timestamp ", "Duration "):
        assert name not in ABI_FILE.read_text()
