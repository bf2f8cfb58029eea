// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice Salt of local pre-image keys. A game gives each of its execution subgames one, so that what a step reads there
///         was loaded for that subgame.
/// @dev Source: docs/game.md, "Execution subgames".
type LocalContext is bytes32;

using {raw} for LocalContext global;

/// @notice The 32 bytes.
function raw(LocalContext context) pure returns (bytes32) {
    return LocalContext.unwrap(context);
}
