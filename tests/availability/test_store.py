"""Files by their content: whole or not there, within a quota, shared by processes that are killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opml_dispute.availability.store import ContentStore, StoreFull


def adopt(store: ContentStore, name: str, size: int, *, used_at: int) -> None:
    with store.incoming() as folder:
        (folder / "file").write_bytes(bytes(size))
        store.adopt(name, folder / "file", "https://there")
    os.utime(store.path(name), (used_at, used_at))


def names(store: ContentStore) -> set[str]:
    return {path.name for path in store.folder.iterdir() if not path.name.endswith(".json")}


def test_least_lately_used_makes_room_and_what_the_operator_brought_stays(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, quota_bytes=100)
    store.put("own", lambda path: path.write_bytes(bytes(1000)))
    for number, name in enumerate("abc"):
        adopt(store, name, 30, used_at=1000 + number)
    assert store.use("a") is not None, "used now"
    adopt(store, "d", 40, used_at=2000)
    assert names(store) == {"own", "a", "d"} | ({"c"} if 30 + 30 + 40 <= 100 else set())
    with pytest.raises(StoreFull, match="101 bytes do not fit"):
        adopt(store, "e", 101, used_at=1)
    assert "e" not in names(store)
    assert store.origin("own") is None
    origin = store.origin("a")
    assert origin is not None
    assert origin.uri == "https://there"


def test_what_a_game_is_about_stays_whatever_is_fetched(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, quota_bytes=100)
    adopt(store, "game", 60, used_at=1000)
    store.hold("game")
    assert store.use("game") is not None, "using it does not end that"
    for name in "ab":
        adopt(store, name, 40, used_at=2000)
    assert names(store) == {"game", "b"}
    with pytest.raises(StoreFull, match="games in progress hold 60"):
        adopt(store, "c", 41, used_at=3000)
    assert names(store) == {"game", "b"}, "nothing was dropped in vain"
    store.hold("none")


def test_process_that_is_killed_while_it_takes_a_file_in_leaves_none_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between any two of its steps: what is there counts as fetched, so it makes room."""
    store = ContentStore(tmp_path, quota_bytes=100)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ContentStore, "note_origin", killed)
        with pytest.raises(KeyboardInterrupt):
            adopt(store, "a", 60, used_at=1000)
    assert names(store) == set()
    adopt(store, "b", 60, used_at=1000)
    adopt(store, "c", 60, used_at=1000)
    assert names(store) == {"c"}


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    left, others = tmp_path / ".incoming-999999999-ab", tmp_path / f".incoming-{os.getpid()}-ab"
    for folder in (left, others):
        folder.mkdir()
        (folder / "part").write_bytes(b"x")
    with store.incoming() as folder:
        assert folder.is_dir()
        assert not left.exists()
        assert others.exists(), "its process runs"
    assert not folder.exists()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"uri": "x"}', '{"uri": "x", "fetched_at_s": "y", "is_own": false}', "\0"]
)
def test_damaged_note_of_an_origin_is_none(tmp_path: Path, text: str) -> None:
    store = ContentStore(tmp_path)
    store.put("a", lambda path: path.write_bytes(b"x"))
    (tmp_path / "a.origin.json").write_text(text)
    assert store.origin("a") is None
    store.drop("a")
    store.drop("a")
    assert list(tmp_path.iterdir()) == []
