// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {InputRoot} from "../SectionRoot.sol";

/// @notice An input that is being published, or was.
struct Upload {
    /// @notice How many parts were added.
    uint32 partCount;
    /// @notice The block of the first part.
    uint64 firstBlock;
    /// @notice Whether the last part was added. Nothing can be added any more.
    bool isComplete;
    /// @notice Commits to all parts so far: keccak256(digest before ++ root of the part), starting from zero. A publisher
    ///         that was interrupted compares it with its own before it goes on.
    bytes32 digest;
}

/// @notice Where the image behind an input root can be found.
struct Publication {
    /// @notice Bytes of the image; zeros follow up to the end of the section. 0 if nothing was published.
    uint64 sizeBytes;
    /// @notice Its parts are in events of the blocks from this one on,
    uint64 firstBlock;
    /// @notice to this one,
    uint64 lastBlock;
    /// @notice with this upload id.
    bytes32 uploadId;
}

/// @title Inputs published in parts
/// @notice A transaction holds some 100 kB, an input can be much larger. Here its image is published in parts of 2^16 bytes,
///         one or more transactions each, and its root is computed on the chain as it grows. `requestByRoot` of the oracle
///         then asks for the inference, and everyone finds the image in the events of this contract, by its root.
/// @dev Source: docs/game.md, "Inputs in parts". No owner, no funds; an upload belongs to the address that started it, so
///      no other account can add to it, and abandoning one costs nothing more.
interface IInputParts {
    // ---------------------------------------------------------------- events

    /// @param index From 0 on, without gaps; each once.
    event PartAdded(bytes32 indexed uploadId, uint256 indexed index, bytes part);
    /// @notice The image of this root is now public.
    event InputPublished(InputRoot indexed inputRoot, bytes32 indexed uploadId, uint64 sizeBytes);

    // ---------------------------------------------------------------- errors

    /// @notice The next part of the upload has another index: an earlier one is missing, or this one is there already.
    error UnexpectedPart(uint256 found, uint256 expected);
    /// @notice The upload is complete.
    error UploadComplete(bytes32 uploadId);
    /// @notice Every part but the last has PART_BYTES; the last one has at least one byte and at most that.
    error BadPartSize(uint256 found);
    /// @notice The INPUT section, 2^36 bytes, holds no more parts.
    error InputTooLarge();

    // ---------------------------------------------------------------- publishing

    /// @notice Adds a part to an upload of the caller, and starts it if the index is 0.
    /// @param salt Chosen by the caller; tells its uploads apart.
    /// @param index How many parts the upload has: a transaction that is sent twice does nothing the second time.
    /// @param isLast Completes the upload: its root is then that of a published input.
    function addPart(bytes32 salt, uint256 index, bytes calldata part, bool isLast) external;

    // ---------------------------------------------------------------- looking up

    /// @notice Bytes of every part but the last: 2^16.
    function PART_BYTES() external view returns (uint256);
    /// @notice keccak256(abi.encode(publisher, salt)).
    function uploadIdOf(address publisher, bytes32 salt) external pure returns (bytes32);
    function uploads(bytes32 uploadId) external view returns (Upload memory);
    /// @notice Where the image of this root was published first.
    function publications(InputRoot inputRoot) external view returns (Publication memory);
}
