"""Batches through commands: one game answers many inputs, also after a lie about one, and without those that fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from opml_dispute.actors.liars import Liar, changes_anything
from opml_dispute.cli.batches import BadBatch, expect_batch
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import OUTPUT, section_root
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS, digit_samples
from opml_dispute.trace.guest import guest_machine
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import TEST_TIMES, Chain
from tests.trace.test_batch import LOOK_UP

Key = Callable[[str], str]
ITEMS = 5
LIED_ABOUT = 2


def ask(cli: Cli, key: Key, batch: Path, *options: str) -> str:
    """A batch's request id."""
    asked = cli("request", "--batch", batch, "--key-file", key("requester"), "--json", *options)
    assert asked.code == 0, asked.err
    return str(asked.object_with("request_id")["request_id"])


def settle(cli: Cli, on_chain: Chain, game: str, signing: tuple[str, ...]) -> str:
    """The game's status at its end."""
    on_chain.warp(TEST_TIMES.max_clock_s)
    resolved = cli("resolve", game, *signing, "--json")
    assert resolved.code == 0, resolved.err
    on_chain.warp(TEST_TIMES.finality_delay_s + 1)
    return str(resolved.objects[-1]["status"])


def digits(tmp_path: Path) -> tuple[Path, list[bytes]]:
    """A file of images, and each one's own output."""
    images = digit_samples()[0][:ITEMS]
    file = tmp_path / "digits.npy"
    np.save(file, images)
    program = compile_model(DIGITS)
    return file, [Inference(program, image.astype(">f4").tobytes()).output_image() for image in images]


def test_a_lie_about_one_item_is_beaten_and_the_batch_delivered(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path
) -> None:
    file, outputs = digits(tmp_path)
    request_id = ask(cli, key, file, "--fee", "0.05eth")
    program = compile_model(DIGITS)
    image = digit_samples()[0][LIED_ABOUT].astype(">f4").tobytes()
    liar = Liar(program, image, Inference(program, image), guest_machine())
    own = liar.find(3, goal=changes_anything).fault
    lie = ("--fault", str(replace(own, node_index=own.node_index + LIED_ABOUT * program.node_count)))
    challenger, proposer = ("--key-file", key("challenger")), ("--key-file", key("proposer"))

    lied = cli("propose", request_id, *proposer, *lie, "--json")
    assert lied.code == 0, lied.err
    assert lied.object_with("item")["item"] == LIED_ABOUT
    game = str(lied.objects[-1]["game"])
    did = [item["did"] for item in cli("challenge", game, *challenger, "--json").objects if "did" in item]
    while "step" not in did and len(did) < 60:
        signing, story = (challenger, ()) if len(did) % 2 == 0 else (proposer, lie)
        answer = cli("respond", game, *signing, *story, "--json")
        assert answer.code == 0, answer.err
        did += [item["did"] for item in answer.objects if "did" in item]
    assert did[-1] == "step"
    page = tmp_path / "game.html"
    assert cli("show", game, "--html", page).code == 0
    text = page.read_text()
    node = own.node_index
    assert f"A batch of {ITEMS} items with {program.node_count} nodes each: item {LIED_ABOUT}." in text
    assert f"Node {node} of item {LIED_ABOUT}: <b>{program.nodes[node].op_type}</b>" in text
    assert f"What was asked in item {LIED_ABOUT}, and our answer" in text
    judged = re.findall(r'class="claim (\w+) ?(\w*)"', text)
    assert ("defender", "wrong") in judged
    assert {verdict for side, verdict in judged if side == "challenger"} == {"right"}
    assert {verdict for _, verdict in judged} == {"right", "wrong"}, "every claim is judged"
    assert settle(cli, on_chain, game, challenger) == "CHALLENGER_WINS"

    right = cli("propose", request_id, *challenger, "--json")
    assert right.code == 0, right.err
    assert settle(cli, on_chain, str(right.objects[-1]["game"]), challenger) == "DEFENDER_WINS"
    delivered = cli("finalize", request_id, *challenger, "--json")
    assert delivered.code == 0, delivered.err
    system = on_chain.system()
    known = bytes.fromhex(request_id[2:])
    roots = system.rpc.read_each([system.oracle.item_output_root(known, item) for item in range(ITEMS)])
    assert roots == [section_root(output, OUTPUT) for output in outputs]
    assert system.rpc.read(system.oracle.request_of(known)).fee_wei == 0
    assert "Delivered already" in cli("finalize", request_id, *challenger).err


