// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {LocalContext} from "./LocalContext.sol";

/// @notice Names a pre-image: a digest, or the number of a local datum, whose first byte says what kind of key it is.
/// @dev Source: docs/vm.md, "Pre-image oracle".
type PreimageKey is bytes32;

using {raw, isLocal, localized} for PreimageKey global;

uint8 constant LOCAL_KEY = 1;
uint8 constant KECCAK256_KEY = 2;
uint8 constant SHA256_KEY = 4;
uint8 constant BLOB_KEY = 5;
uint8 constant PRECOMPILE_KEY = 6;

/// @dev All but the first byte of a word.
bytes32 constant WITHOUT_KIND = bytes32(type(uint256).max >> 8);
/// @dev Shifts a byte to the left end of a word.
uint256 constant BYTE_ON_THE_LEFT = 248;

/// @notice `digest` with its first byte replaced by the kind of key.
function preimageKey(bytes32 digest, uint8 kind) pure returns (PreimageKey) {
    return PreimageKey.wrap((digest & WITHOUT_KIND) | bytes32(uint256(kind) << BYTE_ON_THE_LEFT));
}

/// @notice The 32 bytes.
function raw(PreimageKey key) pure returns (bytes32) {
    return PreimageKey.unwrap(key);
}

/// @notice Whether the key is that of a local datum.
function isLocal(PreimageKey key) pure returns (bool) {
    return uint8(PreimageKey.unwrap(key)[0]) == LOCAL_KEY;
}

/// @notice Where local data of `owner` lies: keccak256(key ++ owner ++ context), as a local key.
/// @dev A local datum belongs to one game. So its key depends on the game, which both loads the data and calls `step`, and
///      on the place in the game (`context`).
function localized(PreimageKey key, address owner, LocalContext context) pure returns (PreimageKey) {
    return preimageKey(keccak256(abi.encode(key, owner, context)), LOCAL_KEY);
}
