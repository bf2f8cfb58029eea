"""The monitor sees whether what is kept of fees for defenders is what their claims allow, and whether it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.agent.monitor import Monitor
from opml_dispute.agent.monitor_metrics import MonitorMetrics
from opml_dispute.agent.share_audit import ShareAudit
from opml_dispute.chain.contracts.oracle import DefenderShares
from opml_dispute.chain.rpc import Call
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.settle import read_settlement, settle_intents
from opml_dispute.operator.shares import SHARE_KIND
from opml_dispute.primitives import Address, RequestId
from tests.agent.test_agent import CHALLENGER, Unattended
from tests.agent.test_monitor import kinds
from tests.agent.test_share_claims import defend_to_the_end, deliver, shared_game
from tests.conftest import Chain


@pytest.fixture
def cases(chain: Chain, tmp_path: Path) -> Iterator[LocalCases]:
    found = LocalCases(chain.system(), ModelStore(tmp_path / "models"), workers=1)
    yield found
    found.close()


def shared_and_defended(chain: Chain, tmp_path: Path) -> tuple[RequestId, Address]:
    """An answer that an agent defended until its game was final; its request shares the fee."""
    request_id, game = shared_game(chain, tmp_path, 10**18)
    agent = Unattended(chain, tmp_path).start(preflight=False, defend="right")
    defend_to_the_end(chain, agent)
    agent.end()
    return request_id, game


def test_shares_of_defenders_are_audited(chain: Chain, cases: LocalCases, tmp_path: Path) -> None:
    """From the delivery, which keeps the share, until it is paid, also where it is paid without a look between."""
    system, monitor, metrics = chain.system(), Monitor(chain.system(), cases), MonitorMetrics()
    contract = system.defender_shares.address

    def seen() -> list[Any]:
        metrics.show(monitor.look(), 0.1)
        value = metrics.registry.get_sample_value
        states = ("kept", "paid", "held", "short")
        return [value("opml_monitor_defender_shares", {"state": state}) or 0 for state in states]

    request_id, game = shared_and_defended(chain, tmp_path)
    assert seen() == [0, 0, 0, 0]
    deliver(chain, tmp_path, request_id, game)
    share_wei = system.rpc.read(system.defender_shares.share_wei(game))
    share = pytest.approx(share_wei / 10**18)
    assert share_wei
    assert seen() == [share, 0, share, 0]
    assert kinds(monitor) == []
    head, audit, finished = system.rpc.head(), ShareAudit(system), system.games.read(game)
    assert audit.look([replace(finished, status=GameStatus.CHALLENGER_WINS)], head).kept_wei == 0
    assert audit.look([finished], head).kept_wei == share_wei, "a node that erred about a game is not believed for good"
    chain.rpc.request("anvil_setBalance", contract, hex(share_wei - 1))
    assert kinds(monitor) == ["collateral_short"]
    assert seen()[3] == pytest.approx(1e-18)
    chain.rpc.request("anvil_setBalance", contract, hex(share_wei))
    settlement = read_settlement(system, game, [CHALLENGER])
    paying = [intent for intent in settle_intents(settlement) if intent.kind == SHARE_KIND]
    for intent in paying:
        perform(intent, chain.sender("requester"))
    assert seen() == [share, share, 0, 0]
    assert kinds(monitor) == []


@pytest.mark.parametrize(
    ("function", "change", "told"),
    [
        ("share_wei", lambda wei: 10 * wei, "are kept, and its claims allow"),
        ("credit_wei", lambda both: (both[0] + 10**18, both[1]), "are counted for"),
        ("credit_wei", lambda both: (both[0], 10**18), "were paid to"),
    ],
)
def test_a_share_that_the_claims_do_not_allow_is_told(
    chain: Chain,
    cases: LocalCases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    change: Callable[[Any], Any],
    told: str,
) -> None:
    """No contract of this release lets that happen, so its answer is changed."""
    request_id, game = shared_and_defended(chain, tmp_path)
    deliver(chain, tmp_path, request_id, game)
    chain.rpc.request("anvil_setBalance", chain.system().defender_shares.address, hex(10**19))
    asked = getattr(DefenderShares, function)

    def changed(*arguments: Any) -> Call[Any]:
        call = asked(*arguments)
        return replace(call, parse=lambda answer: change(call.parse(answer)))

    monkeypatch.setattr(DefenderShares, function, changed)
    (alert,) = Monitor(chain.system(), cases).look().alerts
    assert (alert.kind, alert.game) == ("share_wrong", game)
    assert told in alert.what
