"""The RPC layer: what is asked in batches, and what is said when something is not there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from opml_dispute.chain.contracts.dispute import DisputeGameFactory
from opml_dispute.chain.retrying import BATCH_LIMIT
from opml_dispute.chain.rpc import Ask, NoCode, Rpc, UnexpectedAnswer, WrongChain
from opml_dispute.chain.rpc_errors import RpcFailed, RpcUnreachable
from opml_dispute.devnet import anvil as devnet
from opml_dispute.primitives import Address

NOBODY = Address("0x000000000000000000000000000000000000dEaD")


class _Teapot(BaseHTTPRequestHandler):
    """Answers every request with the same words."""

    status, body = 200, b"I am a teapot"

    def do_POST(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def teapot() -> Iterator[str]:
    """The URL of a server that speaks no JSON-RPC."""
    server = HTTPServer(("127.0.0.1", 0), _Teapot)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_closed_port_is_unreachable() -> None:
    with pytest.raises(RpcUnreachable, match="no Ethereum node answers"):
        Rpc(f"http://127.0.0.1:{devnet.free_port()}").chain_id()


@pytest.mark.parametrize("url", ["localhost:8545", "ftp://x", "http://", ""])
def test_what_is_no_http_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(RpcUnreachable, match="http://"):
        Rpc(url)


def test_a_server_that_speaks_no_json_rpc_is_unreachable(teapot: str) -> None:
    with pytest.raises(RpcUnreachable, match="does not speak JSON-RPC"):
        Rpc(teapot).chain_id()


def test_an_http_error_is_named(teapot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Teapot, "status", 429)
    with pytest.raises(RpcUnreachable, match="429 Too Many Requests"):
        Rpc(teapot, patience_s=0).chain_id()


def test_the_nodes_own_errors_keep_their_words(bare_anvil: devnet.Anvil) -> None:
    with pytest.raises(RpcFailed, match="eth_noSuchMethod"):
        bare_anvil.rpc.request("eth_noSuchMethod")


def test_large_batches_are_split_and_keep_their_order(bare_anvil: devnet.Anvil) -> None:
    blocks = [hex(0)] * (2 * BATCH_LIMIT + 7)
    answers = bare_anvil.rpc.batch([Ask("eth_getBlockByNumber", [block, False]) for block in blocks])
    assert [answer["number"] for answer in answers] == blocks
    assert bare_anvil.rpc.batch([]) == []


def test_one_failing_element_fails_the_batch(bare_anvil: devnet.Anvil) -> None:
    with pytest.raises(RpcFailed):
        bare_anvil.rpc.batch([Ask("eth_chainId"), Ask("eth_noSuchMethod")])


def test_another_chain_is_named_with_both_ids(bare_anvil: devnet.Anvil) -> None:
    with pytest.raises(WrongChain, match="serves chain 31337, but the deployment is on chain 1"):
        bare_anvil.rpc.expect_chain(1)


def test_an_address_without_code_is_named(bare_anvil: devnet.Anvil) -> None:
    with pytest.raises(NoCode, match=f"expected the factory at {NOBODY}"):
        bare_anvil.rpc.expect_code(NOBODY, "the factory")


def test_reading_from_an_address_without_code_is_no_crash(bare_anvil: devnet.Anvil) -> None:
    with pytest.raises(UnexpectedAnswer, match=r"DisputeGameFactory\.gameCount at .* answered nothing"):
        bare_anvil.rpc.read(DisputeGameFactory(NOBODY).game_count())
