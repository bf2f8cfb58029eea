"""Keys: taken from where the operator keeps them, never shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

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
    assert keys.load_account(key_file=path, environment={}).address == ADDRESS


def test_the_environment_serves_where_no_file_is_named(tmp_path: Path) -> None:
    assert keys.load_account(environment={"OPML_PRIVATE_KEY": KEY}).address == ADDRESS


def test_a_file_goes_before_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    assert keys.load_account(key_file=path, environment={"OPML_PRIVATE_KEY": "0x" + "11" * 32}).address == ADDRESS


def test_a_keystore_opens_with_its_password_from_file_environment_or_prompt(keystore: Path, tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text("open sesame\n")
    variable = {"OPML_KEYSTORE_PASSWORD": "open sesame"}
    assert keys.load_account(keystore=keystore, password_file=password_file, environment={}).address == ADDRESS
    assert keys.load_account(keystore=keystore, environment=variable).address == ADDRESS
    assert keys.load_account(keystore=keystore, ask_password=lambda: "open sesame", environment={}).address == ADDRESS


def test_a_wrong_password_is_named(keystore: Path) -> None:
    with pytest.raises(KeyProblem, match="does not open"):
        keys.load_account(keystore=keystore, ask_password=lambda: "open barley", environment={})


def test_without_any_key_it_says_how_to_give_one() -> None:
    with pytest.raises(KeyProblem, match="no key") as raised:
        keys.load_account(environment={})
    assert "--key-file" in str(raised.value.hint)


def test_two_files_are_one_too_many(keystore: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="both"):
        keys.load_account(key_file=tmp_path / "key", keystore=keystore, environment={})


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
        keys.load_account(key_file=path, environment={})
    assert text not in str(raised.value)


def test_missing_files_and_files_that_are_no_keystore_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"version": 3}')
    with pytest.raises(KeyProblem, match="cannot read the key file"):
        keys.load_account(key_file=tmp_path / "none", environment={})
    with pytest.raises(KeyProblem, match="not an encrypted keystore"):
        keys.load_account(keystore=other, environment={})


def test_an_account_shows_its_address_and_never_its_key() -> None:
    account = Account.from_hex(KEY, "a test")
    assert KEY[2:] not in repr(account) + str(account) + str(vars(account).get("address"))
    assert ADDRESS in repr(account)


def fields_of(keystore: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field, groups included."""
    for name, value in keystore.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from fields_of(value, (*path, name))


def changed(keystore: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A copy with one field replaced, or left out if `value` is the string "absent"."""
    copy: dict[str, Any] = json.loads(json.dumps(keystore))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    if value == "absent":
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def open_with(path: Path, content: object) -> Account:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return keys.load_account(keystore=path, ask_password=lambda: "open sesame", environment={})


def attempt(path: Path, content: object) -> Account | KeyProblem:
    try:
        return open_with(path, content)
    except KeyProblem as problem:
        return problem


@pytest.mark.parametrize("kdf", ["pbkdf2", "scrypt"])
@pytest.mark.parametrize("value", ["absent", None, 7, -1, 10**30, True, 1.5, "", "zz", "0x", "ab" * 5000, [], {}, [[]]])
def test_a_keystore_with_any_damaged_field_is_refused_or_opens_to_its_own_key(
    tmp_path: Path, kdf: Literal["pbkdf2", "scrypt"], value: object
) -> None:
    """Each field is left out, or replaced by something of another type or size: never a crash, never another key."""
    whole = json.loads(json.dumps(EthAccount.encrypt(bytes.fromhex(KEY[2:]), "open sesame", kdf=kdf, iterations=2)))
    for path in fields_of(whole):
        outcome = attempt(tmp_path / "k.json", changed(whole, path, value))
        if isinstance(outcome, Account):
            assert outcome.address == ADDRESS
        else:
            assert outcome.hint
            is_parameter = path[-1] in {"salt", "c", "n", "r", "p", "dklen"}
            assert is_parameter or "password does not open" not in str(outcome), path


@pytest.mark.parametrize("path", [("crypto", "cipherparams", "iv"), ("crypto", "ciphertext"), ("crypto", "mac")])
def test_a_keystore_with_one_flipped_bit_never_signs_with_another_key(
    tmp_path: Path, keystore: Path, path: tuple[str, ...]
) -> None:
    """The checksum does not cover the initialisation vector; the address does."""
    whole = json.loads(keystore.read_text())
    inner = whole
    for name in path:
        inner = inner[name]
    for bit in (0, 3, 127):
        flipped = f"{int(inner, 16) ^ 1 << bit:0{len(inner)}x}"
        with pytest.raises(KeyProblem, match=r"damaged|does not open"):
            open_with(tmp_path / "k.json", changed(whole, path, flipped))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[" * 100_000, "inside each other"),
        ("", "line 1"),
        ("[]", "not a JSON object"),
        ('{"crypto": {}, "Crypto": {}, "version": 3}', "`crypto` twice"),
        ('{"version": 4, "crypto": {}}', "not of version 3"),
        ("\ufeff{}", "no usable `crypto`"),
        ("x" * 2_000_000, "expected 1,048,576 at most"),
    ],
)
def test_a_file_that_is_no_keystore_says_why(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(KeyProblem, match=says):
        open_with(tmp_path / "k.json", content)


def test_a_keystore_that_would_take_all_memory_is_refused_before_the_password_is_asked(tmp_path: Path) -> None:
    whole = json.loads(json.dumps(EthAccount.encrypt(bytes.fromhex(KEY[2:]), "x", kdf="scrypt", iterations=2)))
    path = tmp_path / "k.json"
    path.write_text(json.dumps(changed(whole, ("crypto", "kdfparams", "n"), 1 << 40)))

    def ask() -> str:
        raise AssertionError("the password was asked for")

    with pytest.raises(KeyProblem, match="too much memory"):
        keys.load_account(keystore=path, ask_password=ask, environment={})


@pytest.mark.parametrize(
    "text", ["+" + "1" * 63, "1_" + "1" * 62, "0x" * 2 + "11" * 30, " ".join(["11"] * 32), "１" * 64]
)
def test_what_python_would_read_as_a_number_is_still_no_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(KeyProblem, match="does not hold a private key"):
        keys.load_account(key_file=path, environment={})


def test_a_password_file_without_a_keystore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="without --keystore"):
        keys.load_account(password_file=tmp_path / "password", environment={"OPML_PRIVATE_KEY": KEY})


def test_signing_leaves_the_recursion_limit_as_it_was() -> None:
    """In a process of its own: the library sets the limit when it is first imported."""
    code = (
        "import sys; before = sys.getrecursionlimit();"
        "from opml_dispute.chain.keys import Account;"
        f"Account.from_hex('{'11' * 32}', 'test').sign("
        "{'to': '0x' + '11' * 20, 'value': 0, 'gas': 21000, 'gasPrice': 1, 'nonce': 0, 'chainId': 1});"
        "assert sys.getrecursionlimit() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
