"""
The account that signs, with its key from the operator's file, keystore or environment.

`Account` holds the key and never shows it. `load_account` takes it from exactly one of a key file, an encrypted
keystore, or the environment variable `OPML_PRIVATE_KEY`. A keystore is validated field by field before its password is
asked for, so that a damaged file is not mistaken for a wrong password, and its key must belong to the address that it
names.

The signing library takes most of a second to import, so it is imported for the first signature, not for the address.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address
from opml_dispute.reading import Unreadable, read_json, read_text

KEY_VARIABLE = "OPML_PRIVATE_KEY"
PASSWORD_VARIABLE = "OPML_KEYSTORE_PASSWORD"

_LOOKS_LIKE_A_KEY = re.compile(r"\s*(0x)?[0-9a-fA-F]{60,68}\s*")
"""A key was given where the name of its file is expected."""

_CURVE_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141

_MAX_SCRYPT_BYTES: Final = 1 << 30
_MAX_SCRYPT_WORK: Final = 1 << 27
_MAX_PBKDF2_ROUNDS: Final = 100_000_000
"""Limits on the cost of opening a keystore: usual ones need 256 MiB, or a million rounds."""


class KeyProblem(OpmlError):
    """No usable key: none given, more than one, unreadable, or a wrong password."""

    hint = f"give --key-file FILE, --keystore FILE, --signer URL, or {KEY_VARIABLE}"


class Signing(Protocol):
    """A signer for one address: an `Account`, or a remote signer (`remote_signer`)."""

    @property
    def address(self) -> Address:
        """The address whose transactions it signs."""
        ...

    def sign(self, transaction: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The signed transaction's bytes, and its hash. Raises `OpmlError` if it cannot."""
        ...


