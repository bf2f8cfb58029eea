"""
Reading a whole game: the snapshot that every decision is based on.

`GameReader.read` gives the `game.claim.Game` of one block, in a handful of round trips whatever its size, and
`read_many` many of them in about as few. What never changes (depths, clocks, roots) is asked once per game.
`expect_game` refuses an address that is no game of the deployment.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from opml_dispute.chain.abi import checksummed
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.dispute import ClaimRecord, DisputeGameFactory, FaultDisputeGame
from opml_dispute.chain.contracts.vm import FPVM, PreimageOracle
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Call, Rpc, UnexpectedAnswer
from opml_dispute.chain.wiring import GameParts, expect_own_parts
from opml_dispute.engine.batch_tree import MOST_ITEMS
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import BondTerms
from opml_dispute.game.claim import NO_PARENT, Claim, Game, GameStatus, ResolvedPages
from opml_dispute.game.clock import Clock, ClockSettings
from opml_dispute.game.depths import Depths
from opml_dispute.game.position import ROOT, DepthError, Position
from opml_dispute.primitives import Address, Hash32, RequestId, StateHash, StateRoot

GAMES_AT_ONCE: Final = 200
"""Games whose answers are held before they are put together."""


CLAIMS_AT_ONCE: Final = 1_000
"""Claims of a game that are asked for before the last of them is known to be there."""


CONSTANTS_LIVE_S: Final = 1_800.0
"""Seconds after which what never changes is asked again: a node may have erred, or lied, when it was first asked."""


class UnknownGame(OpmlError):
    """The address is no game of this deployment."""

    is_told_by_node = True
    hint = "list the games: opml-dispute list"


@dataclass(frozen=True)
class GameConstants:
    """The values that are fixed when a game is created."""

    request_id: RequestId
    creator: Address
    created_at_s: int
    depths: Depths
    clocks: ClockSettings
    node_count: int
    item_count: int
    starting_root: StateRoot
    absolute_prestate: StateHash
    chain_id: int
    l1_head: Hash32
    vm: Address
    preimage_oracle: Address
    weth: Address
    terms: BondTerms


class BadAddress(OpmlError):
    """A text is not an address, or an address with a typing error."""

    hint = "copy the address whole: 0x and 40 hexadecimal digits"


def parse_address(text: str, what: str) -> Address:
    """
    An address as the operator wrote it, checksummed. Raises `BadAddress`.

    Capital and small letters mixed are a checksum (EIP-55), which finds a wrong digit; without it, digits count alone.
    """
    digits = text.removeprefix("0x")
    if digits == text or re.fullmatch("[0-9a-fA-F]{40}", digits) is None:
        is_an_id = re.fullmatch("[0-9a-fA-F]{64}", digits) is not None
        raise BadAddress(
            f"{text} is not {what}: an address is 0x and 40 hexadecimal digits",
            hint="it is as long as the id of a request; games are listed by: opml-dispute list" if is_an_id else None,
        )
    checked = checksummed(text)
    if digits not in (digits.lower(), digits.upper()) and text != checked:
        raise BadAddress(
            f"{text} is not {what}: capital and small letters are the checksum of another address",
            hint="copy the address again; there is a wrong character in it",
        )
    return checked


class GameReader:
    """A reader of one factory's games, which caches their constants."""

    def __init__(self, rpc: Rpc, factory: DisputeGameFactory, parts: GameParts | None = None) -> None:
        self.rpc, self.factory, self.parts = rpc, factory, parts
        self._constants: dict[Address, GameConstants] = {}
        self._asked_again_at: dict[Address, float] = {}
        self._oracles: dict[Address, tuple[Address, int, float]] = {}
        """By VM: its pre-image oracle, the oracle's challenge period in seconds, and when both are asked again."""

    def expect_game(self, address: Address) -> None:
        """Raises `UnknownGame` (or `NoCode`) unless the factory made the game at this address."""
        game = FaultDisputeGame(address)
        if not self.rpc.code(address):
            raise UnknownGame(f"there is no game at {address}: there is no contract there at all")
        try:
            root_claim, extra_data = self.rpc.read_all([game.root_claim(), game.extra_data()])
            found = self.rpc.read(self.factory.game_of(root_claim, extra_data))
        except (Reverted, UnexpectedAnswer):
            found = ZERO_ADDRESS
        if found != address:
            raise UnknownGame(f"the contract at {address} is no game of the factory {self.factory.address}")

    def constants(self, address: Address) -> GameConstants:
        """The constants of a game. Raises `UnknownGame` or `ForeignGame` when they are first read."""
        if address not in self._constants:
            self.expect_game(address)
            failed = self._load_constants([address])
            if address in failed:
                raise failed[address]
        return self._constants[address]

    def forget(self, address: Address) -> None:
        """What is known about a game is asked again: it fits nothing, so the node may have lied."""
        self._constants.pop(address, None)

    def _load_constants(self, addresses: Sequence[Address]) -> dict[Address, OpmlError]:
        """Reads what is not known yet, or for long, many games in few round trips; why it failed, where it did."""
        now = time.monotonic()
        unknown = [
            address
            for address in dict.fromkeys(addresses)
            if address not in self._constants or self._asked_again_at[address] < now
        ]
        answers = self.rpc.try_each([call for address in unknown for call in _constant_calls(address)])
        width = len(answers) // len(unknown) if unknown else 0
        failed: dict[Address, OpmlError] = {}
        for index, address in enumerate(unknown):
            found = answers[index * width : (index + 1) * width]
            error = next((answer for answer in found if isinstance(answer, OpmlError)), None)
            try:
                if error is not None:
                    raise error
                self._constants[address] = self._constants_of(address, found)
                # Spread over the time, as those of games that were found together.
                self._asked_again_at[address] = now + CONSTANTS_LIVE_S * (0.5 + int(address[-4:], 16) / 0x20000)
            except OpmlError as reason:
                failed[address] = reason
        return failed

    def _constants_of(self, address: Address, answers: Sequence[Any]) -> GameConstants:
        """Raises `ForeignGame`, or why the game's VM cannot be read."""
        request_id, creator, created_at_s, split, deepest, max_clock_s, extension_s, *rest = answers
        node_count, item_count, starting_root, absolute_prestate, chain_id, l1_head, vm, weth, registry, terms = rest
        try:
            depths = Depths(split, deepest)
        except ValueError as error:
            raise UnexpectedAnswer(f"the game {address} answered depths that no game has: {error}") from None
        if not (1 <= item_count <= MOST_ITEMS and node_count and node_count % item_count == 0):
            raise UnexpectedAnswer(f"the game {address} answered {node_count} nodes in {item_count} items")
        known = self._oracles.get(vm)
        if known is None or known[2] < time.monotonic():
            oracle = self.rpc.read(FPVM(vm).oracle())
            period_s = self.rpc.read(PreimageOracle(oracle).challenge_period_s())
            known = self._oracles[vm] = (oracle, period_s, time.monotonic() + CONSTANTS_LIVE_S / 2)
        oracle, challenge_period_s, _ = known
        clocks = ClockSettings(max_clock_s, extension_s, challenge_period_s)
        if not clocks.are_possible:
            raise UnexpectedAnswer(f"the game {address} answered times that no game has: {clocks}")
        if self.parts is not None:
            expect_own_parts(address, GameParts(absolute_prestate, vm, oracle, registry, weth, chain_id), self.parts)
        return GameConstants(
            request_id=request_id,
            creator=creator,
            created_at_s=created_at_s,
            depths=depths,
            clocks=clocks,
            node_count=node_count,
            item_count=item_count,
            starting_root=starting_root,
            absolute_prestate=absolute_prestate,
            chain_id=chain_id,
            l1_head=l1_head,
            vm=vm,
            preimage_oracle=oracle,
            weth=weth,
            terms=terms,
        )

    def read(self, address: Address, *, at: Head | None = None) -> Game:
        """
        The game at one block: the given one, else the latest.

        Raises `UnknownGame` if the factory did not make it.
        """
        self.constants(address)
        failed = self._load_constants([address])
        if address in failed:
            raise failed[address]
        (game,) = self._read_part([address], at or self.rpc.head())
        if isinstance(game, Reverted):  # fewer claims than were counted: the node moved on between the two
            (game,) = self._read_part([address], at or self.rpc.head())
        if isinstance(game, OpmlError):
            raise game
        return game

    def read_many(self, addresses: Sequence[Address], *, at: Head) -> list[Game | OpmlError]:
        """
        Games at one block, in few round trips however many there are; in the place of one that cannot be read, why.

        ASSUMES that the addresses come from the factory's own list (`agent.discovery`), so they are not looked up
        there again. Raises an `RpcError` only if the node gives no answers at all.
        """
        found: list[Game | OpmlError] = []
        for start in range(0, len(addresses), GAMES_AT_ONCE):
            part = addresses[start : start + GAMES_AT_ONCE]
            failed = self._load_constants(part)
            read = iter(self._read_part([address for address in part if address not in failed], at))
            found += [failed[address] if address in failed else next(read) for address in part]
        return found

    def _read_part(self, addresses: Sequence[Address], at: Head) -> list[Game | OpmlError]:
        """Games whose constants are known, all together."""
        contracts = [FaultDisputeGame(address) for address in addresses]
        states = self.rpc.try_each(
            [call for game in contracts for call in (game.status(), game.resolved_at_s(), game.claim_count())], at=at
        )
        counts = [range(0) if isinstance(count, OpmlError) else range(count) for count in states[2::3]]
        claims = self._read_claims(contracts, counts, at)
        games = [
            self._assembled(address, states[3 * index : 3 * index + 3], claims[index])
            for index, address in enumerate(addresses)
        ]
        return self._with_checkpoints(self._with_late_steps(games, at), at)

    def _with_late_steps(self, games: Sequence[Game | OpmlError], at: Head | None) -> list[Game | OpmlError]:
        """
        The same games, with `paid_back` where a step came after a claim was settled: `claimData` shows such a claim as
        any other that a step countered. Asks only about claims that were stepped on and settled.
        """
        asked = [
            (number, game.address, claim.index)
            for number, game in enumerate(games)
            if not isinstance(game, OpmlError)
            for claim in game.claims
            if claim.is_resolved and claim.countered_by is not None and claim.position.depth == game.depths.max
        ]
        calls = [FaultDisputeGame(address).bond_fell_to(index) for _, address, index in asked]
        found = list(games)
        for (number, _, index), fell_to in zip(asked, self.rpc.try_each(calls, at=at), strict=True):
            game = found[number]
            if isinstance(game, OpmlError):
                continue
            if isinstance(fell_to, OpmlError):
                found[number] = fell_to
            elif fell_to == ZERO_ADDRESS:
                claims = list(game.claims)
                claims[index] = replace(claims[index], paid_back=True)
                found[number] = replace(game, claims=tuple(claims))
        return found

    def _with_checkpoints(self, games: Sequence[Game | OpmlError], at: Head | None) -> list[Game | OpmlError]:
        """
        The same games, with `checkpoint` where it matters: a claim that is resolved in part, and of whose answers one
        fell after it was settled. Only a late step does that, so nearly no game costs a call.
        """
        asked = [
            (number, game.address, parent)
            for number, game in enumerate(games)
            if not isinstance(game, OpmlError)
            for parent in sorted({one.parent_index for one in game.claims if one.paid_back and one.parent_index})
            if not game.claims[parent].is_resolved and len(game.replies(parent)) > 1
        ]
        calls = [FaultDisputeGame(address).checkpoint(index) for _, address, index in asked]
        found = list(games)
        for (number, _, index), answer in zip(asked, self.rpc.try_each(calls, at=at), strict=True):
            game = found[number]
            if isinstance(game, OpmlError):
                continue
            if isinstance(answer, OpmlError):
                found[number] = answer
                continue
            has_begun, count, leftmost, countered_by = answer
            if has_begun and count:
                claims = list(game.claims)
                last = game.replies(index)[min(count, len(game.replies(index))) - 1].index
                winner = None if countered_by == ZERO_ADDRESS else countered_by
                claims[index] = replace(claims[index], checkpoint=ResolvedPages(last, leftmost, winner))
                found[number] = replace(game, claims=tuple(claims))
        return found

    def _read_claims(self, games: Sequence[FaultDisputeGame], indices: Sequence[range], at: Head) -> list[list[Any]]:
        """
        Of each game, two answers for each of these claims, or the errors in their place.

        Some claims at a time: a node may name any number of them, and the first that it does not have ends the list.
        """
        found: list[list[Any]] = [[] for _ in games]
        left = {number: part for number, part in enumerate(indices) if part}
        while left:
            parts = {number: part[:CLAIMS_AT_ONCE] for number, part in left.items()}
            calls = [
                call
                for number, part in parts.items()
                for index in part
                for call in (games[number].claim(index), games[number].is_resolved(index))
            ]
            answers = iter(self.rpc.try_each(calls, at=at))
            for number, part in parts.items():
                found[number] += islice(answers, 2 * len(part))
                left[number] = left[number][len(part) :]
                if not left[number] or isinstance(found[number][-2], OpmlError):
                    del left[number]
        return found

    def _assembled(self, address: Address, state: Sequence[Any], claims: Sequence[Any]) -> Game | OpmlError:
        """A game, or the error that came in the place of an answer about it."""
        error = next((answer for answer in (*state, *claims) if isinstance(answer, OpmlError)), None)
        if error is not None:
            return error
        try:
            if not claims:
                raise ValueError("it has no root claim")
            game = self._game(address, state, claims)
            expect_places(game)
            return game
        except (ValueError, DepthError) as reason:
            return UnexpectedAnswer(f"the game {address} answered claims that no game has: {reason}")

    def _game(self, address: Address, state: Sequence[Any], claims: Sequence[Any]) -> Game:
        """Raises `ValueError` for claims that cannot be."""
        fixed, (status, resolved_at_s, _) = self._constants[address], state
        # A watcher ends with its game: one wrong answer must not tell it so.
        is_over = status != GameStatus.IN_PROGRESS
        if is_over != (resolved_at_s != 0) or (is_over and not claims[1]):
            raise ValueError(f"it is {status.name}, resolved at {resolved_at_s}, unlike its root claim")
        return Game(
            address=address,
            request_id=fixed.request_id,
            status=status,
            created_at_s=fixed.created_at_s,
            depths=fixed.depths,
            clocks=fixed.clocks,
            node_count=fixed.node_count,
            item_count=fixed.item_count,
            starting_root=fixed.starting_root,
            absolute_prestate=fixed.absolute_prestate,
            chain_id=fixed.chain_id,
            l1_head=fixed.l1_head,
            claims=tuple(
                read_claim(index, record, is_resolved)
                for index, (record, is_resolved) in enumerate(zip(claims[::2], claims[1::2], strict=True))
            ),
            resolved_at_s=resolved_at_s,
            terms=fixed.terms,
        )


