"""Inputs in blobs on the contract: real commitments, real proofs, the precompile itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyrevm
import pytest

from opml_dispute.chain.abi import decode, encode
from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.kzg import MODULUS, NotABlob, commitment_of, opening, versioned_hash
from opml_dispute.engine.blob_row import (
    BLOB_BYTES,
    ELEMENTS_PER_BLOB,
    RowShape,
    blobs_of,
    fault_in,
    image_in,
    pack,
    read_blobs,
    row_of,
)
from opml_dispute.engine.hashing import hash_pair, keccak256, merkle_root

PUBLISHER, REFUTER, BURN = (f"0x{digit * 40}" for digit in "123")
BOND, WINDOW, REFUTED, PUBLISHED = 10**18, 3_600, 3, 2


class BlobChain:
    """`InputBlobs` alone on a chain inside this process."""

    def __init__(self) -> None:
        self.artifact = load_artifact("InputBlobs")
        self.evm = pyrevm.EVM(spec_id="CANCUN", gas_limit=2**62)
        self.number = 1
        self._block()
        for account in (PUBLISHER, REFUTER):
            self.evm.set_balance(account, 10 * BOND)
        code = self.artifact.bytecode + encode(self.artifact.constructor_inputs, (BOND, WINDOW, 2_000, BURN))
        self.address = self.evm.deploy(PUBLISHER, code)

    def _block(self, hashes: Sequence[bytes] = ()) -> None:
        self.number += 1
        block = pyrevm.BlockEnv(number=self.number, timestamp=1_000_000 + 12 * self.number, excess_blob_gas=0)
        self.evm.set_block_env(block)
        self.evm.set_tx_env(pyrevm.TxEnv(blob_hashes=list(hashes), max_fee_per_blob_gas=1 if hashes else None))

    def call(self, sender: str, function: str, *arguments: Any, value: int = 0, hashes: Sequence[bytes] = ()) -> Any:
        self._block(hashes)
        signature = self.artifact.functions[function]
        data = signature.selector + encode(signature.inputs, arguments)
        return decode(signature.outputs, bytes(self.evm.message_call(sender, self.address, data, value)))

    def publish(self, blobs: Sequence[bytes], root: bytes, leaf_count: int) -> tuple[bytes, list[bytes]]:
        """The publication's id, and its hashes."""
        hashes = [versioned_hash(commitment_of(blob)) for blob in blobs]
        self.call(PUBLISHER, "publish", bytes(32), 0, root, leaf_count, value=BOND, hashes=hashes)
        (found,) = self.call(PUBLISHER, "publicationIdOf", PUBLISHER, bytes(32), root, leaf_count)
        return bytes(found), hashes

    def refute(self, found: bytes, word: int, hashes: Sequence[bytes], openings: bytes) -> None:
        (commitment,) = self.call(REFUTER, "commitmentOf", REFUTER, found, word, openings)
        self.call(REFUTER, "commitRefutation", commitment)
        self.call(REFUTER, "refute", found, word, list(hashes), openings)

    def status(self, found: bytes) -> int:
        ((record),) = self.call(REFUTER, "publicationOf", found)
        return int(record[3])


def openings_of(blobs: Sequence[bytes], shape: RowShape, word: int) -> bytes:
    commitments = [commitment_of(blob) for blob in blobs]
    places = [divmod(element, ELEMENTS_PER_BLOB) for element in shape.elements_for(word)]
    return b"".join(opening(blobs[blob], commitments[blob], index) for blob, index in places)


def expect_refuted(image_bytes: int, blobs: list[bytes], root: bytes) -> int:
    """The contract refutes exactly what `fault_in` finds."""
    shape = RowShape.of(image_bytes)
    word = fault_in(read_blobs(blobs, shape), root)
    assert word is not None
    chain = BlobChain()
    found, hashes = chain.publish(blobs, root, shape.leaf_count)
    assert chain.status(found) == PUBLISHED
    chain.refute(found, word, hashes, openings_of(blobs, shape, word))
    assert chain.status(found) == REFUTED
    assert chain.evm.get_balance(REFUTER) == 10 * BOND + BOND * 8 // 10
    assert chain.evm.get_balance(BURN) == BOND * 2 // 10
    return word


