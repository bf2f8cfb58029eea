"""Many games are read at little cost, and none is seen later than it should be, whatever the node does."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.chain import game_cache, head_history
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.game_cache import GameCache
from opml_dispute.chain.games import GameReader
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.system import System, connect
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Address, StateRoot
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.conftest import Chain


def propose(chain: Chain, tmp_path: Path, count: int) -> list[Address]:
    """So many games for one request, each with another root claim."""
    system = chain.system()
    request_id = ask_sample(system, chain.sender("requester"), 3, ModelStore(tmp_path / "models"))
    found = []
    for index in range(count):
        root = StateRoot(bytes([index + 1]) * 32)
        done = perform(proposal_intent(system, request_id, root, 20), chain.sender("proposer"))
        assert done.receipt is not None
        found.append(system.factory.created_game(done.receipt))
    return found


def attack(chain: Chain, game: Address) -> None:
    system = chain.system()
    root = system.games.read(game).root
    contract = FaultDisputeGame(game)
    bond_wei = system.rpc.read(contract.required_bond_wei(root.position.attack()))
    call = contract.move(bytes(root.value), 0, b"\x07" * 32, is_attack=True)
    chain.sender("challenger").send(call, value_wei=bond_wei)


def away(chain: Chain) -> None:
    """Beyond the blocks that are searched once more."""
    chain.rpc.request("anvil_mine", hex(game_cache.OVERLAP_BLOCKS + 1))


def claims(found: dict[Address, Game | OpmlError]) -> list[int]:
    return [len(game.claims) for game in found.values() if isinstance(game, Game)]


def cache_of(system: System, **options: float) -> GameCache:
    return GameCache(GameReader(system.rpc, system.factory, system.games.parts), **options)


def test_many_games_are_read_as_one_by_one(chain: Chain, tmp_path: Path) -> None:
    games = propose(chain, tmp_path, 3)
    attack(chain, games[1])
    system, head = chain.system(), chain.rpc.head()
    assert system.games.read_many(games, at=head) == [chain.system().games.read(game, at=head) for game in games]


def test_one_game_that_cannot_be_read_stops_no_other(chain: Chain, tmp_path: Path) -> None:
    games = propose(chain, tmp_path, 2)
    nothing = Address("0x000000000000000000000000000000000000dEaD")
    first, wrong, second = chain.system().games.read_many([games[0], nothing, games[1]], at=chain.rpc.head())
    assert isinstance(wrong, OpmlError)
    assert [game.address for game in (first, second) if isinstance(game, Game)] == games


def test_only_what_changed_is_read_again(chain: Chain, tmp_path: Path) -> None:
    games = propose(chain, tmp_path, 4)
    away(chain)
    cache = cache_of(chain.system())
    cache.refresh(games, chain.rpc.head())
    assert cache.reads == 4
    away(chain)
    cache.refresh(games, chain.rpc.head())
    attack(chain, games[2])
    assert claims(cache.refresh(games, chain.rpc.head())) == [1, 1, 2, 1]
    assert cache.reads == 5
    away(chain)
    cache.refresh(games, chain.rpc.head(), closely=[games[0]])
    assert cache.reads == 7, "the one watched closely, and the one that changed, whose blocks are searched once more"


def test_requests_do_not_grow_with_games_that_stand_still(chain: Chain, tmp_path: Path) -> None:
    games = propose(chain, tmp_path, 12)
    away(chain)
    with FaultProxy(chain.anvil.url) as proxy:
        system = connect(Rpc(proxy.url), chain.deployment)
        cache = cache_of(system)
        cache.refresh(games, system.rpc.head())
        away(chain)
        proxy.asked.clear()
        cache.refresh(games, system.rpc.head())
    assert sum(proxy.asked.values()) <= 3, proxy.asked


@pytest.mark.parametrize("fault", ["log-range", "no-batch", "no-eip1898", "header-not-found", "rate-limited", "closed"])
def test_change_is_seen_through_every_fault_of_a_node(chain: Chain, tmp_path: Path, fault: str) -> None:
    games = propose(chain, tmp_path, 3)
    with FaultProxy(chain.anvil.url, [fault], every=5) as proxy:
        system = connect(Rpc(proxy.url), chain.deployment)
        cache = cache_of(system)
        cache.refresh(games, system.rpc.head())
        chain.rpc.request("anvil_mine", "0x20")
        attack(chain, games[1])
        assert claims(cache.refresh(games, system.rpc.head())) == [1, 2, 1]


def test_node_that_keeps_events_back_delays_a_game_and_no_more(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    games = propose(chain, tmp_path, 2)
    monkeypatch.setattr(game_cache, "logs_between", lambda *_: [])
    patient, soon = cache_of(chain.system()), cache_of(chain.system(), reread_s=0.0)
    for cache in (patient, soon):
        cache.refresh(games, chain.rpc.head())
    attack(chain, games[0])
    assert claims(patient.refresh(games, chain.rpc.head())) == [1, 1]
    assert claims(patient.refresh(games, chain.rpc.head(), closely=[games[0]])) == [2, 1]
    assert claims(soon.refresh(games, chain.rpc.head())) == [2, 1]


def test_reorganised_chain_is_read_anew(chain: Chain, tmp_path: Path) -> None:
    games = propose(chain, tmp_path, 2)
    away(chain)
    snapshot = chain.rpc.request("evm_snapshot")
    attack(chain, games[0])
    cache = cache_of(chain.system())
    assert claims(cache.refresh(games, chain.rpc.head())) == [2, 1]
    assert chain.rpc.request("evm_revert", snapshot)
    chain.rpc.request("evm_increaseTime", 77)
    away(chain)
    assert claims(cache.refresh(games, chain.rpc.head())) == [1, 1]
    assert cache.reorganisations == 1


def test_node_that_falls_behind_takes_nothing_back(chain: Chain, tmp_path: Path) -> None:
    games = propose(chain, tmp_path, 2)
    away(chain)
    old = chain.rpc.head()
    attack(chain, games[0])
    cache = cache_of(chain.system())
    assert claims(cache.refresh(games, chain.rpc.head())) == [2, 1]
    assert claims(cache.refresh(games, old, closely=games)) == [2, 1]
    assert cache.reorganisations == 0
    assert cache.reads == 2


def test_a_chain_that_stays_shorter_is_believed_in_the_end(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that lags looks the same at first: nothing tells a chain without its last blocks from one to be."""
    games = propose(chain, tmp_path, 1)
    cache = cache_of(chain.system())
    cache.refresh(games, chain.rpc.head())
    attack(chain, games[0])
    assert claims(cache.refresh(games, chain.rpc.head())) == [2]
    chain.rpc.request("anvil_rollback", 1)
    assert claims(cache.refresh(games, chain.rpc.head())) == [2]
    assert cache.reorganisations == 0
    monkeypatch.setattr(head_history, "BEHIND_S", 0.0)
    assert claims(cache.refresh(games, chain.rpc.head())) == [1]
    assert cache.reorganisations == 1
    assert claims(cache.refresh(games, chain.rpc.head())) == [1]
    assert cache.reorganisations == 1, "told once"


def test_a_shorter_chain_of_other_blocks_is_believed_at_once(chain: Chain, tmp_path: Path) -> None:
    """A block that was the latest one earlier is another one now."""
    games = propose(chain, tmp_path, 1)
    cache, snapshot = cache_of(chain.system()), chain.rpc.request("evm_snapshot")
    for _ in range(3):
        chain.rpc.request("evm_mine")
        cache.refresh(games, chain.rpc.head())
    chain.rpc.request("evm_revert", snapshot)
    attack(chain, games[0])
    assert claims(cache.refresh(games, chain.rpc.head())) == [2]
    assert cache.reorganisations == 1
