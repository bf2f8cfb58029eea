// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Position, ROOT_POSITION} from "./Position.sol";

/// @notice All that a game stores of a claim beside its 32 bytes, in one word. From the lowest bit:
///
///               0 position (91 bits)       155 claimant: a player's number (32)     219 timeUsed (32)
///              91 parentIndex (32)         187 postedAfter (32)                     251 five flags
///             123 answer (32)
///
///         Not among it: the claimant's address, which is in the game's table of players, and the bond, which follows from
///         the depth. But for the root claim: its bond is the factory's choice, and stands where other claims have claimant,
///         postedAfter and timeUsed, which are 0 for the root claim.
/// @dev Source: docs/game.md, "Claims".
type PackedClaim is uint256;

using {
    position,
    parentIndex,
    answer,
    claimant,
    postedAfter,
    timeUsed,
    rootBond,
    hasMoreAnswers,
    isResolved,
    isResolutionStarted,
    isCountered,
    isCounteredLater,
    withAnswer,
    withMoreAnswers,
    withWinner,
    withResolutionStarted,
    withResolved
} for PackedClaim global;

uint256 constant PARENT_AT = 91;
uint256 constant ANSWER_AT = 123;
uint256 constant CLAIMANT_AT = 155;
uint256 constant POSTED_AT = 187;
uint256 constant TIME_USED_AT = 219;

uint256 constant ROOT_BOND_AT = CLAIMANT_AT;

/// @dev The parent of the root claim.
uint32 constant NO_PARENT = 2 ** 32 - 1;

uint256 constant HAS_MORE_ANSWERS = 1 << 251;
uint256 constant IS_RESOLVED = 1 << 252;
uint256 constant IS_RESOLUTION_STARTED = 1 << 253;
uint256 constant IS_COUNTERED = 1 << 254;
uint256 constant IS_COUNTERED_LATER = 1 << 255;

/// @notice A new root claim: no answers, not resolved; posted by player 0 when the game was made.
/// @param bond In wei.
function packRootClaim(uint96 bond) pure returns (PackedClaim) {
    return PackedClaim.wrap(ROOT_POSITION.raw() | uint256(NO_PARENT) << PARENT_AT | uint256(bond) << ROOT_BOND_AT);
}

/// @notice A new claim that answers another: no answers, not resolved.
/// @param position_ At most MAX_POSITION_DEPTH deep; the caller checks.
/// @param postedAfter_ Seconds since the game was made.
/// @param timeUsed_ The time that its side had used, in seconds.
function packClaim(Position position_, uint32 parentIndex_, uint32 claimant_, uint32 postedAfter_, uint32 timeUsed_)
    pure
    returns (PackedClaim)
{
    return PackedClaim.wrap(
        uint256(position_.raw()) | uint256(parentIndex_) << PARENT_AT | uint256(claimant_) << CLAIMANT_AT
            | uint256(postedAfter_) << POSTED_AT | uint256(timeUsed_) << TIME_USED_AT
    );
}

/// @notice The claim's position.
function position(PackedClaim claim) pure returns (Position) {
    return Position.wrap(uint128(PackedClaim.unwrap(claim) & ((1 << PARENT_AT) - 1)));
}

/// @notice The claim that this one answers; NO_PARENT for the root claim.
function parentIndex(PackedClaim claim) pure returns (uint32) {
    return uint32(PackedClaim.unwrap(claim) >> PARENT_AT);
}

/// @notice Above the maximum depth: the first claim that answers this one, unless that is the next claim; at the maximum
///         depth, where there are no answers: one more than the number of the player that countered it by a step. 0 if there
///         is none.
function answer(PackedClaim claim) pure returns (uint32) {
    return uint32(PackedClaim.unwrap(claim) >> ANSWER_AT);
}

/// @notice The number of the player that posted it.
function claimant(PackedClaim claim) pure returns (uint32) {
    return claim.parentIndex() == NO_PARENT ? 0 : uint32(PackedClaim.unwrap(claim) >> CLAIMANT_AT);
}

/// @notice When it was posted, in seconds after the game was made.
function postedAfter(PackedClaim claim) pure returns (uint32) {
    return claim.parentIndex() == NO_PARENT ? 0 : uint32(PackedClaim.unwrap(claim) >> POSTED_AT);
}

/// @notice The time that its side had used when it was posted, in seconds: its clock's duration.
function timeUsed(PackedClaim claim) pure returns (uint32) {
    return claim.parentIndex() == NO_PARENT ? 0 : uint32(PackedClaim.unwrap(claim) >> TIME_USED_AT);
}

/// @notice The bond of a root claim, in wei.
function rootBond(PackedClaim claim) pure returns (uint96) {
    return uint96(PackedClaim.unwrap(claim) >> ROOT_BOND_AT);
}

/// @notice Whether it has answers beside the first.
function hasMoreAnswers(PackedClaim claim) pure returns (bool) {
    return PackedClaim.unwrap(claim) & HAS_MORE_ANSWERS != 0;
}

/// @notice Whether its subgame is settled.
function isResolved(PackedClaim claim) pure returns (bool) {
    return PackedClaim.unwrap(claim) & IS_RESOLVED != 0;
}

/// @notice Whether `resolveClaim` has processed answers of it, or found the root claim without any.
function isResolutionStarted(PackedClaim claim) pure returns (bool) {
    return PackedClaim.unwrap(claim) & IS_RESOLUTION_STARTED != 0;
}

/// @notice Above the maximum depth: whether one of the answers processed until now stands; there: whether a step came before
///         the claim was settled. So of a resolved claim: whether it lost its bond.
function isCountered(PackedClaim claim) pure returns (bool) {
    return PackedClaim.unwrap(claim) & IS_COUNTERED != 0;
}

/// @notice Whether the leftmost, earliest of those is another than the first answer.
function isCounteredLater(PackedClaim claim) pure returns (bool) {
    return PackedClaim.unwrap(claim) & IS_COUNTERED_LATER != 0;
}

/// @notice The claim with `answer_` where there was none.
function withAnswer(PackedClaim claim, uint32 answer_) pure returns (PackedClaim) {
    return PackedClaim.wrap(PackedClaim.unwrap(claim) | uint256(answer_) << ANSWER_AT);
}

function withMoreAnswers(PackedClaim claim) pure returns (PackedClaim) {
    return PackedClaim.wrap(PackedClaim.unwrap(claim) | HAS_MORE_ANSWERS);
}

/// @notice The claim with an answer that stands: the first one, or another.
function withWinner(PackedClaim claim, bool isFirst) pure returns (PackedClaim) {
    return PackedClaim.wrap(PackedClaim.unwrap(claim) | (isFirst ? IS_COUNTERED : IS_COUNTERED | IS_COUNTERED_LATER));
}

function withResolutionStarted(PackedClaim claim) pure returns (PackedClaim) {
    return PackedClaim.wrap(PackedClaim.unwrap(claim) | IS_RESOLUTION_STARTED);
}

function withResolved(PackedClaim claim) pure returns (PackedClaim) {
    return PackedClaim.wrap(PackedClaim.unwrap(claim) | IS_RESOLVED);
}
