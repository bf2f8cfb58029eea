"""What a node's errors mean: the words of several clients, and faults that a real EVM reports."""

import pytest

from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcFailed, classify
from opml_dispute.devnet import anvil as devnet

ANYWHERE = "0x" + "42" * 20

FAULTS = {
    "geth": (
        -32000,
        (
            "out of gas",
            "contract creation code storage out of gas",
            "max call depth exceeded",
            "max code size exceeded",
            "max initcode size exceeded",
            "invalid jump destination",
            "write protection",
            "return data out of bounds",
            "gas uint64 overflow",
            "invalid code: must not begin with 0xef",
            "stack underflow (0 <=> 2)",
            "stack limit reached 1024 (1023)",
            "invalid opcode: INVALID",
        ),
    ),
    "Anvil": (
        -32603,
        (
            "EVM error InvalidFEOpcode",
            "EVM error OpcodeNotFound",
            "EVM error StackUnderflow",
            "EVM error InvalidJump",
            "EVM error OutOfOffset",
            "EVM error OutOfGas",
            "EVM error NotActivated",
        ),
    ),
    "Reth": (-32000, ("EVM error: InvalidFEOpcode", "EVM error: OutOfGas(Basic)")),
    "Nethermind": (-32603, ("BadInstruction", "StackUnderflow", "InvalidJumpDestination")),
    "Besu": (-32603, ("INVALID_OPERATION", "INSUFFICIENT_STACK_ITEMS", "INVALID_JUMP_DESTINATION", "INSUFFICIENT_GAS")),
}
"""The names that clients give to a halt of the code called, with the code of their answer."""

PASSING = (
    (-32603, "EVM error FatalExternalError"),
    (-32603, "EVM error: database error: connection closed"),
    (-32603, "Internal error"),
    (-32000, "execution aborted (timeout = 5s)"),
    (-32000, "header not found"),
    (-32603, "missing trie node"),
)
"""Errors of a node itself: the same request may succeed the next time."""


@pytest.mark.parametrize("client", FAULTS)
def test_code_that_cannot_be_run_is_not_asked_for_again(client: str) -> None:
    code, messages = FAULTS[client]
    assert {message: classify(code, message) for message in messages} == dict.fromkeys(messages, Refusal.FINAL)


@pytest.mark.parametrize(("code", "message"), PASSING)
def test_an_error_of_the_node_itself_is_asked_for_again(code: int, message: str) -> None:
    assert classify(code, message) is Refusal.BUSY
    assert RpcFailed("eth_call", code, message).passes


@pytest.mark.parametrize(
    "code",
    ["0xfe", "0x01", "0x0c", "0x5f56", "0x600160015f3e", "0x5b5f600056", "0x5f195151"],
    ids=["invalid", "underflow", "undefined", "jump", "return-data", "overflow", "memory"],
)
def test_every_fault_of_a_contract_is_an_answer_for_good(bare_anvil: devnet.Anvil, code: str) -> None:
    """A chain may have anything at an address where another chain has a known contract."""
    bare_anvil.rpc.request("anvil_setCode", ANYWHERE, code)
    with pytest.raises(RpcFailed) as refused:
        Rpc(bare_anvil.rpc.url, patience_s=0).request("eth_call", {"to": ANYWHERE, "data": "0x"}, "latest")
    bare_anvil.rpc.request("anvil_setCode", ANYWHERE, "0x")
    assert refused.value.kind is Refusal.FINAL, refused.value
