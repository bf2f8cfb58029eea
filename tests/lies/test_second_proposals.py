"""Nodes that lag behind a proposal which was signed on this computer: no second bond is locked for the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest

from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.journal import KeyLedger, Launched
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import RpcFailed
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System, connect
from opml_dispute.chain.transactions import NonceTaken, NotMined
from opml_dispute.devnet import anvil as devnet
from opml_dispute.game.position import Position
from opml_dispute.operator.deposits import DepositUnseen, deposit_intents
from opml_dispute.operator.intents import Intent, perform
from opml_dispute.operator.own_proposals import ProposalUnseen
from opml_dispute.operator.proposing import ProposalExists, proposal_intents
from opml_dispute.primitives import RequestId, StateRoot
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.conftest import TEST_TIMES, Chain
from tests.lies.test_proposing import PROPOSER, ROOT, ask, hiding_what_was_sent

Edit: TypeAlias = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]

LATEST_AT = {"eth_call": 1, "eth_getBlockByNumber": 0, "eth_getCode": 1, "eth_getTransactionCount": 1}
"""Where these questions say at which block."""


@contextmanager
def behind(
    chain: Chain,
    block: int,
    *,
    counts: bool = True,
    receipts: bool = True,
    lie: Edit | None = None,
    patience_s: float = 0.6,
) -> Iterator[System]:
    """
    A system at a node that answers at an earlier block; whether it does so too about counts and about receipts. `lie`
    changes what it answers beside that.
    """

    def edit(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        method, parameters = request["method"], list(request.get("params", []))
        if lie is not None:
            reply = lie(request, reply)
        if method == "eth_getTransactionReceipt" and receipts:
            return reply | {"result": None}
        place = LATEST_AT.get(method)
        is_count = method == "eth_getTransactionCount" or (method == "eth_call" and "to" not in parameters[0])
        if place is None or (is_count and not counts) or parameters[place] not in ("latest", "pending"):
            return reply
        parameters[place] = hex(block)
        return proxy.forward(request | {"params": parameters})

    with FaultProxy(chain.anvil.url, edit=edit) as proxy:
        yield connect(Rpc(proxy.url, patience_s=patience_s), chain.deployment)


def proposer(chain: Chain) -> Sender:
    return Sender(chain.rpc, devnet.account("proposer"), chain_id=chain.deployment.chain_id)


def intents_for(system: System, request_id: RequestId) -> list[Intent]:
    return proposal_intents(system, request_id, ROOT, 1, proposer=PROPOSER)


def proposed(chain: Chain, fee_wei: int) -> tuple[RequestId, int]:
    """A request whose answer was proposed here, and the block before that."""
    request_id = ask(chain, fee_wei=fee_wei)
    chain.rpc.request("evm_mine")
    before = chain.rpc.head().number
    for intent in intents_for(chain.system(), request_id):
        perform(intent, proposer(chain))
    return request_id, before


def game_count(chain: Chain) -> int:
    return chain.rpc.read(chain.system().factory.game_count())


FEES_WEI = [0, 10**16]
"""Without a fee there is no commitment before the game."""


@pytest.mark.parametrize("fee_wei", FEES_WEI)
def test_a_proposal_that_a_node_does_not_count_is_not_made_beside_itself(chain: Chain, fee_wei: int) -> None:
    """What is sent comes to a node that counts it: whatever is signed for the same answer would come later."""
    request_id, before = proposed(chain, fee_wei)
    with behind(chain, before) as system:
        first, *_ = intents_for(system, request_id)
    assert first.only_nonce is not None
    with pytest.raises((NonceTaken, Reverted), match=r"was signed under nonce|GameAlreadyExists"):
        perform(first, proposer(chain))
    assert game_count(chain) == 1


@pytest.mark.parametrize("fee_wei", FEES_WEI)
@pytest.mark.parametrize("has_receipts", [True, False])
def test_a_node_that_counts_a_proposal_and_lacks_its_game_is_waited_for(
    chain: Chain, fee_wei: int, has_receipts: bool
) -> None:
    request_id, before = proposed(chain, fee_wei)
    with (
        behind(chain, before, counts=False, receipts=not has_receipts) as system,
        pytest.raises(ProposalUnseen, match="signed here"),
    ):
        intents_for(system, request_id)
    with pytest.raises(ProposalExists):
        intents_for(chain.system(), request_id)
    assert game_count(chain) == 1


def unmined(chain: Chain, intent: Intent) -> dict[str, Any]:
    """What the pool has of an intent that was sent and not mined, when the pool forgot it; blocks are mined again."""
    chain.rpc.request("evm_setAutomine", False)
    hasty = Sender(chain.rpc, devnet.account("proposer"), timeout_s=0.05, resends=0, chain_id=devnet.CHAIN_ID)
    with pytest.raises(NotMined):
        perform(intent, hasty)
    (lost,) = chain.rpc.request("eth_getBlockByNumber", "pending", True)["transactions"]
    raw = chain.rpc.request("eth_getRawTransactionByHash", lost["hash"])
    chain.rpc.request("anvil_dropTransaction", lost["hash"])
    chain.rpc.request("evm_setAutomine", True)
    return {"nonce": int(lost["nonce"], 16), "raw": raw}


@pytest.mark.parametrize("fee_wei", FEES_WEI)
def test_a_proposal_that_no_node_has_any_more_is_replaced_and_not_doubled(chain: Chain, fee_wei: int) -> None:
    """It waited in a pool that forgot it; it could still come back from another one."""
    request_id = ask(chain, fee_wei=fee_wei)
    *before, proposal = intents_for(chain.system(), request_id)
    for intent in before:
        perform(intent, proposer(chain))
    lost = unmined(chain, proposal)
    first, *others = intents_for(chain.system(), request_id)
    assert first.only_nonce == lost["nonce"]
    for intent in [first, *others]:
        perform(intent, proposer(chain))
    with pytest.raises(RpcFailed, match="nonce too low"):
        chain.rpc.request("eth_sendRawTransaction", lost["raw"])
    assert game_count(chain) == 1


def test_a_proposal_in_whose_place_another_own_transaction_came_is_in_no_ones_way(chain: Chain) -> None:
    """The journal keeps both of one nonce, and the receipt is the other one's."""
    request_id = ask(chain, fee_wei=0)
    (proposal,) = intents_for(chain.system(), request_id)
    lost = unmined(chain, proposal)
    proposer(chain).send(chain.system().oracle.commit(bytes([1]) * 32))
    assert len(KeyLedger(chain.deployment.chain_id, PROPOSER).launched()[lost["nonce"]]) == 2
    (again,) = intents_for(chain.system(), request_id)
    assert again.only_nonce is None
    perform(again, proposer(chain))
    assert game_count(chain) == 1


