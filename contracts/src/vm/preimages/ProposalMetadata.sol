// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice What is known of a proposal of a large pre-image, in one word. From its most significant bit:
///
///     timestamp 64   partOffset 32   claimedSize 32   blocksProcessed 32   bytesProcessed 32   countered 64
///
/// @dev The layout is the OP Stack's: clients decode the word themselves.
type ProposalMetadata is uint256;

using ProposalMetadataFields for ProposalMetadata global;

/// @title ProposalMetadataFields
library ProposalMetadataFields {
    /// @notice A proposal without input.
    function opened(uint32 partOffset_, uint32 claimedSize_) internal pure returns (ProposalMetadata) {
        return ProposalMetadata.wrap(uint256(partOffset_) << 160 | uint256(claimedSize_) << 128);
    }

    /// @notice When all input was there, in seconds; 0 before.
    function timestamp(ProposalMetadata self) internal pure returns (uint64) {
        return uint64(ProposalMetadata.unwrap(self) >> 192);
    }

    /// @notice Which part of the object (length, then pre-image) the proposal is for.
    function partOffset(ProposalMetadata self) internal pure returns (uint32) {
        return uint32(ProposalMetadata.unwrap(self) >> 160);
    }

    /// @notice The pre-image's size in bytes, as claimed; 0 if there is no proposal.
    function claimedSize(ProposalMetadata self) internal pure returns (uint32) {
        return uint32(ProposalMetadata.unwrap(self) >> 128);
    }

    /// @notice How many blocks of 136 bytes are in the tree, the padding among them.
    function blocksProcessed(ProposalMetadata self) internal pure returns (uint32) {
        return uint32(ProposalMetadata.unwrap(self) >> 96);
    }

    /// @notice How many bytes of the pre-image were sent, without the padding.
    function bytesProcessed(ProposalMetadata self) internal pure returns (uint32) {
        return uint32(ProposalMetadata.unwrap(self) >> 64);
    }

    /// @notice Whether a false commitment was shown.
    function countered(ProposalMetadata self) internal pure returns (bool) {
        return uint64(ProposalMetadata.unwrap(self)) != 0;
    }

    /// @notice The same with more input.
    function withProgress(ProposalMetadata self, uint32 blocks, uint32 bytes_)
        internal
        pure
        returns (ProposalMetadata)
    {
        uint256 rest = ProposalMetadata.unwrap(self) & ~(uint256(type(uint64).max) << 64);
        return ProposalMetadata.wrap(rest | uint256(blocks) << 96 | uint256(bytes_) << 64);
    }

    /// @notice The same with all input there.
    function withTimestamp(ProposalMetadata self, uint64 time) internal pure returns (ProposalMetadata) {
        uint256 rest = ProposalMetadata.unwrap(self) & type(uint192).max;
        return ProposalMetadata.wrap(rest | uint256(time) << 192);
    }

    /// @notice The same, shown to be false.
    function asCountered(ProposalMetadata self) internal pure returns (ProposalMetadata) {
        return ProposalMetadata.wrap(ProposalMetadata.unwrap(self) | 1);
    }
}
