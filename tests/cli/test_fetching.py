"""Commands bring what they need by themselves: by the URI of a registration or a request, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.conftest import Chain
from tests.operator.test_fetched_models import onnx_bytes
from tests.support.content_server import ContentServer, serving

Key = Callable[[str], str]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ContentServer]:
    monkeypatch.setenv("OPML_FETCH", "local")
    with serving() as found:
        yield found


def test_a_challenger_without_any_file_checks_an_answer(
    cli: Cli, on_chain: Chain, key: Key, server: ContentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered, asked by root and answered on one computer, checked on another: what is missing is fetched."""
    model, image = tmp_path / "model.onnx", tmp_path / "image"
    model.write_bytes(onnx_bytes())
    image.write_bytes(bytes(range(64)))
    registering = ("model", "register", model, "--dim", "batch=4", "--uri", f"{server.url}/model.onnx", "--no-check")
    model_id = cli(*registering, "--key-file", key("proposer"), "--json").object_with("model_id")["model_id"]
    asking = (
        "request",
        "--model-id",
        model_id,
        "--input-image",
        image,
        "--by-root",
        f"{server.url}/image",
        "--no-check",
    )
    asked = cli(*asking, "--key-file", key("requester"), "--json")
    request_id = asked.object_with("request_id")["request_id"]
    bringing = ("--input-image", image, "--key-file", key("proposer"), "--json")
    server.files = {"/model.onnx": model.read_bytes(), "/image": image.read_bytes()}
    made = cli("propose", request_id, *bringing)
    assert made.code == 0, made.err
    game = made.objects[-1]["game"]

    monkeypatch.setenv("OPML_HOME", str(tmp_path / "another"))
    checking = ("challenge", game, "--key-file", key("challenger"))
    server.files = {"/model.onnx": onnx_bytes(3.0)}
    wrong = cli(*checking)
    assert wrong.code == 1
    assert "the registered model's is" in wrong.err
    server.files = {"/model.onnx": model.read_bytes()}
    without = cli(*checking)
    assert without.code == 1
    assert "by root only" in without.err
    assert "answers 404" in without.err
    server.files["/image"] = image.read_bytes()
    checked = cli(*checking)
    assert checked.code == 0, checked.err
    assert "nothing to challenge" in checked.err
    assert "Fetching the input from" in checked.err
    asked_so_far = len(server.asked)
    assert cli(*checking).code == 0
    assert len(server.asked) == asked_so_far, "what is here is not fetched again"
    monkeypatch.setenv("OPML_FETCH", "sometimes")
    assert "expected one of nothing, public, local" in cli(*checking).err
