// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @notice A game in the factory's books: type (4 bytes) ++ timestamp of creation (8) ++ address (20).
type GameId is bytes32;

using {gameType, timestamp, proxy} for GameId global;

function newGameId(uint32 gameType_, uint64 timestamp_, address proxy_) pure returns (GameId) {
    return GameId.wrap(bytes32((uint256(gameType_) << 224) | (uint256(timestamp_) << 160) | uint160(proxy_)));
}

function gameType(GameId id) pure returns (uint32) {
    return uint32(bytes4(GameId.unwrap(id)));
}

function timestamp(GameId id) pure returns (uint64) {
    return uint64(uint256(GameId.unwrap(id)) >> 160);
}

function proxy(GameId id) pure returns (address) {
    return address(uint160(uint256(GameId.unwrap(id))));
}
