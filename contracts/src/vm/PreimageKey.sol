// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

// The first byte of a pre-image key says what kind of key it is.
uint8 constant LOCAL_KEY = 1;
uint8 constant KECCAK256_KEY = 2;
uint8 constant SHA256_KEY = 4;
uint8 constant BLOB_KEY = 5;
uint8 constant PRECOMPILE_KEY = 6;

/// @title PreimageKey
library PreimageKey {
    /// @notice `digest` with its first byte replaced by the key type.
    function typed(bytes32 digest, uint8 keyType) internal pure returns (bytes32) {
        return (digest & bytes32(type(uint256).max >> 8)) | bytes32(uint256(keyType) << 248);
    }

    /// @notice Where local data of `owner` lies: keccak256(key ++ owner ++ context), as a local key.
    /// @dev Local data means something in one game only. So its key depends on the game, which both loads the data and calls
    /// `step`, and on the place in the game (`context`).
    function localized(bytes32 key, address owner, bytes32 context) internal pure returns (bytes32) {
        return typed(keccak256(abi.encode(key, owner, context)), LOCAL_KEY);
    }
}
