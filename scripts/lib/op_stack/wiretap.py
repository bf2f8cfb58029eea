"""A JSON-RPC forwarder on the loopback interface that keeps what passes: the calls, and their answers."""

from __future__ import annotations

import json
import threading
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Exchange:
    """One call and what came back."""

    method: str
    params: list[Any]
    answer: dict[str, Any]
    """With `result` or `error`."""


class Wiretap:
    """Start it with `with`; `url` is where to ask."""

    def __init__(self, upstream: str) -> None:
        self.heard: list[Exchange] = []
        tap = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                asked = urllib.request.Request(upstream, body, {"content-type": "application/json"})
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    content = answer.read()
                tap._keep(json.loads(body), json.loads(content))
                with suppress(BrokenPipeError, ConnectionResetError):  # who asked has gone
                    self.send_response(200)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: everything is kept."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _keep(self, asked: Any, answered: Any) -> None:
        calls = asked if isinstance(asked, list) else [asked]
        answers = {answer["id"]: answer for answer in (answered if isinstance(answered, list) else [answered])}
        for call in calls:
            self.heard.append(Exchange(call["method"], call.get("params") or [], answers[call["id"]]))
