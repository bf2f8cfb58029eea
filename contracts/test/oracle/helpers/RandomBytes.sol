// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice Bytes that differ by seed and place.
function randomBytes(uint256 size, uint256 seed) pure returns (bytes memory data) {
    data = new bytes((size + 31) & ~uint256(31));
    assembly ("memory-safe") {
        mstore(0x00, seed)
        for { let at := 0 } lt(at, size) { at := add(at, 32) } {
            mstore(0x20, at)
            mstore(add(add(data, 32), at), keccak256(0x00, 0x40))
        }
        mstore(data, size)
    }
}
