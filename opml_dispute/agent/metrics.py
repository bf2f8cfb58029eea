"""
What an agent is doing, for machines: Prometheus metrics, health and readiness over HTTP.

`/metrics` has the figures, `/healthz` says whether passes come to an end, `/readyz` whether the agent may act. The
names follow op-challenger's where they mean the same.
"""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from opml_dispute.errors import OpmlError

STALE_S: Final = 600.0
"""An agent whose last pass ended longer ago is not healthy."""


class CannotListen(OpmlError):
    """The address for metrics cannot be had."""

    hint = "give another metrics.listen"


class Metrics:
    """One agent's figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.up = Gauge("opml_agent_up", "1 while the agent runs", registry=own)
        self.acting = Gauge(
            "opml_agent_acting", "1 if the agent may send: lease held and endpoints agree", registry=own
        )
        self.passes = Counter("opml_agent_passes", "Passes over the deployment", ["outcome"], registry=own)
        self.pass_seconds = Histogram(
            "opml_agent_pass_seconds",
            "Duration of a pass",
            buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800),
            registry=own,
        )
        self.tracked_games = Gauge("opml_agent_tracked_games", "Games by their state", ["status"], registry=own)
        self.games_unjudged = Gauge(
            "opml_agent_games_unjudged", "Games whose root cannot be computed here", registry=own
        )
        self.disagreements = Gauge(
            "opml_agent_games_disagree",
            "Games in progress whose root claim is wrong by this computer",
            registry=own,
        )
        self.sent = Counter("opml_agent_transactions", "Transactions sent", ["kind"], registry=own)
        self.failed = Counter("opml_agent_failed_actions", "Actions that failed and will be tried again", registry=own)
        self.bonds_pending = Gauge("opml_agent_bonds_pending_wei", "Own bonds in games in progress", registry=own)
        self.bond_paid = Counter("opml_agent_bonds_paid_wei", "Bonds withdrawn for the addresses served", registry=own)
        self.balance = Gauge("opml_agent_balance_wei", "The account's balance", registry=own)
        self.next_deadline = Gauge(
            "opml_agent_next_deadline_seconds",
            "Least time left on a clock that this agent must watch",
            registry=own,
        )
        self.endpoint_lag = Gauge("opml_agent_endpoint_lag_blocks", "Blocks behind the furthest endpoint", registry=own)
        self.last_pass_ended = time.monotonic()
        self.may_act = False

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)

    @property
    def is_healthy(self) -> bool:
        """Whether a pass ended lately."""
        return time.monotonic() - self.last_pass_ended < STALE_S


def serve(metrics: Metrics, host: str, port: int) -> ThreadingHTTPServer:
    """Serves from a thread of its own until `shutdown`. Raises `CannotListen`."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, metrics.text(), CONTENT_TYPE_LATEST)
            elif path == "/healthz":
                self._answer(*((200, b"healthy\n") if metrics.is_healthy else (503, b"no pass has ended lately\n")))
            elif path == "/readyz":
                self._answer(*((200, b"acting\n") if metrics.may_act else (503, b"watching only\n")))
            else:
                self._answer(404, b"/metrics, /healthz and /readyz are here\n")

        def _answer(self, status: int, content: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a scraper comes every few seconds."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
