"""Hashes and roots: known answers, every width and size against the tree of definitions, every build."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine import lib
from opml_dispute.engine.hashing import BadSubtree, hash_pair, keccak256, keccak_pairs, merkle_root, zero_root
from opml_dispute.engine.lib import EngineMissing, WrongBuffer
from opml_dispute.engine.merkle import SparseTree, UnknownContent, root_from_proof
from opml_dispute.engine.vm import Block


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        (bytes(64), "ad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5"),
        (b"a" * 136, "a6c4d403279fe3e0af03729caada8374b5ca54d8065329a3ebcaeb4b60aa386e"),
    ],
)
def test_known_digests(data: bytes, digest: str) -> None:
    """Keccak-256 gives published digests."""
    assert keccak256(data).hex() == digest


@given(st.binary(max_size=600))
def test_digests_agree_with_another_implementation(data: bytes) -> None:
    from eth_hash.auto import keccak

    assert keccak256(data) == keccak(data)


def test_zero_roots() -> None:
    """Each zero root is the hash of two of the level below."""
    assert zero_root(5) == bytes(32)
    assert all(zero_root(k + 1) == hash_pair(zero_root(k), zero_root(k)) for k in range(5, 64))
    assert zero_root(64).hex() == "14af5385bcbb1e4738bbae8106046e6e2fca42875aa5c000c582587742bcc748"


def by_definition(data: bytes, log2_size: int) -> bytes:
    """A node is the hash of its halves."""
    if not any(data):
        return zero_root(log2_size)
    if log2_size == 5:
        return data.ljust(32, b"\0")
    half = 1 << (log2_size - 1)
    return hash_pair(by_definition(data[:half], log2_size - 1), by_definition(data[half:], log2_size - 1))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_roots_are_what_the_definition_says(data: st.DataObject) -> None:
    word_bytes = data.draw(st.sampled_from((1, 2, 4, 8)))
    size = data.draw(st.sampled_from((0, 8, 32, 40, 64, 1000, 4096, 65_528, 65_536, 65_544, 200_000)))
    content = np.random.default_rng(data.draw(st.integers(0, 99))).bytes(size)
    log2_size = data.draw(st.integers(max(5, (size - 1).bit_length()), 64))
    swapped = np.frombuffer(content, dtype=f"u{word_bytes}").astype(f">u{word_bytes}").tobytes()
    threads = data.draw(st.integers(0, 3))
    assert merkle_root(content, log2_size, word_bytes, threads=threads) == by_definition(swapped, log2_size)


def test_bad_sizes_are_refused() -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: merkle_root(bytes(33), 5),
        lambda: merkle_root(bytes(33), 6, 4),
        lambda: merkle_root(b"", 4),
        lambda: merkle_root(b"", 65),
        lambda: merkle_root(b"", 6, 3),
        lambda: zero_root(4),
        lambda: keccak_pairs(bytes(63)),
    )
    for call in calls:
        with pytest.raises(BadSubtree):
            call()
    with pytest.raises(WrongBuffer):
        keccak256(memoryview(bytes(64))[::2])


@given(st.integers(0, 70))
def test_pairs_are_hashed_alike_in_any_number(count: int) -> None:
    data = bytes((7 * i) & 0xFF for i in range(64 * count))
    assert keccak_pairs(data) == b"".join(keccak256(data[64 * i : 64 * i + 64]) for i in range(count))


def test_every_build_gives_the_same_hashes() -> None:
    program = (
        "from opml_dispute.engine.hashing import merkle_root\n"
        "print(merkle_root(bytes(i * i % 251 for i in range(300_000)), 40, 4).hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program], env={"OPML_ENGINE_ISA": name, "PATH": ""}, capture_output=True, check=True
        ).stdout
        for name in lib.candidates()
        if lib.library_path().with_name(f"libopml-{name}.so").is_file()
    }
    assert len(found) == 1


def test_a_missing_library_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPML_ENGINE_ISA", "pdp11")
    with pytest.raises(EngineMissing, match="for pdp11") as caught:
        lib.library_path()
    assert caught.value.hint is not None
    assert "opml_dispute.toolchain.native" in caught.value.hint


def test_builds_are_tried_best_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    v3 = set.union(*(lib._X86_NEEDS[name] for name in ("x86_64_v3",)))
    for flags, names in (
        (set(), ["x86_64"]),
        ({"avx2"}, ["x86_64"]),
        (v3, ["x86_64_v3", "x86_64"]),
        (v3 | lib._X86_NEEDS["x86_64_v4"], ["x86_64_v4", "x86_64_v3", "x86_64"]),
        (lib._X86_NEEDS["x86_64_v4"], ["x86_64"]),
    ):
        monkeypatch.setattr(lib, "_processor_flags", lambda flags=flags: flags)
        assert lib.candidates() == names
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert lib.candidates() == ["aarch64"]


def test_a_tree_takes_blocks_apart_where_they_are_covered() -> None:
    content = bytes(range(256)) * 4
    tree = SparseTree(20, [Block(0, 12, content)])
    tree.put(Block(256, 6, b"\xff" * 64))
    changed = content[:256] + b"\xff" * 64 + content[320:]
    assert tree.root == merkle_root(changed, 20)
    assert tree.subtree(256, 6) == merkle_root(b"\xff" * 64, 6)
    tree.put(Block(0, 20, b""))
    assert tree.root == zero_root(20)


def test_a_trees_proofs_lead_to_its_root() -> None:
    tree = SparseTree(40, [Block(1 << 20, 10, b"x" * 1000), Block(0, 5, b"y")])
    for offset, log2_size in ((0, 5), (1 << 20, 10), (1 << 20, 5), (1 << 39, 39), (64, 6)):
        proof = tree.proof(offset, log2_size)
        assert len(proof) == 40 - log2_size
        assert root_from_proof(tree.subtree(offset, log2_size), offset, log2_size, proof) == tree.root


def test_what_is_known_by_its_root_cannot_be_opened() -> None:
    tree = SparseTree(20)
    tree.put_root(4096, 12, keccak256(b"unknown"))
    assert tree.subtree(4096, 12) == keccak256(b"unknown")
    uses: tuple[Callable[[], object], ...] = (
        lambda: tree.subtree(4096, 11),
        lambda: tree.proof(4096, 5),
        lambda: tree.put(Block(4096, 5, b"")),
    )
    for use in uses:
        with pytest.raises(UnknownContent):
            use()
    tree.put(Block(0, 13, b""))
    assert tree.root == zero_root(20)


@pytest.mark.parametrize(("offset", "log2_size"), [(0, 4), (0, 21), (32, 6), (1 << 20, 5), (-32, 5)])
def test_a_place_outside_the_tree_is_refused(offset: int, log2_size: int) -> None:
    with pytest.raises(BadSubtree):
        SparseTree(20).subtree(offset, log2_size)
