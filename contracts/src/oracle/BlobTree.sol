// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SegmentTree} from "./SegmentTree.sol";

/// @title What an input's blobs hold, and where
/// @notice An image is published as a row of words, 32 bytes each: its leaves, behind them the roots of its subtrees of 2^10
///         bytes, then of 2^15, 2^20, and so on, until a level has one root only. Where a level ends before its last group of
///         32 does, zeros follow that are not in the row.
///
///             word         0 … c0-1     c0 … c0+c1-1    c0+c1 … c0+c1+c2-1     …
///             log2 bytes   5            10              15                     …
///             number       c0 leaves    c1 = ceil(c0/32)  c2 = ceil(c1/32)     … 1
///
///         The row's bytes lie 31 by 31 in field elements, each behind a zero, and 4096 elements in a blob.
/// @dev Source: docs/game.md, "Inputs in blobs".
library BlobTree {
    /// @notice A word above the leaves commits to 2^5 words of the level below.
    uint256 internal constant LOG2_GROUP = 5;
    uint256 internal constant LOG2_WORD = 5;
    uint256 internal constant WORD_BYTES = 32;
    /// @notice Bytes of the row in a field element, behind one zero: an element is below the curve's order, some 2^254.9.
    uint256 internal constant ELEMENT_BYTES = 31;
    uint256 internal constant ELEMENTS_PER_BLOB = 4096;

    /// @notice The order of the curve's scalar field, in which field elements are.
    uint256 internal constant MODULUS = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001;
    /// @notice 7^((MODULUS - 1) / 4096): its powers are the points at which a blob's polynomial has the blob's elements.
    uint256 internal constant ROOT_OF_UNITY = 0x564c0a11a0f704f4fc3e8acfe0f8245f0ad1347b378fbf96e206da11a5d36306;

    /// @notice Neighbours in the row, all of one level, and what a word above them commits to.
    struct Group {
        /// @notice The first of them.
        uint256 first;
        /// @notice 1 to 32.
        uint256 count;
        /// @notice Each is the root of 2^log2Size bytes.
        uint256 log2Size;
        /// @notice The root over them is that of 2^log2Above bytes, with zeros where words are missing.
        uint256 log2Above;
        /// @notice Whether the root over them is the input root, which is not in the row.
        bool isTop;
    }

    /// @notice Words in the row of an image with this many leaves.
    /// @param leafCount At least 1.
    function wordsOf(uint256 leafCount) internal pure returns (uint256 words) {
        words = leafCount;
        while (leafCount > 1) {
            leafCount = _above(leafCount);
            words += leafCount;
        }
    }

    /// @notice Blobs that such a row takes.
    function blobsOf(uint256 leafCount) internal pure returns (uint256) {
        uint256 perBlob = ELEMENTS_PER_BLOB * ELEMENT_BYTES;
        return (wordsOf(leafCount) * WORD_BYTES + perBlob - 1) / perBlob;
    }

    /// @notice What the word at this place commits to. The place after the last word stands for the input root.
    /// @return found Whether there is such a word above the leaves; if not, `group` is empty.
    function groupUnder(uint256 word, uint256 leafCount) internal pure returns (bool found, Group memory group) {
        uint256 first = 0;
        uint256 count = leafCount;
        uint256 log2Size = LOG2_WORD;
        while (count > 1 && word >= first + count) {
            uint256 above = first + count;
            uint256 countAbove = _above(count);
            if (word < above + countAbove) {
                uint256 skipped = (word - above) << LOG2_GROUP;
                uint256 left = count - skipped;
                uint256 most = 1 << LOG2_GROUP;
                return (true, Group(first + skipped, left < most ? left : most, log2Size, log2Size + LOG2_GROUP, false));
            }
            (first, count, log2Size) = (above, countAbove, log2Size + LOG2_GROUP);
        }
        if (count == 1 && word == first + 1) {
            return (true, Group(first, 1, log2Size, SegmentTree.LOG2_INPUT, true));
        }
    }

    /// @notice The root over neighbours of one level.
    /// @param words Memory address of the first; they are overwritten, and the 32 bytes after them.
    function rootOver(uint256 words, Group memory group) internal pure returns (bytes32 root) {
        uint256 count = group.count;
        for (uint256 level = group.log2Size; level < group.log2Above; ++level) {
            bytes32 zeros = SegmentTree.zeroRoot(level);
            assembly ("memory-safe") {
                // One level up per turn, in place: pair i goes where word i was, which is read no more.
                if and(count, 1) {
                    mstore(add(words, shl(5, count)), zeros)
                    count := add(count, 1)
                }
                count := shr(1, count)
                for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                    mstore(add(words, shl(5, i)), keccak256(add(words, shl(6, i)), 0x40))
                }
            }
        }
        assembly ("memory-safe") {
            root := mload(words)
        }
    }

    /// @notice Where a blob's polynomial has the blob's index-th element: the root of unity to the power of the index with its
    ///         twelve bits reversed (EIP-4844).
    function pointOf(uint256 index) internal pure returns (uint256 point) {
        point = 1;
        uint256 power = ROOT_OF_UNITY;
        for (uint256 bit = 12; bit > 0; --bit) {
            if ((index >> (bit - 1)) & 1 == 1) point = mulmod(point, power, MODULUS);
            power = mulmod(power, power, MODULUS);
        }
    }

    function _above(uint256 count) private pure returns (uint256) {
        return (count + (1 << LOG2_GROUP) - 1) >> LOG2_GROUP;
    }
}
