"""A node that serves another chain by now is told of by its id, once, and nothing is done by what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.agent.endpoints import compare_endpoints
from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.agent.monitor import Monitor
from opml_dispute.agent.monitor_metrics import MonitorMetrics
from opml_dispute.chain.requests import find_request_event, read_request
from opml_dispute.chain.rpc import Rpc, WrongChain
from opml_dispute.chain.system import connect
from opml_dispute.cli import monitor as cli_monitor
from opml_dispute.cli.output import Output
from opml_dispute.devnet import anvil as devnet
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Table
from opml_dispute.operator.watch import Troubles, watch
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.agent.test_agent import Unattended, game_of, lie
from tests.conftest import Chain

OTHER_ID = 8453


class Changeable:
    """A node that may serve another chain; contracts have the same addresses there."""

    def __init__(self) -> None:
        self.is_another = False

    def edit(self, request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        if self.is_another and request["method"] == "eth_chainId":
            return reply | {"result": hex(OTHER_ID)}
        return reply


@contextmanager
def changeable(chain: Chain) -> Iterator[tuple[Chain, Changeable]]:
    node = Changeable()
    with FaultProxy(chain.anvil.url, edit=node.edit) as proxy:
        yield replace(chain, anvil=devnet.Anvil(chain.anvil.pid, proxy.url)), node


def test_an_agent_waits_until_it_is_the_right_chain_again(chain: Chain, tmp_path: Path) -> None:
    with changeable(chain) as (behind, node):
        found = Unattended(behind, tmp_path).start()
        seat, _ = lie(chain, tmp_path, 3)
        node.is_another = True
        passes: list[float] = []

        class Stop:
            def is_set(self) -> bool:
                return len(passes) > 8

        def pause(seconds: float) -> None:
            passes.append(seconds)
            if len(passes) == 5:
                assert len(game_of(chain, seat).claims) == 1
                node.is_another = False

        found.agent.run(Stop(), pause=pause)  # type: ignore[arg-type]
        assert len(game_of(chain, seat).claims) == 2
        said = [json.loads(line) for line in found.said().splitlines()]
        found.agent.lease.give_back()
        found.agent.memory.close()
    wrong = [line["what"] for line in said if line["event"] == "trouble" and str(OTHER_ID) in line["what"]]
    assert len(wrong) == 1
    assert f"serves chain {OTHER_ID}, but the deployment is on chain {devnet.CHAIN_ID}: check" in wrong[0]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_monitor_tells_it_once(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """To people and to scripts."""
    with changeable(chain) as (behind, node):
        system = behind.system()
        cases = LocalCases(system, ModelStore(tmp_path / "models"), workers=1)
        watcher, metrics, output = Monitor(system, cases), MonitorMetrics(stale_s=600.0), Output(as_json=as_json)
        troubles = Troubles(output.trouble)
        for is_another in (False, True, True, True, False):
            node.is_another = is_another
            cli_monitor._look(watcher, metrics, output, troubles)
        watcher.close()
        cases.close()
    told = capsys.readouterr()
    lines = (told.out if as_json else told.err).splitlines()
    wrong = [line for line in lines if f"serves chain {OTHER_ID}" in line]
    assert len(wrong) == 1
    assert "check --rpc-url and --deployment" in wrong[0]
    assert sum("All is well again" in line for line in lines) == 1


def test_a_watcher_of_one_game_goes_on_after_it(chain: Chain, tmp_path: Path) -> None:
    told: list[str] = []
    seat, case = lie(chain, tmp_path, 3)
    with changeable(chain) as (behind, node):
        table = Table(behind.system(), seat.table.address, case.trace())
        node.is_another = True
        with pytest.raises(WrongChain):
            table.look()

        class Looks:
            def snapshot(self) -> Any:
                return table.snapshot()

        class Over(Exception):
            """Enough was seen."""

        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) > 3:
                raise Over

        with pytest.raises(Over):
            watch(Looks(), table.trace, interval_s=1.0, tell=told.append, pause=pause)  # type: ignore[arg-type]
    assert len(told) == 1
    assert f"serves chain {OTHER_ID}" in told[0]
    assert "check --rpc-url" in told[0]


def test_a_node_to_compare_with_is_told_of_by_its_chain_too(chain: Chain) -> None:
    """However many blocks that chain has: it is neither behind nor ahead."""
    with changeable(chain) as (behind, node):
        node.is_another = True
        found = compare_endpoints(chain.rpc.head(), [behind.rpc], chain_id=chain.deployment.chain_id, max_lag_blocks=10)
    assert found.lag_blocks == 0
    assert [f"serves chain {OTHER_ID}" in reason for reason in found.objections] == [True]


def test_an_event_is_looked_for_again_where_a_node_lagged_behind_it(chain: Chain, tmp_path: Path) -> None:
    """One answer was of a node that had not heard of the request's block."""
    _, case = lie(chain, tmp_path, 3)
    stale = [chain.rpc.request("eth_getBlockByNumber", "0x1", False)]

    def edit(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        is_head = request["method"] == "eth_getBlockByNumber" and request["params"][0] == "latest"
        return reply | {"result": stale.pop()} if is_head and stale else reply

    record = read_request(chain.system(), case.request_id)
    with FaultProxy(chain.anvil.url, edit=edit) as proxy:
        system = connect(Rpc(proxy.url), chain.deployment)
        found = find_request_event(system, case.request_id, record.requested_at_s)
    assert found["requestId"] == case.request_id
    assert not stale
