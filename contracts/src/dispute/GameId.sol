// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Timestamp} from "./Time.sol";

/// @notice The factory's id of a game: type (4 bytes) ++ timestamp of creation (8) ++ address (20).
type GameId is bytes32;

using {gameType, timestamp, proxy} for GameId global;

/// @dev Where the fields begin, in bits from the right.
uint256 constant GAME_TYPE_AT = 224;
uint256 constant GAME_TIMESTAMP_AT = 160;

function newGameId(uint32 gameType_, Timestamp timestamp_, address proxy_) pure returns (GameId) {
    uint256 type_ = uint256(gameType_) << GAME_TYPE_AT;
    uint256 time = uint256(Timestamp.unwrap(timestamp_)) << GAME_TIMESTAMP_AT;
    return GameId.wrap(bytes32(type_ | time | uint160(proxy_)));
}

function gameType(GameId id) pure returns (uint32) {
    return uint32(bytes4(GameId.unwrap(id)));
}

function timestamp(GameId id) pure returns (Timestamp) {
    return Timestamp.wrap(uint64(uint256(GameId.unwrap(id)) >> GAME_TIMESTAMP_AT));
}

function proxy(GameId id) pure returns (address) {
    return address(uint160(uint256(GameId.unwrap(id))));
}