def test_a_lost_game_of_an_own_proposal_keeps_no_other_from_being_made(chain: Chain) -> None:
    """Also where the node has no receipts of then any more."""
    request_id, _ = proposed(chain, 10**16)
    system = chain.system()
    game = FaultDisputeGame(system.rpc.read(system.oracle.first_proposal(request_id, ROOT)))
    other = chain.sender("challenger")
    bond_wei = system.rpc.read(game.required_bond_wei(Position.from_gindex(2)))
    other.send(game.move(ROOT, 0, StateRoot(b"\x77" * 32), is_attack=True), value_wei=bond_wei)
    chain.warp(TEST_TIMES.max_clock_s + 1)
    other.send(game.resolve_claim(1))
    other.send(game.resolve_claim(0))
    other.send(game.resolve())
    with FaultProxy(chain.anvil.url, edit=hiding_what_was_sent) as proxy:
        first, *_ = intents_for(connect(Rpc(proxy.url, patience_s=0.3), chain.deployment), request_id)
    assert first.only_nonce is None


def test_a_proposal_that_is_nowhere_though_its_nonce_is_used_blocks_until_it_is_overruled(chain: Chain) -> None:
    """As when a wallet took its place: that cannot be told from a node that hides it."""
    request_id = ask(chain, fee_wei=0)
    (proposal,) = intents_for(chain.system(), request_id)
    lost = unmined(chain, proposal)
    other = {"to": PROPOSER, "data": "0x", "value": 0, "gas": 21_000, "gasPrice": 10**11, "nonce": lost["nonce"]}
    raw, _ = devnet.account("proposer").sign(other | {"chainId": devnet.CHAIN_ID})
    chain.rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
    system = connect(Rpc(chain.rpc.url, patience_s=0.3), chain.deployment)
    with pytest.raises(ProposalUnseen, match=f"nonce {lost['nonce']}") as raised:
        intents_for(system, request_id)
    assert "--again" in str(raised.value.hint)
    (overruled,) = proposal_intents(system, request_id, ROOT, 1, proposer=PROPOSER, again=True)
    assert overruled.only_nonce is None


def replaced(chain: Chain, intent: Intent) -> int:
    """Another program's transaction is mined in the place of an intent's; answers their nonce."""
    nonce = int(unmined(chain, intent)["nonce"])
    other = {"to": PROPOSER, "data": "0x", "value": 0, "gas": 21_000, "gasPrice": 10**11, "nonce": nonce}
    raw, _ = devnet.account("proposer").sign(other | {"chainId": devnet.CHAIN_ID})
    chain.rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
    return nonce


FINAL_AFTER = 67
"""The local chain finalises what is 64 blocks old."""

