"""What a key's ledger remembers of transactions that must not happen twice."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from opml_dispute.chain.journal import ENTRY_LIVES_S, JournalEntry, KeyLedger, Launched, likeliest
from opml_dispute.chain.transactions import DepositChange
from opml_dispute.devnet import anvil as devnet
from opml_dispute.primitives import Address

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
        {"maxFeePerBlobGas": 1, "blobVersionedHashes": [7]},
        {"maxFeePerBlobGas": 1, "blobVersionedHashes": {}},
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


OTHER = Address("0x" + "34" * 20)
OLDER = Launched(b"\x01" * 32, SENT, DepositChange(OTHER, 5))
NEWER = Launched(b"\x02" * 32, SENT | {"data": "0x"})


@pytest.fixture
def ledger(tmp_path: Path) -> KeyLedger:
    """Of an account under whose nonce 7 two transactions were signed, as at a node that did not count the first."""
    ledger = KeyLedger(1, devnet.account("requester").address, tmp_path)
    ledger.launch(7, OLDER)
    ledger.launch(7, NEWER)
    return ledger


def test_what_was_signed_under_one_nonce_is_kept_beside_each_other(ledger: KeyLedger) -> None:
    assert ledger.launched()[7] == (OLDER, NEWER)
    assert likeliest(ledger.launched()[7]) == NEWER


@pytest.mark.parametrize("mined", [OLDER, NEWER])
def test_what_was_seen_in_a_block_is_what_is_sent_again_after_a_reorganisation(
    ledger: KeyLedger, mined: Launched
) -> None:
    ledger.land(7, mined.hash)
    assert likeliest(ledger.launched()[7]).hash == mined.hash
    other = NEWER if mined is OLDER else OLDER
    ledger.land(7, other.hash)
    assert likeliest(ledger.launched()[7]).hash == other.hash, "by the reorganisation"


def test_a_deposit_counts_though_another_transaction_was_signed_under_its_nonce(ledger: KeyLedger) -> None:
    """Only what may be in the chain for sure; and it may still be mined while its nonce is free."""
    assert ledger.own_deposit_wei(OTHER, 8) == 0
    assert ledger.waiting_deposit_nonce(OTHER, 7) == 7
    ledger.land(7, OLDER.hash)
    assert ledger.own_deposit_wei(OTHER, 8) == 5
    ledger.launch(7, NEWER)
    assert ledger.own_deposit_wei(OTHER, 8) == 5
    ledger.land(7, NEWER.hash)
    assert ledger.own_deposit_wei(OTHER, 8) == 0


def test_of_many_transactions_under_one_nonce_the_last_and_the_one_in_a_block_are_kept(ledger: KeyLedger) -> None:
    ledger.land(7, OLDER.hash)
    for number in range(3, 40):
        ledger.launch(7, Launched(bytes([number]) * 32, SENT | {"maxFeePerGas": 9 + number}))
    hashes = [form.hash[0] for form in ledger.launched()[7]]
    assert hashes == [1, *range(24, 40)]


def test_large_data_are_forgotten_once_they_are_in_a_block(ledger: KeyLedger) -> None:
    ledger.launch(8, Launched(b"\x03" * 32, SENT | {"nonce": 8, "data": "0x" + "ab" * 20_000}))
    assert set(ledger.launched()) == {7, 8}
    ledger.land(8, b"\x03" * 32)
    assert set(ledger.launched()) == {7}


def test_a_file_with_one_transaction_for_each_nonce_is_read(ledger: KeyLedger, tmp_path: Path) -> None:
    """As the releases before this one wrote it."""
    (path,) = (tmp_path / "sending").glob("*-launched.json")
    path.write_text(json.dumps({"7": {"hash": OLDER.hash.hex(), "fields": SENT}}))
    assert ledger.launched() == {7: (Launched(OLDER.hash, SENT),)}
