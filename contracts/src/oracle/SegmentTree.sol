// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {StateRoot} from "../dispute/StateRoot.sol";
import {ZeroRoots} from "../vm/ZeroRoots.sol";
import {ArenaRoot, HeaderRoot, InputRoot, ModelRoot, OutputRoot} from "./SectionRoot.sol";

/// @title The part of the ML segment's Merkle tree that the chain needs
/// @notice 2^40 bytes. Leaves are 32 raw bytes (level 5), an inner node is keccak256(left ++ right):
///
///             level 40                       state root S
///             level 39         modelRoot                      .
///             level 38      program, weights          .             ARENA
///             level 37                         HEADER     .
///             level 36                                INPUT  OUTPUT
///
///         1. `imageRoot` hashes the bytes of a section that starts with an image and goes on with zeros.
///         2. `headerRoot` does so for the HEADER section.
///         3. `stateRoot` puts the five parts together; `initialRoot` does for S_0, `finalRoot` for S_n without error.
///         4. `modelRootOf` leads from the program header up to the model root.
///
/// @dev Source: docs/segment.md.
library SegmentTree {
    /// @notice "OPMLSTAT", the first word of the HEADER section.
    uint64 internal constant STATE_MAGIC = 0x4f504d4c53544154;
    /// @notice "OPMLPROG", the first word of the program header.
    uint64 internal constant PROGRAM_MAGIC = 0x4f504d4c50524f47;
    /// @notice The format that node records are in.
    uint64 internal constant PROGRAM_VERSION = 2;

    /// @notice Sizes of sections: 2^k bytes.
    uint256 internal constant LOG2_PROGRAM = 37;
    uint256 internal constant LOG2_HEADER = 37;
    uint256 internal constant LOG2_INPUT = 36;
    uint256 internal constant LOG2_OUTPUT = 36;
    uint256 internal constant LOG2_ARENA = 38;
    /// @notice All of it.
    uint256 internal constant LOG2_SEGMENT = 40;

    /// @notice A node record. The program header has the place of one.
    uint256 internal constant RECORD_BYTES = 512;

    /// @notice Siblings of the program header's first 2^6 bytes, in the lower half of the segment, 2^39 bytes.
    uint256 internal constant HEADER_PROOF_LENGTH = 33;

    /// @notice keccak256(left ++ right).
    function hashPair(bytes32 left, bytes32 right) internal pure returns (bytes32 root) {
        assembly ("memory-safe") {
            mstore(0x00, left)
            mstore(0x20, right)
            root := keccak256(0x00, 0x40)
        }
    }

    /// @notice The root of 2^log2Size zero bytes.
    /// @param log2Size 5 to 63.
    function zeroRoot(uint256 log2Size) internal pure returns (bytes32 root) {
        uint256 table = ZeroRoots.load();
        assembly ("memory-safe") {
            root := mload(add(table, shl(5, sub(log2Size, 5))))
        }
    }

    /// @notice The root of 2^log2Size bytes: `image`, then zeros.
    /// @param image At most 2^log2Size bytes; the caller checks.
    /// @param log2Size 5 to 63.
    function imageRoot(bytes calldata image, uint256 log2Size) internal pure returns (bytes32 root) {
        uint256 table = ZeroRoots.load();
        assembly ("memory-safe") {
            // The leaves, in free memory that is given back at the end; one leaf if the image is empty.
            let row := mload(0x40)
            let count := add(shr(5, add(image.length, 31)), iszero(image.length))
            // The last leaf's bytes after the image are zeros: written first, since this memory may be used.
            mstore(add(row, shl(5, sub(count, 1))), 0)
            calldatacopy(row, image.offset, image.length)

            // One level up per turn, in place: pair i goes where leaf i was, which is read no more.
            for { let level := 5 } lt(level, log2Size) { level := add(level, 1) } {
                // A last one without a partner gets the root of zeros for one.
                if and(count, 1) {
                    mstore(add(row, shl(5, count)), mload(add(table, shl(5, sub(level, 5)))))
                    count := add(count, 1)
                }
                let end := add(row, shl(5, count))
                let to := row
                for { let from := row } lt(from, end) { from := add(from, 0x40) } {
                    mstore(to, keccak256(from, 0x40))
                    to := add(to, 0x20)
                }
                count := shr(1, count)
            }
            root := mload(row)
        }
    }

    /// @notice The root of the HEADER section.
    /// @param nodeIndex Nodes run so far.
    /// @param status The inference's error, 0 for none.
    /// @param faultNode The node that latched it, 0 without error.
    function headerRoot(uint64 nodeIndex, uint64 status, uint64 faultNode) internal pure returns (HeaderRoot) {
        bytes32 root =
            bytes32((uint256(STATE_MAGIC) << 192) | (uint256(nodeIndex) << 128) | (uint256(status) << 64) | faultNode);
        uint256 table = ZeroRoots.load();
        for (uint256 level = 5; level < LOG2_HEADER; ++level) {
            bytes32 zeros;
            assembly ("memory-safe") {
                zeros := mload(add(table, shl(5, sub(level, 5))))
            }
            root = hashPair(root, zeros);
        }
        return HeaderRoot.wrap(root);
    }

    /// @notice The root of the whole segment.
    function stateRoot(
        ModelRoot modelRoot,
        HeaderRoot header,
        InputRoot inputRoot,
        OutputRoot outputRoot,
        ArenaRoot arenaRoot
    ) internal pure returns (StateRoot) {
        bytes32 images = hashPair(InputRoot.unwrap(inputRoot), OutputRoot.unwrap(outputRoot));
        bytes32 upper = hashPair(hashPair(HeaderRoot.unwrap(header), images), ArenaRoot.unwrap(arenaRoot));
        return StateRoot.wrap(hashPair(ModelRoot.unwrap(modelRoot), upper));
    }

    /// @notice The root of an INPUT section with this image.
    function inputRootOf(bytes calldata image) internal pure returns (InputRoot) {
        return InputRoot.wrap(imageRoot(image, LOG2_INPUT));
    }

    /// @notice The root of the tree in which the index-th subtree of a level is `root`.
    /// @param siblings What stands beside the path up, lowest first; `index` is below 2^(their number).
    function rootAbove(bytes32 root, uint256 index, bytes32[] calldata siblings) internal pure returns (bytes32) {
        for (uint256 i = 0; i < siblings.length; ++i) {
            root = (index >> i) & 1 == 0 ? hashPair(root, siblings[i]) : hashPair(siblings[i], root);
        }
        return root;
    }

    /// @notice S_0: nothing run, nothing put out.
    function initialRoot(ModelRoot modelRoot, InputRoot inputRoot) internal pure returns (StateRoot) {
        OutputRoot noOutput = OutputRoot.wrap(zeroRoot(LOG2_OUTPUT));
        return stateRoot(modelRoot, headerRoot(0, 0, 0), inputRoot, noOutput, ArenaRoot.wrap(zeroRoot(LOG2_ARENA)));
    }

    /// @notice S_n of an inference without error.
    function finalRoot(
        ModelRoot modelRoot,
        uint64 nodeCount,
        InputRoot inputRoot,
        OutputRoot outputRoot,
        ArenaRoot arenaRoot
    ) internal pure returns (StateRoot) {
        return stateRoot(modelRoot, headerRoot(nodeCount, 0, 0), inputRoot, outputRoot, arenaRoot);
    }

    /// @notice The root of the lower half of the segment whose first 64 bytes are `headerLeaves`.
    /// @param headerProof Their siblings, levels 6 to 38, lowest first: each on the right, since the header comes first.
    function modelRootOf(bytes32[2] calldata headerLeaves, bytes32[33] calldata headerProof)
        internal
        pure
        returns (ModelRoot)
    {
        bytes32 root = hashPair(headerLeaves[0], headerLeaves[1]);
        for (uint256 i = 0; i < HEADER_PROOF_LENGTH; ++i) {
            root = hashPair(root, headerProof[i]);
        }
        return ModelRoot.wrap(root);
    }
}
