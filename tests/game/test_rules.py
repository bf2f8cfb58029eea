"""The rules against the published vectors, and against the contract's twin in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.preimage_key import localized_key
from opml_dispute.game.bond import OP_STACK, required_bond_wei
from opml_dispute.game.claim import UnknownClaim
from opml_dispute.game.clock import challenger_duration_s, clock_of_answer
from opml_dispute.game.position import Position
from opml_dispute.game.rules import (
    AssertedRoot,
    ClaimAboveSplit,
    IllegalMove,
    SubgameRoots,
    WrongBond,
    allowed_vm_statuses,
    check_move,
    duplicate_key,
    local_data,
    prestate_matches,
    step_claims,
    step_refutes,
    subgame_roots_below,
    subgame_roots_of,
)
from opml_dispute.primitives import Address, LocalIdent, StateHash, StateRoot, VmStatus
from tests.support.builders import LIE, MALLORY, TRUTH, ToyTable, snapshot
from tests.support.reference_game import ReferenceGame, Reverted, Rules

GAME = Address("0xC0FfEE254729296a45a3885639AC7E10F9d54979")


def refuse_to_step(state_data: bytes, proof: bytes, read_local: object) -> bytes:
    raise AssertionError("nothing is stepped here")


def bare_game(path: str, values: str | None = None) -> ReferenceGame:
    """A game of depths 4 and 8 along a path of A and D; claim i is 32 bytes of `0xa0 + i`."""
    game = ReferenceGame(Rules(8, 4, node_count=16), refuse_to_step, MALLORY, b"\xa0" * 32)
    for index, move in enumerate(path):
        claim = bytes([0xA1 + index]) * 32
        bond = game.required_bond(2 << index)
        game.move(MALLORY, game.claims[index].claim, index, claim, move == "A", bond)
    return game


def test_published_duplicate_keys() -> None:
    """Published keys of claims are reproduced."""
    key = duplicate_key(b"\xa1" * 32, Position.from_gindex(2), 0)
    assert key.hex() == "5b2f6eaaa243edf8ed21fcb89aca94d155f9c3e01794900333027f60f5648f8f"
    key = duplicate_key(b"\xa2" * 32, Position.from_gindex(6), 1)
    assert key.hex() == "f046200d83750a018ea30036ac2e3f4282206f87b77f08c9087b2c79a2453491"


def test_published_local_contexts_and_keys() -> None:
    leaf = AssertedRoot(StateRoot(b"\xa4" * 32), Position.from_gindex(16))
    above = AssertedRoot(StateRoot(b"\xa3" * 32), Position.from_gindex(8))
    first = SubgameRoots(AssertedRoot(StateRoot(bytes(32)), None), leaf).local_context
    assert first.hex() == "492c311d8c1527333c6744e6af547b25eb09083b4885988e95e9c319b075b497"
    second = SubgameRoots(leaf, above).local_context
    assert second.hex() == "48e0dbe32e0d7de25e79142391b4af56f91fc80e0040e6fe81adf5df9708a28a"
    assert localized_key(1, GAME, first).hex() == "01d44a7e9c0fda084d152888da1b827f99032dd4abb26e5ad19ef1b1a4ed304f"
    assert localized_key(4, GAME, first).hex() == "01f6ea35f4eec806a7fcbd2aa91eed98aa0bb98e4d6659ba55ec93c27d7e767f"


@pytest.mark.parametrize(
    ("path", "is_attack", "starting", "disputed", "end"),
    [
        ("AAAA", True, None, 16, 1),
        ("AAAA", False, 16, 8, 2),
        ("ADDD", True, 14, 30, 15),
        ("ADDD", False, 30, 1, 16),
    ],
)
def test_published_execution_roots(path: str, is_attack: bool, starting: int | None, disputed: int, end: int) -> None:
    """Which claims an execution subgame is about, and the end state that local pre-image 4 names."""
    game = snapshot(bare_game(path))
    outputs = subgame_roots_below(game, 4, is_attack=is_attack)
    assert outputs.starting.position == (None if starting is None else Position.from_gindex(starting))
    assert outputs.disputed.position == Position.from_gindex(disputed)
    assert local_data(game, outputs)[LocalIdent.DISPUTED_INDEX] == end.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("path", "defend_needs"),
    [
        ("AAAA", {0}),
        ("AAAD", {1, 2}),
        ("AADA", {0}),
        ("AADD", {0}),
        ("ADAA", {0}),
        ("ADAD", {1, 2}),
        ("ADDA", {0}),
        ("ADDD", {1, 2}),
    ],
)
def test_published_status_bytes(path: str, defend_needs: set[int]) -> None:
    """An execution root says that the program fails, unless the disputed root is its own side's."""
    game = snapshot(bare_game(path))
    leaf = game.claims[4]
    assert allowed_vm_statuses(game, leaf, is_attack=True) == {VmStatus.INVALID, VmStatus.PANIC}
    assert allowed_vm_statuses(game, leaf, is_attack=False) == defend_needs


def test_node_count_caps_what_a_claim_is_about() -> None:
    """Five nodes in a tree of eight leaves: the last positions all speak of S_5."""
    table = ToyTable(node_count=5)
    table.root(LIE).attack(TRUTH)
    game = table.game()
    assert AssertedRoot(StateRoot(game.root.value), game.root.position).state_index(game) == 5
    assert AssertedRoot(StateRoot(game.claims[1].value), game.claims[1].position).state_index(game) == 4


def test_claims_above_the_split_have_no_outputs() -> None:
    game = snapshot(bare_game("AAAA"))
    with pytest.raises(ClaimAboveSplit, match="depth 4, expected one below the split depth 4"):
        subgame_roots_of(game, 4)


