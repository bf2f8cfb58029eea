"""
One game at the contract level: `Referee`, with the real `FaultDisputeGame` deciding.

The contract is cloned by the real factory and uses the real pre-image oracle; in the VM's place is `SymbolicVm`, the
contract that executes the symbolic steps. A registry that knows one request and a vault that takes every deposit are
stand-ins of a few bytes. Every action goes to the contract; what it then holds is read back into the game that the
players see, so nothing that the pure rules say can hide what the contract did.
"""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from opml_dispute.actors.actions import Action, Move, ResolveClaim, ResolveGame, Settle, Step
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.clock import Clock
from opml_dispute.game.depths import MAX_DEPTH_LIMIT
from opml_dispute.game.position import Position
from opml_dispute.primitives import Address, Hash32
from opml_dispute.simulation import evm
from opml_dispute.simulation.bonds import BondRule
from opml_dispute.simulation.referee import Applied, Referee, Refused
from opml_dispute.simulation.symbolic import Inference

TIME_OFFSET_S = 1_700_000_000
"""The contract's time at the simulation's 0: a timestamp of 0 means "never" there."""

ZERO_ADDRESS = "0x" + "0" * 40
REQUEST_ID = b"\x52" * 32
TAKES_EVERYTHING = b"\x00"
"""A contract that stops at once, content with every call and every value."""


def registry_code(starting_root: bytes, node_count: int, split_depth: int, max_depth: int) -> bytes:
    """Answers `gameParameters` for a single inference with these words, and every other question with 0."""
    selector = keccak(text="gameParameters(bytes32)")[:4]
    code = bytes.fromhex(f"60003560e01c63{selector.hex()}1460145760206000f35b60a0602160003960a06000f3")
    assert len(code) == 0x21, "the words follow the code"
    words = [starting_root, node_count, split_depth, max_depth, 1]
    return code + encode(["bytes32", "uint64", "uint64", "uint64", "uint64"], words)


