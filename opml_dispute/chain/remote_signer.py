"""
Signing by another program that keeps the key: Web3Signer, or clef.

`RemoteSigner` is asked in JSON-RPC (`eth_signTransaction`, or clef's `account_signTransaction`) and never trusted: its
answer is decoded and compared with the request, field by field, and the signature must be that of the address. So a
signer that is wrong, silent or broken costs time only. `load_signing` gives the signer that an operator named, local or
remote.

A transaction is signed once only: the sender identifies transactions by their hashes, and some hardware produces
another signature each time.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.chain.abi import checksummed
from opml_dispute.chain.blob_transactions import BLOB_TYPE
from opml_dispute.chain.keys import KeyProblem, Signing, load_account
from opml_dispute.chain.rpc_errors import RpcUnreachable
from opml_dispute.chain.transport import Endpoint
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address

ANSWER_TIME_S: Final = 60.0
"""How long a signer may take: a person may have to approve in clef, while a game's clocks run."""
ANSWER_LIMIT_BYTES: Final = 1 << 20
REMEMBERED: Final = 64
_HALF_ORDER: Final = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0
_METHOD_MISSING: Final = -32601
_DYNAMIC_FEE_TYPE: Final = 2
_FIELDS: Final = ("chain id", "nonce", "priority fee", "fee", "gas", "recipient", "value", "data", "access list")
_BLOB_FIELDS: Final = (*_FIELDS, "blob fee", "blobs")
_LEGACY_FIELDS: Final = ("nonce", "gas price", "gas", "recipient", "value", "data")


class SignerProblem(OpmlError):
    """The remote signer did not sign what it was asked to sign."""

    hint = "check the signer: whether it runs, has the key, and signs for this chain; nothing was sent"


