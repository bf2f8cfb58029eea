"""
The functions of the contracts for guardian and owner.

`GuardedOracle` and `OwnedVault` are the oracle and the vault as those two roles see them; the factory's own functions
for its owner are in `dispute`. `Timelock` owns all three: a call that its proposer schedules can be executed after a
delay, and be cancelled until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from opml_dispute.chain.contracts.contract import Contract
from opml_dispute.chain.rpc import Call
from opml_dispute.primitives import Address, Hash32, RequestId

ALL_WEI: Final = 2**256 - 1
"""The amount for `OwnedVault.recover` that means all that the game has."""

_NO_PREDECESSOR: Final = bytes(32)


class GuardedOracle(Contract):
    """`InferenceOracle`, for its guardian, its owner, and any account that records a survivor."""

    artifact_name = "InferenceOracle"

    def set_paused(self, *, paused: bool) -> Call[None]:
        """Guardian: pause deliveries, closing of games and withdrawals, or end the pause."""
        return self._call(_nothing, "setPaused", paused)

    def paused_until_s(self) -> Call[int]:
        """When the last pause ends or ended by itself, seconds since 1970; 0 if there was none."""
        return self._call(int, "pausedUntil")

    def pause_duration_s(self) -> Call[int]:
        """The length of a pause in seconds, which is also the least time until the next."""
        return self._call(int, "pauseDuration")

    def blacklist(self, game: Address) -> Call[None]:
        """Guardian: discard one game."""
        return self._call(_nothing, "blacklistDisputeGame", game)

    def retire(self) -> Call[None]:
        """Guardian: discard all games made until now."""
        return self._call(_nothing, "updateRetirementTimestamp")

    def retired_until_s(self) -> Call[int]:
        """Games made at this time (seconds since 1970) or before are retired."""
        return self._call(int, "retirementTimestamp")

    def set_guardian(self, guardian: Address) -> Call[None]:
        """Owner: name the guardian."""
        return self._call(_nothing, "setGuardian", guardian)

    def set_respected_type(self, game_type: int) -> Call[None]:
        """Owner: which type of games counts, of those made from now on."""
        return self._call(_nothing, "setRespectedGameType", game_type)

    def respected_type(self) -> Call[int]:
        """Which type of games counts."""
        return self._call(int, "respectedGameType")

    def set_anchor(self, game: Address) -> Call[None]:
        """Anyone: record a game that survived."""
        return self._call(_nothing, "setAnchorState", game)

    def anchor_of(self, request_id: RequestId) -> Call[Address]:
        """The recorded survivor of a request; the zero address if there is none."""
        return self._call(Address, "anchorGameOf", request_id)


class OwnedVault(Contract):
    """`DelayedWETH`, for its owner."""

    artifact_name = "DelayedWETH"

    def owner(self) -> Call[Address]:
        """The account that may hold and recover: a timelock."""
        return self._call(Address, "owner")

    def balance_wei(self, game: Address) -> Call[int]:
        """The vault's balance of a game."""
        return self._call(int, "balanceOf", game)

    def hold(self, game: Address, amount_wei: int) -> Call[None]:
        """Owner: take WETH of one game into its own balance."""
        return self._call(_nothing, "hold(address,uint256)", game, amount_wei)

    def recover(self, game: Address, amount_wei: int) -> Call[None]:
        """Owner: take WETH of one game out as ether, at most what the game has."""
        return self._call(_nothing, "recover", game, amount_wei)


class OperationState(IntEnum):
    """The state of an operation of the timelock, in the contract's numbers."""

    UNSET = 0
    WAITING = 1
    READY = 2
    DONE = 3


@dataclass(frozen=True)
class TimelockCall:
    """A call that the timelock makes, once it was scheduled and the delay is over."""

    target: Address
    value_wei: int
    data: bytes
    salt: bytes
    """32 bytes that distinguish operations with the same call."""


class Timelock(Contract):
    """OpenZeppelin's TimelockController, which owns factory, oracle and vault."""

    artifact_name = "Timelock"

    def delay_s(self) -> Call[int]:
        """The least time between scheduling and execution."""
        return self._call(int, "getMinDelay")

    def role(self, name: str) -> Call[Hash32]:
        """The id of a role: `PROPOSER`, `EXECUTOR` or `CANCELLER`."""
        return self._call(Hash32, f"{name}_ROLE")

    def has_role(self, role: bytes, account: Address) -> Call[bool]:
        """Whether an account has a role."""
        return self._call(bool, "hasRole", role, account)

    def operation_id(self, operation: TimelockCall) -> Call[Hash32]:
        """The id of an operation."""
        return self._call(Hash32, "hashOperation", *_arguments(operation))

    def state(self, operation_id: bytes) -> Call[OperationState]:
        """The operation's state."""
        return self._call(OperationState, "getOperationState", operation_id)

    def ready_at_s(self, operation_id: bytes) -> Call[int]:
        """When it can be executed, seconds since 1970; 0 if it was never scheduled, 1 if it is done."""
        return self._call(int, "getTimestamp", operation_id)

    def schedule(self, operation: TimelockCall, delay_s: int) -> Call[None]:
        """Proposer: schedule the call."""
        return self._call(_nothing, "schedule", *_arguments(operation), delay_s)

    def execute(self, operation: TimelockCall) -> Call[None]:
        """Executor: make the call; value: the operation's, unless the timelock has it."""
        return self._call(_nothing, "execute", *_arguments(operation))

    def cancel(self, operation_id: bytes) -> Call[None]:
        """Canceller: remove the operation."""
        return self._call(_nothing, "cancel", operation_id)


def _arguments(operation: TimelockCall) -> tuple[Any, ...]:
    return operation.target, operation.value_wei, operation.data, _NO_PREDECESSOR, operation.salt


def _nothing(value: Any) -> None:
    return None
