"""Existing clients can list, show, create, move in and resolve our games: their conversations, replayed."""

from __future__ import annotations

import json

import pytest

from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.devnet import anvil as devnet
from opml_dispute.fpvm.prestate import ABSOLUTE_PRESTATE
from opml_dispute.game.bond import ML, ML_ROOT_BOND_WEI, forfeited_wei, required_bond_wei
from opml_dispute.operator.inference import new_request_id, proposal_intent, request_intent
from opml_dispute.operator.intents import perform
from opml_dispute.primitives import RequestId, StateRoot
from tests.conftest import TEST_TIMES, Chain
from tests.e2e import op_client as op
from tests.e2e.op_wire import BATCH, Ask, ClientError, Wire, transact, word

PROPOSER, CHALLENGER = (devnet.account(role).address for role in ("proposer", "challenger"))
PROPOSER_KEY, CHALLENGER_KEY = (devnet.key_hex(devnet.ROLES.index(role)) for role in ("proposer", "challenger"))
ROOT, OTHER, THIRD = (bytes([mark]) * 32 for mark in (0xA1, 0xB2, 0xC3))


@pytest.fixture
def wire(chain: Chain) -> Wire:
    return Wire(chain.anvil.url)


@pytest.fixture
def request_number(chain: Chain) -> int:
    """A request's id as the number that `create-game` sends as its L2 block."""
    system = chain.system()
    model_id = system.rpc.read(system.registry.model_id_at(0))
    size = system.rpc.read(system.registry.model(model_id)).input_bytes
    done = perform(request_intent(system, model_id, bytes(size), fee_wei=0), chain.sender("requester"))
    assert done.receipt is not None
    return int.from_bytes(new_request_id(system, done.receipt), "big")


@pytest.fixture
def game(chain: Chain, wire: Wire, request_number: int) -> str:
    """A game created by the tool's own `create-game`."""
    factory = chain.deployment.addresses["factory"]
    return op.create_game(wire, PROPOSER_KEY, factory, 0, ROOT, request_number)


def test_create_game_finds_its_game_in_the_event(chain: Chain, game: str) -> None:
    system = chain.system()
    assert system.games.constants(FaultDisputeGame(game).address).creator == PROPOSER  # type: ignore[arg-type]


def test_list_games_shows_every_game_newest_first(chain: Chain, wire: Wire, game: str, request_number: int) -> None:
    factory = chain.deployment.addresses["factory"]
    second = op.create_game(wire, CHALLENGER_KEY, factory, 0, OTHER, request_number)
    node_count = chain.system().games.read(game).node_count  # type: ignore[arg-type]
    newest, oldest = op.list_games(wire, factory)
    assert (newest.address, oldest.address) == (second, game)
    assert (newest.root_claim, oldest.root_claim) == (OTHER, ROOT)
    for listed in (newest, oldest):
        assert listed.game_type == 0
        assert listed.l2_block == node_count
        assert listed.claims == 1
        assert listed.status == 0
        assert wire.request("eth_getBlockByHash", "0x" + listed.l1_head.hex(), False) is not None


def test_the_run_loop_finds_what_it_asks_before_it_plays(chain: Chain, wire: Wire, game: str) -> None:
    """And no pre-image is large enough for it to take the way through proposals, which our oracle does not offer."""
    seen = op.watch(wire, chain.deployment.addresses["factory"], game)
    assert seen.absolute_prestate == ABSOLUTE_PRESTATE
    assert seen.starting_root == chain.system().games.read(game).starting_root  # type: ignore[arg-type]
    assert seen.min_proposal_size.bit_length() == 63
    assert seen.proposal_count == 0
    assert seen.challenge_period == TEST_TIMES.challenge_period_s


def test_list_games_works_with_more_games_than_one_batch_holds(chain: Chain, wire: Wire, request_number: int) -> None:
    factory = chain.deployment.addresses["factory"]
    for number in range(BATCH + 3):
        op.create_game(wire, PROPOSER_KEY, factory, 0, number.to_bytes(32, "big"), request_number)
    assert len(op.list_games(wire, factory)) == BATCH + 3


