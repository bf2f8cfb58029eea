// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Position} from "./Position.sol";

/// @notice How a game stands. The numbers are part of the interface.
enum GameStatus {
    IN_PROGRESS,
    CHALLENGER_WINS,
    DEFENDER_WINS
}

/// @notice How a closed game pays out: bonds as resolution awarded them, or back to who paid them.
enum BondDistributionMode {
    UNDECIDED,
    NORMAL,
    REFUND
}

/// @notice The first byte of a VM state's commitment: how the program stands.
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

/// @notice What a game type's games may look like; a game's own depths come with its request.
struct GameLimits {
    /// @notice The deepest maximum depth, at most 125.
    uint256 maxGameDepth;
    /// @notice The deepest split depth, at least 2 and at most maxGameDepth - 2.
    uint256 splitDepth;
    /// @notice Seconds that a team has left, at least, after it was answered.
    uint64 clockExtension;
    /// @notice Seconds that each team has in all.
    uint64 maxClockDuration;
}

/// @notice One claim of a game, in four words.
/// @dev What is zero at first shares a word with what is not, so that setting it later costs less.
struct StoredClaim {
    /// @notice The 32 bytes asserted: a state root down to the split depth, a state hash below it.
    bytes32 claim;
    /// @notice Its stake, in wei.
    uint128 bond;
    /// @notice Where it stands.
    Position position;
    /// @notice Who posted it.
    address claimant;
    /// @notice The claim that this one answers; 2^32 - 1 for the root claim.
    uint32 parentIndex;
    /// @notice When, in seconds since 1970: its clock's timestamp.
    uint64 postedAt;
    /// @notice Zero while uncountered; set by a step, and when the claim is resolved.
    address counteredBy;
    /// @notice Seconds that its team had used when it was posted: its clock's duration.
    uint64 timeUsed;
}

/// @notice How far the resolution of a claim has come: it can be done in several calls.
struct ResolutionCheckpoint {
    /// @notice Whether a first call was made.
    bool initialCheckpointComplete;
    /// @notice Number of replies looked at.
    uint32 subgameIndex;
    /// @notice Where the leftmost uncountered reply so far stands; 2^128 - 1 if there is none.
    Position leftmostPosition;
    /// @notice Its claimant.
    address counteredBy;
}
