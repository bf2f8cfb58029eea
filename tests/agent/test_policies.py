"""What an operator allows is what an agent does: caps, the reserve, and the policies for games and requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.actors.exposure import line_wei
from opml_dispute.agent import prefetching
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.contracts.oracle import RequestTerms
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import games_of, proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Address, StateRoot
from tests.agent.test_agent import Unattended, game_of, lie
from tests.conftest import TEST_TIMES, Chain

ETHER = 10**18
PROPOSER = devnet.account("proposer").address


@pytest.fixture
def agents(chain: Chain, tmp_path: Path) -> Iterator[list[Unattended]]:
    found: list[Unattended] = []
    yield found
    for one in found:
        one.end()


def begin(
    agents: list[Unattended], chain: Chain, tmp_path: Path, *, role: str = "challenger", **changes: Any
) -> Unattended:
    one = Unattended(chain, tmp_path, role=role).start(preflight=False, **changes)
    agents.append(one)
    return one


def right_game(chain: Chain, tmp_path: Path, sample: int) -> Address:
    """A right proposal by another account."""
    system, store = chain.system(), ModelStore(tmp_path / "models")
    request_id = ask_sample(system, chain.sender("requester"), sample, store)
    case = open_case(system, request_id, store=store)
    done = perform(
        proposal_intent(system, request_id, case.final_root, case.program.node_count), chain.sender("proposer")
    )
    assert done.receipt is not None
    return system.factory.created_game(done.receipt)


def attack(chain: Chain, game: Address) -> None:
    """A third party attacks the root claim with nonsense."""
    system = chain.system()
    contract, root = FaultDisputeGame(game), system.games.read(game).root
    bond_wei = system.rpc.read(contract.required_bond_wei(root.position.attack()))
    chain.sender("deployer").send(contract.move(bytes(root.value), 0, b"\x07" * 32, is_attack=True), value_wei=bond_wei)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_at_risk_wei": ETHER // 100}, "would be at risk"),
        ({"max_per_game_wei": ETHER // 100}, "a game"),
        ({"reserve_wei": 10_000 * ETHER}, "are free"),
    ],
)
def test_game_beyond_a_limit_is_not_entered_and_the_limit_named(
    chain: Chain, tmp_path: Path, agents: list[Unattended], changes: dict[str, Any], reason: str
) -> None:
    seat, _ = lie(chain, tmp_path, 3)
    one = begin(agents, chain, tmp_path, **changes)
    assert one.passes() == 0
    assert len(game_of(chain, seat).claims) == 1
    assert reason in one.said()


def test_cap_that_is_enough_for_one_game_lets_one_be_entered_and_played_on(
    chain: Chain, tmp_path: Path, agents: list[Unattended]
) -> None:
    """Also after a restart: what the first game may still take is counted before another is entered."""
    seats = [lie(chain, tmp_path, seed)[0] for seed in (3, 4)]
    system, game = chain.system(), game_of(chain, seats[0])
    one_game_wei = line_wei(1, game.depths.max, system.deployment.bonds.terms)
    one = begin(
        agents,
        chain,
        tmp_path,
        reserve_wei=chain.rpc.balance_wei(devnet.account("challenger").address) - 3 * one_game_wei // 2,
    )
    one.passes()
    assert sorted(len(game_of(chain, seat).claims) for seat in seats) == [1, 2]
    one.end()
    one.start()
    one.passes()
    assert sorted(len(game_of(chain, seat).claims) for seat in seats) == [1, 2]


def test_only_named_games_are_played(chain: Chain, tmp_path: Path, agents: list[Unattended]) -> None:
    first, second = (lie(chain, tmp_path, seed)[0] for seed in (3, 4))
    begin(agents, chain, tmp_path, games=frozenset({second.table.address})).passes()
    assert [len(game_of(chain, seat).claims) for seat in (first, second)] == [1, 2]


@pytest.mark.parametrize(("defend", "claims"), [("own", 2), ("right", 3)])
def test_right_claims_of_strangers_are_defended_if_the_policy_says_so(
    chain: Chain, tmp_path: Path, agents: list[Unattended], defend: str, claims: int
) -> None:
    game = right_game(chain, tmp_path, 6)
    attack(chain, game)
    begin(agents, chain, tmp_path, defend=defend).passes()
    assert len(chain.system().games.read(game).claims) == claims


@pytest.mark.parametrize(
    ("changes", "answered"),
    [({}, 1), ({"min_fee_wei": ETHER}, 0), ({"models": frozenset({bytes(32)})}, 0), ({"max_per_game_wei": 1}, 1)],
)
def test_requests_are_answered_as_the_policy_says(
    chain: Chain, tmp_path: Path, agents: list[Unattended], changes: dict[str, Any], answered: int
) -> None:
    """What is left to others is told with its reason; a cap a game below the root bond is no answer either."""
    ask_sample(chain.system(), chain.sender("requester"), 5, ModelStore(tmp_path / "models"))
    one = begin(agents, chain, tmp_path, role="proposer", roles=frozenset({"proposer"}), **changes)
    one.passes()
    made = chain.rpc.read(chain.system().factory.game_count())
    if "max_per_game_wei" in changes:
        assert "it is not answered" in one.said()
        assert made == 0
    else:
        assert made == answered
        assert ("1 open request is left to others: " in one.said()) == (answered == 0)


LAST_MOMENT_S = TEST_TIMES.reclaim_delay_s - TEST_TIMES.longest_to_delivery_s


@pytest.mark.parametrize(("waits_s", "answered"), [(LAST_MOMENT_S - 60, 1), (LAST_MOMENT_S, 0)])
def test_a_fee_that_can_be_taken_back_before_the_delivery_counts_as_none(
    chain: Chain, tmp_path: Path, agents: list[Unattended], waits_s: int, answered: int
) -> None:
    """Else a requester has old requests answered for nothing by an agent that demands a fee."""
    ask_sample(chain.system(), chain.sender("requester"), 5, ModelStore(tmp_path / "models"), fee_wei=2 * ETHER)
    chain.warp(waits_s)
    proposer = frozenset({"proposer"})
    one = begin(agents, chain, tmp_path, role="proposer", roles=proposer, min_fee_wei=ETHER)
    one.passes()
    assert chain.rpc.read(chain.system().factory.game_count()) == answered
    assert ("its fee, which can be taken back" in one.said()) == (answered == 0)


def test_requests_that_others_answer_keep_none_waiting(
    chain: Chain, tmp_path: Path, agents: list[Unattended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its first pass, also where the requests before it are more than a pass looks at."""
    monkeypatch.setattr(prefetching, "AT_ONCE", 1)
    store, requester = ModelStore(tmp_path / "models"), chain.sender("requester")
    for sample in range(6):
        ask_sample(chain.system(), requester, sample, store)
    wanted = ask_sample(chain.system(), requester, 6, store, fee_wei=ETHER // 10)
    one = begin(agents, chain, tmp_path, role="proposer", roles=frozenset({"proposer"}), min_fee_wei=ETHER // 10)
    one.agent.run_pass()
    assert len(games_of(chain.system(), wanted)) == 1


@pytest.mark.parametrize(
    ("changes", "answered"),
    [({}, 1), ({"max_bond_wei": 2 * ETHER}, 0), ({"max_per_game_wei": 2 * ETHER}, 0), ({"max_at_risk_wei": ETHER}, 0)],
)
def test_demanded_bonds_count_among_what_is_risked(
    chain: Chain, tmp_path: Path, agents: list[Unattended], changes: dict[str, Any], answered: int
) -> None:
    """Also what was deposited before: it is in no balance, and can be lost all the same."""
    bond_wei, system = 2 * ETHER + 1, chain.system()
    chain.sender("proposer").send(system.proposer_bonds.deposit(), value_wei=bond_wei - 1)
    terms = RequestTerms(min_bond_wei=bond_wei)
    ask_sample(system, chain.sender("requester"), 5, ModelStore(tmp_path / "models"), terms=terms)
    one = begin(
        agents, chain, tmp_path, role="proposer", roles=frozenset({"proposer", "claimer", "resolver"}), **changes
    )
    one.passes()
    assert chain.rpc.read(system.factory.game_count()) == answered
    if not answered:
        assert chain.rpc.read(system.proposer_bonds.deposit_wei(PROPOSER)) == bond_wei - 1
        return
    (game,) = one.agent.discovery.addresses
    assert one.agent._context.at_risk_wei([system.games.read(game)]) > bond_wei
    before_wei = chain.rpc.balance_wei(PROPOSER)
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1):
        chain.warp(delay_s)
        one.passes()
    assert chain.rpc.read(system.proposer_bonds.bond_wei(game)) == 0
    assert chain.rpc.balance_wei(PROPOSER) > before_wei + 2 * ETHER - ETHER // 100  # gas


def test_bonds_of_further_addresses_are_fetched_also_when_they_are_added_later(
    chain: Chain, tmp_path: Path, agents: list[Unattended]
) -> None:
    """The first process knows its own address only, and has nothing left to do; the next one claims for another."""
    right_game(chain, tmp_path, 6)
    one = begin(agents, chain, tmp_path)
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s):
        chain.warp(delay_s)
        one.passes()
    assert one.passes() == 0
    before_wei = chain.rpc.balance_wei(PROPOSER)
    one.end()
    one.start(claim_for=(PROPOSER,))
    for delay_s in (0, TEST_TIMES.withdrawal_delay_s):
        chain.warp(delay_s)
        one.passes()
    assert chain.rpc.balance_wei(PROPOSER) == before_wei + chain.system().deployment.bonds.root_bond_wei


