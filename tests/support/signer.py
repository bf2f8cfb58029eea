"""A signer of another process's kind: Web3Signer's or clef's conversation over HTTP, with faults on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opml_dispute.chain.keys import Account

Change = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class SignerServer:
    """What the server does; tests change it while it runs."""

    account: Account
    url: str = ""
    is_clef: bool = False
    accounts: list[str] = field(default_factory=list)
    chain_id: int = 31337
    change: Change = lambda transaction: transaction
    """What is done to the transaction before it is signed."""
    signs_with: Account | None = None
    raw_body: bytes | None = None
    """Answers a request to sign with these bytes."""
    delay_s: float = 0.0
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def result(self, method: str, parameters: Any) -> dict[str, Any]:
        """The JSON-RPC answer without its id."""
        listing, signing = (
            ("account_list", "account_signTransaction") if self.is_clef else ("eth_accounts", "eth_signTransaction")
        )
        if method == listing:
            return {"result": self.accounts or [self.account.address]}
        if method != signing:
            return {"error": {"code": -32601, "message": f"the method {method} does not exist"}}
        asked = dict(parameters[0])
        if asked.pop("from").lower() != self.account.address.lower():
            return {"error": {"code": -32000, "message": "no such key"}}
        if not self.is_clef and "chainId" in asked:
            return {"error": {"code": -32602, "message": "unknown property"}}
        fields = {
            name: int(value, 16) if isinstance(value, str) and name not in ("to", "data") else value
            for name, value in asked.items()
        } | {"chainId": int(asked.get("chainId", hex(self.chain_id)), 16)}
        raw, digest = (self.signs_with or self.account).sign(self.change(fields))
        text = "0x" + raw.hex()
        return {"result": {"raw": text, "tx": {"hash": "0x" + digest.hex()}} if self.is_clef else text}


@contextmanager
def serving(server: SignerServer) -> Iterator[SignerServer]:
    """Runs it on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.asked.append((request["method"], request["params"]))
            time.sleep(server.delay_s)
            body = server.raw_body
            if body is None or request["method"] in ("eth_accounts", "account_list"):
                answer = server.result(request["method"], request["params"])
                body = json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
