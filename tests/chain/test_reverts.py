"""Revert data, named: custom errors with their arguments, strings, panics, and what nodes wrap around them."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode

from opml_dispute.chain.artifacts import error_signatures
from opml_dispute.chain.reverts import HINTS, Reverted, describe_revert, revert_data

SAMPLE_VALUES: dict[str, Any] = {
    "address": "0x" + "11" * 20,
    "bytes": b"abc",
    "bytes32": b"\x22" * 32,
    "string": "words",
    "bool": True,
}


def sample(kind: str) -> Any:
    """Some value of an ABI type."""
    if kind.endswith("[]"):
        return [sample(kind[:-2])]
    return SAMPLE_VALUES.get(kind, 7)


def test_every_custom_error_of_ours_is_named_with_its_arguments() -> None:
    """Whatever contract an error comes from: inner errors bubble up through outer calls."""
    signatures = error_signatures()
    assert {"ClockTimeExceeded", "UnknownRequest", "GameAlreadyExists"} <= {s.name for s in signatures.values()}
    for selector, signature in signatures.items():
        arguments = tuple(sample(kind) for kind in signature.inputs)
        meaning = describe_revert(selector + encode(signature.inputs, arguments))
        assert meaning.name == signature.name
        assert meaning.text.startswith(signature.name + "(")
        for name in signature.input_names:
            assert name in meaning.text


def test_hints_are_for_errors_that_exist() -> None:
    """A hint for a renamed error would never be seen."""
    assert set(HINTS) <= {signature.name for signature in error_signatures().values()}


def test_strings_and_panics_are_read() -> None:
    assert describe_revert(bytes.fromhex("08c379a0") + encode(["string"], ["no way"])).text == "no way"
    assert "array index" in describe_revert(bytes.fromhex("4e487b71") + encode(["uint256"], [0x32])).text
    assert describe_revert(b"").text == "no reason given"
    assert describe_revert(b"\xde\xad\xbe\xef").text == "unknown error 0xdeadbeef"


def test_truncated_arguments_do_not_hide_the_bytes() -> None:
    selector = next(s for s, signature in error_signatures().items() if signature.name == "GameAlreadyExists")
    assert selector.hex() in describe_revert(selector + b"\x01").text


@pytest.mark.parametrize(
    ("error", "data"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x67fe1950"}, bytes.fromhex("67fe1950")),
        ({"code": -32000, "message": "VM error", "data": {"data": "0x67fe1950"}}, bytes.fromhex("67fe1950")),
        ({"code": -32015, "message": "VM error", "data": "Reverted 0x67fe1950"}, bytes.fromhex("67fe1950")),
        ({"code": 3, "message": "execution reverted"}, b""),
        ({"code": -32000, "message": "execution reverted"}, b""),
        ({"code": 3, "message": "", "data": "0x"}, b""),
        ({"code": -32015, "message": "VM error", "data": "Reverted 0x"}, b""),
        ({"code": -32000, "message": "header not found", "data": "0x"}, None),
        ({"code": -32005, "message": "limit exceeded", "data": {"data": "0x"}}, None),
        ({"code": -32601, "message": "the method does not exist"}, None),
        ({"code": -32602, "message": "invalid params", "data": "missing field"}, None),
        ("nonsense", None),
    ],
)
def test_revert_data_is_found_in_the_shapes_nodes_use(error: Any, data: bytes | None) -> None:
    assert revert_data(error) == data


def test_a_revert_says_what_was_refused_why_and_what_to_do() -> None:
    selector = next(s for s, signature in error_signatures().items() if signature.name == "ClockTimeExceeded")
    reverted = Reverted("FaultDisputeGame.attack", selector)
    assert str(reverted) == "FaultDisputeGame.attack was refused: ClockTimeExceeded()"
    assert reverted.name == "ClockTimeExceeded"
    assert "clock" in str(reverted.hint)


def test_a_refusal_without_a_reason_says_what_is_known() -> None:
    assert str(Reverted("move", b"")) == "move was refused: no reason given"
    why = "it failed in block 7 after 9 of 10 gas, and the node gives no reason"
    assert str(Reverted("move", b"", otherwise=why)) == f"move was refused: {why}"
    assert len(str(Reverted("move", b"\x01" * 5_000_000))) < 400, "a node may return any number of bytes"
    assert "unknown error 0x01" in str(Reverted("move", b"\x01", otherwise=why))