def image_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("seed", range(3))
def test_any_flipped_byte_of_the_blobs_is_refuted(seed: int) -> None:
    """Of the row or of an element's head, in leaves, between them and the top, and in the top."""
    chosen = random.Random(seed)
    image = image_of(chosen.choice([20, 1_000, 40_000]))
    content = bytearray(b"".join(blobs_of(image)))
    at = chosen.randrange(32 * RowShape.of(len(image)).element_count - 31)
    content[at] ^= chosen.randrange(1, 0x70)
    blobs = [bytes(content[i : i + BLOB_BYTES]) for i in range(0, len(content), BLOB_BYTES)]
    expect_refuted(len(image), blobs, merkle_root(image, 36))


def test_a_wrong_word_between_two_blobs_is_refuted() -> None:
    """A group of 32 whose words lie in two blobs."""
    image = image_of(32 * 3_950)
    row = bytearray(row_of(image))
    row[32 * 3_970] ^= 1
    blobs = pack(bytes(row))
    assert len(blobs) == 2
    root = merkle_root(image, 36)
    shape = RowShape.of(len(image))
    word = shape.word_above(3_970)
    chain = BlobChain()
    found, hashes = chain.publish(blobs, root, shape.leaf_count)
    chain.refute(found, word, hashes, openings_of(blobs, shape, word))
    assert chain.status(found) == REFUTED


def test_a_wrong_root_is_refuted_by_the_last_word() -> None:
    image = image_of(5_000)
    assert expect_refuted(5_000, blobs_of(image), merkle_root(image + b"x", 36)) == RowShape.of(5_000).word_count


def test_a_right_publication_is_not_refuted() -> None:
    image = image_of(2_500)
    blobs, root, shape = blobs_of(image), merkle_root(image, 36), RowShape.of(2_500)
    assert fault_in(read_blobs(blobs, shape), root) is None
    chain = BlobChain()
    found, hashes = chain.publish(blobs, root, shape.leaf_count)
    for word in (shape.leaf_count, shape.word_count - 1, shape.word_count):
        with pytest.raises(RuntimeError):
            chain.refute(found, word, hashes, openings_of(blobs, shape, word))
    assert chain.status(found) == PUBLISHED
    openings = openings_of(blobs, shape, shape.leaf_count)
    for place in (31, 40, 100):  # the value, the commitment, the proof
        forged = bytearray(openings)
        forged[place] ^= 1
        with pytest.raises(RuntimeError):
            chain.refute(found, shape.leaf_count, hashes, bytes(forged))


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 1_024, 1_025, 32_768, 32_769, 126_976, 200_000])
def test_a_row_gives_its_image_back(size: int) -> None:
    """And has the sizes that its shape says."""
    image = image_of(size)
    shape = RowShape.of(size)
    row, blobs = row_of(image), blobs_of(image)
    assert len(row) == 32 * shape.word_count
    assert len(blobs) == shape.blob_count
    read = read_blobs(blobs, shape)
    assert read.row == row
    assert image_in(read).rstrip(b"\0") == image.rstrip(b"\0")
    assert fault_in(read, merkle_root(image, 36)) is None


def test_every_flipped_byte_of_a_row_is_a_fault() -> None:
    """All bytes of a small row, in each bit position once; the fault is one that the byte has a part in."""
    image = image_of(1_100)
    shape, root = RowShape.of(1_100), merkle_root(image, 36)
    content = b"".join(blobs_of(image))
    for at in range(32 * (shape.element_count - 1)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 7
        word = fault_in(read_blobs([bytes(changed)], shape), root)
        assert word is not None
        assert at // 32 in shape.elements_for(word), at


def test_what_is_no_blob_is_refused() -> None:
    with pytest.raises(NotABlob, match="bytes"):
        commitment_of(b"short")
    with pytest.raises(NotABlob, match="order"):
        commitment_of(MODULUS.to_bytes(32, "big") + bytes(BLOB_BYTES - 32))


def test_the_digest_is_the_contracts() -> None:
    image = image_of(100)
    chain = BlobChain()
    found, hashes = chain.publish(blobs_of(image), merkle_root(image, 36), 4)
    ((record),) = chain.call(REFUTER, "publicationOf", found)
    assert record[9] == hash_pair(bytes(32), hashes[0]) == keccak256(bytes(32) + hashes[0])
