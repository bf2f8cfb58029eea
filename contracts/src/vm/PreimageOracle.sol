// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IPreimageOracle} from "./IPreimageOracle.sol";
import {KECCAK256_KEY, LOCAL_KEY, PreimageKey, SHA256_KEY} from "./PreimageKey.sol";

/// @title PreimageOracle
/// @notice What VM steps read of the outside world: local data, which a game fixes, and pre-images of hashes, which
/// anyone can load. A step reads one part of up to 32 bytes; that part must have been loaded before.
/// @dev Keys, parts and errors are those of the OP Stack's oracle. Not offered: blobs, precompiles, and proposals of
/// pre-images too large for one transaction. `proposalCount` is therefore always 0, which is all that clients ask.
contract PreimageOracle is IPreimageOracle {
    /// @notice The part would start behind the object's end, or local data is larger than a word.
    error PartOffsetOOB();

    /// @inheritdoc IPreimageOracle
    mapping(bytes32 key => uint256 length) public preimageLengths;

    /// @inheritdoc IPreimageOracle
    mapping(bytes32 key => mapping(uint256 partOffset => bytes32 part)) public preimageParts;

    /// @inheritdoc IPreimageOracle
    mapping(bytes32 key => mapping(uint256 partOffset => bool isLoaded)) public preimagePartOk;

    /// @notice The size in bytes from which clients would propose a pre-image in pieces.
    uint256 public immutable minProposalSize;

    /// @notice For how many seconds such a proposal could be challenged; a game's clock extends by it before a step.
    uint256 public immutable challengePeriod;

    constructor(uint256 minProposalSize_, uint256 challengePeriod_) {
        require(challengePeriod_ <= type(uint64).max, "challenge period too large"); // clocks are extended by it
        minProposalSize = minProposalSize_;
        challengePeriod = challengePeriod_;
    }

    /// @notice Tells clients which ABI to speak.
    function version() external pure returns (string memory) {
        return "1.1.5";
    }

    /// @notice How many proposals of large pre-images there are: none, ever.
    function proposalCount() external pure returns (uint256) {
        return 0;
    }

    /// @inheritdoc IPreimageOracle
    function readPreimage(bytes32 key, uint256 offset) external view returns (bytes32 data, uint256 length) {
        require(preimagePartOk[key][offset], "pre-image must exist");
        data = preimageParts[key][offset];
        // Local data may have been loaded anew, and shorter: then a part that lay inside can lie behind the end, and
        // the subtraction reverts.
        uint256 end = preimageLengths[key] + 8;
        length = offset + 32 < end ? 32 : end - offset;
    }

    /// @inheritdoc IPreimageOracle
    function loadLocalData(uint256 ident, bytes32 context, bytes32 word, uint256 size, uint256 partOffset)
        external
        returns (bytes32 key)
    {
        if (size > 32) revert PartOffsetOOB();
        _requireInside(partOffset, size);
        key = PreimageKey.localized(PreimageKey.typed(bytes32(ident), LOCAL_KEY), msg.sender, context);
        _store(key, partOffset, size, _partOfWord(word, size, partOffset));
    }

    /// @inheritdoc IPreimageOracle
    function loadKeccak256PreimagePart(uint256 partOffset, bytes calldata preimage) external {
        _requireInside(partOffset, preimage.length);
        bytes32 key = PreimageKey.typed(keccak256(preimage), KECCAK256_KEY);
        _store(key, partOffset, preimage.length, _partOf(preimage, partOffset));
    }

    /// @inheritdoc IPreimageOracle
    function loadSha256PreimagePart(uint256 partOffset, bytes calldata preimage) external {
        _requireInside(partOffset, preimage.length);
        bytes32 key = PreimageKey.typed(sha256(preimage), SHA256_KEY);
        _store(key, partOffset, preimage.length, _partOf(preimage, partOffset));
    }

    function _requireInside(uint256 partOffset, uint256 length) private pure {
        if (partOffset >= length + 8) revert PartOffsetOOB();
    }

    function _store(bytes32 key, uint256 partOffset, uint256 length, bytes32 part) private {
        preimagePartOk[key][partOffset] = true;
        preimageParts[key][partOffset] = part;
        preimageLengths[key] = length;
    }

    /// @dev 32 bytes from `offset` of: length of `preimage` (8 bytes), `preimage`, zeros.
    function _partOf(bytes calldata preimage, uint256 offset) private pure returns (bytes32 part) {
        if (offset < 8) {
            bytes32 start = preimage.length == 0 ? bytes32(0) : bytes32(preimage[:_min(preimage.length, 32)]);
            return (bytes32(preimage.length << 192) << (8 * offset)) | (start >> (64 - 8 * offset));
        }
        uint256 from = offset - 8; // ASSUMES: below the length, see `_requireInside`
        return bytes32(preimage[from:_min(preimage.length, from + 32)]);
    }

    /// @dev 32 bytes from `offset` of: `size` (8 bytes), all 32 bytes of `word`, zeros.
    function _partOfWord(bytes32 word, uint256 size, uint256 offset) private pure returns (bytes32) {
        if (offset < 8) return (bytes32(size << 192) << (8 * offset)) | (word >> (64 - 8 * offset));
        return word << (8 * (offset - 8));
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
