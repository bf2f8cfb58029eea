// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {StateRoot} from "../dispute/StateRoot.sol";
import {ArenaRoot, HeaderRoot, InputRoot, ModelRoot, OutputRoot} from "./SectionRoot.sol";
import {SegmentTree} from "./SegmentTree.sol";

/// @title The Merkle tree over the segments of a batch
/// @notice The state of a batch of items is the root of 2^(40 + height) bytes that hold their segments side by side, item i
///         at i * 2^40, then zeros. A node's run changes one leaf of this tree: the state of its item.
/// @dev Source: docs/segment.md, "Batches".
library BatchTree {
    uint256 internal constant MIN_ITEMS = 2;
    uint256 internal constant MAX_ITEMS = 256;

    /// @notice Log2 of the number of items that there is room for.
    /// @param itemCount 1 to MAX_ITEMS.
    function height(uint256 itemCount) internal pure returns (uint256) {
        return FixedPointMathLib.log2Up(itemCount);
    }

    /// @notice The roots of a batch's inputs, 2^(36 + height) bytes with item i's at i * 2^36, and of its first state.
    /// @param inputs The items' input images, one behind the other; their length is a multiple of `itemCount`.
    /// @param itemCount At least 1, for which both are those of the one item.
    function initialRoots(ModelRoot modelRoot, bytes calldata inputs, uint256 itemCount)
        internal
        pure
        returns (InputRoot inputRoot, StateRoot startingRoot)
    {
        uint256 inputBytes = inputs.length / itemCount;
        bytes32[] memory inputRoots = new bytes32[](itemCount);
        bytes32[] memory startingRoots = new bytes32[](itemCount);
        // Of each item alike.
        HeaderRoot header = SegmentTree.headerRoot(0, 0, 0);
        OutputRoot noOutput = OutputRoot.wrap(SegmentTree.zeroRoot(SegmentTree.LOG2_OUTPUT));
        ArenaRoot noArena = ArenaRoot.wrap(SegmentTree.zeroRoot(SegmentTree.LOG2_ARENA));
        for (uint256 i = 0; i < itemCount; ++i) {
            InputRoot itemInput = SegmentTree.inputRootOf(inputs[i * inputBytes:(i + 1) * inputBytes]);
            inputRoots[i] = InputRoot.unwrap(itemInput);
            startingRoots[i] = SegmentTree.stateRoot(modelRoot, header, itemInput, noOutput, noArena).raw();
        }
        inputRoot = InputRoot.wrap(_rootOf(inputRoots, SegmentTree.LOG2_INPUT));
        startingRoot = StateRoot.wrap(_rootOf(startingRoots, SegmentTree.LOG2_SEGMENT));
    }

    /// @dev The root over `row`, subtrees of 2^level bytes each, then zeros. Overwrites the row.
    function _rootOf(bytes32[] memory row, uint256 level) private pure returns (bytes32) {
        uint256 count = row.length;
        for (; count > 1; ++level) {
            bytes32 zeros = SegmentTree.zeroRoot(level);
            uint256 pairs = (count + 1) / 2;
            for (uint256 i = 0; i < pairs; ++i) {
                row[i] = SegmentTree.hashPair(row[2 * i], 2 * i + 1 < count ? row[2 * i + 1] : zeros);
            }
            count = pairs;
        }
        return row[0];
    }
}
