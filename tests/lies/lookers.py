"""
A monitor at a node that lies for a while: it never ends, and once the lie has passed it tells what it told before.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.agent.monitor import Monitor
from opml_dispute.agent.monitor_metrics import MonitorMetrics
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.system import connect
from opml_dispute.cli import monitor as cli_monitor
from opml_dispute.cli.output import Output
from opml_dispute.devnet import anvil as devnet
from opml_dispute.errors import OpmlError
from opml_dispute.operator.watch import Troubles
from opml_dispute.testing.fault_proxy import FaultProxy
from opml_dispute.testing.node_lies import Lie, Teller
from tests.lies.hurried import HurriedTime
from tests.lies.oracle import wrong_words
from tests.lies.scenes import ROLE, Scene
from tests.lies.watchers import FORGIVEN_S, PAUSE_S, place_of, put_back


@dataclass
class Looked:
    """What a monitor came to."""

    alerts: list[tuple[str, str | None]]
    """Kinds, with their games."""
    standings: list[dict[str, Any]]
    said: str
    teller: Teller
    bugs: list[str]


class Lookout:
    """A monitor of one scene, again and again."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self.folder = scene, folder
        self.honest = self.look(None, true_looks=1)
        assert not self.honest.bugs, self.honest.bugs

    def look(self, lie: Lie | None, *, true_looks: int) -> Looked:
        """So many looks at an honest node, two at one that lies, and on at an honest one until it is forgiven."""
        teller, out, chain = Teller(), io.StringIO(), self.scene.chain
        if lie is not None:
            teller.others = self.honest.teller.others
        bugs: list[str] = []
        with (
            put_back(chain),
            FaultProxy(chain.anvil.url, edit=teller) as proxy,
            HurriedTime() as time,
            redirect_stdout(out),
            redirect_stderr(out),
        ):
            system = connect(Rpc(proxy.url), chain.deployment)
            cases = LocalCases(system, self.scene.store, workers=1)
            monitor = Monitor(
                system,
                cases,
                honest=[devnet.account(ROLE).address],
                blobs=(chain.anvil.url,) if self.scene.publications else (),
                waits_for_blobs=True,
            )
            metrics, output = MonitorMetrics(stale_s=600.0), Output(as_json=False)
            troubles = Troubles(output.trouble)

            def one_look() -> None:
                try:
                    cli_monitor._look(monitor, metrics, output, troubles)
                except OpmlError as error:
                    bugs.append(f"ended by {error}")
                except Exception as error:
                    bugs.append(f"{type(error).__name__}: {error} at {place_of(error)}")

            try:
                for _ in range(true_looks):
                    one_look()
                teller.lie = lie
                for _ in range(2):
                    one_look()
                teller.lie = None
                until_s = time.passed_s + FORGIVEN_S
                while time.passed_s < until_s:
                    time.sleep(PAUSE_S)
                    one_look()
                report = monitor.look()
            finally:
                monitor.close()
                cases.close()
        alerts = sorted((alert.kind, alert.game or "") for alert in report.alerts)
        standings = sorted((one.facts | {"seconds_left": 0} for one in report.standings), key=lambda one: one["game"])
        return Looked([(kind, game or None) for kind, game in alerts], standings, out.getvalue(), teller, bugs)

    def wrong(self, lie: Lie, *, true_looks: int) -> list[str]:
        """What is wrong with a monitor to which this was said."""
        try:
            looked = self.look(lie, true_looks=true_looks)
        except OpmlError as error:
            return [f"no look came to an end: {error}"]
        found = list(looked.bugs)
        if looked.alerts != self.honest.alerts:
            found.append(f"tells {looked.alerts}, expected {self.honest.alerts}")
        if looked.standings != self.honest.standings:
            found.append(f"shows {looked.standings}, expected {self.honest.standings}")
        return found + wrong_words(looked.said, [])
