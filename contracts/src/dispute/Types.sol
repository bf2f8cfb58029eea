// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Claim} from "./Claim.sol";
import {Position} from "./Position.sol";
import {Duration, StoredTimestamp} from "./Time.sol";

/// @notice The state of a game. The numbers are part of the interface.
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

/// @notice The local pre-images that a game fixes, by the ident with which a VM program requests them.
library LocalIdent {
    /// @notice The state root before the disputed node, on which the players agree: 32 bytes.
    uint256 internal constant STARTING_ROOT = 2;
    /// @notice The state root after it, on which they do not: 32 bytes.
    uint256 internal constant DISPUTED_ROOT = 3;
    /// @notice t of the disputed S_t: 8 bytes.
    uint256 internal constant DISPUTED_INDEX = 4;
    /// @notice 8 bytes.
    uint256 internal constant CHAIN_ID = 5;
    /// @notice Which item of a batch the disputed node is of: 32 bytes, log2 of the room for items in the third word of 8
    ///         bytes, the item's index in the fourth.
    uint256 internal constant ITEM = 6;
}

/// @notice The limits of a game type's games; a game's own depths come with its request.
struct GameLimits {
    /// @notice The deepest maximum depth, at most MAX_POSITION_DEPTH.
    uint256 maxGameDepth;
    /// @notice The deepest split depth, at least MIN_SPLIT_DEPTH and at most maxGameDepth - 2.
    uint256 splitDepth;
    /// @notice The least time that a side has left after it was answered.
    Duration clockExtension;
    /// @notice The total time of each side.
    Duration maxClockDuration;
}

/// @notice One claim of a game. A new claim writes three words, the first answer to it and its settlement change the second:
///         what is written later shares a word with what is not zero from the start, which costs less.
/// @dev The bond is not stored: it follows from the depth.
struct StoredClaim {
    /// @notice The 32 bytes asserted: a state root down to the split depth, a state hash below it.
    Claim claim;
    // ---- second word
    /// @notice Its position.
    Position position;
    /// @notice The claim that this one answers; 2^32 - 1 for the root claim.
    uint32 parentIndex;
    /// @notice When it was posted: its clock's timestamp.
    StoredTimestamp postedAt;
    /// @notice The first claim that answers this one; 0 if there is none, for claim 0 answers nothing.
    uint32 firstAnswer;
    /// @notice Whether others follow, in `moreAnswers`.
    bool hasMoreAnswers;
    /// @notice Whether its subgame is settled.
    bool isResolved;
    /// @notice Whether `resolveClaim` has processed any answer of this claim.
    bool resolutionStarted;
    // ---- third word
    /// @notice The account that posted it.
    address claimant;
    /// @notice The time that its side had used when it was posted: its clock's duration.
    Duration timeUsed;
    /// @notice Of the processed answers, the leftmost, earliest one that stands; 0 if there is none. Once the claim is
    ///         resolved: the one that countered it.
    uint32 winningAnswer;
    // ---- fourth word, written by a step only
    /// @notice The account that countered it by a step; zero if there was none.
    address stepper;
}

/// @notice The credit of one address in a game, in one word.
struct Account {
    /// @notice Bonds that it paid, in wei.
    uint120 paid;
    /// @notice Bonds that resolution awarded to it, in wei.
    uint120 awarded;
    /// @notice Whether its payment was announced to DelayedWETH.
    bool isUnlocked;
}
