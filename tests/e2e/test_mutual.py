"""Our agent plays against a liar who moves by the OP Stack's own client, by that client's words on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.actors.actions import Move
from opml_dispute.actors.honest import consider
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.game.bond import forfeited_wei
from opml_dispute.operator.case import open_case
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Address
from opml_dispute.trace.guest import guest_machine
from tests.agent.test_agent import Unattended
from tests.conftest import TEST_TIMES, Chain
from tests.e2e import op_client as op
from tests.e2e.op_wire import Wire

LIAR_KEY = devnet.key_hex(devnet.ROLES.index("proposer"))
LIAR, AGENT = (devnet.account(role).address for role in ("proposer", "challenger"))


@pytest.mark.slow
def test_agent_beats_a_liar_who_plays_by_the_other_client(chain: Chain, tmp_path: Path) -> None:
    """
    The liar creates the game, lists its claims, moves and resolves as op-challenger's commands do; what to claim is
    worked out by hand, from a story that holds down to one instruction. The agent steps, and is paid.
    """
    system, store = chain.system(), ModelStore(tmp_path / "models")
    wire, factory = Wire(chain.anvil.url), chain.deployment.addresses["factory"]
    request_id = ask_sample(system, chain.sender("requester"), 3, store)
    story = open_case(system, request_id, store=store).liar().find(3)
    trace = story.trace(guest_machine())
    game = Address(
        op.create_game(wire, LIAR_KEY, factory, 0, bytes(story.root_claim), int.from_bytes(request_id, "big"))
    )
    agent = Unattended(chain, tmp_path).start()
    for _ in range(80):
        busy = agent.agent.run_pass()
        state = system.games.read(game)
        listed = op.list_claims(wire, game)
        assert len(listed.claims) == len(state.claims)
        moves = [a for a in consider(state, trace, chain.rpc.head().timestamp).actions if isinstance(a, Move)]
        for move in moves:
            op.move(wire, LIAR_KEY, game, move.parent_index, bytes(move.value), attack=move.is_attack)
        if not busy and not moves:
            break
    claims = op.list_claims(wire, game).claims
    assert [claim.claimant for claim in claims] == [LIAR, AGENT] * (len(claims) // 2) + [LIAR] * (len(claims) % 2)
    assert len(claims) == listed.max_depth + 1, "down to the leaf, without a wasted move"
    assert claims[-1].countered_by == AGENT, "the agent let the chain run the instruction"
    chain.warp(TEST_TIMES.max_clock_s + 1)
    for index in reversed(range(len(claims))):
        op.resolve_claim(wire, LIAR_KEY, game, index)
    op.resolve(wire, LIAR_KEY, game)
    listed = op.list_claims(wire, game)
    assert listed.metadata[3] == 1, "the challenger wins"
    assert all(
        claim.countered_by == ("0x" + "00" * 20 if claim.claimant == AGENT else AGENT) for claim in listed.claims
    )
    before_wei = chain.rpc.balance_wei(AGENT)
    for delay_s in (TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s):
        chain.warp(delay_s)
        agent.passes()
    terms = system.games.read(game).terms
    won_wei = sum(
        claim.bond - (0 if claim.claimant == AGENT else forfeited_wei(claim.bond, terms)) for claim in listed.claims
    )
    gas_wei = before_wei + won_wei - chain.rpc.balance_wei(AGENT)
    assert 0 < gas_wei < won_wei // 100
    assert op.list_credits(wire, game).withdrawals[AGENT][0] == 0, "all is paid"
    agent.end()
