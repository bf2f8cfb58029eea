"""
The game contract itself, in an EVM inside this process, with the interface of `reference_game.ReferenceGame`.

So whatever is played in memory can be played on the contract too: `FaultDisputeGame` as the factory clones it, the
real verifier and its pre-image oracle. Two neighbours are stand-ins of a few bytes: a registry that knows one request,
and a vault that takes every deposit; what the real ones do is tested beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyrevm
from eth_abi.abi import decode, encode

from opml_dispute.chain.artifacts import Artifact, load_artifact
from opml_dispute.chain.reverts import describe_revert
from opml_dispute.engine.hashing import keccak256
from opml_dispute.game.bond import required_bond_wei
from tests.support.builders import terms_of
from tests.support.reference_game import NO_PARENT, ZERO, Record, Reverted, Rules, depth

OWNER = "0x00000000000000000000000000000000DE91043e"
ML_VERSION = 136
REQUEST_ID = b"\x52" * 32
RICH = 10**30
TRANSACTION_GAS, FLOOR_GAS_PER_TOKEN = 21_000, 10
"""EIP-7623: a byte of calldata is four tokens, a zero one."""
_REVERT = re.compile(r"Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}")


def stub(runtime: bytes) -> bytes:
    """Creation code of a contract with this code: copies all behind itself, and returns it."""
    return bytes.fromhex(f"61{len(runtime):04x}80600c6000396000f3") + runtime


def registry_stub(question: str, kinds: Sequence[str], answer: Sequence[Any]) -> bytes:
    """Answers the function `question` with these words, at most five, and every other question with 0."""
    selector = keccak256(question.encode())[:4]
    code = bytes.fromhex(f"60003560e01c63{selector.hex()}14601457602060 00f3".replace(" ", ""))
    code += bytes.fromhex("5b60a06021600039 60a06000f3".replace(" ", ""))
    assert len(code) == 0x21, "the words stand right behind the code"
    return code + encode(kinds, answer).ljust(5 * 32, b"\0")


TAKES_EVERYTHING = b"\x00"
"""A contract that stops at once, content with every call and every value."""


class ContractGame:
    """One game on a chain of its own; `now` is its clock."""

    def __init__(self, rules: Rules, creator: str, root_claim: bytes, now: int = 1_700_000_000) -> None:
        self.rules, self.now, self.created_at = rules, now, now
        self.events: list[tuple[str, dict[str, Any]]] = []
        """What the game has logged: the events' names, and their arguments by name."""
        self._terms = terms_of(rules)
        self.deposits: dict[str, int] = {creator: self.required_bond(1)}
        self._evm = pyrevm.EVM(spec_id="CANCUN", gas_limit=2**62)
        self._evm.set_balance(OWNER, RICH)
        self._funded: set[str] = {OWNER, ZERO, rules.forfeited_to}
        self._tick()
        self._game, implementation_arguments = self._implementation()
        oracle = self._deploy(load_artifact("PreimageOracle"), 0, rules.challenge_period)
        self.vm_address = self._vm(oracle)
        registry = self._evm.deploy(OWNER, stub(self._registry()))
        vault = self._evm.deploy(OWNER, stub(TAKES_EVERYTHING))
        implementation = self._deploy(self._game, *implementation_arguments)
        factory_code = load_artifact("DisputeGameFactory")
        factory = self._deploy(factory_code, OWNER)
        types = ["bytes32", "address", "address", "address", "uint256"]
        packed = [rules.absolute_prestate, self.vm_address, registry, vault, rules.chain_id]
        arguments = b"".join(
            encode([kind], [value])[12 if kind == "address" else 0 :] for kind, value in zip(types, packed, strict=True)
        )
        set_implementation = "setImplementation(uint32,address,bytes)"
        self._call(OWNER, factory, factory_code, set_implementation, 0, implementation, arguments)
        bond = self.required_bond(1)
        self._call(OWNER, factory, factory_code, "setInitBond", 0, bond)
        created = self._call(creator, factory, factory_code, "create", 0, root_claim, self._extra_data(), value=bond)
        (self.address,) = decode(["address"], created)
        rules.address = self.address

    # --- what is played ---

    def _implementation(self) -> tuple[Artifact, tuple[Any, ...]]:
        """The contract, and what its constructor is given."""
        rules = self.rules
        limits = (90, 88, rules.extension, rules.max_clock)
        terms = (
            *(rules.base_fee, rules.gas_at_root, rules.gas_at_max_depth),
            *(rules.forfeited_bps, rules.forfeited_to, False),
        )
        return load_artifact("FaultDisputeGame"), (limits, terms)

    def _vm(self, oracle: str) -> str:
        """The address of the verifier."""
        return self._deploy(load_artifact("FPVM"), oracle, ML_VERSION)

    def _registry(self) -> bytes:
        """The code of the registry's stand-in."""
        rules = self.rules
        kinds = ["bytes32", "uint64", "uint64", "uint64", "uint64"]
        answer = [rules.starting_root, rules.node_count, rules.split_depth, rules.max_depth, 1]  # a single inference
        return registry_stub("gameParameters(bytes32)", kinds, answer)

    def _extra_data(self) -> bytes:
        """What the game is created with: here the request."""
        return REQUEST_ID

    # --- what may be done ---

    def required_bond(self, position: int) -> int:
        return required_bond_wei(depth(position), self.rules.max_depth, self._terms)

    def move(self, sender: str, disputed: bytes, index: int, claim: bytes, is_attack: bool, value: int) -> int:
        """Returns the new claim's index."""
        self._do(sender, "move", disputed, index, claim, is_attack, value=value)
        self.deposits[sender] = self.deposits.get(sender, 0) + value
        return int(self._ask("claimDataLen")) - 1

    def add_local_data(self, ident: int, index: int, offset: int) -> None:
        self._do(OWNER, "addLocalData", ident, index, offset)

    def step(self, sender: str, index: int, is_attack: bool, state_data: bytes, proof: bytes) -> None:
        self._do(sender, "step", index, is_attack, state_data, proof)

    def step_gas(self, sender: str, index: int, is_attack: bool, state_data: bytes, proof: bytes) -> tuple[int, int]:
        """
        What a step costs as a transaction, before refunds; and the least that EIP-7623 would ask for its calldata.

        The step is made and taken back.
        """
        before = self._evm.snapshot()
        self.step(sender, index, is_attack, state_data, proof)
        assert self._evm.result is not None, "a call has a result"
        gas = int(self._evm.result.gas_used)
        self._evm.revert(before)
        signature = self._game.functions["step"]
        data = signature.selector + encode(signature.inputs, (index, is_attack, state_data, proof))
        return gas, TRANSACTION_GAS + FLOOR_GAS_PER_TOKEN * (4 * len(data) - 3 * data.count(0))

    @contextmanager
    def taken_back(self) -> Iterator[None]:
        """What is done in this context is undone at its end."""
        evm, now, deposits = self._evm.snapshot(), self.now, dict(self.deposits)
        funded, events = set(self._funded), list(self.events)
        try:
            yield
        finally:
            self._evm.revert(evm)
            self.now, self.deposits, self._funded, self.events = now, deposits, funded, events

    def resolve_claim(self, index: int, count: int) -> None:
        self._do(OWNER, "resolveClaim", index, count)

    def settle(self, indices: Sequence[int], count: int) -> int:
        """Returns for how many claims something was done."""
        return int(self._ask("settle", list(indices), count))

    def resolve(self) -> int:
        self._do(OWNER, "resolve")
        return self.status

    # --- what may be asked ---

    @property
    def status(self) -> int:
        return int(self._ask("status"))

    @property
    def resolved_at(self) -> int:
        return int(self._ask("resolvedAt"))

    @property
    def claims(self) -> list[Record]:
        """Every claim, read afresh; addresses as the players write theirs."""
        spelled = {name.lower(): name for name in self._funded}
        records = []
        for index in range(self._ask("claimDataLen")):
            parent, countered_by, claimant, bond, claim, position, clock = self._ask_all("claimData", index)
            countered_by, claimant = spelled[countered_by], spelled[claimant]
            record = Record(parent, countered_by, claimant, bond, claim, position, clock >> 64, clock & (1 << 64) - 1)
            record.resolved = bool(self._ask("resolvedSubgames", index))
            if record.resolved and countered_by != ZERO and "forfeitOf" in self._game.functions:
                record.paid_back = self._ask_all("forfeitOf", index)[0] == ZERO
            records.append(record)
        for index, record in enumerate(records):
            if record.parent_index != NO_PARENT:
                records[record.parent_index].subgames.append(index)
        return records

    @property
    def credits(self) -> dict[str, int]:
        """The amounts that resolution has awarded, by account."""
        amounts = {name: int(self._ask("normalModeCredit", name)) for name in self._funded}
        return {name: amount for name, amount in amounts.items() if amount}

    def challenger_duration(self, index: int) -> int:
        return int(self._ask("getChallengerDuration", index))

    def answer_to(self, data: bytes) -> tuple[bool, bytes]:
        """Whether a call without value is accepted, and the bytes that come back."""
        self._tick()
        try:
            return True, bytes(self._evm.message_call(OWNER, self.address, data))
        except RuntimeError as error:
            revert = _REVERT.fullmatch(str(error))
            if revert is None:
                raise
            return False, bytes.fromhex(revert[2])

    # --- the EVM ---

    def _tick(self) -> None:
        self._evm.set_block_env(pyrevm.BlockEnv(number=10, timestamp=self.now, gas_limit=2**62))

    def _deploy(self, artifact: Artifact, *arguments: Any) -> str:
        return self._evm.deploy(OWNER, artifact.bytecode + encode(artifact.constructor_inputs, arguments))

    def _do(self, sender: str, function: str, *arguments: Any, value: int = 0) -> bytes:
        return self._call(sender, self.address, self._game, function, *arguments, value=value)

    def _ask_all(self, function: str, *arguments: Any) -> tuple[Any, ...]:
        raw = self._do(OWNER, function, *arguments)
        return decode(self._game.functions[function].outputs, raw)

    def _ask(self, function: str, *arguments: Any) -> Any:
        (answer,) = self._ask_all(function, *arguments)
        return answer

    def _call(self, sender: str, to: str, artifact: Artifact, function: str, *arguments: Any, value: int = 0) -> bytes:
        if sender not in self._funded:
            self._evm.set_balance(sender, RICH)
            self._funded.add(sender)
        self._tick()
        signature = artifact.functions[function]
        data = signature.selector + encode(signature.inputs, arguments)
        try:
            answer = bytes(self._evm.message_call(sender, to, data, value))
        except RuntimeError as error:
            revert = _REVERT.fullmatch(str(error))
            if revert is None:
                raise
            meaning = describe_revert(bytes.fromhex(revert[2]))
            name = meaning.name if meaning.name != "Panic" else f"Panic(0x{meaning.arguments[0]:x})"
            raise Reverted(name) from error
        assert self._evm.result is not None, "a call has a result"
        self.events += [event for log in self._evm.result.logs if (event := self._event(log)) is not None]
        return answer

    def _event(self, log: Any) -> tuple[str, dict[str, Any]] | None:
        """One of the game's events; None if it is another contract's."""
        topics, data = log.data
        found = [event for event in self._game.events.values() if event.topic == bytes(topics[0])]
        if not found:
            return None
        (event,) = found
        named = list(zip(event.input_names, event.inputs, event.indexed, strict=True))
        kinds = [kind for _, kind, indexed in named if not indexed]
        plain, indexed_words = iter(decode(kinds, bytes(data))), iter(topics[1:])
        return event.name, {
            name: decode([kind], bytes(next(indexed_words)))[0] if indexed else next(plain)
            for name, kind, indexed in named
        }
