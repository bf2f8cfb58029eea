"""
The contract level of a simulation on a real Anvil, with a failing connection to it if the scenario asks for one.

`play` plays a trial where its scenario says: one with `node.kind = "anvil"` on an Anvil of its own, through the fault
proxy. `expect_known_faults` checks a scenario's faults before anything is played. `AnvilContracts` is the chain, as the
contract level wants it: every transaction is signed and sent by `chain.sender`, every view is read by `chain.rpc`, as
all commands do it, so that a fault that strikes has to be borne by them. Setting the time and giving money is not the
players' work; it goes to the node itself.

Players have names in a simulation, not keys. Each name has an account with a key of its own on the Anvil, and values of
the type address are translated on their way in and out, so that what is read back holds names again.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from opml_dispute.chain.artifacts import Artifact, Signature
from opml_dispute.chain.keys import Account
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Call, Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Creation, Receipt
from opml_dispute.devnet.anvil import Anvil, reorganise
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address
from opml_dispute.simulation import evm, trial
from opml_dispute.simulation.contract_referee import TIME_OFFSET_S
from opml_dispute.simulation.evm import Code, NodeFailed, taken_back
from opml_dispute.simulation.scenario import Scenario, Sweep
from opml_dispute.simulation.schema import ScenarioError
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.testing.proxy_faults import FAULTS

_EXCHANGE_S: Final = 2.0
"""Given to one exchange: an Anvil on this machine answers in milliseconds, a fault may keep the answer back."""
_PATIENCE_S: Final = 120.0
_RARE: Final = 20
"""Faults that few requests can meet strike so many times as often as the others."""

T = TypeVar("T")


def play(scenario: Scenario, seed: int) -> dict[str, Any]:
    """One trial, on the node that its scenario names; its row."""
    if scenario.node.kind != "anvil":
        return trial.play(scenario, seed)
    with anvil_contracts(scenario.node.faults, every=scenario.node.fault_every) as contracts:
        return trial.Trial(scenario, seed, contracts=contracts).run()


def expect_known_faults(sweep: Sweep) -> None:
    """Raises `ScenarioError` if a point of the sweep names a fault that the proxy does not have."""
    for _, scenario in sweep.points():
        for name in scenario.node.faults:
            if name not in FAULTS:
                near = difflib.get_close_matches(name, FAULTS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FAULTS)}"
                raise ScenarioError("node.faults", f"{name!r} is no fault of the proxy", hint=hint)


@contextmanager
def anvil_contracts(faults: Sequence[str] = (), *, every: int = 100) -> Iterator[AnvilContracts]:
    """
    `Contracts` on an Anvil that ends with the context; each of `faults` strikes at every `every`-th request.

    Raises `DevnetProblem` or `ToolMissing` if there is no Anvil.
    """
    anvil = Anvil.spawn(genesis_s=TIME_OFFSET_S)
    try:
        often = max(2, every // _RARE)
        with (
            FaultProxy(anvil.url, faults, every=every, every_rare=often) as proxy,
            tempfile.TemporaryDirectory(prefix="opml-laboratory-") as folder,
        ):
            yield AnvilContracts(anvil.rpc, proxy, Path(folder))
    finally:
        anvil.stop()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A transaction that is in a block."""

    now_s: int
    name: str
    to: Address | None
    """None for a creation."""
    work: Call[Any] | Creation
    value_wei: int
    receipt: Receipt


