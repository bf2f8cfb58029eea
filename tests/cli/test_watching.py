"""What `respond --watch` says while it has nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from opml_dispute.cli import dispute
from opml_dispute.devnet.anvil import reorganise
from opml_dispute.operator.watch import TAKEN_BACK_S
from opml_dispute.primitives import Address
from tests.cli.conftest import Cli
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]


def test_a_watcher_says_once_that_nothing_is_due_and_a_game_that_is_over_is_in_no_dispute(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour without a line looks like a command that hangs; the third pause is as long as the clocks."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            on_chain.warp(TEST_TIMES.max_clock_s)

    asked = cli("request", "--sample", 7, "--key-file", key("requester"), "--json")
    request_id = asked.objects[-1]["request_id"]
    proposed = cli("propose", request_id, "--key-file", key("proposer"), "--json")
    game = proposed.objects[-1]["game"]
    assert cli("show", game, "--json").objects[-1]["in_dispute"] is not None
    monkeypatch.setattr(dispute, "time", SimpleNamespace(sleep=pause))
    watched = cli("respond", game, "--watch", "--key-file", key("proposer"))
    assert watched.code == 0, watched.err
    assert watched.err.count("Nothing is due now (1 claim); waiting.") == 1
    assert f"opml-dispute show {game}" in watched.err
    assert cli("show", game, "--json").objects[-1]["in_dispute"] is None


def test_a_watcher_settles_again_what_a_reorganisation_took_back(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a public chain it does not end in the very round in which the game is over."""
    asked = cli("request", "--sample", 7, "--key-file", key("requester"), "--json")
    proposed = cli("propose", asked.objects[-1]["request_id"], "--key-file", key("proposer"), "--json")
    game = Address(proposed.objects[-1]["game"])
    over: list[bool] = []

    def pause(seconds: float) -> None:
        over.append(not on_chain.system().games.read(game).in_progress)
        if len(over) == 1:
            on_chain.warp(TEST_TIMES.max_clock_s)
        elif over == [False, True]:
            reorganise(on_chain.rpc, 1)
        elif sum(over) == 2:
            on_chain.warp(TAKEN_BACK_S)
        assert len(over) < 9

    monkeypatch.setattr(dispute, "devnet", SimpleNamespace(CHAIN_ID=1))
    monkeypatch.setattr(dispute, "time", SimpleNamespace(sleep=pause))
    watched = cli("respond", game, "--watch", "--key-file", key("proposer"))
    assert watched.code == 0, watched.err
    assert "Watching on for" in watched.err
    assert watched.err.count("and the game is over: the defender wins") == 2, "settled once more"
    assert not on_chain.system().games.read(game).in_progress
