// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IPreimageOracle} from "../IPreimageOracle.sol";
import {LocalContext} from "../LocalContext.sol";
import {
    BLOB_KEY,
    KECCAK256_KEY,
    LOCAL_KEY,
    PRECOMPILE_KEY,
    PreimageKey,
    SHA256_KEY,
    preimageKey
} from "../PreimageKey.sol";
import {InvalidProof, NotEnoughGas, PartOffsetOOB} from "./PreimageErrors.sol";

/// @title PreimageParts
/// @notice The parts that steps read, and their loading from a pre-image that fits into a transaction.
abstract contract PreimageParts is IPreimageOracle {
    /// @notice Gas that a call of a precompile may need around it, beyond what its key names.
    uint256 public constant PRECOMPILE_CALL_RESERVED_GAS = 100_000;

    /// @dev EIP-4844: a commitment and a proof are points of 48 bytes; this precompile evaluates a polynomial.
    uint256 private constant POINT_BYTES = 48;
    address private constant POINT_EVALUATION = address(0x0a);
    uint8 private constant KZG_VERSION = 1;

    /// @inheritdoc IPreimageOracle
    mapping(PreimageKey key => uint256 length) public preimageLengths;

    /// @inheritdoc IPreimageOracle
    mapping(PreimageKey key => mapping(uint256 partOffset => bytes32 part)) public preimageParts;

    /// @inheritdoc IPreimageOracle
    mapping(PreimageKey key => mapping(uint256 partOffset => bool isLoaded)) public preimagePartOk;

    /// @inheritdoc IPreimageOracle
    function readPreimage(PreimageKey key, uint256 offset) external view returns (bytes32 data, uint256 length) {
        require(preimagePartOk[key][offset], "pre-image must exist");
        data = preimageParts[key][offset];
        // Local data may have been loaded anew, and shorter: then a part that lay inside can lie behind the end, and
        // the subtraction reverts.
        uint256 end = preimageLengths[key] + 8;
        length = offset + 32 < end ? 32 : end - offset;
    }

    /// @inheritdoc IPreimageOracle
    function loadLocalData(uint256 ident, LocalContext context, bytes32 word, uint256 size, uint256 partOffset)
        external
        returns (PreimageKey key)
    {
        if (size > 32) revert PartOffsetOOB();
        _requireInside(partOffset, size);
        key = preimageKey(bytes32(ident), LOCAL_KEY).localized(msg.sender, context);
        _store(key, partOffset, size, _partOfWord(word, size, partOffset));
    }

    /// @inheritdoc IPreimageOracle
    function loadKeccak256PreimagePart(uint256 partOffset, bytes calldata preimage) external {
        _requireInside(partOffset, preimage.length);
        PreimageKey key = preimageKey(keccak256(preimage), KECCAK256_KEY);
        _store(key, partOffset, preimage.length, _partOf(preimage.length, preimage, partOffset));
    }

    /// @inheritdoc IPreimageOracle
    function loadSha256PreimagePart(uint256 partOffset, bytes calldata preimage) external {
        _requireInside(partOffset, preimage.length);
        PreimageKey key = preimageKey(sha256(preimage), SHA256_KEY);
        _store(key, partOffset, preimage.length, _partOf(preimage.length, preimage, partOffset));
    }

    /// @inheritdoc IPreimageOracle
    function loadBlobPreimagePart(
        uint256 z,
        uint256 y,
        bytes calldata commitment,
        bytes calldata proof,
        uint256 partOffset
    ) external {
        commitment = commitment[:POINT_BYTES];
        bytes32 versionedHash = preimageKey(sha256(commitment), KZG_VERSION).raw();
        bytes memory evaluation = bytes.concat(versionedHash, bytes32(z), bytes32(y), commitment, proof[:POINT_BYTES]);
        (bool isRight,) = POINT_EVALUATION.staticcall(evaluation);
        if (!isRight) revert InvalidProof();
        _requireInside(partOffset, 32);
        PreimageKey key = preimageKey(keccak256(bytes.concat(commitment, bytes32(z))), BLOB_KEY);
        _store(key, partOffset, 32, _partOfWord(bytes32(y), 32, partOffset));
    }

    /// @inheritdoc IPreimageOracle
    function loadPrecompilePreimagePart(
        uint256 partOffset,
        address precompile,
        uint64 requiredGas,
        bytes calldata input
    ) external {
        bytes memory called = bytes.concat(bytes20(precompile), bytes8(requiredGas), input);
        PreimageKey key = preimageKey(keccak256(called), PRECOMPILE_KEY);
        // A call gets at most 63/64 of what is left. INVARIANT: with that much it cannot fail for lack of gas, so what
        // it answers is the precompile's own answer, whichever account loads it.
        unchecked {
            if (gasleft() * 63 < uint256(requiredGas) * 64 + PRECOMPILE_CALL_RESERVED_GAS * 63) revert NotEnoughGas();
        }
        bool isDone;
        assembly ("memory-safe") {
            // Behind the length, the address and the gas. No copy, which could cost more than what is reserved.
            isDone := staticcall(gas(), precompile, add(called, 60), sub(mload(called), 28), 0, 0)
        }
        bytes memory result;
        assembly ("memory-safe") {
            let size := returndatasize()
            result := mload(0x40)
            mstore(result, add(size, 1))
            mstore8(add(result, 32), isDone)
            returndatacopy(add(result, 33), 0, size)
            mstore(add(add(result, 33), size), 0) // what a part's last word shows behind the end
            mstore(0x40, add(result, and(add(size, 96), not(31))))
        }
        _requireInside(partOffset, result.length);
        _store(key, partOffset, result.length, _partOfMemory(result, partOffset));
    }

    function _requireInside(uint256 partOffset, uint256 length) private pure {
        if (partOffset >= length + 8) revert PartOffsetOOB();
    }

    function _store(PreimageKey key, uint256 partOffset, uint256 length, bytes32 part) internal {
        preimagePartOk[key][partOffset] = true;
        preimageParts[key][partOffset] = part;
        preimageLengths[key] = length;
    }

    /// @dev 32 bytes from `offset` of: `length` (8 bytes), `preimage` as far as it is given, zeros.
    function _partOf(uint256 length, bytes calldata preimage, uint256 offset) internal pure returns (bytes32 part) {
        if (offset < 8) {
            return (bytes32(length << 192) << (8 * offset)) | (_wordAt(preimage, 0) >> (64 - 8 * offset));
        }
        return _wordAt(preimage, offset - 8);
    }

    /// @dev 32 bytes from `start`, at most the end, of `data`, zeros behind it.
    function _wordAt(bytes calldata data, uint256 start) internal pure returns (bytes32) {
        if (start == data.length) return 0;
        return bytes32(data[start:_min(data.length, start + 32)]);
    }

    /// @dev 32 bytes from `offset` of: `size` (8 bytes), all 32 bytes of `word`, zeros.
    function _partOfWord(bytes32 word, uint256 size, uint256 offset) private pure returns (bytes32) {
        if (offset < 8) return (bytes32(size << 192) << (8 * offset)) | (word >> (64 - 8 * offset));
        return word << (8 * (offset - 8));
    }

    /// @dev 32 bytes from `offset` of: the length of `data` (8 bytes), `data`, zeros, of which 32 stand behind it.
    function _partOfMemory(bytes memory data, uint256 offset) private pure returns (bytes32 part) {
        assembly ("memory-safe") {
            // The length's last 8 bytes stand right before the data. ASSUMES: inside, see `_requireInside`.
            part := mload(add(add(data, 24), offset))
        }
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
