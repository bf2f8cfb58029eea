"""Inputs in blobs from command to command: published, found by other accounts, disputed, refuted, and the bonds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from opml_dispute.availability.blobs import fetch_image
from opml_dispute.chain.blob_places import blob_uri_of
from opml_dispute.chain.blob_transactions import MAX_BLOBS_EACH, Sidecar
from opml_dispute.chain.input_blobs import BlobStatus, publication_terms
from opml_dispute.chain.quoting import TRANSACTION_GAS_CAP
from opml_dispute.devnet.blob_tables import make_blob_tables
from opml_dispute.engine.blob_row import blobs_of
from opml_dispute.operator.blob_publishing import blob_publication
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import TEST_TIMES, Chain
from tests.support.blobs import IMAGE, ROOT, SHAPE, publish_right, publish_wrong

Key = Callable[[str], str]

ELEMENTS = 3 * 224 * 224
"""Of the model's input, in float32: 602,112 bytes, as ResNet-50 takes them."""


@pytest.fixture
def beacon(on_chain: Chain, monkeypatch: pytest.MonkeyPatch) -> str:
    """The local chain's beacon API, which all parties use; files and the like are not fetched."""
    make_blob_tables(on_chain.anvil.url)
    monkeypatch.setenv("OPML_FETCH", "public")
    monkeypatch.setenv("OPML_BLOBS", on_chain.anvil.url)
    return on_chain.anvil.url


def asking(cli: Cli, key: Key, tmp_path: Path, elements: int = 50_000) -> tuple[object, ...]:
    """A request about a large input of a registered model: it adds up its elements."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, elements])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )
    model, x = tmp_path / "sum.onnx", tmp_path / "x.npy"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    np.save(x, np.random.default_rng(5).normal(size=(1, elements)).astype(np.float32))
    registered = cli("model", "register", model, "--key-file", key("requester"), "--json")
    model_id = registered.object_with("model_id")["model_id"]
    signing = ("--key-file", key("requester"), "--json")
    return ("request", "--model-id", model_id, "--input", x, "--publish", "blobs", *signing)


def move_home(monkeypatch: pytest.MonkeyPatch, home: Path, models: Path) -> None:
    """Another computer: of the first one it has the models that were registered there, and no input."""
    monkeypatch.setenv("OPML_HOME", str(home))
    (home / "models").mkdir(parents=True)
    for file in models.glob("models/*program*"):
        (home / "models" / file.name).write_bytes(file.read_bytes())


def test_an_input_in_blobs_is_asked_about_answered_and_disputed_by_others(
    cli: Cli,
    on_chain: Chain,
    key: Key,
    beacon: str,
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The liar and the challenger each have it from the beacon API alone. A second request publishes nothing."""
    command = asking(cli, key, tmp_path, ELEMENTS)
    asked = cli(*command)
    assert asked.code == 0, asked.err
    (sent,) = [item for item in asked.objects if item.get("did") == "publish"]
    assert (sent["blobs"], sent["sent"]) == (5, True)
    assert sent["gas"] < 200_000
    request_id = asked.object_with("request_id")["request_id"]
    monkeypatch.setenv("OPML_BLOBS", str(tmp_path))
    assert_refused(cli(*[word for word in command if word != "--json"]), "the input cannot be had")
    monkeypatch.setenv("OPML_BLOBS", beacon)
    again = cli(*command)
    assert again.code == 0, again.err
    assert not [item for item in again.objects if item.get("did") == "publish"]

    move_home(monkeypatch, tmp_path / "liar", own_home)
    lie = ("--fault", "seed=1", "--stake-anyway", "--key-file", key("proposer"), "--json")
    made = cli("propose", request_id, "--force-unavailable", *lie)
    assert made.code == 0, made.err
    game = made.objects[-1]["game"]
    move_home(monkeypatch, tmp_path / "challenger", own_home)
    attacked = cli("challenge", game, "--key-file", key("challenger"), "--json")
    assert attacked.code == 0, attacked.err
    assert [item["did"] for item in attacked.objects if "did" in item] == ["attack"]
    assert list((tmp_path / "challenger" / "models").glob("*.input"))


