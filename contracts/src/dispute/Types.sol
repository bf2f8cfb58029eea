// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Claim} from "./Claim.sol";
import {PackedClaim} from "./PackedClaim.sol";
import {Duration} from "./Time.sol";

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

/// @notice One claim of a game, in two words. The root claim has only the second: its 32 bytes are in the game's code.
struct StoredClaim {
    /// @notice The 32 bytes asserted: a state root down to the split depth, a state hash below it.
    Claim claim;
    /// @notice All else.
    PackedClaim packed;
}

/// @notice What a game knows of an address, in one word.
/// @dev ASSUMES: there are fewer than 2^104 wei.
struct Account {
    /// @notice Bonds of its settled claims, in wei.
    uint104 paid;
    /// @notice Bonds that resolution awarded to it, in wei, without what was forfeited to it.
    uint104 awarded;
    /// @notice Its number among the players, counted from 1; 0 for the game's creator and for an address that does not play.
    uint32 number;
    /// @notice Whether its payment was announced to DelayedWETH.
    bool isUnlocked;
    /// @notice Whether it was paid: its credits are 0 then.
    bool isPaid;
}
