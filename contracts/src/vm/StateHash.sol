// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice Stands for a VM state: keccak256 of its witness, the first byte replaced by its VM status.
/// @dev Source: docs/vm.md, "State".
type StateHash is bytes32;

using {raw, vmStatus, isHashOf, equals as ==, differs as !=} for StateHash global;

/// @notice The first byte of a state hash: how the program stands.
library VmStatus {
    /// @notice Exited with code 0.
    uint8 internal constant VALID = 0;
    /// @notice Exited with code 1.
    uint8 internal constant INVALID = 1;
    /// @notice Exited with any other code.
    uint8 internal constant PANIC = 2;
    /// @notice Still running.
    uint8 internal constant UNFINISHED = 3;
}

/// @notice The 32 bytes.
function raw(StateHash stateHash) pure returns (bytes32) {
    return StateHash.unwrap(stateHash);
}

/// @notice The first byte: one of `VmStatus`, if the hash is that of a state.
function vmStatus(StateHash stateHash) pure returns (uint8) {
    return uint8(StateHash.unwrap(stateHash)[0]);
}

/// @notice Whether `stateData` is the witness behind the hash. The first byte is not compared: the witness tells the status
///         as well.
function isHashOf(StateHash stateHash, bytes calldata stateData) pure returns (bool) {
    return keccak256(stateData) << 8 == StateHash.unwrap(stateHash) << 8;
}

function equals(StateHash stateHash, StateHash other) pure returns (bool) {
    return StateHash.unwrap(stateHash) == StateHash.unwrap(other);
}

function differs(StateHash stateHash, StateHash other) pure returns (bool) {
    return StateHash.unwrap(stateHash) != StateHash.unwrap(other);
}

/// @notice `digest` with its first byte replaced by a VM status.
function stateHashOf(bytes32 digest, uint8 status) pure returns (StateHash) {
    return StateHash.wrap((digest << 8 >> 8) | bytes32(uint256(status) << 248));
}
