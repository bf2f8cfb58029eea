"""Inputs and outputs that one transaction cannot hold: in parts, under a public chain's limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.chain.contracts.oracle import RequestTerms, SegmentRoots
from opml_dispute.chain.input_parts import PART_BYTES, parts_of, published_image
from opml_dispute.chain.transactions import MAX_TRANSACTION_BYTES, TransactionTooLarge
from opml_dispute.cli.output import Output, ether
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.operator.inference import new_request_id
from opml_dispute.operator.publishing import publication_intents
from opml_dispute.primitives import RequestId
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]

ELEMENTS = 50_003
"""Of the model's input, in float32: 200,012 bytes, three parts and a rest."""


@pytest.fixture
def model_id(cli: Cli, on_chain: Chain, key: Key, tmp_path: Path) -> str:
    """A registered model with a large input: it adds up its elements."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, ELEMENTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )
    path = tmp_path / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    registered = cli("model", "register", path, "--key-file", key("requester"), "--json")
    assert registered.code == 0, registered.err
    return str(registered.object_with("model_id")["model_id"])


def values(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(5).normal(size=(1, ELEMENTS)).astype(np.float32))
    return path


def test_a_large_input_is_published_asked_about_and_answered(
    cli: Cli, on_chain: Chain, key: Key, model_id: str, tmp_path: Path
) -> None:
    """The proposer finds the image on the chain; it is given no file. A second request publishes nothing."""
    signing = ("--key-file", key("requester"), "--json")
    asking = ("request", "--model-id", model_id, "--input", values(tmp_path), *signing)
    asked = cli(*asking)
    assert asked.code == 0, asked.err
    assert [item["part"] for item in asked.objects if item.get("did") == "publish"] == [0, 1, 2, 3]
    request_id = asked.object_with("request_id")["request_id"]
    made = cli("propose", request_id, "--force-unavailable", "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    again = cli(*asking)
    assert again.code == 0, again.err
    assert not [item for item in again.objects if item.get("did") == "publish"]


def test_an_interrupted_publication_goes_on_where_it_stopped(on_chain: Chain) -> None:
    """Also after another program left something else under the first name."""
    system, sender = on_chain.system(), on_chain.sender("requester")
    image = np.random.default_rng(1).bytes(2 * PART_BYTES + 5)
    root = merkle_root(image, 36)
    sender.send(system.input_parts.add_part(root, 0, b"x" * PART_BYTES, is_last=False))
    intents = publication_intents(system, sender.address, image)
    assert len(intents) == 3
    sender.send(intents[0].call)
    rest = publication_intents(system, sender.address, image)
    assert [intent.facts["part"] for intent in rest] == [1, 2]
    assert published_image(system.rpc, system.input_parts, root) is None
    for intent in rest:
        sender.send(intent.call)
    assert published_image(system.rpc, system.input_parts, root) == image
    assert publication_intents(system, sender.address, image) == []


def test_parts_of_other_publishers_do_not_mix(on_chain: Chain) -> None:
    """An earlier upload of the same image by another address, never completed, and one that ends in zeros."""
    system = on_chain.system()
    image = np.random.default_rng(2).bytes(PART_BYTES + 9)
    other, requester = on_chain.sender("challenger"), on_chain.sender("requester")
    root = merkle_root(image, 36)
    other.send(system.input_parts.add_part(root, 0, image[:PART_BYTES], is_last=False))
    longer = parts_of(image + bytes(7))
    for index, part in enumerate(longer):
        requester.send(system.input_parts.add_part(root, index, part, is_last=index == 1))
    assert published_image(system.rpc, system.input_parts, root) == image + bytes(7)


def test_an_input_that_no_node_would_take_whole_is_refused(
    cli: Cli, on_chain: Chain, key: Key, model_id: str, tmp_path: Path
) -> None:
    asked = cli(
        "request", "--whole", "--model-id", model_id, "--input", values(tmp_path), "--key-file", key("requester")
    )
    assert_refused(asked, f"nodes take {MAX_TRANSACTION_BYTES:,} at most")
    assert "--in-parts" in asked.err
    system, sender = on_chain.system(), on_chain.sender("requester")
    with pytest.raises(TransactionTooLarge):
        sender.quote(system.input_parts.add_part(bytes(32), 0, bytes(MAX_TRANSACTION_BYTES), is_last=True))


def test_parts_that_cannot_all_be_paid_for_are_not_begun(
    cli: Cli, on_chain: Chain, key: Key, model_id: str, tmp_path: Path
) -> None:
    """A requester who has enough for two of four parts is told what all of them take, and pays for none."""
    system, sender = on_chain.system(), on_chain.sender("requester")
    part = system.input_parts.add_part(bytes(32), 0, bytes(range(1, 256)) * 257 + b"x", is_last=False)
    balance_wei = 2 * sender.quote(part).most_wei
    system.rpc.request("anvil_setBalance", sender.address, hex(balance_wei))
    asked = cli("request", "--model-id", model_id, "--input", values(tmp_path), "--key-file", key("requester"))
    assert_refused(asked, "publishing the input and asking about it needs")
    assert "4 transactions" in asked.err
    assert system.rpc.balance_wei(sender.address) == balance_wei


def wide_model(cli: Cli, key: Key, tmp_path: Path) -> tuple[str, Path]:
    """A registered model whose output no transaction can carry, and its input."""
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [40_000])],
        [numpy_helper.from_array(np.array([40_000], np.int64), "shape")],
    )
    model, x = tmp_path / "wide.onnx", tmp_path / "one.npy"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    np.save(x, np.ones(1, np.float32))
    wide_id = cli("model", "register", model, "--key-file", key("requester"), "--json").object_with("model_id")
    return str(wide_id["model_id"]), x


def test_an_answer_that_no_transaction_can_carry_is_delivered_by_its_root(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path
) -> None:
    """The requester is told; parts are proven as the chain checks them, also by a contract that asks it."""
    model_id, x = wide_model(cli, key, tmp_path)
    asking = ("request", "--model-id", model_id, "--input", x, "--key-file", key("requester"))
    asked = cli(*asking, "--json")
    assert "The answer has 160,000 bytes" in cli(*asking).err
    request_id = asked.object_with("request_id")["request_id"]
    signing = ("--key-file", key("proposer"), "--json")
    made = cli("propose", request_id, "--force-unavailable", *signing)
    assert made.code == 0, made.err
    early = cli("output", request_id)
    assert "Nothing was delivered yet" in early.err
    on_chain.warp(TEST_TIMES.max_clock_s)
    assert cli("resolve", made.objects[-1]["game"], *signing).code == 0
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    delivered = cli("finalize", request_id, *signing)
    assert delivered.code == 0, delivered.err

    system = on_chain.system()
    root = system.rpc.read(system.oracle.request_of(RequestId(bytes.fromhex(request_id[2:])))).output_root
    assert delivered.object_with("output_root")["output_root"] == "0x" + root.hex()
    again = cli("finalize", request_id, *signing).object_with("output_root")
    assert again["output_root"] == "0x" + root.hex()
    roots = SegmentRoots(system.rpc.read(system.oracle.segment_roots()))
    for offset, size in ((0, 1), (159_996, 4), (4_000, 200), (65_536, 65_536)):
        shown = cli("output", request_id, "--offset", offset, "--bytes", size, "--json").objects[-1]
        part, siblings = bytes.fromhex(shown["part"][2:]), [bytes.fromhex(each[2:]) for each in shown["siblings"]]
        assert shown["is_delivered"]
        assert shown["offset"] <= offset
        assert offset + size <= shown["offset"] + len(part)
        assert system.rpc.read(roots.output_root_with(part, shown["offset"], siblings)) == root
    assert_refused(cli("output", request_id, "--offset", 159_997, "--bytes", 4), "the output has 160,000 bytes")
    assert_refused(cli("output", request_id, "--item", 0), "is no batch")
    across = cli("output", request_id, "--offset", 65_535, "--bytes", 2)
    assert_refused(across, "the least part that holds these bytes has 131,072")
    assert "up to 65535 and from 65536 on" in across.err


def test_an_answer_that_nobody_can_deliver_is_not_staked_on(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path
) -> None:
    """A contract can ask for an output whole that no transaction can carry: a proposer's preflight fails."""
    model_id, x = wide_model(cli, key, tmp_path)
    system, image = on_chain.system(), np.load(x).astype(">f4").tobytes()
    receipt = on_chain.sender("requester").send(
        system.oracle.request(bytes.fromhex(model_id[2:]), image, RequestTerms())
    )
    request_id = "0x" + new_request_id(system, receipt).hex()
    refused = cli("propose", request_id, "--force-unavailable", "--key-file", key("proposer"))
    assert_refused(refused, "its output has 160,000 bytes")


def test_the_operator_is_asked_about_the_value_of_all_that_follows(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proposal for a fee is a commitment, which costs no bond, and then a game, which does."""
    asked = cli("request", "--sample", 1, "--fee", "0.01eth", "--key-file", key("requester"), "--json")
    questions: list[str] = []
    monkeypatch.setattr(Output, "is_interactive", True)
    monkeypatch.setattr("opml_dispute.cli.session.devnet.CHAIN_ID", 1)
    monkeypatch.setattr("click.confirm", lambda question, **_: questions.append(question))
    declined = cli(
        "propose", asked.object_with("request_id")["request_id"], "--force-unavailable", "--key-file", key("proposer")
    )
    assert_refused(declined, "nothing was sent")
    bond_wei = on_chain.system().rpc.read(on_chain.system().factory.init_bond_wei())
    assert f"for bond {ether(bond_wei)} and" in questions[0]
    assert "for the first of 2 transactions" in questions[0]
