"""
Figures, health and readiness over HTTP, for Prometheus and for a supervisor of processes.

`/metrics` has the figures in Prometheus' text format, `/healthz` says whether the process does its work at all (503 if
it should be restarted), `/readyz` whether it does all of it now.
"""

from __future__ import annotations

import threading
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from opml_dispute.errors import OpmlError
from opml_dispute.http_server import Handler, Server

_TEXT: Final = "text/plain; charset=utf-8"


class CannotListen(OpmlError):
    """The address for metrics cannot be had."""

    hint = "give another metrics.listen, or --listen"


class Exposed(Protocol):
    """What can be served."""

    registry: CollectorRegistry

    def health(self) -> str | None:
        """Why the process should be restarted, in a few words; None if it is well."""
        ...

    def readiness(self) -> str | None:
        """Why it does less than it should; None if it does all."""
        ...


def serve(exposed: Exposed, host: str, port: int) -> Server:
    """Serves from a thread of its own until `shutdown`. Raises `CannotListen`."""

    class Figures(Handler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self.answer(200, generate_latest(exposed.registry), CONTENT_TYPE_LATEST)
            elif path in ("/healthz", "/readyz"):
                trouble = exposed.health() if path == "/healthz" else exposed.readiness()
                self.answer(200 if trouble is None else 503, f"{trouble or 'well'}\n".encode(), _TEXT)
            else:
                self.answer(404, b"/metrics, /healthz and /readyz are here\n", _TEXT)

    try:
        server = Server((host, port), Figures)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}") from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
