"""
The game contract once more, in memory: moves, clocks, bonds, steps, local pre-images and resolution.

Written from the description of the contract (docs/game.md), on bare generalized indices, and on purpose without
`opml_dispute.game`: the two are held against each other. Every refusal is a `Reverted` with the contract's error.
What is missing is what no game in memory needs: WETH and its delays, the factory, the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opml_dispute.engine.hashing import keccak256

NO_PARENT = 0xFFFFFFFF
ZERO = "0x" + "0" * 40


class Reverted(Exception):
    """The contract refuses; its error's name."""


@dataclass
class Record:
    """`claimData(i)`, and what stands beside it."""

    parent_index: int
    countered_by: str
    claimant: str
    bond: int
    claim: bytes
    position: int
    duration: int
    timestamp: int
    subgames: list[int] = field(default_factory=list)
    resolved: bool = False
    paid_back: bool = False
    """Whether it was settled for its claimant before a step countered it."""
    cursor: int = 0
    started: bool = False
    leftmost: int = 2**128 - 1
    checkpoint_countered_by: str = ZERO


ReadLocal = Callable[[int, int], bytes]
"""(ident, offset) -> the loaded data; raises if it was not loaded."""

Vm = Callable[[bytes, bytes, ReadLocal], bytes]
"""(state data, proof, read) -> the state hash after one step; raises if it cannot."""


def depth(position: int) -> int:
    return position.bit_length() - 1


@dataclass
class Rules:
    """Parameters of a game, as the contract holds them."""

    max_depth: int
    split_depth: int
    extension: int = 10_800
    max_clock: int = 302_400
    challenge_period: int = 4
    node_count: int = 1
    starting_root: bytes = bytes(32)
    absolute_prestate: bytes = bytes(32)
    chain_id: int = 901
    l1_head: bytes = bytes(32)
    base_fee: int = 200 * 10**9
    gas_at_root: int = 400_000
    gas_at_max_depth: int = 300_000_000
    forfeited_bps: int = 2_000
    forfeited_to: str = "0x000000000000000000000000000000000000dEaD"
    address: str = "0xC0FfEE254729296a45a3885639AC7E10F9d54979"