def test_prestate_status_byte_is_not_compared() -> None:
    state_hash = StateHash(b"\x03" + b"\x11" * 31)
    assert prestate_matches(b"\x00" + b"\x11" * 31, state_hash)
    assert not prestate_matches(b"\x03" + b"\x11" * 30 + b"\x12", state_hash)


def test_wrong_bond_is_told_with_both_amounts() -> None:
    game = snapshot(bare_game(""))
    with pytest.raises(WrongBond, match=rf"1 wei found, expected {required_bond_wei(1, 8, OP_STACK)} wei at depth 1"):
        check_move(game, 0, bytes(32), is_attack=True, now_s=game.created_at_s, bond_wei=1)


# --- the rules and the contract's twin agree on any game ---

moves = st.lists(
    st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 3), st.sampled_from([0, 0, 0, 1, 10_800, 200_000])),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(moves)
def test_rules_refuse_what_the_contract_refuses(played: list[tuple[int, bool, int, int]]) -> None:
    """For random moves: the same refusals with the same names, the same positions, clocks, outputs and contexts."""
    reference = ReferenceGame(Rules(8, 3, node_count=7), refuse_to_step, MALLORY, b"\xa0" * 32)
    for choice, is_attack, status, wait_s in played:
        reference.now += wait_s
        # Deep claims are picked more often than chance would, so that games reach their leaves.
        index = max(0, len(reference.claims) - 1 - choice // 2) if choice < 24 else choice
        value = bytes([status]) * 32
        game = snapshot(reference)
        ours: str | Position
        try:
            ours = check_move(game, index, value, is_attack=is_attack, now_s=reference.now)
        except IllegalMove as error:
            ours = error.contract_error
        except UnknownClaim:
            ours = "Panic(0x32)"
        try:
            parent = reference.claims[index] if index < len(reference.claims) else reference.claims[0]
            position = parent.position << 1 if is_attack else (parent.position | 1) << 1
            bond = reference.required_bond(position) if position < 2 << 8 else 0
            new = reference.move(MALLORY, parent.claim, index, value, is_attack, bond)
        except Reverted as refusal:
            theirs: str | Position = str(refusal)
        else:
            theirs = Position.from_gindex(reference.claims[new].position)
            check_lookups(reference, new)
        assert ours == theirs


def check_lookups(reference: ReferenceGame, index: int) -> None:
    """What the two say about one claim."""
    game = snapshot(reference)
    assert challenger_duration_s(game, index, reference.now) == reference.challenger_duration(index)
    if game.claims[index].position.depth <= game.depths.split:
        with pytest.raises(Reverted, match="ClaimAboveSplit"):
            reference.outputs(index)
        return
    (starting, start), (disputed, end) = reference.outputs(index)
    outputs = subgame_roots_of(game, index)
    assert (outputs.starting.root, outputs.disputed.root) == (starting, disputed)
    assert (outputs.starting.position.gindex if outputs.starting.position else 0) == start
    assert outputs.disputed.position is not None
    assert outputs.disputed.position.gindex == end
    assert outputs.local_context == reference.context(index)
    for ident in LocalIdent:
        reference.add_local_data(ident, index, 0)
        assert reference.local[(reference.context(index), ident, 0)] == local_data(game, outputs)[ident]
    if game.claims[index].position.depth == game.depths.max:
        for is_attack in (True, False):
            claims = step_claims(game, index, is_attack=is_attack)
            assert (claims.pre is None) == (is_attack and claims.post.position.index_at_depth % game.depths.steps == 0)


@pytest.mark.parametrize("path", ["AAA", "AAD", "ADA", "ADD"])
def test_a_step_refutes_a_claim_by_the_state_that_its_side_has_to_show(path: str) -> None:
    """Against a claim whose state is of the same side, another outcome does; else only this very outcome."""
    reference = bare_game("AAAA")
    for index, move in enumerate("A" + path, 4):
        value, bond = bytes([1, index]) * 16, reference.required_bond(2 << index)
        reference.move(MALLORY, reference.claims[index].claim, index, value, move == "A", bond)
    leaf = reference.claims[8]
    after = reference.claims[reference._ancestor(leaf.position + 1, leaf.parent_index, bounded=True)]
    game = snapshot(reference)
    for is_attack, post in ((True, leaf), (False, after)):
        is_own_side = reference.claims.index(post) % 2 == 0
        assert step_refutes(game, 8, bytes(32), is_attack=is_attack) == is_own_side
        assert step_refutes(game, 8, post.claim, is_attack=is_attack) != is_own_side


def test_every_clock_extension() -> None:
    """Played one second before time runs out, a claim keeps what its depth asks for."""
    kept = {1: 10800, 2: 10800, 3: 21600, 4: 10800, 5: 10800, 6: 10800, 7: 10804}
    for depth, extension in kept.items():
        reference = bare_game("A" * min(depth - 1, 4))
        for index in range(4, depth - 1):
            value = b"\x01" * 32
            reference.move(
                MALLORY, reference.claims[index].claim, index, value, True, reference.required_bond(2 << index)
            )
        index = depth - 1
        reference.now += reference.rules.max_clock - 1
        clock = clock_of_answer(snapshot(reference), index, reference.now)
        assert clock.duration_s == reference.rules.max_clock - extension
        value = b"\x01" * 32
        new = reference.move(
            MALLORY, reference.claims[index].claim, index, value, True, reference.required_bond(2 << index)
        )
        assert reference.claims[new].duration == clock.duration_s