def test_moves_and_list_claims(wire: Wire, game: str) -> None:
    """Attack the root, defend the attack: positions, parents, bonds, clocks as the tool prints them."""
    op.move(wire, CHALLENGER_KEY, game, 0, OTHER, attack=True)
    op.move(wire, PROPOSER_KEY, game, 1, THIRD, attack=False)
    listed = op.list_claims(wire, game)
    assert listed.metadata[2:] == [ROOT, 0, TEST_TIMES.max_clock_s, False, "0x" + "00" * 20]
    assert listed.max_clock == TEST_TIMES.max_clock_s
    assert listed.starting_block == 0
    assert listed.max_depth > listed.split_depth >= 2
    assert listed.resolved_at is None
    root, attack, defence = listed.claims

    def bond_at(depth: int) -> int:
        return required_bond_wei(depth, listed.max_depth, ML)

    assert (root.parent, root.gindex, root.claimant, root.value) == (0xFFFFFFFF, 1, PROPOSER, ROOT)
    assert (attack.parent, attack.gindex, attack.claimant, attack.value) == (0, 2, CHALLENGER, OTHER)
    assert (defence.parent, defence.gindex, defence.claimant, defence.value) == (1, 6, PROPOSER, THIRD)
    for claim in listed.claims:
        assert claim.countered_by == "0x" + "00" * 20
        assert not claim.resolved
        assert claim.bond == (ML_ROOT_BOND_WEI if claim.gindex == 1 else bond_at(claim.gindex.bit_length() - 1))
        assert (
            abs(
                (claim.clock & (1 << 64) - 1)
                - int(wire.request("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
            )
            < 60
        )


def test_a_move_for_the_wrong_bond_or_made_twice_fails_like_theirs(wire: Wire, game: str) -> None:
    op.move(wire, CHALLENGER_KEY, game, 0, OTHER, attack=True)
    with pytest.raises(ClientError, match="80497e3b"):  # ClaimAlreadyExists()
        op.move(wire, CHALLENGER_KEY, game, 0, OTHER, attack=True)
    data = "0x" + op.ATTACK + ROOT.hex() + word(0) + word(THIRD)
    with pytest.raises(ClientError, match="8620aa19"):  # IncorrectBondAmount()
        transact(wire, CHALLENGER_KEY, game, data, 1)


def test_resolve_claim_resolve_and_list_credits(chain: Chain, wire: Wire, game: str) -> None:
    """An unanswered attack wins both bonds; the tool sees the withdrawal that follows."""
    op.move(wire, CHALLENGER_KEY, game, 0, OTHER, attack=True)
    with pytest.raises(ClientError, match="f2440b53"):  # ClockNotExpired()
        op.resolve_claim(wire, CHALLENGER_KEY, game, 1)
    chain.warp(TEST_TIMES.max_clock_s + 1)
    with pytest.raises(ClientError, match="9a076646"):  # OutOfOrderResolution()
        op.resolve_claim(wire, CHALLENGER_KEY, game, 0)
    op.resolve_claim(wire, CHALLENGER_KEY, game, 1)
    op.resolve_claim(wire, CHALLENGER_KEY, game, 0)
    op.resolve(wire, CHALLENGER_KEY, game)
    listed = op.list_claims(wire, game)
    assert listed.metadata[3] == 1, "challenger wins"
    assert listed.resolved_at
    assert [claim.resolved for claim in listed.claims] == [True, True]
    assert [claim.countered_by for claim in listed.claims] == [CHALLENGER, "0x" + "00" * 20]
    bonds = sum(claim.bond for claim in listed.claims)
    credits_ = op.list_credits(wire, game)
    assert credits_.collateral == 0, "the game keeps its bonds until it is closed"
    assert credits_.delay == TEST_TIMES.withdrawal_delay_s
    assert credits_.withdrawals == {PROPOSER: (0, 0), CHALLENGER: (0, 0)}
    chain.warp(TEST_TIMES.finality_delay_s + 1)
    chain.sender("challenger").send(FaultDisputeGame(game).claim_credit(CHALLENGER))  # type: ignore[arg-type]
    credits_ = op.list_credits(wire, game)
    assert credits_.collateral == bonds
    amount, unlocked_at = credits_.withdrawals[CHALLENGER]
    assert amount == bonds - forfeited_wei(ML_ROOT_BOND_WEI, ML), "a part of the lost bond is not paid out"
    assert unlocked_at > 0


def test_resolve_works_as_a_simulation_from_nobody(chain: Chain, wire: Wire, game: str) -> None:
    """The tools read `resolve()`'s answer before they send it."""
    chain.warp(TEST_TIMES.max_clock_s + 1)
    op.resolve_claim(wire, PROPOSER_KEY, game, 0)
    assert wire.call(Ask(game, op.RESOLVE, ("uint8",))) == 2


def test_a_root_that_was_proposed_again_is_listed_shown_moved_in_and_resolved(
    chain: Chain, wire: Wire, game: str, request_number: int
) -> None:
    """Longer extra data, with a nonce, are nothing that the tools look at."""
    system, factory = chain.system(), chain.deployment.addresses["factory"]
    request_id = RequestId(request_number.to_bytes(32, "big"))
    intent = proposal_intent(system, request_id, StateRoot(ROOT), 0, nonce=b"\x07" * 32)
    receipt = perform(intent, chain.sender("proposer")).receipt
    assert receipt is not None
    again = system.factory.created_game(receipt)
    newest, oldest = op.list_games(wire, factory)
    assert (newest.address, newest.root_claim) == (again, ROOT)
    assert (oldest.address, oldest.root_claim) == (game, ROOT)
    assert op.watch(wire, factory, again).absolute_prestate == ABSOLUTE_PRESTATE
    op.move(wire, CHALLENGER_KEY, again, 0, OTHER, attack=True)
    assert [claim.value for claim in op.list_claims(wire, again).claims] == [ROOT, OTHER]
    chain.warp(TEST_TIMES.max_clock_s + 1)
    op.resolve_claim(wire, CHALLENGER_KEY, again, 1)
    op.resolve_claim(wire, CHALLENGER_KEY, again, 0)
    op.resolve(wire, CHALLENGER_KEY, again)
    assert op.list_claims(wire, again).metadata[3] == 1
    assert system.games.read(again).request_id == request_id


def test_the_requests_are_the_tools_own_bytes(wire: Wire, game: str) -> None:
    """Nothing but from, input and to in a call; plain request for one, array for several."""
    wire.sent.clear()
    wire.next_id = 1
    op.list_claims(wire, game)
    expected_call = (
        '{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"from":"0x0000000000000000000000000000000000000000",'
        f'"input":"0xbbdc02db","to":"{game.lower()}"}},"latest"]}}'
    )
    assert wire.sent[0].decode() == expected_call
    batch = json.loads(wire.sent[2])
    assert [element["params"][0]["input"] for element in batch] == [
        "0x6361506d",
        "0x8b85902b",
        "0xbcef3b55",
        "0x200d2ed2",
        "0xdabd396d",
        "0x3e3ac912",
        "0x30dbe570",
    ]
