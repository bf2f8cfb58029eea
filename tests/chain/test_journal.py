"""What a key's ledger remembers of transactions that must not happen twice."""

from __future__ import annotations

import time

import pytest

from opml_dispute.chain.journal import ENTRY_LIVES_S, JournalEntry, KeyLedger
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
