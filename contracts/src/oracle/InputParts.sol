// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {InputRoot} from "./SectionRoot.sol";
import {SegmentTree} from "./SegmentTree.sol";
import {IInputParts, Publication, Upload} from "./interfaces/IInputParts.sol";

/// @title InputParts
/// @notice See IInputParts. The root grows as a binary counter does: after n parts there is one whole subtree for every 1 in
///         the binary digits of n, and adding a part merges those that a carry would.
/// @dev Source: docs/game.md, "Inputs in parts".
contract InputParts is IInputParts {
    /// @inheritdoc IInputParts
    uint256 public constant PART_BYTES = 1 << LOG2_PART;

    uint256 internal constant LOG2_PART = 16;
    uint256 internal constant MAX_PARTS = 1 << (SegmentTree.LOG2_INPUT - LOG2_PART);

    mapping(bytes32 uploadId => Upload) internal uploadOf;
    mapping(InputRoot inputRoot => Publication) internal publicationOf;
    /// @dev Roots of whole subtrees of 2^level bytes; of an upload of n parts, those where n has a 1 count.
    mapping(bytes32 uploadId => mapping(uint256 level => bytes32)) internal subtreeRoot;

    function addPart(bytes32 salt, uint256 index, bytes calldata part, bool isLast) external {
        bytes32 uploadId = uploadIdOf(msg.sender, salt);
        Upload storage upload = uploadOf[uploadId];
        if (upload.isComplete) revert UploadComplete(uploadId);
        if (index != upload.partCount) revert UnexpectedPart(index, upload.partCount);
        if (index == MAX_PARTS) revert InputTooLarge();
        bool isWhole = part.length == PART_BYTES;
        if (!isWhole && (!isLast || part.length == 0 || part.length > PART_BYTES)) revert BadPartSize(part.length);

        bytes32 root = SegmentTree.imageRoot(part, LOG2_PART);
        if (index == 0) upload.firstBlock = uint64(block.number);
        upload.partCount = uint32(index + 1); // <= MAX_PARTS
        upload.digest = SegmentTree.hashPair(upload.digest, root);
        _enter(uploadId, index, root);
        emit PartAdded(uploadId, index, part);
        if (isLast) _complete(uploadId, upload, index * PART_BYTES + part.length);
    }

    /// @dev Merges the new part with the whole subtrees to its left, as adding 1 to `index` carries.
    function _enter(bytes32 uploadId, uint256 index, bytes32 root) internal {
        uint256 level = LOG2_PART;
        for (; index & 1 == 1; index >>= 1) {
            root = SegmentTree.hashPair(subtreeRoot[uploadId][level++], root);
        }
        subtreeRoot[uploadId][level] = root;
    }

    function _complete(bytes32 uploadId, Upload storage upload, uint256 sizeBytes) internal {
        upload.isComplete = true;
        InputRoot inputRoot = _rootOf(uploadId, upload.partCount);
        // The first publication is kept: one place suffices to find the image, and all are right for the same root.
        if (publicationOf[inputRoot].sizeBytes == 0) {
            publicationOf[inputRoot] = Publication({
                sizeBytes: uint64(sizeBytes), // <= 2^36
                firstBlock: upload.firstBlock,
                lastBlock: uint64(block.number),
                uploadId: uploadId
            });
        }
        emit InputPublished(inputRoot, uploadId, uint64(sizeBytes));
    }

    /// @dev The root of the section: the whole subtrees, and zeros to their right.
    function _rootOf(bytes32 uploadId, uint256 count) internal view returns (InputRoot) {
        if (count == MAX_PARTS) return InputRoot.wrap(subtreeRoot[uploadId][SegmentTree.LOG2_INPUT]);
        bytes32 root = SegmentTree.zeroRoot(LOG2_PART);
        for (uint256 level = LOG2_PART; level < SegmentTree.LOG2_INPUT; ++level) {
            bool hasSubtree = (count >> (level - LOG2_PART)) & 1 == 1;
            root = hasSubtree
                ? SegmentTree.hashPair(subtreeRoot[uploadId][level], root)
                : SegmentTree.hashPair(root, SegmentTree.zeroRoot(level));
        }
        return InputRoot.wrap(root);
    }

    // ---------------------------------------------------------------- looking up

    function uploadIdOf(address publisher, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(publisher, salt));
    }

    function uploads(bytes32 uploadId) external view returns (Upload memory) {
        return uploadOf[uploadId];
    }

    function publications(InputRoot inputRoot) external view returns (Publication memory) {
        return publicationOf[inputRoot];
    }
}
