"""What a key's ledger remembers of transactions that must not happen twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from opml_dispute.chain.journal import ENTRY_LIVES_S, JournalEntry, KeyLedger, Launched
from opml_dispute.devnet import anvil as devnet

WORK = b"a request with its fee"
ENTRY = JournalEntry(7, (b"\x01" * 32,), b"\x02\xf8")


@pytest.mark.parametrize("passed_s", [0, 3_600, -3_600, ENTRY_LIVES_S - 60, ENTRY_LIVES_S + 60])
def test_an_entry_is_found_for_a_day_though_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch, passed_s: int
) -> None:
    """A clock that went an hour ahead, and was put right, must not have a fee paid twice."""
    ledger = KeyLedger(1, devnet.account("requester").address)
    ledger.note(WORK, ENTRY)
    now_s = time.time() + passed_s
    monkeypatch.setattr(time, "time", lambda: now_s)
    assert ledger.find(WORK) == (ENTRY if passed_s < ENTRY_LIVES_S else None)


SENT = {
    "to": "0x" + "12" * 20, "data": "0xabcd", "value": 0, "type": 2, "maxFeePerGas": 9, "maxPriorityFeePerGas": 1,
    "gas": 21_000, "nonce": 7, "chainId": 1,
}  # fmt: skip
"""The fields of a transaction that was sent."""


@pytest.mark.parametrize(
    "damage",
    [
        {"gas": None},
        {"gas": "21000"},
        {"value": -1},
        {"nonce": 8},
        {"data": "0xabc"},
        {"to": []},
        {"maxFeePerGas": 1 << 256},
    ],
)
def test_a_damaged_transaction_is_not_sent_again(tmp_path: Path, damage: dict[str, object]) -> None:
    """Signing what is left of one would fail, or do something else; the others of the file are kept."""
    ledger = KeyLedger(1, devnet.account("requester").address, tmp_path)
    ledger.launch(6, Launched(b"\x01" * 32, SENT | {"nonce": 6}))
    ledger.launch(7, Launched(b"\x02" * 32, SENT))
    assert set(ledger.launched()) == {6, 7}
    ledger.launch(7, Launched(b"\x02" * 32, SENT | damage))
    assert set(ledger.launched()) == {6}