def test_items_that_fail_keep_no_other_from_being_delivered(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path
) -> None:
    model, file = tmp_path / "look-up.onnx", tmp_path / "images"
    onnx.save(parser.parse_model(LOOK_UP), model)
    registered = cli("model", "register", model, "--key-file", key("requester"), "--json")
    file.write_bytes(b"".join(at.to_bytes(8, "big", signed=True) for at in (1, 9, 3)))
    model_id = str(registered.object_with("model_id")["model_id"])
    request_id = ask(cli, key, file, "--model-id", model_id, "--output-by-root")
    signing = ("--key-file", key("proposer"))
    made = cli("propose", request_id, "--force-unavailable", *signing, "--json")
    assert made.code == 0, made.err
    assert settle(cli, on_chain, str(made.objects[-1]["game"]), signing) == "DEFENDER_WINS"
    delivered = cli("finalize", request_id, *signing, "--json")
    assert delivered.code == 0, delivered.err
    assert sorted(delivered.object_with("outputs")["outputs"]) == ["0", "2"]
    again = cli("finalize", request_id, *signing)
    assert again.code == 1
    assert "1 of its 3 items failed" in again.err
    shown = cli("output", request_id, "--item", 2, "--bytes", 4, "--json")
    assert shown.code == 0, shown.err
    assert shown.objects[-1]["output_root"] == delivered.object_with("outputs")["outputs"]["2"]
    assert shown.objects[-1]["is_delivered"]
    assert_refused(cli("output", request_id, "--item", 1), "it has no output")
    assert_refused(cli("output", request_id, "--item", 3), "no item 3")
    assert_refused(cli("output", request_id), "a batch of 3 items")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the batch has 0 items"),
        (bytes(256), "the batch has 1 items"),
        (bytes(300), "has 300 bytes"),
        (b"\x93NUMPY nonsense", "cannot be read as a NumPy array"),
        (np.zeros((2, 8, 8), np.float32), "float32 [2, 8, 8], expected items of float32 [1, 1, 8, 8]"),
        (np.zeros((2, 1, 8, 8), np.float64), "holds float64"),
        (np.zeros((), np.float32), "float32 [], expected"),
        (np.zeros((257, 1, 8, 8), np.float32), "holds"),
    ],
    ids=["empty", "one", "no whole image", "no array", "shape", "type", "scalar", "too many"],
)
def test_files_that_hold_no_batch_are_refused(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path, content: bytes | np.ndarray, told: str
) -> None:
    file = tmp_path / "batch"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        with file.open("wb") as stream:
            np.save(stream, content)
    refused = cli("request", "--batch", file, "--key-file", key("requester"))
    assert refused.code == 1
    assert "error:" in refused.err
    if told != "holds":
        assert told in refused.err


def test_batches_that_the_chain_would_refuse() -> None:
    expect_batch([bytes(4)] * 256, 256)
    with pytest.raises(BadBatch, match="257 items"):
        expect_batch([bytes(4)] * 257, 0)
    with pytest.raises(BadBatch, match="98,304 can be sent together"):
        expect_batch([bytes(1 << 16)] * 2, 0)
    with pytest.raises(BadBatch, match="cannot be shared") as refused:
        expect_batch([bytes(4)] * 3, 10)
    assert refused.value.hint == "offer 9 or 12 wei"