def expect_places(game: Game) -> None:
    """Raises `ValueError` unless each claim stands where an attack on its parent, or a defence of it, leads to."""
    for claim in game.claims:
        parent = None if claim.parent_index is None else game.claims[claim.parent_index].position
        possible = [ROOT] if parent is None else [parent.attack()]
        if parent is not None and not parent.is_rightmost:
            possible.append(parent.defend())
        if claim.position not in possible or claim.position.depth > game.depths.max:
            raise ValueError(f"claim {claim.index} stands at {claim.position}")


def _constant_calls(address: Address) -> list[Call[Any]]:
    """In the order in which `_constants_of` takes the answers."""
    game = FaultDisputeGame(address)
    return [
        game.request_id(),
        game.creator(),
        game.created_at_s(),
        game.split_depth(),
        game.max_depth(),
        game.max_clock_s(),
        game.clock_extension_s(),
        game.node_count(),
        game.item_count(),
        game.starting_root(),
        game.absolute_prestate(),
        game.chain_id(),
        game.l1_head(),
        game.vm(),
        game.weth(),
        game.oracle(),
        game.bond_terms(),
    ]


def read_claim(index: int, record: ClaimRecord, is_resolved: bool) -> Claim:
    """The claim in a record of the contract."""
    return Claim(
        index=index,
        parent_index=None if record.parent_index == NO_PARENT else record.parent_index,
        countered_by=None if record.countered_by == ZERO_ADDRESS else record.countered_by,
        claimant=record.claimant,
        bond_wei=record.bond_wei,
        value=Hash32(record.value),
        position=Position.from_gindex(record.gindex),
        clock=Clock.unpack(record.packed_clock),
        is_resolved=is_resolved,
    )
