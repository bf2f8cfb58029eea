"""
The guardian's and the owner's actions on a deployment, as intents; what the chain would refuse is refused beforehand.

The guardian acts at once (`pause_intent`, `discard_intent`, …). The owner acts through the timelock: `pending` finds
the state of a call there, and `next_intent` is its next transaction, which schedules or executes it. Nothing is kept on
this computer: the id of an operation is the hash of its content, so the same command schedules it, says how long it
waits, and executes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from opml_dispute.chain.amounts import duration, ether
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.dispute import GAME_TYPE, FaultDisputeGame
from opml_dispute.chain.contracts.governance import (
    ALL_WEI,
    GuardedOracle,
    OperationState,
    OwnedVault,
    Timelock,
    TimelockCall,
)
from opml_dispute.chain.deployment import Deployment
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Call
from opml_dispute.chain.system import System
from opml_dispute.chain.times import utc
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address, Hash32

_SALTS: Final = 256
"""How often this package can make one and the same call through the timelock."""

_PAGE: Final = 16


class NotYourRole(OpmlError):
    """The key does not belong to the role that this action needs."""


class CannotPause(OpmlError):
    """A pause cannot begin now."""


class NotASurvivor(OpmlError):
    """A game cannot be recorded as its request's survivor."""


class WouldFail(OpmlError):
    """A call that would revert if the timelock made it now."""

    hint = "nothing was scheduled: correct the call"


class NothingPending(OpmlError):
    """An operation to cancel is not scheduled."""


@dataclass(frozen=True)
class Governance:
    """The holders of the roles, and the guardian's last pause."""

    head: Head
    guardian: Address
    owner: Address
    """Of the oracle: the timelock."""
    timelock_delay_s: int
    paused_until_s: int
    pause_duration_s: int
    retired_until_s: int
    respected_type: int
    root_bond_wei: int

    def named_in(self, deployment: Deployment) -> Deployment:
        """The deployment with what guardian and owner have changed since its file was written."""
        bonds = replace(deployment.bonds, root_bond_wei=self.root_bond_wei)
        return replace(deployment, guardian=self.guardian, bonds=bonds)

    @property
    def is_paused(self) -> bool:
        """Whether deliveries, closing of games and withdrawals are stopped."""
        return self.head.timestamp < self.paused_until_s

    @property
    def pause_possible_at_s(self) -> int:
        """When the next pause can begin; 0 if at once."""
        possible_s = self.paused_until_s + self.pause_duration_s
        return possible_s if self.paused_until_s and possible_s > self.head.timestamp else 0


def read_governance(system: System) -> Governance:
    """Read the roles and the pause from the chain, at its latest block."""
    oracle = GuardedOracle(system.oracle.address)
    head = system.rpc.head()
    found = system.rpc.read_all(
        [
            *(system.oracle.guardian(), system.oracle.owner(), _timelock(system).delay_s()),
            *(oracle.paused_until_s(), oracle.pause_duration_s(), oracle.retired_until_s(), oracle.respected_type()),
            system.factory.init_bond_wei(),
        ],
        at=head,
    )
    return Governance(head, *found)


# ---------------------------------------------------------------- guardian


def _expect_guardian(standing: Governance, account: Address) -> None:
    if standing.guardian != account:
        raise NotYourRole(
            f"the guardian is {standing.guardian}, and this key is that of {account}",
            hint="use the guardian's key, or have the owner name another: opml-dispute admin set-guardian",
        )


def pause_intent(system: System, account: Address) -> Intent:
    """Begin a pause. Raises `NotYourRole`, and `CannotPause` while a pause runs or too soon after one."""
    standing = read_governance(system)
    _expect_guardian(standing, account)
    if standing.is_paused:
        raise CannotPause(
            f"the system is paused already, until {utc(standing.paused_until_s)}, and a pause cannot be extended",
            hint=f"the next one can begin at {utc(standing.pause_possible_at_s)}",
        )
    if standing.pause_possible_at_s:
        raise CannotPause(
            f"the last pause ended at {utc(standing.paused_until_s)}, and between two lie "
            f"{duration(standing.pause_duration_s)}",
            hint=f"the next one can begin at {utc(standing.pause_possible_at_s)}; single games can be discarded at "
            "any time: opml-dispute admin discard GAME",
        )
    return Intent(
        kind="pause",
        call=GuardedOracle(system.oracle.address).set_paused(paused=True),
        will=f"Will stop deliveries, closing of games and withdrawals for {duration(standing.pause_duration_s)}",
        did=lambda receipt: "Paused; moves, steps and resolution go on",
        reason="A pause ends by itself, and cannot be extended.",
        facts={"seconds": standing.pause_duration_s},
    )


