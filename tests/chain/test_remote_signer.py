"""A signer elsewhere is asked and never trusted: whatever it answers, only what was asked for is ever sent."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.keys import KeyProblem
from opml_dispute.chain.remote_signer import RemoteSigner, SignerProblem, expect_signed, load_signing
from opml_dispute.chain.sender import Sender
from opml_dispute.cli import execute
from opml_dispute.devnet import anvil as devnet
from opml_dispute.primitives import Address
from tests.agent.test_agent import lie
from tests.conftest import Chain
from tests.support.signer import SignerServer, serving

ACCOUNT = devnet.account("challenger")
OTHER = devnet.account("proposer")
DYNAMIC: dict[str, Any] = {
    "to": OTHER.address,
    "data": "0x1234",
    "value": 10**18 + 1,
    "maxFeePerGas": 3 * 10**9,
    "maxPriorityFeePerGas": 10**9,
    "gas": 90_000,
    "nonce": 7,
    "chainId": 31337,
}
LEGACY = {name: value for name, value in DYNAMIC.items() if not name.startswith("max")} | {"gasPrice": 10**9}
CREATION = {name: value for name, value in DYNAMIC.items() if name != "to"} | {"nonce": 0, "value": 0}
BLOBS = DYNAMIC | {
    "type": 3,
    "maxFeePerBlobGas": 2 * 10**9,
    "blobVersionedHashes": ["0x01" + "22" * 31, "0x01" + "33" * 31],
}
TRANSACTIONS = {"dynamic": DYNAMIC, "blobs": BLOBS, "legacy": LEGACY, "creation": CREATION}


@pytest.fixture
def server() -> Iterator[SignerServer]:
    with serving(SignerServer(ACCOUNT)) as running:
        yield running


@pytest.mark.parametrize("is_clef", [False, True], ids=["web3signer", "clef"])
@pytest.mark.parametrize("kind", TRANSACTIONS)
def test_what_is_asked_is_signed_as_a_key_here_would(server: SignerServer, is_clef: bool, kind: str) -> None:
    server.is_clef = is_clef
    signer = RemoteSigner(server.url, None)
    assert signer.address == ACCOUNT.address
    assert signer.sign(TRANSACTIONS[kind]) == ACCOUNT.sign(TRANSACTIONS[kind])
    method, _ = server.asked[-1]
    assert method == ("account_signTransaction" if is_clef else "eth_signTransaction")


def test_the_same_transaction_is_asked_for_once(server: SignerServer) -> None:
    """Hardware may sign one content in two ways, and the sender knows transactions by their hashes."""
    signer = RemoteSigner(server.url, None)
    assert signer.sign(DYNAMIC) == signer.sign(dict(DYNAMIC))
    assert [method for method, _ in server.asked].count("eth_signTransaction") == 1
    signer.sign(DYNAMIC | {"nonce": 8})
    assert [method for method, _ in server.asked].count("eth_signTransaction") == 2


ALTERED: dict[str, Any] = {
    "to": "0x" + "11" * 20,
    "data": "0x1235",
    "value": 10**18,
    "maxFeePerGas": 3 * 10**9 + 1,
    "maxPriorityFeePerGas": 10**9 + 1,
    "gasPrice": 10**9 + 1,
    "gas": 90_001,
    "nonce": 8,
    "chainId": 1,
    "accessList": [{"address": "0x" + "11" * 20, "storageKeys": []}],
    "maxFeePerBlobGas": 1,
    "blobVersionedHashes": ["0x01" + "22" * 31],
}


FEES_OF_DYNAMIC = {"maxFeePerGas", "maxPriorityFeePerGas", "accessList"}
FIELDS_OF_BLOBS = {"maxFeePerBlobGas", "blobVersionedHashes"}


def fields_of(kind: str) -> list[str]:
    """The fields of ALTERED that a transaction of this kind has."""
    others = FEES_OF_DYNAMIC if kind == "legacy" else {"gasPrice"}
    others = others if kind == "blobs" else others | FIELDS_OF_BLOBS
    return [name for name in ALTERED if name not in others]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in TRANSACTIONS for name in fields_of(kind)])
def test_any_altered_field_is_found(server: SignerServer, kind: str, name: str) -> None:
    asked = TRANSACTIONS[kind]
    server.change = lambda fields: fields | {name: ALTERED[name]}
    with pytest.raises(SignerProblem, match=r"signed (another transaction|for another chain|something)"):
        RemoteSigner(server.url, None).sign(asked)


def test_another_type_of_transaction_is_found(server: SignerServer) -> None:
    server.change = lambda fields: dict(LEGACY)
    with pytest.raises(SignerProblem, match="of another type"):
        RemoteSigner(server.url, None).sign(DYNAMIC)
    server.change = lambda fields: dict(DYNAMIC)
    with pytest.raises(SignerProblem):
        RemoteSigner(server.url, None).sign(LEGACY)


def test_another_key_is_found(server: SignerServer) -> None:
    server.signs_with = OTHER
    with pytest.raises(SignerProblem, match=f"with the key of {OTHER.address}, not of {ACCOUNT.address}"):
        RemoteSigner(server.url, None).sign(DYNAMIC)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"<html>",
        b"[" * 100_000,
        b'{"result": null}',
        b'{"result": 7}',
        b'{"result": "0x"}',
        b'{"result": "0xzz"}',
        b'{"result": "1234"}',
        b'{"result": "0x02"}',
        b'{"result": "0x02c0"}',
        b'{"result": "0x02' + b"c1" * 5_000 + b'"}',
        b'{"result": {"raw": []}}',
        b'{"result": {"tx": {}}}',
        b'{"error": "no"}',
        b'{"error": {"code": true, "message": "\\u001b[2J my key is 0x11"}}',
        b'{"error": {"code": -32000, "message": "denied"}}',
        b'{"result": "0x' + b"00" * (1 << 20) + b'"}',
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_garbage_is_refused_in_a_sentence_that_quotes_nothing(server: SignerServer, body: bytes) -> None:
    signer = RemoteSigner(server.url, None)
    server.raw_body = body
    with pytest.raises(SignerProblem) as refusal:
        signer.sign(DYNAMIC)
    assert "0x11" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_silence_ends(server: SignerServer) -> None:
    """A signer that does not answer in time is an error."""
    signer = RemoteSigner(server.url, None, answer_time_s=0.3)
    server.delay_s = 3.0
    with pytest.raises(SignerProblem, match="did not answer within"):
        signer.sign(DYNAMIC)
    with pytest.raises(SignerProblem, match="nothing listens there"):
        RemoteSigner("http://127.0.0.1:9", None)


def test_no_flipped_bit_of_a_signed_transaction_passes() -> None:
    """Signature, encoding and fields: each bit counts."""
    for asked in TRANSACTIONS.values():
        raw, _ = ACCOUNT.sign(asked)
        expect_signed(raw, asked, ACCOUNT.address, "here")
        for bit in random.Random(1).sample(range(8 * len(raw)), 300):
            flipped = bytearray(raw)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(SignerProblem):
                expect_signed(bytes(flipped), asked, ACCOUNT.address, "here")
        for part in (raw[:-1], raw + b"\0", b"\x01" + raw):
            with pytest.raises(SignerProblem):
                expect_signed(part, asked, ACCOUNT.address, "here")


def test_the_other_form_of_a_signature_is_refused() -> None:
    """Anyone can make it from the first, and nodes do not take it (EIP-2)."""
    import rlp

    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    raw, _ = ACCOUNT.sign(DYNAMIC)
    parts = rlp.decode(raw[1:])
    parts[-1] = (order - int.from_bytes(parts[-1], "big")).to_bytes(32, "big")
    parts[-3] = b"" if parts[-3] else b"\x01"
    with pytest.raises(SignerProblem, match="high s"):
        expect_signed(b"\x02" + rlp.encode(parts), DYNAMIC, ACCOUNT.address, "here")


def test_the_address_must_be_clear(server: SignerServer) -> None:
    server.accounts = [ACCOUNT.address.lower(), OTHER.address]
    with pytest.raises(KeyProblem, match="has 2 keys"):
        RemoteSigner(server.url, None)
    assert RemoteSigner(server.url, ACCOUNT.address).address == ACCOUNT.address
    with pytest.raises(KeyProblem, match="does not have the key of"):
        RemoteSigner(server.url, Address("0x" + "00" * 19 + "01"))
    server.accounts = ["nonsense"]
    with pytest.raises(SignerProblem, match="no address"):
        RemoteSigner(server.url, None)
    with pytest.raises(KeyProblem):
        RemoteSigner("ftp://127.0.0.1", None)
    with pytest.raises(KeyProblem, match="a key of this computer too"):
        load_signing(signer=server.url, address=None, keystore=devnet.devnet_folder())


@pytest.mark.parametrize("is_clef", [False, True], ids=["web3signer", "clef"])
def test_a_sender_sends_with_it(chain: Chain, server: SignerServer, is_clef: bool) -> None:
    server.is_clef = is_clef
    sender = Sender(chain.rpc, RemoteSigner(server.url, None))
    system = chain.system()
    before = chain.rpc.balance_wei(ACCOUNT.address)
    receipt = sender.send(system.oracle.commit(bytes(31) + b"\1"))
    assert chain.rpc.balance_wei(ACCOUNT.address) == before - receipt.gas_used * receipt.gas_price_wei


def test_a_signer_that_fails_leaves_nothing_in_the_way(chain: Chain, server: SignerServer) -> None:
    """Nothing is sent, no nonce is skipped, and the next attempt goes through."""
    sender = Sender(chain.rpc, RemoteSigner(server.url, None))
    system = chain.system()
    nonce = chain.rpc.request("eth_getTransactionCount", ACCOUNT.address, "pending")
    server.change = lambda fields: fields | {"value": 5}
    with pytest.raises(SignerProblem):
        sender.send(system.oracle.commit(bytes(31) + b"\2"))
    assert chain.rpc.request("eth_getTransactionCount", ACCOUNT.address, "pending") == nonce
    server.change = lambda fields: fields
    sender.send(system.oracle.commit(bytes(31) + b"\2"))


def test_commands_and_the_agent_send_with_it(chain: Chain, server: SignerServer, tmp_path: Path) -> None:
    """A wrong answer ends a command in a sentence; the right one answers a liar."""
    seat, _ = lie(chain, tmp_path, 3)
    game = seat.table.address
    options = ["--rpc-url", chain.anvil.url, "--deployment", str(chain.deployment_file), "--signer", server.url]
    server.signs_with = OTHER
    assert execute(["challenge", game, "--yes", *options]) == 1
    assert len(chain.system().games.read(game).claims) == 1
    server.signs_with = None
    assert execute(["challenge", game, "--yes", *options, "--from", OTHER.address]) == 1
    config = tmp_path / "agent.toml"
    config.write_text(
        f'[chain]\nrpc = "{chain.anvil.url}"\ndeployment = "{chain.deployment_file}"\n[key]\nsigner = "{server.url}"\n'
        f'address = "{ACCOUNT.address}"\n[agent]\nroles = ["challenger"]\nsecond_opinion = false\n'
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPML_PRIVATE_KEY"}
    command = [sys.executable, "-m", "opml_dispute", "agent", "run", "--once", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    claims = chain.system().games.read(game).claims
    assert [claim.claimant for claim in claims[1:]] == [ACCOUNT.address]
