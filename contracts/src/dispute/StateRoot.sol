// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice S_t: the Merkle root of the ML segment after t nodes. It is what claims assert down to the split depth.
/// @dev Source: docs/segment.md, "State roots".
type StateRoot is bytes32;

using {raw, isZero, equals as ==} for StateRoot global;

/// @notice The 32 bytes.
function raw(StateRoot root) pure returns (bytes32) {
    return StateRoot.unwrap(root);
}

/// @notice Whether there is none: no segment has this root.
function isZero(StateRoot root) pure returns (bool) {
    return StateRoot.unwrap(root) == bytes32(0);
}

function equals(StateRoot root, StateRoot other) pure returns (bool) {
    return StateRoot.unwrap(root) == StateRoot.unwrap(other);
}