def unpause_intent(system: System, account: Address) -> Intent | None:
    """End the pause; None if nothing is paused. Raises `NotYourRole`."""
    standing = read_governance(system)
    if not standing.is_paused:
        return None
    _expect_guardian(standing, account)
    return Intent(
        kind="unpause",
        call=GuardedOracle(system.oracle.address).set_paused(paused=False),
        will="Will end the pause",
        did=lambda receipt: "The pause is over",
    )


def discard_intent(system: System, account: Address, game: Address) -> Intent | None:
    """Discard a game; None if it is discarded already. Raises `NotYourRole`, and `UnknownGame` for a game of another
    factory."""
    constants = system.games.constants(game)
    _expect_guardian(read_governance(system), account)
    state = system.games.read(game)
    record, is_discarded = system.rpc.read_all(
        [system.oracle.request_of(constants.request_id), system.oracle.is_blacklisted(game)]
    )
    if is_discarded:
        return None
    reason = "All its bonds go back to who paid them, and its answer can be proposed again."
    if record.delivered_by == game:
        reason = "It has delivered its output already: that stays. Only bonds that are not decided yet go back."
    return Intent(
        kind="discard",
        call=GuardedOracle(system.oracle.address).blacklist(game),
        will=f"Will discard the game {game} for good ({_status(state.status)}, {len(state.claims)} claims)",
        did=lambda receipt: f"Discarded {game}",
        reason=reason,
        facts={"game": game},
    )


def retire_intent(system: System, account: Address) -> Intent:
    """Raises `NotYourRole`."""
    _expect_guardian(read_governance(system), account)
    count = system.rpc.read(system.factory.game_count())
    return Intent(
        kind="retire",
        call=GuardedOracle(system.oracle.address).retire(),
        will=f"Will discard all games made until now ({count} of this factory) for good",
        did=lambda receipt: "Games made until now count no more; those made from the next second on do",
        reason="Their bonds go back to who paid them, and every answer can be proposed again.",
        facts={"games": count},
    )


def anchor_intent(system: System, game: Address) -> Intent | None:
    """Record a survivor, which any account may do; None if it is recorded. Raises `NotASurvivor`, `UnknownGame`."""
    constants = system.games.constants(game)
    oracle = GuardedOracle(system.oracle.address)
    anchor, is_valid, is_discarded, is_retired, is_final = system.rpc.read_all(
        [
            *(oracle.anchor_of(constants.request_id), system.oracle.is_claim_valid(game)),
            *(system.oracle.is_blacklisted(game), system.oracle.is_retired(game), system.oracle.is_finalized(game)),
        ]
    )
    if anchor == game:
        return None
    if anchor != ZERO_ADDRESS:
        raise NotASurvivor(f"the survivor of its request is recorded already: {anchor}", hint="nothing is left to do")
    if not is_valid:
        status = system.games.read(game).status
        why = (
            "it is discarded"
            if is_discarded or is_retired
            else _status(status)
            if status != GameStatus.DEFENDER_WINS
            else "the finality delay is not over"
            if not is_final
            else "its type does not count, or the system is paused"
        )
        raise NotASurvivor(f"the game {game} is no survivor: {why}", hint="a survivor is resolved, final, and stands")
    return Intent(
        kind="anchor",
        call=oracle.set_anchor(game),
        will=f"Will record {game} as the survivor of its request",
        did=lambda receipt: f"Recorded {game}",
        facts={"game": game, "request_id": constants.request_id},
    )


