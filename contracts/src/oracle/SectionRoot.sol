// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

// The Merkle roots of which a state root is made: docs/segment.md, "Sections". Each has a type, so that one cannot be given
// in the place of another.

/// @notice Root of the lower half of the segment, 2^39 bytes: program and weights.
type ModelRoot is bytes32;

/// @notice Root of the HEADER section, 2^37 bytes.
type HeaderRoot is bytes32;

/// @notice Root of the INPUT section, 2^36 bytes.
type InputRoot is bytes32;

/// @notice Root of the OUTPUT section, 2^36 bytes.
type OutputRoot is bytes32;

/// @notice Root of the ARENA section, 2^38 bytes: what a node's values are computed in.
type ArenaRoot is bytes32;

using {differs as !=} for ModelRoot global;

function differs(ModelRoot root, ModelRoot other) pure returns (bool) {
    return ModelRoot.unwrap(root) != ModelRoot.unwrap(other);
}