def test_what_is_at_no_source_is_not_answered(
    cli: Cli,
    on_chain: Chain,
    key: Key,
    beacon: str,
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty archive, none, and one that has the blobs as files."""
    request_id = cli(*asking(cli, key, tmp_path)).object_with("request_id")["request_id"]
    move_home(monkeypatch, tmp_path / "other", own_home)
    archive = tmp_path / "archive"
    archive.mkdir()
    proposing = ("propose", request_id, "--force-unavailable", "--dry-run", "--key-file", key("proposer"))
    monkeypatch.setenv("OPML_BLOBS", str(archive))
    assert_refused(cli(*proposing), "2 of 2 are at none of the sources")
    monkeypatch.delenv("OPML_BLOBS")
    assert_refused(cli(*proposing), "OPML_BLOBS")
    image = np.load(tmp_path / "x.npy").astype(">f4").tobytes()
    sidecar = Sidecar.of(blobs_of(image))
    for name, blob in zip(sidecar.hashes, sidecar.blobs, strict=True):
        (archive / f"0x{name.hex()}.blob").write_bytes(blob)
    monkeypatch.setenv("OPML_BLOBS", f"{tmp_path / 'nowhere'},{archive}")
    proposed = cli(*proposing)
    assert proposed.code == 0, proposed.err


@pytest.mark.parametrize("flipped", [33, 32 * (SHAPE.word_count - 1), None], ids=["leaf", "top", "root"])
def test_a_wrong_publication_is_refuted_for_its_bond(
    cli: Cli, on_chain: Chain, key: Key, beacon: str, flipped: int | None
) -> None:
    """By an account that has only the chain and the beacon API. It stands in no other publication's way."""
    publish_right(on_chain)
    publish_wrong(on_chain, flipped)
    system, challenger = on_chain.system(), on_chain.sender("challenger")
    uri = blob_uri_of(system.rpc, system.input_blobs, ROOT)
    assert uri is not None
    assert fetch_image(uri, [beacon], max_bytes=len(IMAGE), deadline=time.monotonic() + 600) == IMAGE
    before_wei = system.rpc.balance_wei(challenger.address)
    done = cli("input", "refute", "0x" + ROOT.hex(), "--key-file", key("challenger"), "--json")
    assert done.code == 0, done.err
    assert sorted(item["right"] for item in done.objects if "right" in item) == [False, True]
    commit, refuted = [item for item in done.objects if "did" in item]
    assert refuted["gas"] < TRANSACTION_GAS_CAP // 7
    paid_wei = commit["gas_paid_wei"] + refuted["gas_paid_wei"]
    terms = publication_terms(system.rpc, system.input_blobs)
    assert system.rpc.balance_wei(challenger.address) == before_wei + terms.reward_wei - paid_wei
    shown = cli("input", "list", "0x" + ROOT.hex(), "--json").objects
    assert [item["refuted"] for item in shown] == [True, False]
    again = cli("input", "refute", "0x" + ROOT.hex(), "--key-file", key("challenger"), "--json")
    assert not [item for item in again.objects if "did" in item]


def test_a_refutation_that_costs_more_than_it_pays_is_not_sent(
    cli: Cli, on_chain: Chain, key: Key, beacon: str
) -> None:
    publish_wrong(on_chain, None)
    system = on_chain.system()
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    sender = on_chain.sender("proposer")
    found = system.rpc.read(system.input_blobs.publication_id(sender.address, b"\7" * 32, ROOT, SHAPE.leaf_count))
    sender.send(system.input_blobs.take_bond(found))
    refuting = ("input", "refute", "0x" + ROOT.hex(), "--key-file", key("challenger"))
    assert_refused(cli(*refuting), "and pays 0 ETH")
    forced = cli(*refuting, "--at-a-loss")
    assert forced.code == 0, forced.err
    assert system.rpc.read(system.input_blobs.publication(found)).status == BlobStatus.REFUTED


def test_bonds_come_back_when_their_window_is_over(cli: Cli, on_chain: Chain, key: Key, beacon: str) -> None:
    """And at once for what was never finished; a finished one not before."""
    publish_right(on_chain)
    system, sender = on_chain.system(), on_chain.sender("requester")
    large = random.Random(4).randbytes(900_000)
    plan = blob_publication(system, sender.address, large)
    assert [intent.facts["blobs"] for intent in plan.intents] == [MAX_BLOBS_EACH, 2]
    sender.send(plan.intents[0].call, value_wei=plan.intents[0].value_wei)
    rest = blob_publication(system, sender.address, large)
    assert [intent.value_wei for intent in rest.intents] == [0]
    taking = ("input", "take-bond", "--key-file", key("requester"), "--json")
    early = cli(*taking)
    assert len([item for item in early.objects if item.get("did") == "take-bond"]) == 1
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    late = cli(*taking)
    assert len([item for item in late.objects if item.get("did") == "take-bond"]) == 1
    assert system.rpc.balance_wei(system.input_blobs.address) == 0
    assert not [item for item in cli(*taking).objects if "did" in item]


def test_a_publication_that_cannot_be_paid_for_is_not_begun(
    cli: Cli, on_chain: Chain, key: Key, beacon: str, tmp_path: Path
) -> None:
    command = asking(cli, key, tmp_path)
    system, sender = on_chain.system(), on_chain.sender("requester")
    bond_wei = publication_terms(system.rpc, system.input_blobs).bond_wei
    system.rpc.request("anvil_setBalance", sender.address, hex(bond_wei))
    asked = cli(*[word for word in command if word != "--json"])
    assert asked.code == 1
    assert "needs" in asked.err
    assert system.rpc.balance_wei(sender.address) == bond_wei


def test_what_does_not_go_into_blobs_is_refused(cli: Cli, on_chain: Chain, key: Key, tmp_path: Path) -> None:
    signing = ("--key-file", key("requester"))
    assert_refused(cli("model", "register", "--publish", "blobs", *signing), "./blobs")
    assert_refused(
        cli("request", "--sample", 7, "--publish", "blobs", "--published-as", "http://x.org", *signing), "blobs"
    )
    assert_refused(cli("input", "refute", "0x" + "11" * 32, *signing), "it is not said where they are")
    assert_refused(cli("input", "refute", "12", "--blobs", "/tmp", *signing), "neither a request id nor an input root")
    assert_refused(cli("input", "refute", "0x" + "11" * 32, "--blobs", "ftp://x", *signing), "no source of blobs")
