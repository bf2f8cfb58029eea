"""
A game, read whole: what every decision is made from.

`GameReader.read` gives the `game.claim.Game` of one block, in a handful of round trips whatever its size; what
never changes (depths, clocks, roots) is asked once per game. `expect_game` refuses an address that is no game of
the deployment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from opml_dispute.chain.abi import checksummed
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.dispute import ClaimRecord, DisputeGameFactory, FaultDisputeGame
from opml_dispute.chain.contracts.vm import FPVM, PreimageOracle
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Rpc, UnexpectedAnswer
from opml_dispute.chain.wiring import GameParts, expect_own_parts
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import BondTerms
from opml_dispute.game.claim import NO_PARENT, Claim, Game, GameStatus
from opml_dispute.game.clock import Clock, ClockSettings
from opml_dispute.game.depths import Depths
from opml_dispute.game.position import Position
from opml_dispute.primitives import Address, Hash32, RequestId, StateHash, StateRoot


class UnknownGame(OpmlError):
    """The address is no game of this deployment."""

    hint = "list the games: opml-dispute list"


@dataclass(frozen=True)
class GameConstants:
    """What is fixed when a game is created."""

    request_id: RequestId
    creator: Address
    created_at_s: int
    depths: Depths
    clocks: ClockSettings
    node_count: int
    starting_root: StateRoot
    absolute_prestate: StateHash
    chain_id: int
    l1_head: Hash32
    vm: Address
    preimage_oracle: Address
    weth: Address
    terms: BondTerms


class BadAddress(OpmlError):
    """What was given is no address, or has a typing error in it."""

    hint = "copy the address whole: 0x and 40 hexadecimal digits"


def parse_address(text: str, what: str) -> Address:
    """
    An address as the operator wrote it, checksummed. Raises `BadAddress`.

    Capital and small letters mixed are a checksum (EIP-55), which finds a wrong digit; without it, digits count alone.
    """
    digits = text.removeprefix("0x")
    if digits == text or re.fullmatch("[0-9a-fA-F]{40}", digits) is None:
        raise BadAddress(f"{text} is not {what}: an address is 0x and 40 hexadecimal digits")
    checked = checksummed(text)
    if digits not in (digits.lower(), digits.upper()) and text != checked:
        raise BadAddress(
            f"{text} is not {what}: capital and small letters are the checksum of another address",
            hint="copy the address again; there is a wrong character in it",
        )
    return checked


class GameReader:
    """Reads games of one factory; remembers what cannot change."""

    def __init__(self, rpc: Rpc, factory: DisputeGameFactory, parts: GameParts | None = None) -> None:
        self.rpc, self.factory, self.parts = rpc, factory, parts
        self._constants: dict[Address, GameConstants] = {}

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
        """What never changes about a game. Raises `UnknownGame` or `ForeignGame` when it is first asked for."""
        if address not in self._constants:
            self.expect_game(address)
            self._constants[address] = self._read_constants(address)
        return self._constants[address]

    def _read_constants(self, address: Address) -> GameConstants:
        game = FaultDisputeGame(address)
        (request_id, creator, created_at_s, split, deepest, max_clock_s, extension_s) = self.rpc.read_all(
            [
                game.request_id(),
                game.creator(),
                game.created_at_s(),
                game.split_depth(),
                game.max_depth(),
                game.max_clock_s(),
                game.clock_extension_s(),
            ]
        )
        (node_count, starting_root, absolute_prestate, chain_id, l1_head, vm, weth) = self.rpc.read_all(
            [
                game.node_count(),
                game.starting_root(),
                game.absolute_prestate(),
                game.chain_id(),
                game.l1_head(),
                game.vm(),
                game.weth(),
            ]
        )
        registry, terms = self.rpc.read_all([game.oracle(), game.bond_terms()])
        oracle = self.rpc.read(FPVM(vm).oracle())
        if self.parts is not None:
            found = GameParts(absolute_prestate, vm, oracle, registry, weth, chain_id)
            expect_own_parts(address, found, self.parts)
        challenge_period_s = self.rpc.read(PreimageOracle(oracle).challenge_period_s())
        return GameConstants(
            request_id=request_id,
            creator=creator,
            created_at_s=created_at_s,
            depths=Depths(split, deepest),
            clocks=ClockSettings(max_clock_s, extension_s, challenge_period_s),
            node_count=node_count,
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
        The game as it stands at one block: the given one, else the latest.

        Raises `UnknownGame` if the factory did not make it.
        """
        fixed = self.constants(address)
        head = at or self.rpc.head()
        game = FaultDisputeGame(address)
        status, resolved_at_s, count = self.rpc.read_all(
            [game.status(), game.resolved_at_s(), game.claim_count()], at=head
        )
        answers = self.rpc.read_all(
            [game.claim(index) for index in range(count)] + [game.is_resolved(index) for index in range(count)], at=head
        )
        records, resolved = answers[:count], answers[count:]
        return Game(
            address=address,
            request_id=fixed.request_id,
            status=GameStatus(status),
            created_at_s=fixed.created_at_s,
            depths=fixed.depths,
            clocks=fixed.clocks,
            node_count=fixed.node_count,
            starting_root=fixed.starting_root,
            absolute_prestate=fixed.absolute_prestate,
            chain_id=fixed.chain_id,
            l1_head=fixed.l1_head,
            claims=tuple(
                read_claim(index, record, is_resolved)
                for index, (record, is_resolved) in enumerate(zip(records, resolved, strict=True))
            ),
            resolved_at_s=resolved_at_s,
            terms=fixed.terms,
        )


def read_claim(index: int, record: ClaimRecord, is_resolved: bool) -> Claim:
    """A claim out of the contract's record."""
    return Claim(
        index=index,
        parent_index=None if record.parent_index == NO_PARENT else record.parent_index,
        countered_by=None if record.countered_by == ZERO_ADDRESS else checksummed(record.countered_by),
        claimant=checksummed(record.claimant),
        bond_wei=record.bond_wei,
        value=Hash32(record.value),
        position=Position.from_gindex(record.gindex),
        clock=Clock.unpack(record.packed_clock),
        is_resolved=is_resolved,
    )
