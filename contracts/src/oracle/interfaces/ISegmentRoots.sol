// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {StateRoot} from "../../dispute/StateRoot.sol";
import {ArenaRoot, InputRoot, ModelRoot, OutputRoot} from "../SectionRoot.sol";

/// @title Roots of segments, computed on the chain
/// @notice The oracle computes state roots here, and consumers the root that a part of an output leads to. No storage, no
///         funds: each answer follows from the arguments alone.
/// @dev Source: docs/segment.md.
interface ISegmentRoots {
    /// @notice The siblings do not fit: more than lead from a leaf to the root of the OUTPUT section.
    error TooManySiblings(uint256 found, uint256 max);
    /// @notice The part is larger than the subtree that its siblings leave.
    error PartTooLarge(uint256 found, uint256 max);
    /// @notice A part stands at a multiple of its subtree's size, inside the OUTPUT section.
    error BadPartOffset(uint256 offset, uint256 subtreeBytes);

    /// @notice The roots of a request's inputs and of its first state.
    /// @param inputs The items' input images, one behind the other; their length is a multiple of `itemCount`.
    /// @param itemCount 1 to 256; 1 for a request that is no batch.
    function initialRoots(ModelRoot modelRoot, bytes calldata inputs, uint256 itemCount)
        external
        pure
        returns (InputRoot inputRoot, StateRoot startingRoot);

    /// @notice S_0 of one inference, from the root of its input.
    function initialRoot(ModelRoot modelRoot, InputRoot inputRoot) external pure returns (StateRoot);

    /// @notice The root of an OUTPUT section with this image.
    function outputRoot(bytes calldata output) external pure returns (OutputRoot);

    /// @notice S_n of one inference without error.
    function finalRoot(
        ModelRoot modelRoot,
        uint64 nodeCount,
        InputRoot inputRoot,
        OutputRoot outputRoot_,
        ArenaRoot arenaRoot
    ) external pure returns (StateRoot);

    /// @notice The root of a batch in which `item` has the state `itemRoot`.
    /// @param siblings As many as the tree is high, lowest first.
    function batchRoot(StateRoot itemRoot, uint256 item, bytes32[] calldata siblings) external pure returns (StateRoot);

    /// @notice The root of an OUTPUT section that has `part` at `offset`. If that is the root that was delivered, the part
    ///         is proven.
    /// @param part The bytes there; if fewer than 2^k, zeros follow up to 2^k. k = 36 less the number of siblings.
    /// @param offset In bytes from the beginning of the section; a multiple of 2^k.
    /// @param siblings What stands beside the path from the 2^k bytes up, lowest first; at most 31.
    function outputRootWith(bytes calldata part, uint256 offset, bytes32[] calldata siblings)
        external
        pure
        returns (OutputRoot);
}
