// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {StateRoot} from "../dispute/StateRoot.sol";
import {BatchTree} from "./BatchTree.sol";
import {ArenaRoot, InputRoot, ModelRoot, OutputRoot} from "./SectionRoot.sol";
import {SegmentTree} from "./SegmentTree.sol";
import {ISegmentRoots} from "./interfaces/ISegmentRoots.sol";

/// @title SegmentRoots
/// @notice See ISegmentRoots. A contract of its own, so that the table of zero subtrees and the loops are not part of the
///         code of those who need a root.
contract SegmentRoots is ISegmentRoots {
    /// @dev Log2 of a leaf's bytes.
    uint256 internal constant LOG2_LEAF = 5;

    function initialRoots(ModelRoot modelRoot, bytes calldata inputs, uint256 itemCount)
        external
        pure
        returns (InputRoot inputRoot, StateRoot startingRoot)
    {
        return BatchTree.initialRoots(modelRoot, inputs, itemCount);
    }

    function initialRoot(ModelRoot modelRoot, InputRoot inputRoot) external pure returns (StateRoot) {
        return SegmentTree.initialRoot(modelRoot, inputRoot);
    }

    function outputRoot(bytes calldata output) external pure returns (OutputRoot) {
        return OutputRoot.wrap(SegmentTree.imageRoot(output, SegmentTree.LOG2_OUTPUT));
    }

    function finalRoot(
        ModelRoot modelRoot,
        uint64 nodeCount,
        InputRoot inputRoot,
        OutputRoot outputRoot_,
        ArenaRoot arenaRoot
    ) external pure returns (StateRoot) {
        return SegmentTree.finalRoot(modelRoot, nodeCount, inputRoot, outputRoot_, arenaRoot);
    }

    function batchRoot(StateRoot itemRoot, uint256 item, bytes32[] calldata siblings)
        external
        pure
        returns (StateRoot)
    {
        return StateRoot.wrap(SegmentTree.rootAbove(itemRoot.raw(), item, siblings));
    }

    function outputRootWith(bytes calldata part, uint256 offset, bytes32[] calldata siblings)
        external
        pure
        returns (OutputRoot)
    {
        uint256 height = SegmentTree.LOG2_OUTPUT - LOG2_LEAF;
        if (siblings.length > height) revert TooManySiblings(siblings.length, height);
        uint256 log2Size = SegmentTree.LOG2_OUTPUT - siblings.length;
        uint256 size = uint256(1) << log2Size;
        if (part.length > size) revert PartTooLarge(part.length, size);
        // INVARIANT: an offset names one subtree, so no bytes can be shown at two places.
        if (offset % size != 0 || offset >> SegmentTree.LOG2_OUTPUT != 0) revert BadPartOffset(offset, size);
        bytes32 root = SegmentTree.imageRoot(part, log2Size);
        return OutputRoot.wrap(SegmentTree.rootAbove(root, offset >> log2Size, siblings));
    }
}