class RemoteSigner:
    """An address whose key a signer keeps."""

    def __init__(self, url: str, address: Address | None, *, answer_time_s: float = ANSWER_TIME_S) -> None:
        """
        Without an `address` the signer must have exactly one. Raises `KeyProblem` if it has none or several, or not
        that one, and `SignerProblem` if it does not answer.
        """
        try:
            self._endpoint = Endpoint(url, deadline_s=answer_time_s, answer_limit_bytes=ANSWER_LIMIT_BYTES)
        except RpcUnreachable as error:
            raise KeyProblem(
                f"no signer answers at {error.url}: {error.reason}", hint="write --signer like http://127.0.0.1:9000"
            ) from None
        self._is_clef = False
        self._signed: OrderedDict[bytes, bytes] = OrderedDict()
        self.address = self._choose(address)

    def __repr__(self) -> str:
        return f"RemoteSigner({self.address}, at {self._endpoint.url})"

    def sign(self, transaction: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The signed transaction's bytes, and its hash. Raises `SignerProblem`."""
        asked = _expected(transaction)
        raw = self._signed.get(asked)
        if raw is None:
            raw = self._ask_to_sign(transaction)
            expect_signed(raw, transaction, self.address, self._endpoint.url)
            self._signed[asked] = raw
            while len(self._signed) > REMEMBERED:
                self._signed.popitem(last=False)
        return raw, bytes(keccak256(raw))

    # ---- asking ----

    def _choose(self, wanted: Address | None) -> Address:
        found, code = self._request("eth_accounts", [])
        if code == _METHOD_MISSING:
            self._is_clef = True
            found, code = self._request("account_list", [])
        if code is not None:
            raise self._problem(f"refuses to list its accounts (code {code})")
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise self._problem("answers no list of accounts")
        try:
            addresses = sorted({checksummed(item) for item in found})
        except ValueError:
            raise self._problem("lists an account that is no address") from None
        if wanted is not None:
            if wanted not in addresses:
                raise KeyProblem(
                    f"the signer at {self._endpoint.url} does not have the key of {wanted}",
                    hint="give one of its addresses with --from, or another --signer",
                )
            return wanted
        if len(addresses) != 1:
            raise KeyProblem(
                f"the signer at {self._endpoint.url} has {len(addresses)} keys; expected one",
                hint="say which: --from ADDRESS",
            )
        return addresses[0]

    def _ask_to_sign(self, transaction: Mapping[str, Any]) -> bytes:
        fields = {name: hex(value) if isinstance(value, int) else value for name, value in transaction.items()}
        fields["from"] = self.address
        if self._is_clef:
            found, code = self._request("account_signTransaction", [fields])
        else:
            # Web3Signer signs for the chain that it was started for, and its request has no such field.
            plain = {name: value for name, value in fields.items() if name != "chainId"}
            found, code = self._request("eth_signTransaction", [plain])
        if code is not None:
            problem = self._problem(f"refuses to sign (code {code})")
            if "blobVersionedHashes" in transaction:
                problem.hint = (
                    "it may not know blob transactions (EIP-4844): publish in another way (request --in-parts), "
                    "or sign with another --signer or key"
                )
            raise problem
        if isinstance(found, dict):
            found = found.get("raw")
        try:
            if not isinstance(found, str) or not found.startswith("0x"):
                raise ValueError
            return bytes.fromhex(found[2:])
        except ValueError:
            raise self._problem("answers no signed transaction") from None

    def _request(self, method: str, parameters: list[Any]) -> tuple[Any, int | None]:
        """The result, or None and the error's code. The signer's message is not repeated: it may quote keys."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        try:
            answer = self._endpoint.post(body)
        except RpcUnreachable as error:
            raise SignerProblem(f"no signer answers at {error.url}: {error.reason}") from None
        try:
            content = plain_json.loads(answer.body.decode())
        except (ValueError, RecursionError):
            raise self._problem(f"answers no JSON (HTTP {answer.status})") from None
        if not isinstance(content, dict):
            raise self._problem("does not speak JSON-RPC")
        refusal = content.get("error")
        if refusal is not None:
            code = refusal.get("code") if isinstance(refusal, dict) else None
            return None, code if isinstance(code, int) and not isinstance(code, bool) else 0
        return content.get("result"), None

    def _problem(self, what: str) -> SignerProblem:
        return SignerProblem(f"the signer at {self._endpoint.url} {what}")


def expect_signed(raw: bytes, transaction: Mapping[str, Any], address: Address, who: str) -> None:
    """
    Raises `SignerProblem` unless `raw` is exactly this transaction, signed by the key of `address`.

    The signature must have the form that nodes accept (EIP-2: low s), and the encoding must be canonical.
    """
    import rlp
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    def problem(what: str) -> SignerProblem:
        return SignerProblem(f"the signer at {who} {what}")

    is_legacy = "gasPrice" in transaction
    prefix = b"" if is_legacy else _prefix(transaction)
    if not raw.startswith(prefix):
        raise problem(f"signed a transaction of another type: its first byte is {raw[:1].hex() or 'missing'}")
    wanted = _fields(transaction)
    try:
        found = rlp.decode(raw[len(prefix) :], strict=True)
    except (rlp.exceptions.DecodingError, RecursionError, TypeError, ValueError):
        raise problem("signed something that is no transaction") from None
    if not isinstance(found, list) or len(found) != len(wanted) + 3 or rlp.encode(found) != raw[len(prefix) :]:
        raise problem("signed something that is no transaction")
    for name, is_there, asked in zip(_LEGACY_FIELDS if is_legacy else _BLOB_FIELDS, found, wanted, strict=False):
        if is_there != asked:
            shown = is_there.hex() if isinstance(is_there, bytes) else "a list"
            raise problem(f"signed another transaction: its {name} is 0x{shown[:80]}, not the one that was asked")
    v, r, s = (_number(part) for part in found[len(wanted) :])
    if v is None or r is None or s is None:
        raise problem("signed with numbers that are none")
    parity = v - 35 - 2 * int(transaction["chainId"]) if is_legacy else v
    if parity not in (0, 1):
        raise problem("signed for another chain" if is_legacy else "signed with a parity that is neither 0 nor 1")
    if not 0 < s <= _HALF_ORDER:
        raise problem("signed in a form that nodes refuse (a high s)")
    digest = bytes(keccak256(_expected(transaction)))
    try:
        key = Signature(vrs=(parity, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError, ValueError):
        raise problem("made a signature that is none") from None
    signer = Address(key.to_checksum_address())
    if signer != address:
        raise problem(f"signed with the key of {signer}, not of {address}")


def _number(part: Any) -> int | None:
    return int.from_bytes(part, "big") if isinstance(part, bytes) and len(part) <= 32 else None


def _fields(transaction: Mapping[str, Any]) -> list[Any]:
    """The transaction's fields without signature, as RLP has them."""

    def number(name: str) -> bytes:
        value = int(transaction.get(name, 0))
        return value.to_bytes((value.bit_length() + 7) // 8, "big")

    to = bytes.fromhex(str(transaction.get("to", "0x"))[2:])
    data = bytes.fromhex(str(transaction.get("data", "0x"))[2:])
    ends = [number("gas"), to, number("value"), data]
    if "gasPrice" in transaction:
        return [number("nonce"), number("gasPrice"), *ends]
    fees = [number("maxPriorityFeePerGas"), number("maxFeePerGas")]
    plain = [number("chainId"), number("nonce"), *fees, *ends, []]
    if "blobVersionedHashes" not in transaction:
        return plain
    return [
        *plain,
        number("maxFeePerBlobGas"),
        [bytes.fromhex(name[2:]) for name in transaction["blobVersionedHashes"]],
    ]


def _prefix(transaction: Mapping[str, Any]) -> bytes:
    """The type of a transaction that is no legacy one (EIP-2718)."""
    return bytes([BLOB_TYPE if "blobVersionedHashes" in transaction else _DYNAMIC_FEE_TYPE])


def _expected(transaction: Mapping[str, Any]) -> bytes:
    """The bytes whose hash is signed (EIP-155, EIP-1559)."""
    import rlp

    fields = _fields(transaction)
    if "gasPrice" in transaction:
        chain_id = int(transaction["chainId"])
        fields += [chain_id.to_bytes((chain_id.bit_length() + 7) // 8, "big"), b"", b""]
        return bytes(rlp.encode(fields))
    return _prefix(transaction) + bytes(rlp.encode(fields))


def load_signing(
    *,
    signer: str | None,
    address: Address | None,
    key_file: Path | None = None,
    keystore: Path | None = None,
    password_file: Path | None = None,
    ask_password: Callable[[], str] | None = None,
) -> Signing:
    """
    An operator's signer: the one at a URL, else a key of this computer (`load_account`).

    Raises `KeyProblem`, also if the key is not that of `address`, and `SignerProblem`.
    """
    if signer is not None:
        if key_file is not None or keystore is not None or password_file is not None:
            raise KeyProblem("a signer was given, and a key of this computer too", hint="give one of them")
        return RemoteSigner(signer, address)
    account = load_account(key_file=key_file, keystore=keystore, password_file=password_file, ask_password=ask_password)
    if address is not None and address != account.address:
        raise KeyProblem(
            f"{address} is to send, but the key is that of {account.address}", hint="give that address's key"
        )
    return account