BEFORE = 8
"""Blocks that the search goes back to: the local chain keeps the latest states only, those of other tests too."""


def impatient(chain: Chain) -> System:
    return connect(Rpc(chain.rpc.url, patience_s=0), chain.deployment)


def of_another_key(reply: dict[str, Any]) -> dict[str, Any]:
    """A raw transaction of another account in the place of what was asked for."""
    raw, _ = devnet.account("challenger").sign(
        {"to": PROPOSER, "data": "0x", "value": 0, "gas": 21_000, "gasPrice": 10**11, "nonce": 0, "chainId": 31337}
    )
    return reply | {"result": "0x" + raw.hex()}


FINAL_LIES: dict[str, Edit] = {
    "hides what was sent": lambda request, reply: reply,
    "shows another key's": lambda request, reply: (
        of_another_key(reply) if request["method"] == "eth_getRawTransactionByHash" else reply
    ),
    "counts more": lambda request, reply: (
        reply | {"result": "0xffff"}
        if request["method"] == "eth_getTransactionCount" and request["params"][1].startswith("0x")
        else reply
    ),
    "has no earlier state": lambda request, reply: (
        {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32000, "message": "missing trie node"}}
        if request["method"] == "eth_getTransactionCount" and request["params"][1].startswith("0x")
        else reply
    ),
    "finalises nothing": lambda request, reply: (
        reply | {"result": None} if request["params"][:1] == ["finalized"] else reply
    ),
}


def test_what_another_program_replaced_is_made_again_once_that_is_final_and_what_a_node_hides_never(
    chain: Chain,
) -> None:
    """
    A proposal and a deposit are replaced; another proposal stands, and a node hides it: what it shows in its place has
    to be signed by the very key, under that nonce. WHY NOT one test each: the chain keeps few states for all of them.
    """
    chain.rpc.request("anvil_mine", hex(BEFORE))
    hidden, before = proposed(chain, 0)
    request_id = ask(chain, fee_wei=7)
    proposal = proposal_intents(chain.system(), request_id, ROOT, 1, proposer=PROPOSER, commits=False)[-1]
    nonce = replaced(chain, proposal)
    (deposit,) = deposit_intents(chain.system(), 10**17, PROPOSER)
    replaced(chain, deposit)
    chain.rpc.request("anvil_mine", hex(5))
    with pytest.raises(ProposalUnseen):
        intents_for(impatient(chain), request_id)
    with pytest.raises(DepositUnseen):
        deposit_intents(impatient(chain), 10**17, PROPOSER)
    chain.rpc.request("anvil_mine", hex(FINAL_AFTER))
    for lie in FINAL_LIES.values():
        with behind(chain, before, counts=False, lie=lie, patience_s=0) as system, pytest.raises(ProposalUnseen):
            intents_for(system, hidden)
    again = proposal_intents(impatient(chain), request_id, ROOT, 1, proposer=PROPOSER, commits=False)[-1]
    assert again.only_nonce is None
    assert nonce not in KeyLedger(chain.deployment.chain_id, PROPOSER).launched()
    perform(again, proposer(chain))
    assert game_count(chain) == 2
    assert [intent.value_wei for intent in deposit_intents(impatient(chain), 10**17, PROPOSER)] == [10**17]


def test_a_proposal_is_remembered_however_many_transactions_follow(chain: Chain) -> None:
    """By an agent that makes its moves with the same key, while its node hides the game."""
    request_id, before = proposed(chain, 0)
    ledger = KeyLedger(chain.deployment.chain_id, PROPOSER)
    (made,) = (nonce for nonce, forms in ledger.launched().items() if any(form.makes_game for form in forms))
    with ledger.lock():
        for nonce in range(made + 1, made + 80):
            fields = ledger.launched()[made][0].fields | {"nonce": nonce, "data": "0x"}
            ledger.launch(nonce, Launched(nonce.to_bytes(32, "big"), fields))
    assert made in ledger.launched()
    assert made + 1 not in ledger.launched()
    with behind(chain, before, counts=False, patience_s=0) as system, pytest.raises(ProposalUnseen):
        intents_for(system, request_id)


@pytest.mark.parametrize("fee_wei", FEES_WEI)
def test_of_two_processes_that_propose_the_same_at_one_moment_one_makes_a_game(chain: Chain, fee_wei: int) -> None:
    """Both looked before either had signed."""
    request_id = ask(chain, fee_wei=fee_wei)
    one, other = (intents_for(chain.system(), request_id) for _ in range(2))
    perform(other[0], proposer(chain)) if fee_wei else None
    for intent in one:
        perform(intent, proposer(chain))
    with pytest.raises((ProposalExists, Reverted), match=r"at this moment|GameAlreadyExists"):
        perform(other[-1], proposer(chain))
    assert game_count(chain) == 1
