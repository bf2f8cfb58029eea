"""
Who signs: one account, its key from where the operator keeps it.

`Account` holds the key and never shows it. `load` takes it from exactly one of a key file, an encrypted keystore,
or the environment variable `OPML_PRIVATE_KEY`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eth_account import Account as EthAccount
from eth_account.signers.local import LocalAccount

from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address

KEY_VARIABLE = "OPML_PRIVATE_KEY"
PASSWORD_VARIABLE = "OPML_KEYSTORE_PASSWORD"

_LOOKS_LIKE_A_KEY = re.compile(r"\s*(0x)?[0-9a-fA-F]{60,68}\s*")
"""Somebody took --key-file for --key."""


class KeyProblem(OpmlError):
    """No usable key: none given, more than one, unreadable, or a wrong password."""

    hint = f"give --key-file FILE, --keystore FILE, or {KEY_VARIABLE}"


class Account:
    """An address that can sign. Printing it shows the address alone."""

    def __init__(self, signer: LocalAccount) -> None:
        self._signer = signer
        self.address = Address(str(signer.address))

    def __repr__(self) -> str:
        return f"Account({self.address})"

    def sign(self, transaction: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The signed transaction's bytes, and its hash."""
        signed = self._signer.sign_transaction(dict(transaction))
        return bytes(signed.raw_transaction), bytes(signed.hash)

    @classmethod
    def from_hex(cls, key: str, source: str) -> Account:
        """From 32 bytes in hex, with or without 0x. Raises `KeyProblem`, which names `source` and never the key."""
        digits = key.strip().removeprefix("0x")
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raise KeyProblem(f"{source} does not hold a private key: it is not hexadecimal") from None
        if len(raw) != 32:
            raise KeyProblem(f"{source} does not hold a private key: {len(raw) * 8} bits found, expected 256")
        try:
            return cls(EthAccount.from_key(raw))
        except Exception:  # whatever the library objects to might quote the key
            raise KeyProblem(f"{source} does not hold a private key: the number is outside the curve's range") from None


def load(
    *,
    key_file: Path | None = None,
    keystore: Path | None = None,
    password_file: Path | None = None,
    ask_password: Callable[[], str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Account:
    """
    The account the operator named.

    A file named on the command line goes before the environment; two files are one too many. The keystore's
    password comes from `password_file`, else from OPML_KEYSTORE_PASSWORD, else from `ask_password`. Raises
    `KeyProblem`.
    """
    if key_file is not None and keystore is not None:
        raise KeyProblem("both --key-file and --keystore were given", hint="give one of them")
    if key_file is not None:
        return Account.from_hex(_read(key_file, "key file"), f"the key file {key_file}")
    if keystore is not None:
        return _from_keystore(keystore, password_file, ask_password, environment)
    if environment.get(KEY_VARIABLE):
        return Account.from_hex(environment[KEY_VARIABLE], KEY_VARIABLE)
    raise KeyProblem("this sends transactions, and no key to sign them was given")


def _from_keystore(
    path: Path, password_file: Path | None, ask: Callable[[], str] | None, environment: Mapping[str, str]
) -> Account:
    try:
        content = json.loads(_read(path, "keystore"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not {"crypto", "Crypto"} & set(content):
        raise KeyProblem(f"{path} is not an encrypted keystore: expected JSON with a `crypto` part")
    if password_file is not None:
        password = _read(password_file, "password file", is_shown=os.path.exists(password_file)).rstrip("\r\n")
    elif PASSWORD_VARIABLE in environment:
        password = environment[PASSWORD_VARIABLE]
    elif ask is not None:
        password = ask()
    else:
        raise KeyProblem(
            f"the keystore {path} needs a password", hint=f"give --password-file FILE, or {PASSWORD_VARIABLE}"
        )
    try:
        key = EthAccount.decrypt(content, password)
    except ValueError:
        raise KeyProblem(f"the password does not open the keystore {path}", hint="check the password") from None
    except (KeyError, TypeError, NotImplementedError):
        raise KeyProblem(f"{path} is not an encrypted keystore that we can read") from None
    return Account.from_hex(bytes(key).hex(), f"the keystore {path}")


def _read(path: Path, what: str, *, is_shown: bool = True) -> str:
    """The file's text. Raises `KeyProblem`, which names the path only if it cannot be the secret itself."""
    if _LOOKS_LIKE_A_KEY.fullmatch(path.name):
        raise KeyProblem(
            f"a private key was given where the name of a {what} is expected",
            hint="put it into a file that only you can read; a command line is seen by everyone on the machine",
        )
    named = f"the {what} {path}" if is_shown else f"the {what}"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise KeyProblem(f"cannot read {named}: {error.strerror}", hint="check the path") from None
    except UnicodeDecodeError:
        raise KeyProblem(f"cannot read {named}: it is not text", hint="check the path") from None
