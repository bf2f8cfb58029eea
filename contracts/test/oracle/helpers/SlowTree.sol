// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title Merkle trees the slow, obvious way
library SlowTree {
    /// @notice The root of 2^log2Size bytes, `image` and then zeros, from all of its leaves.
    function root(bytes memory image, uint256 log2Size) internal pure returns (bytes32) {
        bytes32[] memory row = new bytes32[](2 ** (log2Size - 5));
        for (uint256 i = 0; i < row.length; ++i) {
            uint256 leaf = 0;
            for (uint256 j = 0; j < 32; ++j) {
                uint256 at = 32 * i + j;
                leaf = leaf << 8 | (at < image.length ? uint8(image[at]) : 0);
            }
            row[i] = bytes32(leaf);
        }
        return rootOfRow(row);
    }

    /// @notice The root over subtrees of one size, as many as a power of two.
    function rootOfRow(bytes32[] memory row) internal pure returns (bytes32) {
        while (row.length > 1) {
            bytes32[] memory above = new bytes32[](row.length / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                above[i] = keccak256(abi.encode(row[2 * i], row[2 * i + 1]));
            }
            row = above;
        }
        return row[0];
    }

    /// @notice The root that `node`, the index-th of its level, leads to with these siblings, lowest first.
    function rootFromProof(bytes32 node, uint256 index, bytes32[] memory siblings) internal pure returns (bytes32) {
        for (uint256 i = 0; i < siblings.length; ++i) {
            node = (index >> i) & 1 == 1
                ? keccak256(abi.encode(siblings[i], node))
                : keccak256(abi.encode(node, siblings[i]));
        }
        return node;
    }
}