class Account:
    """An address that can sign. Printing it shows the address alone."""

    def __init__(self, key: bytes) -> None:
        from eth_keys.datatypes import PrivateKey

        self.address = Address(PrivateKey(key).public_key.to_checksum_address())
        self._sign = _signer(key)

    def __repr__(self) -> str:
        return f"Account({self.address})"

    def sign(self, transaction: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The signed transaction's bytes, and its hash."""
        return self._sign(transaction)

    @classmethod
    def from_hex(cls, key: str, source: str) -> Account:
        """The account of a key of 32 bytes in hex, with or without 0x. Raises `KeyProblem`, which names `source` and
        never the key."""
        digits = key.strip().removeprefix("0x")
        if re.fullmatch(r"[0-9a-fA-F]*", digits) is None:
            raise KeyProblem(f"{source} does not hold a private key: it is not hexadecimal")
        if len(digits) != 64:
            raise KeyProblem(f"{source} does not hold a private key: {len(digits) * 4} bits found, expected 256")
        if not 0 < int(digits, 16) < _CURVE_ORDER:
            raise KeyProblem(f"{source} does not hold a private key: the number is outside the curve's range")
        return cls(bytes.fromhex(digits))


def _signer(key: bytes) -> Callable[[Mapping[str, Any]], tuple[bytes, bytes]]:
    """The key, in a closure, where neither `vars` nor a printed object shows it."""

    @cache
    def signer() -> Any:
        with _recursion_limit_kept():
            from eth_account import Account as EthAccount
        return EthAccount.from_key(key)

    def sign(transaction: Mapping[str, Any]) -> tuple[bytes, bytes]:
        signed = signer().sign_transaction(dict(transaction))
        return bytes(signed.raw_transaction), bytes(signed.hash)

    return sign


def signed_under(raw: bytes) -> tuple[Address, int] | None:
    """Whose key signed a transaction, of any type, and under which nonce; None if it is none."""
    import rlp

    with _recursion_limit_kept():
        from eth_account import Account as EthAccount
    try:
        signer = Address(EthAccount.recover_transaction(raw))
        # A type is one byte before the list of fields (EIP-2718), which begins with the chain then.
        fields = rlp.decode(raw if raw[0] >= 0xC0 else raw[1:])
        return signer, int.from_bytes(fields[0 if raw[0] >= 0xC0 else 1], "big")
    except Exception:  # the library raises many kinds of errors for what a node can send
        return None


@contextmanager
def _recursion_limit_kept() -> Iterator[None]:
    """One of the signing library's own imports sets Python's recursion limit so high that the C stack can overflow."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def load_account(
    *,
    key_file: Path | None = None,
    keystore: Path | None = None,
    password_file: Path | None = None,
    ask_password: Callable[[], str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Account:
    """
    The account that the operator named.

    A file named on the command line precedes the environment; two named files are an error. The keystore's
    password comes from `password_file`, else from OPML_KEYSTORE_PASSWORD, else from `ask_password`. Raises
    `KeyProblem`.
    """
    if key_file is not None and keystore is not None:
        raise KeyProblem("both --key-file and --keystore were given", hint="give one of them")
    if password_file is not None and keystore is None:
        raise KeyProblem(
            "--password-file was given without --keystore", hint="give --keystore FILE too, or leave it out"
        )
    if key_file is not None:
        return Account.from_hex(_read(key_file, "key file"), f"the key file {key_file}")
    if keystore is not None:
        return _from_keystore(keystore, password_file, ask_password, environment)
    if environment.get(KEY_VARIABLE):
        return Account.from_hex(environment[KEY_VARIABLE], KEY_VARIABLE)
    raise KeyProblem(
        "this sends transactions, and no key to sign them was given",
        hint=f"{KeyProblem.hint}; the key files of a local chain are named by: opml-dispute devnet status",
    )


def _from_keystore(
    path: Path, password_file: Path | None, ask: Callable[[], str] | None, environment: Mapping[str, str]
) -> Account:
    _refuse_key_as_name(path, "keystore")
    try:
        content = read_json(path)
    except Unreadable as error:
        raise KeyProblem(f"cannot read the keystore {path}: {error.reason}", hint="check the path") from None
    _expect_whole(content, path)
    if password_file is not None:
        password = _read(password_file, "password file", is_shown=_exists(password_file)).rstrip("\r\n")
    elif PASSWORD_VARIABLE in environment:
        password = environment[PASSWORD_VARIABLE]
    elif ask is not None:
        password = ask()
    else:
        raise KeyProblem(
            f"the keystore {path} needs a password", hint=f"give --password-file FILE, or {PASSWORD_VARIABLE}"
        )
    with _recursion_limit_kept():
        from eth_account import Account as EthAccount
    try:
        key = EthAccount.decrypt(content, password)
    except ValueError:
        # The fields were validated: what is left is the checksum over the encrypted key and the password.
        raise KeyProblem(
            f"the password does not open the keystore {path}",
            hint="check the password; if it is right, the file is damaged: restore it from a backup",
        ) from None
    except Exception as error:  # the library's message might quote the key
        raise KeyProblem(f"the keystore {path} cannot be opened ({type(error).__name__})") from None
    account = Account.from_hex(bytes(key).hex(), f"the keystore {path}")
    named = content.get("address")
    if named is not None and str(named).lower().removeprefix("0x") != account.address.lower().removeprefix("0x"):
        raise KeyProblem(
            f"the keystore {path} is damaged: it is of address 0x{str(named).removeprefix('0x')}, "
            f"but the key in it is that of {account.address}",
            hint="restore the file from a backup",
        )
    return account


def _expect_whole(content: Any, path: Path) -> None:
    """Raises `KeyProblem`, which names the field, unless this is a keystore (version 3) that can be opened."""

    def part(of: Any, name: str, kind: type) -> Any:
        found = [value for key, value in of.items() if key.lower() == name]
        if len(found) != 1 or not isinstance(found[0], kind) or isinstance(found[0], bool):
            raise damaged(f"it has no usable `{name}`" if len(found) < 2 else f"it has `{name}` twice")
        return found[0]

    def damaged(why: str) -> KeyProblem:
        return KeyProblem(f"{path} is not an encrypted keystore that can be opened: {why}", hint="give another file")

    def expect_hex(of: Any, name: str, size_bytes: range) -> None:
        text = part(of, name, str).removeprefix("0x")
        if re.fullmatch(r"([0-9a-fA-F]{2})*", text) is None or len(text) // 2 not in size_bytes:
            raise damaged(f"its `{name}` is damaged")

    if not isinstance(content, dict):
        raise damaged("it is not a JSON object")
    crypto = part(content, "crypto", dict)
    if part(content, "version", int) != 3:
        raise damaged("it is not of version 3")
    address = content.get("address")
    if address is not None and (not isinstance(address, str) or not re.fullmatch("(0x)?[0-9a-fA-F]{40}", address)):
        raise damaged("its `address` is damaged")
    if part(crypto, "cipher", str) != "aes-128-ctr":
        raise damaged("its `cipher` is not aes-128-ctr")
    expect_hex(part(crypto, "cipherparams", dict), "iv", range(16, 17))
    expect_hex(crypto, "ciphertext", range(32, 33))
    expect_hex(crypto, "mac", range(32, 33))
    parameters = part(crypto, "kdfparams", dict)
    expect_hex(parameters, "salt", range(1, 1025))
    if not 32 <= part(parameters, "dklen", int) <= 1024:
        raise damaged("its `dklen` is not from 32 to 1024")
    match part(crypto, "kdf", str):
        case "scrypt":
            n, r, p = (part(parameters, name, int) for name in ("n", "r", "p"))
            if n < 2 or n & (n - 1) or r < 1 or p < 1:
                raise damaged("its scrypt parameters are damaged")
            if 128 * n * r > _MAX_SCRYPT_BYTES or n * r * p > _MAX_SCRYPT_WORK:
                raise damaged("its scrypt parameters ask for too much memory or time")
        case "pbkdf2":
            if part(parameters, "prf", str) != "hmac-sha256":
                raise damaged("its `prf` is not hmac-sha256")
            if not 1 <= part(parameters, "c", int) <= _MAX_PBKDF2_ROUNDS:
                raise damaged(f"its `c` is not from 1 to {_MAX_PBKDF2_ROUNDS:,}")
        case _:
            raise damaged("its `kdf` is neither scrypt nor pbkdf2")


def _read(path: Path, what: str, *, is_shown: bool = True) -> str:
    """The file's text. Raises `KeyProblem`, which names the path only if it cannot be the secret itself."""
    _refuse_key_as_name(path, what)
    named = f"the {what} {path}" if is_shown else f"the {what}"
    try:
        return read_text(path)
    except Unreadable as error:
        raise KeyProblem(f"cannot read {named}: {error.reason}", hint="check the path") from None


def exposure_of(path: Path | None) -> str | None:
    """A sentence without its full stop if other accounts of this computer can read a file with a secret."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path is not None else 0
    except (OSError, ValueError):
        return None  # reading it says more
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    return f"other accounts of this computer can read {path} (mode {mode:o}): chmod 600 {path}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _refuse_key_as_name(path: Path, what: str) -> None:
    if _LOOKS_LIKE_A_KEY.fullmatch(path.name):
        raise KeyProblem(
            f"a private key was given where the name of a {what} is expected",
            hint="put it into a file that only you can read; a command line is seen by everyone on the machine",
        )
