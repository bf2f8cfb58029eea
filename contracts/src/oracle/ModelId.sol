// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice Names a model of the registry: the hash of all that its registrant said about it.
/// @dev Source: docs/game.md, "Models".
type ModelId is bytes32;

using {raw} for ModelId global;

/// @notice The 32 bytes.
function raw(ModelId id) pure returns (bytes32) {
    return ModelId.unwrap(id);
}