class AnvilContracts:
    """`Contracts` on an Anvil that serves nothing else. Raises `NodeFailed` where the faults were too much."""

    def __init__(self, node: Rpc, proxy: FaultProxy, folder: Path) -> None:
        """`node` is the Anvil itself, `proxy` the way to it for players; `folder` remembers what they have sent."""
        self.proxy = proxy
        self._node, self._folder = node, folder
        self._rpc = Rpc(proxy.url, timeout_s=_EXCHANGE_S, patience_s=_PATIENCE_S)
        self._senders: dict[str, Sender] = {}
        self._names: dict[Address, str] = {}
        """The other way round: account -> name."""
        self.transactions: dict[str, int] = {}
        """By name: how many were asked for, each of which is in exactly one block."""
        self._log: list[_Sent] = []
        self._memories = 0
        self._now_s = TIME_OFFSET_S
        # A block's time is then that of the block before it, however long the machine takes.
        self._node.request("anvil_setBlockTimestampInterval", 0)

    def set_time(self, now_s: int) -> None:
        """See `Contracts`. What is simulated is simulated at the latest block's time, so there is a block at once."""
        if now_s != self._now_s:
            self._node.request("evm_setNextBlockTimestamp", now_s)
            self._node.request("evm_mine")
            self._now_s = now_s

    def deploy(self, code: Code, *arguments: Any) -> str:
        """See `Contracts`."""
        artifact = Artifact("a contract", (), code.creation, 0, {}, {}, {}, code.constructor)
        receipt = self._send(evm.OWNER, Creation(artifact, self._with_accounts(code.constructor, arguments)))
        if receipt.created is None:
            raise NodeFailed("a deployment has a receipt without the contract's address")
        return receipt.created

    def deploy_raw(self, runtime: bytes) -> str:
        """See `Contracts`."""
        return self.deploy(Code(evm.creation_of(runtime), (), {}))

    def call(self, sender: str, to: str, code: Code, function: str, *arguments: Any, value_wei: int = 0) -> Any:
        """See `Contracts`."""
        self._sender(sender)  # so that its name is known, even among the arguments
        call = self._call(to, code, function, arguments)
        receipt = self._send(sender, call, value_wei)
        if not call.signature.outputs:
            return ()
        # What a transaction answers is in no receipt, and a simulation beforehand is of another block.
        trace = self._node.request("trace_transaction", "0x" + receipt.hash.hex())
        return self._with_names(call, call.decode(bytes.fromhex(trace[0]["result"]["output"][2:])))

    def read_all(self, to: str, code: Code, questions: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Contracts`. All are read at one block, the newest."""
        calls = [self._call(to, code, function, arguments) for function, *arguments in questions]
        try:
            answers = self._rpc.read_all(calls, at=self._node.head())
        except OpmlError as error:
            raise _as_known(error, "a view") from error
        return [self._with_names(call, answer) for call, answer in zip(calls, answers, strict=True)]

    def mark(self) -> int:
        """See `Contracts`."""
        return len(self._log)

    def take_back(self, mark: int, to: str) -> None:
        """
        See `Contracts`. The blocks from the first such transaction on are replaced by empty ones.

        Which transactions come again is the scenario's to say, so players no longer know those of the blocks that are
        gone: what comes again is signed anew, with the nonce that is then the next.
        """
        undone = {place for place, _ in taken_back(self._log, mark, to)}
        if not undone:
            return
        first, log = min(undone), self._log
        self._log = log[:first]
        for entry in log[first:]:
            self.transactions[entry.name] -= 1
        reorganise(self._node, self._node.head().number - log[first].receipt.block_number + 1)
        self._now_s = self._node.head().timestamp
        self._memories += 1
        names, self._senders = list(self._senders), {}
        for name in names:
            self._sender(name)
        for place, entry in enumerate(log[first:], first):
            if place not in undone:
                self.set_time(entry.now_s)
                created = self._send(entry.name, entry.work, entry.value_wei).created
                if created != entry.receipt.created:
                    raise NodeFailed(f"{entry.work.what} has another address after a reorganisation")

    def mined(self, name: str) -> int:
        """How many transactions of a player are in blocks."""
        return int(self._node.request("eth_getTransactionCount", self._sender(name).address, "latest"), 16)

    # ---- transactions ----

    def _send(self, name: str, work: Call[Any] | Creation, value_wei: int = 0) -> Receipt:
        try:
            receipt = self._sender(name).send(work, value_wei=value_wei)
        except OpmlError as error:
            raise _as_known(error, work.what) from error
        self.transactions[name] = self.transactions.get(name, 0) + 1
        to = work.to if isinstance(work, Call) else None
        self._log.append(_Sent(self._now_s, name, to, work, value_wei, receipt))
        return receipt

    def _sender(self, name: str) -> Sender:
        sender = self._senders.get(name)
        if sender is None:
            account = Account(keccak256(b"a player of the laboratory " + name.encode()))
            self._node.request("anvil_setBalance", account.address, hex(evm.RICH))
            sender = self._senders[name] = Sender(self._rpc, account, folder=self._folder / str(self._memories))
            self._names[account.address] = name
        return sender

    # ---- names and accounts ----

    def _call(self, to: str, code: Code, function: str, arguments: Sequence[Any]) -> Call[Any]:
        _, inputs, outputs = code.functions[function]
        signature = Signature(function.partition("(")[0], inputs, ("",) * len(inputs), outputs, "function")
        return Call(Address(to), signature, self._with_accounts(inputs, arguments), "the contract")

    def _with_accounts(self, types: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
        """Players' names become the addresses of their accounts; other addresses stay."""
        return tuple(
            self._senders[value].address if kind == "address" and value in self._senders else value
            for kind, value in zip(types, values, strict=True)
        )

    def _with_names(self, call: Call[Any], answer: Any) -> tuple[Any, ...]:
        """The other way round; always a tuple."""
        outputs = call.signature.outputs
        values = (answer,) if len(outputs) == 1 else answer
        return tuple(
            self._names.get(value, value) if kind == "address" else value
            for kind, value in zip(outputs, values, strict=True)
        )


def _as_known(error: OpmlError, what: str) -> OpmlError:
    """A refusal by the contract, or the news that the node failed."""
    if isinstance(error, Reverted):
        return evm.Reverted(what, error.data)
    return NodeFailed(f"{what} came to nothing at the Anvil of the simulation: {error}")
