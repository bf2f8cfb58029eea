"""
A server of content for tests, honest or misbehaving, and a small gateway of IPFS with its API.

`ContentServer` serves what `files` holds under each path, and misbehaves under others. It is on the loopback interface
and ends with its context.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = b"x" * 4096
PACKED = gzip.compress(bytes(1 << 20))


class ContentServer:
    """What was put here can be fetched; what was asked for is noted."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.misbehaving: dict[str, str] = {}
        """Path to one of: silent, slow, endless, packed, short, 404, 500."""
        self.asked: list[str] = []
        self.forgets = False
        """Take in what is published, and give it to no one."""
        self.spoils = False
        """Give back something else than what was published."""
        self.ended = threading.Event()
        self.url = ""

    def take_in(self, path: str, content: bytes) -> None:
        """What was published here."""
        if not self.forgets:
            self.files[path] = content[:-1] + bytes([content[-1] ^ 1]) if self.spoils else content

    def content_id(self, content: bytes) -> str:
        """An id as IPFS gives them: of the content."""
        return "bafy" + hashlib.sha256(content).hexdigest()[:52]


@contextmanager
def serving() -> Iterator[ContentServer]:
    """A server on a free port."""
    content = ContentServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            path = self.path
            content.asked.append(path)
            if path in content.redirects:
                self.send_response(302)
                self.send_header("Location", content.redirects[path])
                self.end_headers()
                return
            with suppress(OSError):
                self._give(path)

        def _give(self, path: str) -> None:
            how, body = content.misbehaving.get(path), content.files.get(path, b"")
            if how is None and path not in content.files:
                how = "404"
            if how in ("404", "500"):
                self.send_error(int(how))
                return
            if how == "silent":
                content.ended.wait(60)
                return
            self.send_response(200)
            if how == "packed":
                body = PACKED
                self.send_header("Content-Encoding", "gzip")
            if how not in ("endless", "slow"):
                self.send_header("Content-Length", str(len(body) + (10 if how == "short" else 0)))
            self.end_headers()
            if how == "endless":
                while not content.ended.is_set():
                    self.wfile.write(CHUNK)
            elif how == "slow":
                while not content.ended.is_set():
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            else:
                self.wfile.write(body)

        def do_PUT(self) -> None:
            size = int(self.headers["Content-Length"])
            content.take_in(self.path, self.rfile.read(size))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            """`/api/v0/add`: one file in a form."""
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            found = re.search(rb"boundary=([^;\s]+)", self.headers["Content-Type"].encode())
            if not self.path.startswith("/api/v0/add") or found is None:
                self.send_error(404)
                return
            part = raw.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--" + found.group(1), 1)[0]
            name = content.content_id(part)
            content.take_in(f"/ipfs/{name}", part)
            answer = b'{"Name":"x","Hash":"%s","Size":"%d"}\n' % (name.encode(), len(part))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    content.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield content
    finally:
        content.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
