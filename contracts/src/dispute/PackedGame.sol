// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {StoredTimestamp, Timestamp, currentTimestamp} from "./Time.sol";
import {BondDistributionMode, GameStatus} from "./Types.sol";

/// @notice What almost every call asks of a game, in one word, so that a call reads it once. From the lowest bit:
///
///               0 status (8)          32 maxDepth (8)        112 resolvedAt (40)
///               8 mode (8)            40 furtherItems (8)    152 createdAt (40)
///              16 wasRespected (8)    48 claimCount (32)     192 nodeCount (64)
///              24 splitDepth (8)      80 playerCount (32)
///
/// @dev Source: docs/game.md, "Claims".
type PackedGame is uint256;

using {
    status,
    mode,
    wasRespected,
    splitDepth,
    maxDepth,
    itemCount,
    claimCount,
    playerCount,
    resolvedAt,
    createdAt,
    nodeCount,
    secondsPassed,
    withClaim,
    withPlayer,
    withOutcome,
    withMode
} for PackedGame global;

uint256 constant MODE_AT = 8;
uint256 constant WAS_RESPECTED_AT = 16;
uint256 constant SPLIT_DEPTH_AT = 24;
uint256 constant MAX_DEPTH_AT = 32;
uint256 constant FURTHER_ITEMS_AT = 40;
uint256 constant CLAIM_COUNT_AT = 48;
uint256 constant PLAYER_COUNT_AT = 80;
uint256 constant RESOLVED_AT_AT = 112;
uint256 constant CREATED_AT_AT = 152;
uint256 constant NODE_COUNT_AT = 192;

/// @notice A game made now, in progress, without claims and without players other than its creator.
/// @param splitDepth_ At most MAX_POSITION_DEPTH, like `maxDepth_`.
/// @param itemCount_ 1 to 256.
function packGame(uint8 splitDepth_, uint8 maxDepth_, uint64 nodeCount_, uint64 itemCount_, bool wasRespected_)
    view
    returns (PackedGame)
{
    return PackedGame.wrap(
        (wasRespected_ ? 1 << WAS_RESPECTED_AT : 0) | uint256(splitDepth_) << SPLIT_DEPTH_AT | uint256(maxDepth_)
            << MAX_DEPTH_AT | uint256(uint8(itemCount_ - 1)) << FURTHER_ITEMS_AT
            | uint256(currentTimestamp().stored().raw()) << CREATED_AT_AT | uint256(nodeCount_) << NODE_COUNT_AT
    );
}

/// @notice In progress, or who won.
function status(PackedGame game) pure returns (GameStatus) {
    return GameStatus(uint8(PackedGame.unwrap(game)));
}

/// @notice How bonds are paid out; UNDECIDED before the game is closed.
function mode(PackedGame game) pure returns (BondDistributionMode) {
    return BondDistributionMode(uint8(PackedGame.unwrap(game) >> MODE_AT));
}

/// @notice Whether the game's type was the respected one when the game was made.
function wasRespected(PackedGame game) pure returns (bool) {
    return uint8(PackedGame.unwrap(game) >> WAS_RESPECTED_AT) != 0;
}

/// @notice The deepest level of state roots.
function splitDepth(PackedGame game) pure returns (uint256) {
    return uint8(PackedGame.unwrap(game) >> SPLIT_DEPTH_AT);
}

/// @notice The deepest level of all.
function maxDepth(PackedGame game) pure returns (uint256) {
    return uint8(PackedGame.unwrap(game) >> MAX_DEPTH_AT);
}

/// @notice The items of a batch; 1 for a single inference.
function itemCount(PackedGame game) pure returns (uint256) {
    return uint256(uint8(PackedGame.unwrap(game) >> FURTHER_ITEMS_AT)) + 1;
}

/// @notice How many claims there are; 0 before the game is initialized.
function claimCount(PackedGame game) pure returns (uint32) {
    return uint32(PackedGame.unwrap(game) >> CLAIM_COUNT_AT);
}

/// @notice How many players have a number, the game's creator aside.
function playerCount(PackedGame game) pure returns (uint32) {
    return uint32(PackedGame.unwrap(game) >> PLAYER_COUNT_AT);
}

/// @notice When the game ended; 0 while it is in progress.
function resolvedAt(PackedGame game) pure returns (Timestamp) {
    return StoredTimestamp.wrap(uint40(PackedGame.unwrap(game) >> RESOLVED_AT_AT)).full();
}

/// @notice When the game was made.
function createdAt(PackedGame game) pure returns (Timestamp) {
    return StoredTimestamp.wrap(uint40(PackedGame.unwrap(game) >> CREATED_AT_AT)).full();
}

/// @notice Number of nodes n.
function nodeCount(PackedGame game) pure returns (uint64) {
    return uint64(PackedGame.unwrap(game) >> NODE_COUNT_AT);
}

/// @notice Seconds since the game was made.
function secondsPassed(PackedGame game) view returns (uint256) {
    return block.timestamp - game.createdAt().raw();
}

/// @notice The game with one claim more.
/// @dev The caller checks that the number fits.
function withClaim(PackedGame game) pure returns (PackedGame) {
    return PackedGame.wrap(PackedGame.unwrap(game) + (1 << CLAIM_COUNT_AT));
}

/// @notice The game with one player more.
/// @dev The caller checks that the number fits.
function withPlayer(PackedGame game) pure returns (PackedGame) {
    return PackedGame.wrap(PackedGame.unwrap(game) + (1 << PLAYER_COUNT_AT));
}

/// @notice The game, ended now.
function withOutcome(PackedGame game, GameStatus outcome) view returns (PackedGame) {
    uint256 now_ = currentTimestamp().stored().raw();
    return PackedGame.wrap(PackedGame.unwrap(game) | uint256(uint8(outcome)) | now_ << RESOLVED_AT_AT);
}

/// @notice The game, closed.
function withMode(PackedGame game, BondDistributionMode mode_) pure returns (PackedGame) {
    return PackedGame.wrap(PackedGame.unwrap(game) | uint256(uint8(mode_)) << MODE_AT);
}