@pytest.mark.parametrize("role", ["proposer", "claimer", "finalizer"])
def test_own_proposal_gets_its_place_back_when_what_came_before_fell(
    chain: Chain, tmp_path: Path, agents: list[Unattended], role: str
) -> None:
    """Also one that is in progress; and before the agent itself delivers with a game that was made later."""
    fee_wei = ETHER // 10
    system, store = chain.system(), ModelStore(tmp_path / "models")
    request_id = ask_sample(system, chain.sender("requester"), 6, store, fee_wei=fee_wei)
    case = open_case(system, request_id, store=store)
    games = []
    for number, account in enumerate(("deployer", "proposer", "challenger")):
        intent = proposal_intent(
            system, request_id, case.final_root, case.program.node_count, nonce=number.to_bytes(32, "big")
        )
        done = perform(intent, chain.sender(account))
        assert done.receipt is not None
        games.append(system.factory.created_game(done.receipt))
    first, own, later = games
    attack(chain, first)
    chain.warp(TEST_TIMES.max_clock_s)
    chain.sender("deployer").send(FaultDisputeGame(first).settle([1, 0]))
    assert chain.rpc.read(system.oracle.may_be_restored(own))
    if role == "finalizer":
        chain.sender("challenger").send(FaultDisputeGame(later).settle([0]))
        chain.warp(TEST_TIMES.finality_delay_s + 1)
    before_wei = chain.rpc.balance_wei(PROPOSER)
    one = begin(agents, chain, tmp_path, role="proposer", roles=frozenset({role}))
    one.passes()
    assert not chain.rpc.read(system.oracle.may_be_restored(own))
    assert one.agent.memory.sent_counts()["restore-proposal"] == 1
    assert system.games.read(own).in_progress
    if role == "finalizer":
        assert chain.rpc.read(system.oracle.request_of(request_id)).delivered_by == later
        assert chain.rpc.balance_wei(PROPOSER) > before_wei + fee_wei * 9 // 10


