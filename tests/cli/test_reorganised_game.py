"""A game that a reorganisation takes back, and that is made again elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opml_dispute.operator.case import open_case
from opml_dispute.operator.intents import Done, perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.proposing import proposal_intents
from opml_dispute.primitives import RequestId
from tests.cli.conftest import Cli
from tests.cli.test_commands import ask, propose
from tests.conftest import Chain

Key = Callable[[str], str]


def test_a_watcher_names_the_game_that_a_reorganisation_made_again(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old address is none any more, and nothing is defended there."""
    request_id, rpc = ask(cli, key), on_chain.rpc
    snapshot = rpc.request("evm_snapshot")
    game = propose(cli, key, request_id)
    made: list[Done] = []

    class Pauses:
        count = 0

        def sleep(self, seconds: float) -> None:
            self.count += 1
            if self.count == 1:
                rpc.request("evm_revert", snapshot)
                rpc.request("evm_mine")
                sender, system = on_chain.sender("challenger"), on_chain.system()
                case = open_case(system, RequestId(bytes.fromhex(request_id[2:])), store=ModelStore.default())
                for intent in proposal_intents(
                    system, case.request_id, case.final_root, case.node_count, proposer=sender.address
                ):
                    made.append(perform(intent, sender))
            if self.count == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr("opml_dispute.cli.dispute.time", Pauses())
    watched = cli("respond", game, "--watch", "--key-file", key("proposer"))
    assert watched.code == 130
    (again,) = [done.receipt for done in made if done.intent.kind == "propose" and done.receipt is not None]
    address = on_chain.system().factory.created_game(again)
    assert f"A reorganisation moved this game to {address}: opml-dispute respond {address} --watch" in watched.err
