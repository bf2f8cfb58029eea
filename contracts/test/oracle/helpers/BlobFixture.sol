// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {randomBytes} from "./RandomBytes.sol";
import {Test} from "../../Test.sol";
import {BURN_ADDRESS} from "../../../src/dispute/Bond.sol";
import {Duration} from "../../../src/dispute/Time.sol";
import {BlobTree} from "../../../src/oracle/BlobTree.sol";
import {InputBlobs} from "../../../src/oracle/InputBlobs.sol";
import {InputRoot} from "../../../src/oracle/SectionRoot.sol";
import {SegmentTree} from "../../../src/oracle/SegmentTree.sol";

/// @notice Blobs for Forge, which has none: rows of words as they ought to be, changed as a test likes, whose elements a
///         stand-in for the point-evaluation precompile knows. The precompile itself, with real proofs, is met by
///         tests/chain/test_input_blobs.py.
abstract contract BlobFixture is Test {
    uint256 internal constant BOND = 1 ether;
    uint64 internal constant WINDOW = 3 days;
    uint256 internal constant FORFEITED_BPS = 2_000;
    bytes32 internal constant SALT = "salt";
    address internal constant PRECOMPILE = address(0x0a);
    uint256 internal constant BLOBS_EACH = 6;

    address internal publisher = makeAddr("publisher");
    address internal refuter = makeAddr("refuter");
    InputBlobs internal blobs = new InputBlobs(BOND, Duration.wrap(WINDOW), FORFEITED_BPS, BURN_ADDRESS);

    /// @notice What the blobs hold, from the first byte on; an element's first byte is in `firstByteOf`.
    bytes internal row;
    mapping(uint256 element => bytes1) internal firstByteOf;
    uint32 internal leafCount;
    InputRoot internal inputRoot;

    function rootOf(bytes calldata image) external pure returns (InputRoot) {
        return SegmentTree.inputRootOf(image);
    }

    function rootOfGroup(bytes calldata image, uint256 log2Size) external pure returns (bytes32) {
        return SegmentTree.imageRoot(image, log2Size);
    }

    function slice(bytes calldata from, uint256 at, uint256 size) external pure returns (bytes memory) {
        return from[at:at + size];
    }

    /// @notice The right row of an image. It is computed from the image's own parts at each level, not from the level below.
    function build(bytes memory image) internal {
        row = image;
        leafCount = uint32(image.length / 32);
        inputRoot = this.rootOf(image);
        for (uint256 log2Size = 10; image.length > 1 << (log2Size - 5); log2Size += 5) {
            for (uint256 at = 0; at < image.length; at += 1 << log2Size) {
                uint256 left = image.length - at;
                uint256 size = left < 1 << log2Size ? left : 1 << log2Size;
                row = bytes.concat(row, this.rootOfGroup(this.slice(image, at, size), log2Size));
            }
        }
    }

    /// @notice Changes a byte of the row.
    function flip(uint256 at, bytes1 by) internal {
        row[at] = row[at] ^ by;
    }

    function hashOf(uint256 blob) internal pure returns (bytes32) {
        return keccak256(abi.encode("blob", blob));
    }

    function allHashes() internal view returns (bytes32[] memory hashes) {
        hashes = new bytes32[](blobs.blobsOf(leafCount));
        for (uint256 i = 0; i < hashes.length; ++i) {
            hashes[i] = hashOf(i);
        }
    }

    /// @notice Sends a transaction with these blobs.
    function send(bytes32 salt, uint256 first, uint256 count, uint256 value) internal {
        bytes32[] memory hashes = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            hashes[i] = hashOf(first + i);
        }
        vm.blobhashes(hashes);
        vm.deal(publisher, publisher.balance + value);
        vm.prank(publisher);
        blobs.publish{value: value}(salt, first, inputRoot, leafCount);
    }

    function publishAll() internal returns (bytes32 id) {
        uint256 count = blobs.blobsOf(leafCount);
        for (uint256 at = 0; at < count; at += BLOBS_EACH) {
            send(SALT, at, count - at < BLOBS_EACH ? count - at : BLOBS_EACH, at == 0 ? BOND : 0);
        }
        return idOf(SALT);
    }

    function idOf(bytes32 salt) internal view returns (bytes32) {
        return blobs.publicationIdOf(publisher, salt, inputRoot, leafCount);
    }

    /// @notice An opening of an element of the row, which the precompile will find right.
    function opening(uint256 element) internal returns (bytes memory opened) {
        bytes memory value = new bytes(32);
        value[0] = firstByteOf[element];
        for (uint256 i = 0; i < 31; ++i) {
            uint256 at = element * 31 + i;
            if (at < row.length) value[1 + i] = row[at];
        }
        opened = bytes.concat(value, keccak256("commitment"), bytes16(0), bytes32(element), bytes16(0));
        uint256 point = BlobTree.pointOf(element % 4096);
        bytes memory asked = abi.encodePacked(hashOf(element / 4096), point, opened);
        vm.mockCall(PRECOMPILE, asked, abi.encode(4096, BlobTree.MODULUS));
    }

    /// @notice The openings of the elements that hold `count` words.
    function openingsOf(uint256 word, uint256 count) internal returns (bytes memory opened) {
        uint256 last = ((word + count) * 32 - 1) / 31;
        for (uint256 element = word * 32 / 31; element <= last; ++element) {
            opened = bytes.concat(opened, opening(element));
        }
    }

    /// @notice The words under a word, found by walking the levels one by one.
    function under(uint256 word) internal view returns (uint256 first, uint256 count) {
        uint256 size = leafCount;
        while (size > 1) {
            uint256 above = (size + 31) / 32;
            if (word < first + size + above) {
                uint256 skipped = 32 * (word - first - size);
                return (first + skipped, size - skipped < 32 ? size - skipped : 32);
            }
            (first, size) = (first + size, above);
        }
        return (first, 1);
    }

    /// @notice The word above a word; that after the last word, above it.
    function parentOf(uint256 word) internal view returns (uint256) {
        (uint256 first, uint256 size) = (0, leafCount);
        while (word >= first + size) {
            (first, size) = (first + size, (size + 31) / 32);
        }
        return first + size + (word - first) / 32;
    }

    function openingsFor(uint256 word) internal returns (bytes memory) {
        (uint256 first, uint256 count) = under(word);
        bytes memory below = openingsOf(first, count);
        return word * 32 == row.length ? below : bytes.concat(below, openingsOf(word, 1));
    }

    /// @notice The commitment one block, the refutation the next.
    function commit(address who, bytes32 id, uint256 word, bytes memory openings) internal {
        vm.prank(who);
        blobs.commitRefutation(blobs.commitmentOf(who, id, word, openings));
        vm.roll(block.number + 1);
    }

    function refute(bytes32 id, uint256 word) internal {
        bytes memory openings = openingsFor(word);
        commit(refuter, id, word, openings);
        bytes32[] memory hashes = allHashes();
        vm.prank(refuter);
        blobs.refute(id, word, hashes, openings);
    }

    /// @notice A publication one byte of which is wrong, and what refutes it.
    function wrong() internal returns (bytes32 id, uint256 word, bytes memory openings, bytes32[] memory hashes) {
        build(randomBytes(3_200, 1));
        flip(0, 0x01);
        id = publishAll();
        word = leafCount;
        openings = openingsFor(word);
        hashes = allHashes();
    }
}
