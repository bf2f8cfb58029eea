"""What the package computes of the ABI itself is what eth_utils computes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address

from opml_dispute.chain.abi import Undecodable, canonical_type, checksummed, decode, encode
from opml_dispute.chain.artifacts import load_artifact, names


def test_checksums_are_those_of_eth_utils() -> None:
    chance = random.Random(1)
    for _ in range(500):
        address = "0x" + chance.randbytes(20).hex()
        assert (
            checksummed(address) == checksummed(address.upper().replace("X", "x")) == str(to_checksum_address(address))
        )


@pytest.mark.parametrize(
    ("kind", "wrap"),
    [
        ("address", lambda address: address),
        ("address[]", lambda address: (address, address)),
        ("address[2]", lambda address: (address, address)),
        ("(uint64,address)", lambda address: (7, address)),
        ("(string,(address,bool)[])[]", lambda address: (("0x", ((address, True), (address, False))),)),
    ],
)
def test_addresses_are_checksummed_wherever_they_stand(kind: str, wrap: Callable[[str], object]) -> None:
    """The same account is the same text, whichever function of whichever contract named it."""
    address = "0x" + random.Random(1).randbytes(20).hex()
    assert decode([kind], encode([kind], [wrap(address)])) == (wrap(checksummed(address)),)


@pytest.mark.parametrize(
    ("kind", "laid_out", "wrap"),
    [
        ("string", "bytes", lambda text: text),
        ("string[]", "bytes[]", lambda text: (text, text)),
        ("(uint64,(string,bool))", "(uint64,(bytes,bool))", lambda text: (7, (text, True))),
    ],
)
def test_texts_that_are_no_utf_8_are_read_all_the_same(
    kind: str, laid_out: str, wrap: Callable[[object], object]
) -> None:
    """Any account can write one on the chain: a requester or a registrant would stop every reader."""
    raw = encode([laid_out], [wrap(b"ipfs://\xff\xfe\x80")])
    assert decode([kind], raw, strict=False) == (wrap("ipfs://\ufffd\ufffd\ufffd"),)
    assert decode([kind], encode([kind], [wrap("ipfs://ä")])) == (wrap("ipfs://ä"),)


@pytest.mark.parametrize(
    "text", ["0x", "0x" + "11" * 19, "0x" + "11" * 21, "0x" + "zz" * 20, "0x" + "1 " * 20, "11" * 20, ""]
)
def test_text_that_is_no_address_has_no_checksum(text: str) -> None:
    with pytest.raises(ValueError):
        checksummed(text)


def test_types_of_every_contract_are_named_as_eth_utils_names_them() -> None:
    parameters = [
        parameter
        for name in names()
        for entry in load_artifact(name).abi
        for parameter in (*entry.get("inputs", []), *entry.get("outputs", []))
    ]
    assert any(parameter["type"].startswith("tuple") for parameter in parameters)
    for parameter in parameters:
        assert canonical_type(parameter) == collapse_if_tuple(parameter)


def test_bytes_that_do_not_fit_are_undecodable() -> None:
    assert decode(["uint256"], encode(["uint256"], [7])) == (7,)
    for types, raw in ((["uint256"], b""), (["uint8"], b"\xff" * 32), (["bytes"], b"\xff" * 64)):
        with pytest.raises(Undecodable):
            decode(types, raw)