def deposit_intent(system: System, game: Address) -> Intent | None:
    """Put the bonds that a game keeps into the vault, as any account may; None if it keeps none. `UnknownGame`."""
    system.games.constants(game)
    call, kept_wei = FaultDisputeGame(game).deposit_bonds(), system.rpc.balance_wei(game)
    will = f"Will put the {ether(kept_wei)} that the game {game} keeps into the vault"
    did = f"Put into the vault, where the owner can hold or recover it, as WETH of {game}"
    facts = {"game": game, "kept_wei": kept_wei}
    return Intent("deposit", call, will, lambda receipt: did, facts=facts) if kept_wei else None


# ---------------------------------------------------------------- owner


@dataclass(frozen=True)
class Wish:
    """A call that the owner wants the timelock to make."""

    kind: str
    """The kind of action, for scripts."""
    call: Call[Any] | None
    """None for a bare payment."""
    target: Address
    what: str
    """The action in words, as an infinitive: "name 0x… guardian"."""
    value_wei: int = 0
    data: bytes = b""
    """The data of a call that was given as bytes."""

    @property
    def call_data(self) -> bytes:
        """The data that the timelock sends."""
        return self.data if self.call is None else self.call.data


@dataclass(frozen=True)
class Pending:
    """The state of a wish at the timelock."""

    wish: Wish
    operation: TimelockCall
    operation_id: Hash32
    state: OperationState
    ready_at_s: int
    head: Head
    times_done: int
    """How often the very same call was made before."""

    @property
    def seconds_left(self) -> int:
        """Seconds until the operation can be executed."""
        return max(0, self.ready_at_s - self.head.timestamp) if self.state is OperationState.WAITING else 0


def set_guardian(system: System, guardian: Address) -> Wish:
    """Name the guardian."""
    oracle = GuardedOracle(system.oracle.address)
    return Wish("set-guardian", oracle.set_guardian(guardian), oracle.address, f"name {guardian} guardian")


def set_game_type(system: System, game_type: int) -> Wish:
    """Say which type of games counts."""
    oracle = GuardedOracle(system.oracle.address)
    others = "" if game_type == GAME_TYPE else f"; games of type {GAME_TYPE}, which this package makes, no longer do"
    what = f"let games of type {game_type} count that are made from then on{others}"
    return Wish("set-game-type", oracle.set_respected_type(game_type), oracle.address, what)


def set_root_bond(system: System, bond_wei: int) -> Wish:
    """Say what a root claim must stake."""
    call = system.factory.set_init_bond(bond_wei)
    return Wish("set-bond", call, system.factory.address, f"ask {ether(bond_wei)} of every root claim from then on")


def hold(system: System, game: Address, amount_wei: int) -> Wish:
    """Keep bonds of a game that went wrong."""
    constants = system.games.constants(game)
    vault = OwnedVault(constants.weth)
    what = f"take {ether(amount_wei)} of WETH of the game {game} into the timelock's own balance"
    return Wish("hold", vault.hold(game, amount_wei), vault.address, what)


def recover(system: System, game: Address, amount_wei: int) -> Wish:
    """Take bonds of a game that went wrong out as ether."""
    constants = system.games.constants(game)
    vault = OwnedVault(constants.weth)
    amount = "all" if amount_wei == ALL_WEI else f"{ether(amount_wei)} at most"
    what = f"take {amount} of the bonds of the game {game} out of the vault, as ether, to the timelock"
    return Wish("recover", vault.recover(game, amount_wei), vault.address, what)


def any_call(target: Address, data: bytes, value_wei: int) -> Wish:
    """Make any call, or a payment out of the timelock's own ether."""
    with_value = f" with {ether(value_wei)} of the timelock's" if value_wei else ""
    what = (
        f"call {target}{with_value} with {len(data)} bytes of data" if data else f"pay {ether(value_wei)} to {target}"
    )
    return Wish("call", None, target, what, value_wei, data)


def already_so(system: System, wish: Wish) -> bool:
    """Whether the chain already has the value that the wish would set; None for a wish that sets nothing."""
    standing = read_governance(system)
    oracle = GuardedOracle(system.oracle.address)
    same = {
        "set-guardian": lambda: oracle.set_guardian(standing.guardian),
        "set-game-type": lambda: oracle.set_respected_type(standing.respected_type),
        "set-bond": lambda: system.factory.set_init_bond(standing.root_bond_wei),
    }
    return wish.kind in same and wish.call_data == same[wish.kind]().data


