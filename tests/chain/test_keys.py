"""Keys: taken from where the operator keeps them, never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account as EthAccount

from opml_dispute.chain import keys
from opml_dispute.chain.keys import Account, KeyProblem

KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    """An encrypted keystore with few rounds, so that it opens quickly."""
    path = tmp_path / "keystore.json"
    path.write_text(json.dumps(EthAccount.encrypt(bytes.fromhex(KEY[2:]), "open sesame", kdf="pbkdf2", iterations=2)))
    return path


@pytest.mark.parametrize("text", [KEY, KEY[2:], f"  {KEY}\n"])
def test_a_key_file_holds_hex_with_or_without_prefix(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    assert keys.load(key_file=path, environment={}).address == ADDRESS


def test_the_environment_serves_where_no_file_is_named(tmp_path: Path) -> None:
    assert keys.load(environment={"OPML_PRIVATE_KEY": KEY}).address == ADDRESS


def test_a_file_goes_before_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    assert keys.load(key_file=path, environment={"OPML_PRIVATE_KEY": "0x" + "11" * 32}).address == ADDRESS


def test_a_keystore_opens_with_its_password_from_file_environment_or_prompt(keystore: Path, tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text("open sesame\n")
    variable = {"OPML_KEYSTORE_PASSWORD": "open sesame"}
    assert keys.load(keystore=keystore, password_file=password_file, environment={}).address == ADDRESS
    assert keys.load(keystore=keystore, environment=variable).address == ADDRESS
    assert keys.load(keystore=keystore, ask_password=lambda: "open sesame", environment={}).address == ADDRESS


def test_a_wrong_password_is_named(keystore: Path) -> None:
    with pytest.raises(KeyProblem, match="does not open"):
        keys.load(keystore=keystore, ask_password=lambda: "open barley", environment={})


def test_without_any_key_it_says_how_to_give_one() -> None:
    with pytest.raises(KeyProblem, match="no key") as raised:
        keys.load(environment={})
    assert "--key-file" in str(raised.value.hint)


def test_two_files_are_one_too_many(keystore: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="both"):
        keys.load(key_file=tmp_path / "key", keystore=keystore, environment={})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("my secret", "not hexadecimal"),
        ("0x1234", "16 bits found, expected 256"),
        ("00" * 32, "outside the curve's range"),
        ("ff" * 32, "outside the curve's range"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(KeyProblem, match=says) as raised:
        keys.load(key_file=path, environment={})
    assert text not in str(raised.value)


def test_missing_files_and_files_that_are_no_keystore_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"version": 3}')
    with pytest.raises(KeyProblem, match="cannot read the key file"):
        keys.load(key_file=tmp_path / "none", environment={})
    with pytest.raises(KeyProblem, match="not an encrypted keystore"):
        keys.load(keystore=other, environment={})


def test_an_account_shows_its_address_and_never_its_key() -> None:
    account = Account.from_hex(KEY, "a test")
    assert KEY[2:] not in repr(account) + str(account) + str(vars(account).get("address"))
    assert ADDRESS in repr(account)
