"""What is registered and asked about can be fetched by others, or the operator is told before anything is paid for."""

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
        monkeypatch.setenv("OPML_IPFS_GATEWAY", found.url)
        yield found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes())
    return path


def target(kind: str, server: ContentServer, tmp_path: Path) -> list[str]:
    (tmp_path / "shared").mkdir(exist_ok=True)
    return {
        "folder": ["--publish", str(tmp_path / "shared")],
        "put": ["--publish", f"{server.url}/models"],
        "ipfs": ["--publish", f"ipfs+{server.url}"],
    }[kind]


@pytest.mark.parametrize("kind", ["folder", "put", "ipfs"])
def test_published_model_and_input_are_found_by_a_stranger(
    cli: Cli,
    on_chain: Chain,
    key: Key,
    server: ContentServer,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    publishing, image = target(kind, server, tmp_path), tmp_path / "image"
    image.write_bytes(bytes(range(64)))
    made = cli("model", "register", model, "--dim", "batch=4", *publishing, "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    uri = made.object_with("published")["published"]
    assert uri.startswith({"folder": "file:", "put": "http:", "ipfs": "ipfs:"}[kind])
    model_id = made.object_with("model_id")["model_id"]
    asking = ("request", "--model-id", model_id, "--input-image", image, *publishing)
    asked = cli(*asking, "--key-file", key("requester"), "--json")
    assert asked.code == 0, asked.err
    request_id = asked.object_with("request_id")["request_id"]
    model.unlink()
    image.unlink()
    monkeypatch.setenv("OPML_HOME", str(tmp_path / "another"))
    answered = cli("propose", request_id, "--key-file", key("proposer"), "--json")
    assert answered.code == 0, answered.err
    monkeypatch.setenv("OPML_HOME", str(tmp_path / "a-third"))
    assert "nothing to challenge" in cli("challenge", answered.objects[-1]["game"], "--key-file", key("challenger")).err


@pytest.mark.parametrize("how", ["forgets", "spoils"])
@pytest.mark.parametrize("kind", ["put", "ipfs"])
def test_server_that_does_not_give_back_what_it_took_is_noticed_before_anything_is_sent(
    cli: Cli, on_chain: Chain, key: Key, server: ContentServer, model: Path, tmp_path: Path, kind: str, how: str
) -> None:
    setattr(server, how, True)
    publishing, signing = target(kind, server, tmp_path), ("--key-file", key("proposer"))
    refused = cli("model", "register", model, "--dim", "batch=4", *publishing, *signing)
    assert refused.code == 1
    assert "the model cannot be had from" in refused.err
    assert "--no-check" in refused.err
    assert len(cli("model", "list", "--json").objects) == 1, "the sample alone"
    image = tmp_path / "image"
    asked = cli("request", "--sample", 1, *publishing, "--save-image", image, "--key-file", key("requester"))
    assert asked.code == 1
    assert "the input cannot be had from" in asked.err
    assert "There are no requests" in cli("list", "--requests").err
    assert cli("request", "--sample", 1, *publishing, "--no-check", "--key-file", key("requester")).code == 0


def test_uri_is_checked_where_nothing_is_published(
    cli: Cli, on_chain: Chain, key: Key, server: ContentServer, model: Path
) -> None:
    registering = ("model", "register", model, "--dim", "batch=4", "--key-file", key("proposer"), "--uri")
    for uri, says in (
        (f"{server.url}/none", "answers 404"),
        ("ftp://there/x", "cannot be followed"),
        (f"{server.url}/other", "compiles to model root"),
    ):
        server.files["/other"] = onnx_bytes(3.0)
        refused = cli(*registering, uri)
        assert refused.code == 1
        assert says in refused.err
    server.files["/model.onnx"] = model.read_bytes()
    assert cli(*registering, f"{server.url}/model.onnx").code == 0


def test_answer_that_nobody_else_could_check_is_not_proposed_unless_forced(
    cli: Cli, on_chain: Chain, key: Key, server: ContentServer, model: Path, tmp_path: Path
) -> None:
    """The proposer has model and image itself; others could have neither, then the model, then both."""
    image = tmp_path / "image"
    image.write_bytes(bytes(range(64)))
    registering = ("model", "register", model, "--dim", "batch=4", "--no-check", "--key-file", key("proposer"))
    bare = cli(*registering, "--json").object_with("model_id")["model_id"]
    named = cli(*registering, "--uri", f"{server.url}/m", "--json").object_with("model_id")["model_id"]
    asking = ("--input-image", image, "--by-root", f"{server.url}/i", "--no-check", "--key-file", key("requester"))
    requests = [
        cli("request", "--model-id", model_id, *asking, "--json").object_with("request_id")["request_id"]
        for model_id in (bare, named)
    ]
    proposing = ("--input-image", image, "--key-file", key("proposer"))
    assert "registered without a URI" in cli("propose", requests[0], *proposing).err
    assert "the model cannot be had from" in cli("propose", requests[1], *proposing).err
    server.files["/m"] = model.read_bytes()
    refused = cli("propose", requests[1], *proposing)
    assert "the input cannot be had from" in refused.err
    assert "--force-unavailable" in refused.err
    server.files["/i"] = image.read_bytes()
    assert cli("propose", requests[1], *proposing, "--json").code == 0
    asked = len(server.asked)
    assert cli("propose", requests[1], *proposing, "--again", "--json").code == 0
    assert len(server.asked) == asked, "what went well today is not fetched again"
    assert cli("propose", requests[0], *proposing, "--force-unavailable").code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--publish", "/nowhere/at/all"], "there is no folder"),
        (["--publish", "ftp://there"], "nothing can be published to"),
        (["--publish", "http://127.0.0.1:1/x"], "nothing listens there"),
        (["--publish", "ipfs+http://127.0.0.1:1"], "nothing listens there"),
        (["--publish", "http://"], "cannot be|not the URL|not an address"),
        (["--publish", "ipfs+URL/none"], "answers 404"),
        (["--publish", "/tmp", "--published-as", "x"], "no URI that a folder is seen under"),
        (["--publish", "http://127.0.0.1:1", "--published-as", "https://x"], "what is sent to a server is not"),
        (["--published-as", "https://x"], "give that too"),
        (["--publish", "/tmp", "--uri", "https://x"], "give one of them"),
    ],
)
def test_target_that_is_none_is_refused(
    cli: Cli, on_chain: Chain, key: Key, server: ContentServer, model: Path, options: list[str], says: str
) -> None:
    told = [text.replace("URL", server.url) for text in options]
    refused = cli("model", "register", model, "--dim", "batch=4", *told, "--key-file", key("proposer"))
    assert refused.code in {1, 2}
    assert any(words in refused.err for words in says.split("|")), refused.err
    assert len(cli("model", "list", "--json").objects) == 1


def test_folder_that_others_see_under_another_uri(
    cli: Cli, on_chain: Chain, key: Key, server: ContentServer, model: Path, tmp_path: Path
) -> None:
    """The check fetches what others see: here it is not there before the folder is really served."""
    shared = tmp_path / "shared"
    shared.mkdir()
    registering = ("model", "register", model, "--dim", "batch=4", "--key-file", key("proposer"), "--json")
    publishing = ("--publish", shared, "--published-as", f"{server.url}/files/")
    assert "answers 404" in cli(*registering, *publishing).err
    (file,) = shared.iterdir()
    server.files[f"/files/{file.name}"] = file.read_bytes()
    made = cli(*registering, *publishing)
    assert made.code == 0, made.err
    assert made.object_with("published")["published"] == f"{server.url}/files/{file.name}"
