"""
A game in memory and the game contract at once: what is done is done to both, and must come to the same.

`OnContract` is a `reference_game.ReferenceGame` for whatever plays about the toy inference (`adversaries`): moves,
steps, local data, settlements and payouts go to the contract too, in an EVM inside this process. The VM behind it is a
stand-in that answers a step with what the toy VM comes to; the real one is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

from opml_dispute.engine.hashing import keccak256
from opml_dispute.game.bond import required_bond_wei
from tests.support.builders import terms_of
from tests.support.contract_game import OWNER, ContractGame, stub
from tests.support.reference_game import ReferenceGame, Reverted, Rules, Vm

GAME_ERRORS = {
    "GameNotInProgress",
    "InvalidDisputedClaimIndex",
    "CannotDefendRootClaim",
    "GameDepthExceeded",
    "UnexpectedRootClaim",
    "IncorrectBondAmount",
    "ClockTimeExceeded",
    "ClaimAlreadyExists",
    "InvalidParent",
    "InvalidPrestate",
    "ValidStep",
    "DuplicateStep",
    "ClaimAboveSplit",
    "InvalidLocalIdent",
    "ClockNotExpired",
    "ClaimAlreadyResolved",
    "OutOfOrderResolution",
    "PartOffsetOOB",
    "Panic(0x32)",
}

T = TypeVar("T")


def assert_same_outcome(in_memory: str, on_chain: str) -> None:
    """The names of two refusals, or nothing for what was accepted."""
    if in_memory in GAME_ERRORS or not in_memory:
        assert on_chain == in_memory
    else:
        # The VM or its oracle refuses: in words there, by an error of its own here.
        assert on_chain
        assert on_chain not in GAME_ERRORS


def _tried(act: Callable[[], T]) -> tuple[T | None, Reverted | None]:
    try:
        return act(), None
    except Reverted as error:
        return None, error


class ExactReference(ReferenceGame):
    """The game in memory with the contract's bonds, to the wei; counts how often local data were added."""

    loaded = 0

    def add_local_data(self, ident: int, index: int, offset: int) -> None:
        super().add_local_data(ident, index, offset)
        self.loaded += 1

    def required_bond(self, position: int) -> int:
        depth = position.bit_length() - 1
        if depth > self.rules.max_depth:
            raise Reverted("GameDepthExceeded")
        return required_bond_wei(depth, self.rules.max_depth, terms_of(self.rules))


class ToyContract(ContractGame):
    """The contract, whose VM says what it is told."""

    def _vm(self, oracle: str) -> str:
        """A word of calldata alone is kept; `oracle()` gives the oracle; all else the word, or a refusal if it is 0."""
        selector = keccak256(b"oracle()")[:4].hex()
        code = f"36602014604a5760003560e01c63{selector}14602657600054801560445760005260206000f3"
        code += f"5b73{oracle[2:]}60005260206000f3"
        code += "5b60006000fd" + "5b60003560005500"
        return str(self._evm.deploy(OWNER, stub(bytes.fromhex(code))))

    def let_vm_say(self, post: bytes | None) -> None:
        """The next step ends in this state hash; None lets the VM refuse."""
        self._evm.message_call(OWNER, self.vm_address, post or bytes(32))


class OnContract(ExactReference):
    """Both games."""

    def __init__(self, rules: Rules, vm: Vm, creator: str, root_claim: bytes, now: int = 1_700_000_000) -> None:
        self._inside = True
        super().__init__(rules, vm, creator, root_claim, now)
        self.contract = ToyContract(replace(rules), creator, root_claim, now)
        self._inside = False
        self.vm = lambda state, proof, read: self._told(vm, state, proof, read)

    def _told(self, vm: Vm, state: bytes, proof: bytes, read: Callable[[int, int], bytes]) -> bytes:
        self.contract.let_vm_say(None)
        post = vm(state, proof, read)
        self.contract.let_vm_say(post)
        return post

    def _both(self, in_memory: Callable[[], T], on_chain: Callable[[], T]) -> T:
        if self._inside:  # a settlement of many claims settles each
            return in_memory()
        self.contract.now, self._inside = self.now, True
        try:
            here, refused_here = _tried(in_memory)
        finally:
            self._inside = False
        there, refused_there = _tried(on_chain)
        assert_same_outcome(str(refused_here or ""), str(refused_there or ""))
        if refused_here is not None:
            raise refused_here
        assert there == here
        if self.status != 0:
            self.compare()
        return cast("T", here)

    def move(self, sender: str, disputed: bytes, index: int, claim: bytes, is_attack: bool, value: int) -> int:
        move = super().move
        return self._both(
            lambda: move(sender, disputed, index, claim, is_attack, value),
            lambda: self.contract.move(sender, disputed, index, claim, is_attack, value),
        )

    def add_local_data(self, ident: int, index: int, offset: int) -> None:
        add = super().add_local_data
        self._both(lambda: add(ident, index, offset), lambda: self.contract.add_local_data(ident, index, offset))

    def step(self, sender: str, index: int, is_attack: bool, state_data: bytes, proof: bytes) -> None:
        step = super().step
        self._both(
            lambda: step(sender, index, is_attack, state_data, proof),
            lambda: self.contract.step(sender, index, is_attack, state_data, proof),
        )

    def resolve_claim(self, index: int, count: int) -> None:
        settle = super().resolve_claim
        self._both(lambda: settle(index, count), lambda: self.contract.resolve_claim(index, count))

    def settle(self, indices: Sequence[int], count: int) -> int:
        settle = super().settle
        return self._both(lambda: settle(indices, count), lambda: self.contract.settle(indices, count))

    def resolve(self) -> int:
        return self._both(super().resolve, self.contract.resolve)

    def compare(self) -> None:
        """Every claim, every award and the result are the same on chain."""
        assert self.contract.status == self.status
        assert self.contract.credits == {name: amount for name, amount in self.credits.items() if amount}
        seen = [
            (record.parent_index, record.countered_by, record.claimant, record.bond, record.claim, record.position)
            for record in self.claims
        ]
        assert seen == [
            (record.parent_index, record.countered_by, record.claimant, record.bond, record.claim, record.position)
            for record in self.contract.claims
        ]