class ReferenceGame:
    """One game on a chain of its own; `now` is its clock."""

    def __init__(self, rules: Rules, vm: Vm, creator: str, root_claim: bytes, now: int = 1_700_000_000) -> None:
        if rules.max_depth > 90:
            raise Reverted("MaxDepthTooLarge")
        if rules.split_depth < 2 or rules.split_depth + 1 >= rules.max_depth:
            raise Reverted("InvalidSplitDepth")
        longest = max(2 * rules.extension, rules.extension + rules.challenge_period)
        if longest > rules.max_clock:
            raise Reverted("InvalidClockExtension")
        self.rules, self.vm, self.now = rules, vm, now
        self.created_at, self.resolved_at, self.status = now, 0, 0
        self.duplicates: set[tuple[bytes, int, int]] = set()
        self.deposits: dict[str, int] = {}
        self.credits: dict[str, int] = {}
        self.local: dict[tuple[bytes, int, int], bytes] = {}
        bond = self.required_bond(1)
        self.claims = [Record(NO_PARENT, ZERO, creator, bond, root_claim, 1, 0, now)]
        self.deposits[creator] = bond

    # --- moves ---

    def required_bond(self, position: int) -> int:
        """Any growing formula would do; the real one is tested against its published values."""
        if depth(position) > self.rules.max_depth:
            raise Reverted("GameDepthExceeded")
        rules = self.rules
        growth = (rules.gas_at_max_depth / rules.gas_at_root) ** (depth(position) / rules.max_depth)
        return rules.base_fee * int(rules.gas_at_root * growth)

    def challenger_duration(self, index: int) -> int:
        claim = self.claims[index]
        carried = 0 if claim.parent_index == NO_PARENT else self.claims[claim.parent_index].duration
        return min(self.rules.max_clock, carried + self.now - claim.timestamp)

    def move(self, sender: str, disputed: bytes, index: int, claim: bytes, is_attack: bool, value: int) -> int:
        """Returns the new claim's index."""
        if self.status != 0:
            raise Reverted("GameNotInProgress")
        if index >= len(self.claims):
            raise Reverted("Panic(0x32)")
        parent, rules = self.claims[index], self.rules
        if parent.claim != disputed:
            raise Reverted("InvalidDisputedClaimIndex")
        position = parent.position << 1 if is_attack else (parent.position | 1) << 1
        if not is_attack and (index == 0 or depth(position) == rules.split_depth + 2):
            raise Reverted("CannotDefendRootClaim")
        if depth(position) > rules.max_depth:
            raise Reverted("GameDepthExceeded")
        if depth(position) == rules.split_depth + 1:
            self._check_status(claim, index, is_attack)
        if value != self.required_bond(position):
            raise Reverted("IncorrectBondAmount")
        used = self.challenger_duration(index)
        if used == rules.max_clock:
            raise Reverted("ClockTimeExceeded")
        if (claim, position, index) in self.duplicates:
            raise Reverted("ClaimAlreadyExists")
        self.duplicates.add((claim, position, index))
        extension = rules.extension
        if depth(position) == rules.max_depth - 1:
            extension += rules.challenge_period
        elif depth(position) == rules.split_depth - 1:
            extension *= 2
        used = min(used, rules.max_clock - extension)
        self.claims.append(Record(index, ZERO, sender, value, claim, position, used, self.now))
        parent.subgames.append(len(self.claims) - 1)
        self.deposits[sender] = self.deposits.get(sender, 0) + value
        return len(self.claims) - 1

    def _check_status(self, claim: bytes, index: int, is_attack: bool) -> None:
        required = {1, 2}
        if not is_attack:
            disputed = self._ancestor(self.claims[index].position + 1, index, bounded=False)
            if depth(self.claims[disputed].position) % 2 != self.rules.split_depth % 2:
                required = {0}
        if claim[0] not in required:
            raise Reverted("UnexpectedRootClaim")

    # --- lookups ---

    def _ancestor(self, position: int, index: int, *, bounded: bool) -> int:
        if bounded and depth(position) <= self.rules.split_depth:
            raise Reverted("ClaimAboveSplit")
        target = position
        while target & 1 and target > 1:
            target >>= 1
        if bounded and depth(target) <= self.rules.split_depth:
            target = position
            while depth(target) > self.rules.split_depth + 1:
                target >>= 1
        while self.claims[index].position != target:
            index = self.claims[index].parent_index
            if index == NO_PARENT:
                raise Reverted("Panic(0x32)")
        return index

    def outputs(self, index: int) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
        """(starting claim, position), (disputed claim, position)."""
        if depth(self.claims[index].position) <= self.rules.split_depth:
            raise Reverted("ClaimAboveSplit")
        child = index
        while depth(self.claims[index].position) > self.rules.split_depth:
            child, index = index, self.claims[index].parent_index
        leaf = self.claims[index]
        if self.claims[child].position >> 1 == leaf.position:
            if leaf.position == 1 << self.rules.split_depth:
                return (self.rules.starting_root, 0), (leaf.claim, leaf.position)
            start = self.claims[self._ancestor(leaf.position - 1, index, bounded=False)]
            return (start.claim, start.position), (leaf.claim, leaf.position)
        disputed = self.claims[self._ancestor(leaf.position + 1, index, bounded=False)]
        return (leaf.claim, leaf.position), (disputed.claim, disputed.position)

    def context(self, index: int) -> bytes:
        (starting, start), (disputed, end) = self.outputs(index)
        head = b"" if start == 0 else starting + start.to_bytes(32, "big")
        return keccak256(head + disputed + end.to_bytes(32, "big"))

    # --- steps ---

    def add_local_data(self, ident: int, index: int, offset: int) -> None:
        if self.status != 0:
            raise Reverted("GameNotInProgress")
        (starting, _), (disputed, position) = self.outputs(index)
        below = self.rules.split_depth - depth(position)
        trace_index = ((position + 1) << below) - 1 - (1 << self.rules.split_depth)
        data = {
            2: starting,
            3: disputed,
            4: min(trace_index + 1, self.rules.node_count).to_bytes(8, "big"),
            5: self.rules.chain_id.to_bytes(8, "big"),
            6: bytes(32),  # these games are about single inferences
        }
        if ident not in data:
            raise Reverted("InvalidLocalIdent")
        if offset >= len(data[ident]) + 8:
            raise Reverted("PartOffsetOOB")
        self.local[(self.context(index), ident, offset)] = data[ident]

    def step(self, sender: str, index: int, is_attack: bool, state_data: bytes, proof: bytes) -> None:
        if self.status != 0:
            raise Reverted("GameNotInProgress")
        if index >= len(self.claims):
            raise Reverted("Panic(0x32)")
        claim, rules = self.claims[index], self.rules
        position = claim.position << 1 if is_attack else (claim.position | 1) << 1
        if depth(position) != rules.max_depth + 1:
            raise Reverted("InvalidParent")
        if not is_attack:
            pre = claim.claim
            post = self.claims[self._ancestor(claim.position + 1, claim.parent_index, bounded=True)]
        else:
            post = claim
            index_at_depth = position - (1 << depth(position))
            if index_at_depth % (1 << (rules.max_depth - rules.split_depth)) == 0:
                pre = rules.absolute_prestate
            else:
                pre = self.claims[self._ancestor(claim.position - 1, claim.parent_index, bounded=True)].claim
        if keccak256(state_data)[1:] != pre[1:]:
            raise Reverted("InvalidPrestate")
        context = self.context(index)

        def read(ident: int, offset: int) -> bytes:
            if (context, ident, offset) not in self.local:
                raise Reverted("pre-image must exist")
            return self.local[(context, ident, offset)]

        is_valid = self.vm(state_data, proof, read) == post.claim
        agrees = (depth(claim.position) - depth(post.position)) % 2 == 0
        if is_valid == agrees:
            raise Reverted("ValidStep")
        if claim.countered_by != ZERO:
            raise Reverted("DuplicateStep")
        claim.countered_by, claim.paid_back = sender, claim.resolved

    # --- resolution ---

    def resolve_claim(self, index: int, count: int) -> None:
        if self.status != 0:
            raise Reverted("GameNotInProgress")
        if index >= len(self.claims):
            raise Reverted("Panic(0x32)")
        claim = self.claims[index]
        if self.challenger_duration(index) != self.rules.max_clock:
            raise Reverted("ClockNotExpired")
        if claim.resolved:
            raise Reverted("ClaimAlreadyResolved")
        if not claim.subgames and index != 0:
            self._pay(claim, claim.countered_by)
            claim.resolved = True
            return
        if not claim.started and count == 0:
            count = len(claim.subgames)
        end = min(claim.cursor + count, len(claim.subgames))
        leftmost, countered_by = claim.leftmost, claim.checkpoint_countered_by
        for reply_index in claim.subgames[claim.cursor : end]:
            reply = self.claims[reply_index]
            if not reply.resolved:
                raise Reverted("OutOfOrderResolution")
            if reply.countered_by == ZERO and reply.position < leftmost:
                leftmost, countered_by = reply.position, reply.claimant
        claim.started, claim.cursor = True, end
        claim.leftmost, claim.checkpoint_countered_by = leftmost, countered_by
        if end == len(claim.subgames):
            claim.resolved = True
            self._pay(claim, countered_by)
            claim.countered_by = countered_by

    def settle(self, indices: Sequence[int], count: int) -> int:
        if self.status != 0:
            raise Reverted("GameNotInProgress")
        if any(index >= len(self.claims) for index in indices):
            raise Reverted("Panic(0x32)")
        done = 0
        for index in indices:
            try:
                self.resolve_claim(index, count or len(self.claims))
            except Reverted:
                continue
            done += 1
        if self.claims[0].resolved:
            self.resolve()
        return done

    def _pay(self, claim: Record, countered_by: str) -> None:
        lost = 0 if countered_by == ZERO else claim.bond * self.rules.forfeited_bps // 10_000
        shares = [(claim.claimant if countered_by == ZERO else countered_by, claim.bond - lost)]
        for receiver, amount in [*shares, (self.rules.forfeited_to, lost)]:
            if amount:
                self.credits[receiver] = self.credits.get(receiver, 0) + amount

    def resolve(self) -> int:
        if self.status != 0:
            raise Reverted("GameNotInProgress")
        if not self.claims[0].resolved:
            raise Reverted("OutOfOrderResolution")
        self.status = 2 if self.claims[0].countered_by == ZERO else 1
        self.resolved_at = self.now
        return self.status