def pending(system: System, wish: Wish) -> Pending:
    """
    The timelock's operation for the wish: of those that make this very call, the first that is not done.

    Raises `NothingPending` if the call was made `_SALTS` times, as often as it can be told apart.
    """
    timelock, rpc = _timelock(system), system.rpc
    for first in range(0, _SALTS, _PAGE):
        operations = [
            TimelockCall(wish.target, wish.value_wei, wish.call_data, number.to_bytes(32, "big"))
            for number in range(first, first + _PAGE)
        ]
        ids = rpc.read_all([timelock.operation_id(operation) for operation in operations])
        head = rpc.head()
        states: Sequence[OperationState] = rpc.read_all([timelock.state(found) for found in ids], at=head)
        for number, (operation, found, state) in enumerate(zip(operations, ids, states, strict=True), first):
            if state is not OperationState.DONE:
                ready_at_s = rpc.read(timelock.ready_at_s(found), at=head)
                return Pending(wish, operation, found, state, ready_at_s, head, number)
    raise NothingPending(
        f"the timelock has made this very call {_SALTS} times", hint="make it with another salt, by other means"
    )


def next_intent(system: System, found: Pending, account: Address) -> Intent | None:
    """
    The transaction that schedules or executes the wish; None while its delay runs.

    Raises `NotYourRole`, and `WouldFail` if the timelock could not make the call.
    """
    timelock, wish = _timelock(system), found.wish
    if found.state is OperationState.UNSET:
        _expect_role(system, "PROPOSER", account)
        _expect_possible(system, wish)
        delay_s = system.rpc.read(timelock.delay_s())
        return Intent(
            kind="schedule",
            call=timelock.schedule(found.operation, delay_s),
            will=f"Will schedule, for {duration(delay_s)} from now: {wish.what}",
            did=lambda receipt: f"Scheduled as 0x{found.operation_id.hex()}; the same command executes it then",
            facts={"what": wish.kind, "operation": found.operation_id, "seconds": delay_s},
        )
    if found.state is OperationState.READY:
        _expect_role(system, "EXECUTOR", account)
        _expect_possible(system, wish)
        return Intent(
            kind="execute",
            call=timelock.execute(found.operation),
            will=f"Will now {wish.what}",
            did=lambda receipt: "Done",
            facts={"what": wish.kind, "operation": found.operation_id},
        )
    return None


def cancel_intent(system: System, found: Pending, account: Address) -> Intent:
    """Cancel a scheduled operation. Raises `NotYourRole`, and `NothingPending` if it is not scheduled."""
    if found.state is OperationState.UNSET:
        raise NothingPending(f"nothing is scheduled that would {found.wish.what}", hint="check the arguments")
    _expect_role(system, "CANCELLER", account)
    return Intent(
        kind="cancel",
        call=_timelock(system).cancel(found.operation_id),
        will=f"Will cancel what is scheduled: {found.wish.what}",
        did=lambda receipt: "Cancelled",
        facts={"what": found.wish.kind, "operation": found.operation_id},
    )


def _expect_role(system: System, name: str, account: Address) -> None:
    timelock = _timelock(system)
    role = system.rpc.read(timelock.role(name))
    if not system.rpc.read(timelock.has_role(role, account)):
        raise NotYourRole(
            f"{account} is no {name.lower()} of the timelock {timelock.address}",
            hint=f"the deployment's owner is {system.deployment.owner}: use its key",
        )


def _expect_possible(system: System, wish: Wish) -> None:
    """Simulate the call as the timelock would make it now. A call given as bytes is not tried: it may depend on earlier
    ones."""
    if wish.call is None:
        return
    try:
        system.rpc.read(wish.call, sender=_timelock(system).address)
    except Reverted as error:
        raise WouldFail(f"the timelock could not {wish.what}: {error}") from None


def _timelock(system: System) -> Timelock:
    return Timelock(system.deployment.addresses["timelock"])


def _status(status: GameStatus) -> str:
    words = {
        GameStatus.IN_PROGRESS: "in progress",
        GameStatus.CHALLENGER_WINS: "its answer lost",
        GameStatus.DEFENDER_WINS: "its answer stands",
    }
    return words[status]