class ContractReferee(Referee):
    """The contract's place, taken by the contract."""

    def __init__(self, first: Game, inference: Inference, bonds: BondRule, contracts: evm.Contracts) -> None:
        super().__init__(first, inference, bonds)
        self._evm = contracts
        self._code = evm.load_code("FaultDisputeGame")
        self._set_time(first.created_at_s)
        oracle = self._evm.deploy(evm.load_code("PreimageOracle"), 0, first.clocks.challenge_period_s)
        machine = (inference.node_count, inference.steps_per_node, inference.reverts_after or 0)
        vm = self._evm.deploy(evm.load_code("SymbolicVm"), oracle, *machine)
        words = registry_code(first.starting_root, first.node_count, first.depths.split, first.depths.max)
        registry, vault = self._evm.deploy_raw(words), self._evm.deploy_raw(TAKES_EVERYTHING)
        limits = (MAX_DEPTH_LIMIT, MAX_DEPTH_LIMIT - 2, first.clocks.extension_s, first.clocks.max_clock_s)
        implementation = self._evm.deploy(self._code, limits, astuple(bonds.terms))
        self._contract = self._create(first, implementation, vm, registry, vault)
        self._marks = [self._evm.mark()]
        """Where the chain stood after the game's creation, and after each entry of the journal."""

    def _create(self, first: Game, implementation: str, vm: str, registry: str, vault: str) -> str:
        factory_code = evm.load_code("DisputeGameFactory")
        factory = self._evm.deploy(factory_code, evm.OWNER)
        arguments = bytes(first.absolute_prestate)
        arguments += b"".join(bytes.fromhex(address[2:]) for address in (vm, registry, vault))
        arguments += first.chain_id.to_bytes(32, "big")
        set_implementation = "setImplementation(uint32,address,bytes)"
        self._evm.call(evm.OWNER, factory, factory_code, set_implementation, 0, implementation, arguments)
        root = first.root
        self._evm.call(evm.OWNER, factory, factory_code, "setInitBond", 0, root.bond_wei)
        (game,) = self._evm.call(
            root.claimant, factory, factory_code, "create", 0, root.value, REQUEST_ID, value_wei=root.bond_wei
        )
        return str(game)

    def apply(self, sender: Address, action: Action, now_s: int) -> None:
        """
        Sends `action` to the contract and reads back what it holds.

        Raises `Refused` with the contract's error, and `NodeFailed` if the chain does not do its work.
        """
        self._set_time(now_s)
        try:
            self._send(sender, action)
        except evm.Reverted as error:
            raise Refused(str(error)) from error
        self._read(now_s)
        self.journal.append(Applied(now_s, sender, action))
        self._marks.append(self._evm.mark())

    def undo_after(self, time_s: float) -> list[Applied]:
        """
        The chain takes back what it accepted for this game after `time_s`, and what is left is read from it anew.
        The game's creation stays.

        Raises `NodeFailed` if the chain does not do its work.
        """
        kept = [entry for entry in self.journal if entry.time_s <= time_s]
        undone = self.journal[len(kept) :]
        if not undone:
            return []
        self._evm.take_back(self._marks[len(kept)], self._contract)
        # When a claim was made, and when a mark was put on one, the contract does not tell.
        root_s, *others_s = self.claim_times
        times = [root_s, *(made_s for made_s in others_s if made_s <= time_s)]
        marks = [mark for mark in self.marks if mark[0] <= time_s]
        self._begin()
        self._read(int(time_s))
        if len(self.game.claims) != len(times):
            raise evm.NodeFailed(f"{len(self.game.claims)} claims are left in a game, expected {len(times)}")
        self.claim_times, self.marks = times, marks
        self.money.staked_wei = {}
        for claim in self.game.claims:
            staked = self.money.staked_wei
            staked[claim.claimant] = staked.get(claim.claimant, 0) + claim.bond_wei
        self.journal = kept
        del self._marks[len(kept) + 1 :]
        return undone

    def _send(self, sender: Address, action: Action) -> None:
        match action:
            case Move():
                bond_wei = self.bond_wei(action.position.depth)
                arguments = (action.disputed, action.parent_index, action.value, action.is_attack)
                self._do(sender, "move", *arguments, value_wei=bond_wei)
                staked = self.money.staked_wei
                staked[sender] = staked.get(sender, 0) + bond_wei
            case Step():
                read = action.data.local_read
                if read is not None:
                    self._do(sender, "addLocalData", read.ident, action.claim_index, read.offset)
                witness = action.data.witness
                self._do(sender, "step", action.claim_index, action.is_attack, witness.state_data, witness.proof)
            case Settle():
                self._do(sender, "settle", list(action.claim_indices), 0)
            case ResolveClaim():
                self._do(sender, "resolveClaim", action.claim_index, 0)
            case ResolveGame():
                self._do(sender, "resolve")

    def _read(self, now_s: int) -> None:
        """Makes the players' view of the game what the contract holds."""
        ((count,), (status,), (resolved_at_s,)) = self._ask(("claimDataLen",), ("status",), ("resolvedAt",))
        asked = [(function, index) for index in range(count) for function in ("claimData", "resolvedSubgames")]
        stored = self._ask(*asked)
        for index in range(count):
            claim = _claim(index, stored[2 * index], is_resolved=stored[2 * index + 1][0])
            if index == len(self.game.claims):
                self.game.append(claim)
                self.claim_times.append(now_s)
            elif claim != self.game.claims[index]:
                known = self.game.claims[index]
                self.marks.append((now_s, index, known.countered_by, known.is_resolved))
                self.game.put(claim)
        # One whose moves were all made by others before it may still have countered a claim, by the step.
        named = (account for claim in self.game.claims for account in (claim.claimant, claim.countered_by))
        accounts = [account for account in dict.fromkeys(named) if account is not None]
        credits = self._ask(*(("normalModeCredit", account) for account in accounts))
        self.money.awarded_wei = {
            account: credit for account, (credit,) in zip(accounts, credits, strict=True) if credit
        }
        if status != GameStatus.IN_PROGRESS and self.game.in_progress:
            self.game.end(GameStatus(status), resolved_at_s - TIME_OFFSET_S)
        settled = sum(claim.bond_wei for claim in self.game.claims if claim.is_resolved)
        self.money.burnt_wei = settled - sum(self.money.awarded_wei.values())

    def _set_time(self, now_s: int) -> None:
        self._evm.set_time(TIME_OFFSET_S + now_s)

    def _do(self, sender: str, function: str, *arguments: Any, value_wei: int = 0) -> Any:
        return self._evm.call(sender, self._contract, self._code, function, *arguments, value_wei=value_wei)

    def _ask(self, *questions: tuple[Any, ...]) -> list[Any]:
        return self._evm.read_all(self._contract, self._code, questions)


def _claim(index: int, stored: Any, *, is_resolved: bool) -> Claim:
    parent, countered_by, claimant, bond, value, position, packed = stored
    clock = Clock.unpack(packed)
    return Claim(
        index=index,
        parent_index=None if index == 0 else parent,
        countered_by=None if countered_by == ZERO_ADDRESS else Address(countered_by),
        claimant=Address(claimant),
        bond_wei=bond,
        value=Hash32(value),
        position=Position.from_gindex(position),
        clock=replace(clock, timestamp_s=clock.timestamp_s - TIME_OFFSET_S),
        is_resolved=is_resolved,
    )
