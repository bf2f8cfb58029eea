"""
What guardian and owner may call, apart from what players call.

`GuardedOracle` and `OwnedVault` are the oracle and the vault as those two roles see them; the factory's own functions
for its owner are in `dispute`. `Timelock` owns all three: what its proposer schedules can be executed after a delay,
and until then be seen and cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from opml_dispute.chain.abi import checksummed
from opml_dispute.chain.contracts.contract import Contract
from opml_dispute.chain.rpc import Call
from opml_dispute.primitives import Address, Hash32, RequestId

ALL_WEI: Final = 2**256 - 1
"""As an amount to `OwnedVault.recover`: whatever the game has."""

_NO_PREDECESSOR: Final = bytes(32)


class GuardedOracle(Contract):
    """`InferenceOracle`, for its guardian, its owner, and any account that records a survivor."""

    artifact_name = "InferenceOracle"

    def set_paused(self, *, paused: bool) -> Call[None]:
        """Guardian: stop deliveries, closing of games and withdrawals for a while, or go on."""
        return self._call(_nothing, "setPaused", paused)

    def paused_until_s(self) -> Call[int]:
        """When the last pause ends or ended by itself, seconds since 1970; 0 if there was none."""
        return self._call(int, "pausedUntil")

    def pause_duration_s(self) -> Call[int]:
        """How long a pause lasts, and how long no other starts after it."""
        return self._call(int, "pauseDuration")

    def blacklist(self, game: Address) -> Call[None]:
        """Guardian: discard one game."""
        return self._call(_nothing, "blacklistDisputeGame", game)

    def retire(self) -> Call[None]:
        """Guardian: discard all games made until now."""
        return self._call(_nothing, "updateRetirementTimestamp")

    def retired_until_s(self) -> Call[int]:
        """Games made at this time or before do not count, seconds since 1970."""
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
        return self._call(checksummed, "anchorGameOf", request_id)


class OwnedVault(Contract):
    """`DelayedWETH`, for its owner."""

    artifact_name = "DelayedWETH"

    def owner(self) -> Call[Address]:
        """Who may hold and recover: a timelock."""
        return self._call(checksummed, "owner")

    def balance_wei(self, game: Address) -> Call[int]:
        """What lies there for a game."""
        return self._call(int, "balanceOf", game)

    def hold(self, game: Address, amount_wei: int) -> Call[None]:
        """Owner: take WETH of one game into its own balance."""
        return self._call(_nothing, "hold(address,uint256)", game, amount_wei)

    def recover(self, game: Address, amount_wei: int) -> Call[None]:
        """Owner: take WETH of one game out as ether, at most what the game has."""
        return self._call(_nothing, "recover", game, amount_wei)


class OperationState(IntEnum):
    """How far an operation of the timelock is; the contract's numbers."""

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
    """Tells operations with the same call apart, 32 bytes."""


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
        """What an operation is known by."""
        return self._call(Hash32, "hashOperation", *_arguments(operation))

    def state(self, operation_id: bytes) -> Call[OperationState]:
        """How far it is."""
        return self._call(OperationState, "getOperationState", operation_id)

    def ready_at_s(self, operation_id: bytes) -> Call[int]:
        """When it can be executed, seconds since 1970; 0 if it was never scheduled, 1 if it is done."""
        return self._call(int, "getTimestamp", operation_id)

    def schedule(self, operation: TimelockCall, delay_s: int) -> Call[None]:
        """Proposer: announce it."""
        return self._call(_nothing, "schedule", *_arguments(operation), delay_s)

    def execute(self, operation: TimelockCall) -> Call[None]:
        """Executor: make the call; value: the operation's, unless the timelock has it."""
        return self._call(_nothing, "execute", *_arguments(operation))

    def cancel(self, operation_id: bytes) -> Call[None]:
        """Canceller: forget it."""
        return self._call(_nothing, "cancel", operation_id)


def _arguments(operation: TimelockCall) -> tuple[Any, ...]:
    return operation.target, operation.value_wei, operation.data, _NO_PREDECESSOR, operation.salt


def _nothing(value: Any) -> None:
    return None
