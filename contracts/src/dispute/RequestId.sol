// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice Names a request of an inference oracle, and with it the inference that a game is about.
/// @dev Source: docs/game.md, "Requests".
type RequestId is bytes32;

using {raw, equals as ==, differs as !=} for RequestId global;

/// @notice The 32 bytes.
function raw(RequestId id) pure returns (bytes32) {
    return RequestId.unwrap(id);
}

function equals(RequestId id, RequestId other) pure returns (bool) {
    return RequestId.unwrap(id) == RequestId.unwrap(other);
}

function differs(RequestId id, RequestId other) pure returns (bool) {
    return RequestId.unwrap(id) != RequestId.unwrap(other);
}

/// @notice The request that a game with these extra data is about: their first 32 bytes.
function requestIdOf(bytes memory extraData) pure returns (RequestId) {
    return RequestId.wrap(bytes32(extraData));
}
