"""Texts that any account can write on the chain, and that are no UTF-8: commands and agents read past them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.chain.contracts.oracle import NO_TERMS
from opml_dispute.chain.rpc import Call
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import registration
from opml_dispute.primitives import ModelId
from tests.agent.test_agent import Unattended, game_of, lie
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import Chain
from tests.support.blobs import ROOT

PLACE, BAD = "ipfs://ABCDEFGH", b"ipfs://\xff\xfe\x80\xc3\x28\xf8\x88\x80"


class Spelt(Call[Any]):
    """A call with the bytes of `BAD` in the place of the text `PLACE`."""

    @property
    def data(self) -> bytes:
        data = super().data
        assert data.count(PLACE.encode()) == 1
        return data.replace(PLACE.encode(), BAD)


def spelt(call: Call[Any]) -> Call[Any]:
    return Spelt(call.to, call.signature, call.arguments, call.contract)


@pytest.fixture
def badly_written(on_chain: Chain) -> tuple[ModelId, str]:
    """A model and a request with such addresses."""
    system, sender = on_chain.system(), on_chain.sender("requester")
    program = compile_model(DIGITS)
    sender.send(spelt(registration(system.registry, program, describe_model(program, PLACE))))
    model_id = system.rpc.read(system.registry.model_id_at(0))
    request = system.oracle.request_by_root(model_id, ROOT, PLACE, NO_TERMS)
    sender.send(spelt(request))
    count = system.rpc.read(system.oracle.request_count())
    return model_id, "0x" + system.rpc.read(system.oracle.request_id_at(count - 1)).hex()


def test_commands_show_what_can_be_read_of_them(cli: Cli, badly_written: tuple[ModelId, str]) -> None:
    _, request_id = badly_written
    for line in (("model", "list"), ("list", "--requests"), ("monitor", "--once")):
        shown = cli(*line)
        assert shown.code in {0, 3}, shown.err
    assert "ipfs://\ufffd" in cli("model", "list").out
    assert_refused(cli("preflight", request_id), "input")


@pytest.fixture
def unattended(chain: Chain, tmp_path: Path) -> Iterator[Unattended]:
    found = Unattended(chain, tmp_path).start(roles=frozenset({"challenger", "proposer"}))
    yield found
    found.end()


def test_an_agent_plays_on_beside_what_is_badly_written(
    chain: Chain, tmp_path: Path, unattended: Unattended, badly_written: tuple[ModelId, str]
) -> None:
    seat, _ = lie(chain, tmp_path, 3)
    unattended.agent.run_pass()
    assert len(game_of(chain, seat).claims) == 2
    assert "UnicodeDecodeError" not in unattended.said()
