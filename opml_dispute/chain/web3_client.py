"""
web3.py over this package's connection, for programs that use web3 to read and watch the contracts.

`as_web3` makes a `web3.Web3` whose requests go through an `Rpc`, so they are repeated after temporary errors, bounded
in time and size, and sent like every command's. `web3_contract` is one of the project's contracts, with its ABI, for
such a connection. Commands do not use either: importing web3 takes longer than most commands run.
"""

from __future__ import annotations

from typing import Any

from web3 import Web3
from web3.contract import Contract
from web3.providers.base import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcFailed
from opml_dispute.primitives import Address

_REVERTED = 3
"""The error code that nodes give a reverted call (the JSON-RPC specification of Ethereum execution clients)."""


class RpcProvider(BaseProvider):
    """A web3 provider that asks an `Rpc`."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """
        One request, answered as web3 expects it: a refusal by the node or the contract is part of the response.

        Raises the other kinds of `RpcError`: no usable answer came.
        """
        try:
            return {"jsonrpc": "2.0", "id": 0, "result": self._rpc.request(method, *params)}
        except Reverted as reverted:
            data = "0x" + reverted.data.hex()
            return {"jsonrpc": "2.0", "id": 0, "error": {"code": _REVERTED, "message": str(reverted), "data": data}}
        except RpcFailed as refused:
            return {"jsonrpc": "2.0", "id": 0, "error": {"code": refused.code, "message": str(refused)}}

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether the node answers. Raises nothing unless `show_traceback` asks for the reason."""
        try:
            self._rpc.chain_id()
        except Exception:
            if show_traceback:
                raise
            return False
        return True


def as_web3(rpc: Rpc) -> Web3:
    """web3.py's interface to the node that `rpc` is connected to."""
    return Web3(RpcProvider(rpc))


def web3_contract(rpc: Rpc, name: str, address: Address) -> Contract:
    """
    The project's contract `name` ("FaultDisputeGame", "InferenceOracle", ...) at an address.

    Raises `ArtifactMissing` if there is no such contract. Whether the code at the address is that contract's is not
    checked here: `connect` does that for a whole deployment.
    """
    contract: Any = as_web3(rpc).eth.contract(address=address, abi=list(load_artifact(name).abi))  # type: ignore[call-overload]
    found: Contract = contract
    return found