def test_an_answer_that_survived_without_an_output_keeps_the_right_one_from_nothing(
    chain: Chain, tmp_path: Path, agents: list[Unattended]
) -> None:
    """Random bytes that no checker countered: the right answer is proposed all the same, and delivered."""
    system, store = chain.system(), ModelStore(tmp_path / "models")
    request_id = ask_sample(system, chain.sender("requester"), 6, store)
    nonsense = StateRoot(b"\x5a" * 32)
    done = perform(proposal_intent(system, request_id, nonsense, 14), chain.sender("deployer"))
    assert done.receipt is not None
    survivor = system.factory.created_game(done.receipt)
    chain.warp(TEST_TIMES.max_clock_s)
    chain.sender("deployer").send(FaultDisputeGame(survivor).settle([0]))
    chain.warp(TEST_TIMES.finality_delay_s + 1)
    assert chain.rpc.read(system.oracle.is_claim_valid(survivor))

    roles = frozenset({"proposer", "resolver", "finalizer"})
    one = begin(agents, chain, tmp_path, role="proposer", roles=roles)
    for delay_s in (0, TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1):
        chain.warp(delay_s)
        one.passes()
    delivered_by = chain.rpc.read(system.oracle.request_of(request_id)).delivered_by
    assert delivered_by in set(games_of(system, request_id)) - {survivor}
