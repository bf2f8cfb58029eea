"""
A small HTTP server for a few answers: figures for Prometheus, calls of op-challenger.

`Handler.answer` sends content of a known length; nothing is logged of requests, which come every few seconds.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    timeout = 30.0  # of a connection that says nothing, in seconds

    def answer(self, status: int, content: bytes, kind: str) -> None:
        """Sends `content`, whose media type is `kind`."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """A thread for each client, any of which may go away at any moment."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a client that did not wait for its answer; anything else is our own error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
